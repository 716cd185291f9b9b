"""What `measure` and `evaluate` share: variants beside their reference, shown and kept as rows of a study."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from reliquant import plugins
from reliquant.cli.output import Output
from reliquant.cli.paired_output import paired_output
from reliquant.cli.words import writable
from reliquant.evaluation.paired import Labels, Quantized, measure_paired
from reliquant.evaluation.records import Score
from reliquant.files.artifacts import UNKNOWN, provenance, save_frame
from reliquant.grid import parse_precision
from reliquant.progress import say
from reliquant.stored.beside import Files, paired_answers, unique_names

SCORES = ("mcm", "msp", "max_logit", "energy")
NAMED = re.compile(r"(?:^|[^a-z0-9])(w\d+a\d+)(?:$|[^a-z0-9])", re.I)


def add_paired_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what says that tables are variants beside a reference, and what is known of them."""
    parser.add_argument(
        "--reference", type=Path, help="the table of FP32 on the same images: prints every change to it"
    )
    parser.add_argument("--reference-ood", type=Path, nargs="*", default=[], help="FP32's tables of the sets of --ood")
    shifted = "tables of shifted images of the same classes, labelled; with several variants once for each, as --ood"
    parser.add_argument("--shifted", type=Path, nargs="*", action="append", help=shifted)
    own = "FP32's tables of the sets of --shifted"
    parser.add_argument("--reference-shifted", type=Path, nargs="*", default=[], help=own)
    own_names = (
        "what ours are called in the reference's tables; by default as --names says, where there are such columns"
    )
    parser.add_argument("--reference-names", nargs="*", default=[], help=own_names)
    add_variant_words(parser)
    add_row_words(parser)


def add_variant_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what is known of variants themselves: their precision, and what they and the reference take."""
    precision = "of the variants: one for all, or one for each, such as w4a16; by default as their names say it"
    parser.add_argument("--precision", nargs="*", default=[], help=precision)
    size = "of the variants' models, one for each: a number, or a file whose size it is; `recommend` needs it"
    parser.add_argument("--bytes", nargs="*", default=[], help=size)
    parser.add_argument("--reference-bytes", help="of the FP32 model, likewise")


def add_row_words(parser: argparse.ArgumentParser, /, *, model: bool = True, dataset: bool = True) -> None:
    """Add where rows are kept, and what they are called there."""
    rows = "keep all rows, for `report`, `recommend` and `compare`: a parquet file in the schema of a study"
    parser.add_argument("--rows", type=Path, help=rows)
    parser.add_argument("--study", help="its name in the rows; by default that of the file")
    if model:
        parser.add_argument("--model", help="the model's name in the rows; by default the reference's")
    parser.add_argument("--source", help="what the model was pre-trained on, such as laion2b")
    if dataset:
        parser.add_argument("--dataset", help="the name of the labelled images in the rows; by default images")


def paired(
    features: Sequence[Path],
    ood: Sequence[Sequence[Path]],
    names: tuple[Mapping[str, str], Mapping[str, str] | None],
    resamples: int,
    reference: Path,
    /,
    *,
    reference_ood: Sequence[Path],
    shifted: Sequence[Sequence[Path]] | None,
    reference_shifted: Sequence[Path],
    precision: Sequence[str],
    bytes: Sequence[str],
    reference_bytes: str | None,
    rows: Path | None,
    **words: str | None,
) -> Output:
    """Measure tables of variants beside that of their reference, on labelled and on other images.

    `names` says what columns are called in the variants' tables, and in the reference's: None where as in the
    variants'.
    """
    if rows is not None:
        writable(rows, "--rows")
    own_sets = [_sets_of(ood, reference_ood, features, "ood")]
    own_sets.append(_sets_of(shifted or [], reference_shifted, features, "shifted"))
    said: list[str] = []
    schemes = scheme_names(features)
    known = precisions_of(precision, schemes, said)
    sizes, own = sizes_of(bytes, schemes, "--bytes"), sizes_of([reference_bytes], ["fp32"], "--reference-bytes")
    files = {name: Files(*every) for name, *every in zip(schemes, features, *own_sets, strict=True)}
    fp32 = Files(reference, reference_ood, reference_shifted)
    found, exact = paired_answers(files, fp32, usual_scores(), said, names=names[0], reference_names=names[1])
    own_size, fp32_size = (dict(zip([word], own.values(), strict=False)) for word in ("bytes", "bytes_fp32"))
    variants = {}
    for name, answers in found.items():
        measures = {"bytes": sizes[name], **fp32_size} if name in sizes else {}
        variants[name] = Quantized(answers, known[name], measures)
    labels = labels_of_rows(rows, reference.stem, words)
    frame = measure_paired(variants, exact, labels, reference_measures=own_size, resamples=resamples)
    return kept(frame, str(reference), said, rows)


def usual_scores() -> dict[str, Score]:
    """Return the OOD scores that need nothing beside the features of images and classes, by name."""
    return {score: plugins.load("score", {"score": score}) for score in SCORES}


def _sets_of(
    lists: Sequence[Sequence[Path]], reference: Sequence[Path], features: Sequence[Path], word: str
) -> Sequence[Sequence[Path]]:
    """Return each variant's tables of sets; raise ValueError unless there is a list for each, and one of FP32's."""
    if lists and len(lists) != len(features):
        told = f"--{word} is given {len(lists)} times for {len(features)} variants"
        raise ValueError(f"{told}: give it once for each, with its tables of the sets of --reference-{word}")
    if bool(reference) != bool(lists):
        there, lacking = (f"--reference-{word}", f"--{word}")[:: 1 if reference else -1]
        raise ValueError(f"{there}: tables of the same sets are missing on the other side; give {lacking}")
    return lists or [()] * len(features)


def labels_of_rows(rows: Path | None, model: str, words: Mapping[str, str | None], /) -> Labels:
    """Return what rows are called, from the words of `add_row_words`."""
    study = words.get("study") or (rows.stem if rows else "measured")
    named = {"source": words.get("source") or UNKNOWN, "dataset": words.get("dataset") or "images"}
    return Labels(study, words.get("model") or model, **named)


def kept(frame: pl.DataFrame, reference: str, said: Sequence[str], rows: Path | None, /) -> Output:
    """Show rows, say once what was assumed, and keep them with that where a file is named."""
    said = list(dict.fromkeys(said))
    for line in said:
        say("reliquant", line)
    output = paired_output(frame, reference, said)
    if rows is None:
        return output
    save_frame(rows, frame, provenance(assumed=said, reference=reference))
    return output._replace(text=f"{output.text}\n\n{rows}: {len(frame):,} rows")


def scheme_names(features: Sequence[Path], /) -> list[str]:
    """Return the names of variants in rows, those of their files; raise ValueError for fp32, the reference's."""
    names = unique_names(features)
    if "fp32" in names:
        path = features[names.index("fp32")]
        names[names.index("fp32")] = str(path.with_suffix(""))
    if "fp32" in names:
        raise ValueError("fp32: is what the reference is called in rows; give the variant's file another name")
    return names


