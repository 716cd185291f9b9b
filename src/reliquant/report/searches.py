"""Rows of the suite retrieval as figures, tables and wishes read them: never over directions or stored forms unsaid."""

from __future__ import annotations

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
        where = f" of direction {direction}" if direction else ""
        known = f"; {measure} is there of {', '.join(map(_named, forms))}" if forms else ""
        raise ValueError(f"there are no rows of {measure}{where} in the suite {RETRIEVAL}, {_named(form)}{known}")
    there = [one for one in DIRECTIONS if one in set(found["group"])]
    return found, " and ".join(WORDS[one] for one in there)


def _named(form: str) -> str:
    return f"stored as {form}" if form else "float32 embeddings"
