"""What a variant costs: its bytes, or what exported files were measured to take; free of torch."""

from __future__ import annotations

import re

import polars as pl

from reliquant.report import frames
from reliquant.report.frames import Rows

DEPLOY = "deploy"  # the suite of rows of `reliquant time`, one for each tower (in `group`) of a variant in a runtime
WORDS = {"latency": "latency_batch_1_ms", "memory": "peak_memory_mb"}
OF_FILES = re.compile(r"(latency|processor)_batch_\d+_(ms|ratio)|peak_memory_mb|file_bytes")
WISHED = re.compile(rf"(?:{OF_FILES.pattern}|throughput_batch_\d+|int8_products)(?:_change)?")  # by check, recommend
COUNTED = ("file_bytes", "int8_products", "products", "threads")  # what other rounds would not change
UNITS = {"latency_batch_1_ms": "ms an image at batch 1", "peak_memory_mb": "MB of memory at most"}
TIME = "rows of `reliquant time` have it"
SIZE = "rows of `reliquant measure` have bytes where --bytes gives them; --cost names another measure"


def measure_of(cost: str, /) -> tuple[str, str, str]:
    """Return the suite, the tower and the measure that a cost names.

    It is `latency` (of an image at batch 1), `memory`, another measure of exported files, with `text:` before it that
    of the text tower, or any measure of the variant itself, such as `bytes`.

    >>> measure_of("text:latency")
    ('deploy', 'text', 'latency_batch_1_ms')
    """
    tower, _, word = cost.rpartition(":")
    measure = WORDS.get(word, word)
    if not OF_FILES.fullmatch(measure):
        if tower:
            raise ValueError(
                f"cost {cost!r}: a tower stands before {', '.join(WORDS)} and measures of `reliquant time`"
            )
        return "", "", measure
    if tower not in ("", "image", "text"):
        raise ValueError(f"cost {cost!r}: the tower is image or text, not {tower!r}")
    return DEPLOY, tower or "image", measure


def wished(tower: str, word: str, /) -> tuple[str, str] | None:
    """Return the tower and the measure of exported files that a wish's words name; None where they name none.

    >>> wished("", "latency"), wished("text", "memory_change"), wished("", "accuracy")
    (('image', 'latency_batch_1_ms'), ('text', 'peak_memory_mb_change'), None)
    """
    plain, change, _ = word.partition("_change")
    measure = WORDS.get(plain, plain) + change
    return (tower or "image", measure) if WISHED.fullmatch(measure) else None


def of_tower(rows: pl.DataFrame, tower: str, /) -> pl.DataFrame:
    """Return the rows of exported files that are of one tower: a mean of both would be of neither."""
    return rows.filter(pl.col("group") == tower)


def costs_of(rows: Rows, cost: str, /) -> pl.DataFrame:
    """Return the rows of a cost; raise ValueError where there is none, saying which command measures it."""
    suite, tower, measure = measure_of(cost)
    found = frames.select(rows, measure, suite=suite)
    if suite:
        found = of_tower(found, tower)
    if found.is_empty():
        told = f"{measure} of the {tower} tower: {TIME}" if suite else f"{measure}: {SIZE}"
        raise ValueError(f"no variant says the cost, {told}")
    return found