def precisions_of(words: Sequence[str], schemes: Sequence[str], said: list[str], /) -> dict[str, str]:
    """Return the precision of each variant, as `--precision` or its name says it; raise ValueError for what is none."""
    if words and len(words) not in (1, len(schemes)):
        raise ValueError(f"--precision: {len(words)} for {len(schemes)} variants; give one for all, or one for each")
    given = list(words) * (len(schemes) if len(words) == 1 else 1)
    for word in given:
        try:
            parse_precision(word)
        except ValueError as error:
            raise ValueError(f"--precision: {error}") from error
    if given:
        return dict(zip(schemes, given, strict=True))
    found = {}
    for name in schemes:
        match = NAMED.search(name)
        found[name] = match[1].lower() if match else UNKNOWN
        if match:
            said.append(f"{name}: the precision is {found[name]}, by its name")
    unknown = [name for name, word in found.items() if word == UNKNOWN]
    if unknown:
        said.append(f"{', '.join(unknown)}: the precision is unknown in the rows; --precision w4a16 would say it")
    return found


def sizes_of(words: Sequence[str | None], names: Sequence[str], word: str, /) -> dict[str, int]:
    """Return sizes in bytes by name, from numbers or files; raise ValueError or FileNotFoundError naming the word."""
    given = [one for one in words if one]
    if given and len(given) != len(names):
        raise ValueError(f"{word}: {len(given)} for {len(names)} variants; give one for each")
    found = {}
    for name, one in zip(names, given, strict=False):
        if one.isdecimal() and int(one) > 0:
            found[name] = int(one)
        elif Path(one).is_file():
            found[name] = Path(one).stat().st_size
        else:
            raise ValueError(f"{word} {one}: is neither a number of bytes nor a file")
    return found
