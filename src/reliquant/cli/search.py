"""`reliquant search`: what searches find among stored embeddings of images and their captions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from reliquant.cli.measure_paired import (
    add_row_words,
    add_variant_words,
    labels_of_rows,
    precisions_of,
    scheme_names,
    sizes_of,
)
from reliquant.cli.names import names_of
from reliquant.cli.output import Output
from reliquant.cli.search_rows import rows_of_variants
from reliquant.cli.search_text import Count, counts_of, text_of
from reliquant.cli.words import positive, writable
from reliquant.evaluation.paired import Labels
from reliquant.files.artifacts import provenance, save_frame
from reliquant.files.bounded import load_yaml
from reliquant.measures.retrieval import Captioned
from reliquant.measures.retrieval_rows import retrieval_rows
from reliquant.plugins import ConfigError, check
from reliquant.progress import say
from reliquant.stored.beside import unique_names
from reliquant.stored.captioned import captioned_of, matched_pair
from reliquant.stored.read import read_table

EXAMPLE = "reliquant search int8-pairs.npz --reference fp32-pairs.npz --indexes int8_vector binary"
TABLE = (
    "tables of a model or of several variants, as `measure` takes them, of embeddings `image` and `text` and of"
    " `image_of`, the row of each text's image (-1: none; without it text i is of image i); with `label`, images are"
    " searched by images, too"
)
INDEXES = (
    "forms in which the library is stored, too: names (float16, int8_vector, int8_dimension, binary,"
    " binary_rescored), or entries such as '{index: truncated, dimensions: 64}'"
)

Search = Callable[[Captioned, Captioned | None], pl.DataFrame]


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("embeddings", type=Path, nargs="+", help=TABLE)
    parser.add_argument("--reference", type=Path, help="the same of the model before quantization, for every change")
    parser.add_argument("--indexes", nargs="*", default=[], help=INDEXES)
    parser.add_argument("--names", nargs="*", default=[], help="what columns are called, as of `measure`")
    add_variant_words(parser)
    add_row_words(parser)
    parser.add_argument("--resamples", type=positive, default=10_000, help="of medians (at most 2,000)")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    embeddings: list[Path],
    reference: Path | None,
    indexes: list[str],
    names: list[str],
    rows: Path | None,
    resamples: int,
    precision: list[str],
    bytes: list[str],
    reference_bytes: str | None,
    **words: str | None,
) -> Output:
    """Search captions by images, images by captions and images by images, and say what changed."""
    if rows is not None:
        writable(rows, "--rows")
    search = partial(retrieval_rows, indexes=_forms(indexes), resamples=resamples)
    if reference is None:
        given = {"--precision": precision, "--bytes": bytes, "--reference-bytes": reference_bytes}
        told = [word for word, value in given.items() if value]
        told += ["--rows of several tables"] if rows and len(embeddings) > 1 else []
        if told:
            raise ValueError(f"{', '.join(told)}: needs --reference, the table of FP32 on the same images and captions")
    known = _Known(embeddings, reference, precision, bytes, reference_bytes)
    found, counts, fp32 = _found(known, names_of(names), search)
    lines = {name: frame.drop("replicates").to_dicts() for name, frame in found.items()}
    text = text_of(lines, counts, "" if reference is None else str(reference))
    if rows is not None:
        frame = _rows(found, fp32, known, labels_of_rows(rows, (reference or embeddings[0]).stem, words), search)
        save_frame(rows, frame, provenance(assumed=known.said))
        text += f"\n\n{rows}: {len(frame):,} rows"
    every = [{"variant": name, **row} for name, own in lines.items() for row in own]
    asked = {name: {group: one._asdict() for group, one in own.items()} for name, own in counts.items()}
    return Output({"rows": every, "searches": asked, "assumed": known.said}, text)


class _Known:
    """Hold the tables by the names of their variants, and what is known of these; `said` is what was assumed."""

    def __init__(
        self,
        embeddings: Sequence[Path],
        reference: Path | None,
        precision: Sequence[str],
        bytes: Sequence[str],
        reference_bytes: str | None,
        /,
    ) -> None:
        self.reference = reference
        schemes = unique_names(embeddings) if reference is None else scheme_names(embeddings)
        self.tables = dict(zip(schemes, embeddings, strict=True))
        self.said: list[str] = []
        named: list[str] = []
        self.precision = {} if reference is None else precisions_of(precision, schemes, named)
        self.say(named)
        self.bytes = sizes_of(bytes, schemes, "--bytes")
        self.reference_bytes = sizes_of([reference_bytes], ["fp32"], "--reference-bytes").get("fp32")

    def say(self, *lists: Sequence[str]) -> None:
        """Say on stderr, and keep, each sentence that was not said yet."""
        for line in chain(*lists):
            if line not in self.said:
                self.said.append(line)
                say("reliquant search", line)


def _found(
    known: _Known, names: Mapping[str, str], search: Search
) -> tuple[dict[str, pl.DataFrame], dict[str, dict[str, Count]], Captioned | None]:
    """Search each variant's embeddings, one variant in memory at a time; return FP32's, too, where there is one.

    What is assumed is said before a search, once.
    """
    tables = {name: read_table(path, names=names) for name, path in known.tables.items()}  # all are opened first
    before = None if known.reference is None else read_table(known.reference, names=names)
    found, counts, fp32 = {}, {}, None
    for name, table in tables.items():
        if before is None:
            own, told = captioned_of(table)
        else:
            own, fp32, told = matched_pair(table, before)
            told = (*before.said, *told)
        known.say(table.said, told)
        found[name], counts[name] = search(own, fp32), counts_of(own)
    return found, counts, fp32


def _rows(
    found: Mapping[str, pl.DataFrame], fp32: Captioned | None, known: _Known, labels: Labels, search: Search
) -> pl.DataFrame:
    """Return what was found as rows of a study; a table without a reference is FP32's."""
    if fp32 is None:
        return rows_of_variants({}, next(iter(found.values())), labels, precision={}, bytes={})
    sizes = {"bytes": known.bytes, "reference_bytes": known.reference_bytes}
    return rows_of_variants(found, search(fp32, None), labels, precision=known.precision, **sizes)


def _forms(words: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return stored forms by name; raise ConfigError naming the word of the command line."""
    found: dict[str, Mapping[str, Any]] = {}
    for word in words:
        try:
            entry = load_yaml(word) if word.lstrip().startswith("{") else {"index": word}
        except yaml.YAMLError as error:
            raise ConfigError([f"--indexes {word!r}: is no YAML"]) from error
        if problems := check("index", entry):
            raise ConfigError(f"--indexes {word}: {problem}" for problem in problems)
        name = "_".join(str(value) for value in entry.values())
        if name in found:
            raise ConfigError([f"--indexes {word}: is there twice"])
        found[name] = entry
    return found
