"""Rows of the suite retrieval as figures, tables and wishes read them: never over directions or stored forms unsaid."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from reliquant.report import frames
from reliquant.report.frames import Rows
from reliquant.study.config import RETRIEVAL

BETWEEN = ("image_to_text", "text_to_image")  # between images and captions
ALONE = "image_to_image"  # by class
DIRECTIONS = (*BETWEEN, ALONE)
WORDS = {"image_to_text": "image to text", "text_to_image": "text to image", ALONE: "image to image"}


def wished(rows: Rows, measure: str, /, *, direction: str = "", form: str = "") -> tuple[pl.DataFrame, str]:
    """Return the rows of a measure of searches in one stored form ("": float32), and over which directions they are.

    Without a `direction` these are both between images and captions, or, for a measure that neither has, images by
    class. Raises ValueError where there are none, naming the stored forms that there are.
    """
    found = frames.cells(rows, measure, suite=RETRIEVAL)
    forms = sorted(found["score"].unique())
    found = found.filter(score=form)
    asked = (direction,) if direction else BETWEEN
    if not direction and found.filter(pl.col("group").is_in(BETWEEN)).is_empty():
        asked = (ALONE,)
    found = found.filter(pl.col("group").is_in(asked))
    if found.is_empty():
        raise ValueError(_lacking(rows, measure, direction, form, forms))
    there = [one for one in DIRECTIONS if one in set(found["group"])]
    return found, " and ".join(WORDS[one] for one in there)


def _lacking(rows: Rows, measure: str, direction: str, form: str, forms: Sequence[str]) -> str:
    """Say what is missing of a wish, and what there is: stored forms and directions, or the measures of a direction."""
    every = rows.lazy().filter(pl.col("suite") == RETRIEVAL).select("group", "score", "measure").unique().collect()
    every = every.with_columns(pl.all().cast(pl.String)).filter(pl.col("group") != "")
    stored = sorted(set(every["score"]))
    if form and form not in stored:
        there = ", ".join(filter(None, stored)) or "none"
        known = f"directions are {', '.join(DIRECTIONS)}; stored forms here are {there}"
        return f"{RETRIEVAL}:{form}: is no direction and no stored form of these rows; {known}"
    own = every.filter(group=direction) if direction else every
    if direction and own.is_empty():
        others = [one for one in DIRECTIONS if one in set(every["group"])]
        return f"there are no rows of direction {direction} in the suite {RETRIEVAL}; there are {', '.join(others)}"
    if direction and measure not in set(own["measure"]):
        of_kind = pl.col("measure").str.ends_with("_change") == measure.endswith("_change")
        own = own.filter(of_kind & ~pl.col("measure").str.contains("_fp32_|_index_"), score=form)
        names = own["measure"].unique().sort()
        return f"{WORDS[direction]} has no {measure} in the suite {RETRIEVAL}; it has {', '.join(names)}"
    where = f" of direction {direction}" if direction else ""
    known = f"; {measure} is there of {', '.join(map(_named, forms))}" if forms else ""
    return f"there are no rows of {measure}{where} in the suite {RETRIEVAL}, {_named(form)}{known}"


def _named(form: str) -> str:
    return f"stored as {form}" if form else "float32 embeddings"
