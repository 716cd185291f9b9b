"""`reliquant card`: a model card of variants: what was measured on what, with intervals, and what was not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reliquant.cli.output import Output
from reliquant.cli.words import writable
from reliquant.deploy.measured import rows_of, table_of
from reliquant.files.artifacts import read_facts, whole
from reliquant.files.stored_frames import errors_named
from reliquant.progress import printable
from reliquant.report.card import About, card
from reliquant.report.choice import names, variants
from reliquant.report.common_sets import some_of

EXAMPLE = "reliquant card results/lab/rows.parquet --variant rtn w8a8 --license mit --output card/README.md"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("rows", type=Path, help="a table of rows, of a study or of `--rows`, or an exported folder")
    parser.add_argument("--variant", nargs="+", default=[], help="words of it: --variant rtn w8a8; by default all")
    parser.add_argument("--title", default="", help="the card's; by default the variant's name")
    parser.add_argument("--base-model", default="", help="the FP32 model's name on the hub, owner/name")
    parser.add_argument("--license", default="", help="of the weights, such as mit; what is not given is left out")
    parser.add_argument("--library", default="", help="that opens the file, such as onnx")
    parser.add_argument("--tag", nargs="+", default=[], dest="tags")
    parser.add_argument("--output", type=Path, help="write it there, as README.md; by default it is printed")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    rows: Path,
    variant: Sequence[str],
    title: str,
    base_model: str,
    license: str,
    library: str,
    tags: Sequence[str],
    output: Path | None,
) -> Output:
    """Write the model card of the variants of rows that have these words."""
    if output is not None:
        writable(output, "--output", rows)
        if rows.is_dir() and output.resolve().is_relative_to(rows.resolve()):
            raise ValueError(
                f"--output {output}: lies in the export, whose files must stay as they are; name another place"
            )
    frame = rows_of(rows)
    with errors_named(rows):
        chosen = variants(frame, {}, variant)
    facts = read_facts(table_of(rows))
    known = {word: facts[word] for word in ("versions", "backends", "assumed", "reference") if facts.get(word)}
    about = About(title, base_model, license, library, tags, facts=known)
    text = card(frame, about, variants=chosen)
    told = {"variants": names(chosen), "output": str(output) if output else None, "card": text}
    if output is None:
        return Output(told, text.rstrip("\n"))
    with whole(output) as part:
        part.write_text(text, encoding="utf-8")
    return Output(told, f"{printable(str(output))}: the card of {printable(some_of(names(chosen)))}")
