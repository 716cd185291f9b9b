"""`reliquant recommend`: the variants of a study that meet a wish, and how sure that is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from reliquant.cli.output import Output
from reliquant.cli.recommend_text import recommended_text
from reliquant.files.stored_frames import errors_named, read_rows
from reliquant.progress import say
from reliquant.report.caution import few_quantized
from reliquant.report.costs import DEPLOY, measure_of
from reliquant.report.frames import VARIANT
from reliquant.report.recommend import judged
from reliquant.report.recommend import wish as parse_wish

EXAMPLE = "reliquant recommend results/lab/rows.parquet --wish 'squared_ce_change <= 0' 'accuracy_delta <= 0.01'"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("rows", type=Path, help="rows.parquet of a study")
    parser.add_argument(
        "--wish",
        nargs="+",
        action="extend",  # said twice, both count
        required=True,
        help="such as 'squared_ce_change <= 0' 'ood:auroc_change >= 0'",
    )
    parser.add_argument("--cost", default="bytes", help="the measure to keep small; latency and memory are of --times")
    parser.add_argument("--times", type=Path, nargs="+", default=[], help="rows of `reliquant time` of these variants")
    parser.add_argument("--all", action="store_true", dest="each", help="say of each other variant why it is no answer")
    parser.add_argument("--json", action="store_true")


def run(*, rows: Path, wish: list[str], cost: str, times: Sequence[Path] = (), each: bool = False) -> Output:
    """Name the variants of a study that meet every wish and lie on the Pareto front, smallest cost first."""
    wishes = {one.text: one for one in map(parse_wish, wish)}  # told before the rows are read; each once
    every = pl.concat([read_rows(path) for path in (rows, *times)])
    with errors_named(rows):
        variants = judged(every, list(wishes), cost=cost)
    found = variants.filter(why_not="").drop("why_not")
    few = few_quantized(every).join(found, on=VARIANT, how="semi", nulls_equal=True)
    for variant in few.iter_rows(named=True):
        name = " ".join(str(variant[word]) for word in ("model", "scheme", "precision", "scope"))
        meant = f"where its scheme means {variant['least']:.0%} or more"
        say(name, f"quantizes {variant['share']:.1%} of its blocks' weights, {meant}")
    notes = [f"Confidence is left open: {why}." for why in found["why"].unique(maintain_order=True) if why]
    if measure_of(cost)[0] == DEPLOY:
        notes.append(f"{cost} is taken as it was measured: its own interval is not in how sure this is.")
    notes += [f"Compared on: {variants['sets'][0]}."] if variants["sets"][0] else []
    notes += [f"Left out: {variants['note'][0]}."] if variants["note"][0] else []
    return Output(found.to_dicts(), recommended_text(variants, list(wishes.values()), cost, each=each, notes=notes))
