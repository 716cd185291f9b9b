"""`reliquant search`: what searches find among stored embeddings of images and their captions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from reliquant.cli.measure_paired import add_row_words, labels_of_rows
from reliquant.cli.names import names_of
from reliquant.cli.output import Output
from reliquant.cli.search_text import text_of
from reliquant.cli.words import positive, writable
from reliquant.files.artifacts import ROW_SCHEMA, UNKNOWN, provenance, save_frame
from reliquant.measures.retrieval_rows import retrieval_rows
from reliquant.plugins import ConfigError, check
from reliquant.progress import say
from reliquant.stored.beside import unique_names
from reliquant.stored.captioned import captioned_of, matched_pair
from reliquant.stored.read import read_table

EXAMPLE = "reliquant search int8-pairs.npz --reference fp32-pairs.npz --indexes int8_vector binary"
TABLE = (
    "a table, as `measure` takes it, of embeddings `image` and `text` and of `image_of`, the row of each text's image"
    " (-1: none; without it text i is of image i); with `label`, images are searched by images, too"
)
INDEXES = (
    "forms in which the library is stored, too: names (float16, int8_vector, int8_dimension, binary,"
    " binary_rescored), or entries such as '{index: truncated, dimensions: 64}'"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("embeddings", type=Path, help=TABLE)
    parser.add_argument("--reference", type=Path, help="the same of the model before quantization, for every change")
    parser.add_argument("--indexes", nargs="*", default=[], help=INDEXES)
    parser.add_argument("--names", nargs="*", default=[], help="what columns are called, as of `measure`")
    add_row_words(parser)
    parser.add_argument("--resamples", type=positive, default=10_000, help="of medians (at most 2,000)")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    embeddings: Path,
    reference: Path | None,
    indexes: list[str],
    names: list[str],
    rows: Path | None,
    resamples: int,
    **words: str | None,
) -> Output:
    """Search captions by images, images by captions and images by images, and say what changed."""
    if rows is not None:
        writable(rows, "--rows")
    forms, called = _forms(indexes), names_of(names)
    table = read_table(embeddings, names=called)
    if reference is None:
        (own, told), fp32, said = captioned_of(table), None, table.said
    else:
        before = read_table(reference, names=called)
        own, fp32, told = matched_pair(table, before)
        said = (*table.said, *before.said)
    said = tuple(dict.fromkeys((*said, *told)))
    for line in said:
        say("reliquant search", line)
    found = retrieval_rows(own, fp32, indexes=forms, resamples=resamples)
    lines = found.drop("replicates").to_dicts()
    text = text_of(lines, "" if reference is None else str(reference))
    if rows is not None:
        parts = [_of_study(found, embeddings if reference else None, rows, reference or embeddings, words)]
        if fp32 is not None:
            alone = retrieval_rows(fp32, None, indexes=forms, resamples=resamples)
            parts.append(_of_study(alone, None, rows, reference or embeddings, words))
        frame = pl.concat(parts)
        save_frame(rows, frame, provenance(assumed=said))
        text += f"\n\n{rows}: {len(frame):,} rows"
    return Output({"rows": lines, "assumed": said}, text)


def _forms(words: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return stored forms by name; raise ConfigError naming the word of the command line."""
    found: dict[str, Mapping[str, Any]] = {}
    for word in words:
        try:
            entry = yaml.safe_load(word) if word.lstrip().startswith("{") else {"index": word}
        except yaml.YAMLError as error:
            raise ConfigError([f"--indexes {word!r}: is no YAML"]) from error
        if problems := check("index", entry):
            raise ConfigError(f"--indexes {word}: {problem}" for problem in problems)
        name = "_".join(str(value) for value in entry.values())
        if name in found:
            raise ConfigError([f"--indexes {word}: is there twice"])
        found[name] = entry
    return found


def _of_study(
    found: pl.DataFrame, variant: Path | None, rows: Path, reference: Path, words: Mapping[str, str | None]
) -> pl.DataFrame:
    """Return rows in the columns of a study: of a variant, or of FP32."""
    labels = labels_of_rows(rows, unique_names([reference])[0], words)
    scheme = "fp32" if variant is None else unique_names([variant])[0]
    precision = "fp32" if variant is None else UNKNOWN
    what = {"study": labels.study, "model": labels.model, "source": labels.source, "scheme": scheme, "family": scheme}
    what |= {"precision": precision, "scope": "none" if variant is None else UNKNOWN, "proxy": "none", "seed": 0}
    what |= {"suite": "retrieval", "dataset": labels.dataset, "reference": labels.dataset, "corruption": ""}
    what |= {"severity": 0, "scale": "native", "iteration": None}
    columns = {name: pl.lit(value) for name, value in what.items()}
    return found.with_columns(**columns).select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))
