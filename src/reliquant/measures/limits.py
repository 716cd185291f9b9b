"""What an interval may say: nothing outside what a measure can be; free of torch."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from reliquant.measures.turns import SHARES

LIMITS = dict.fromkeys((*SHARES, "aurc", "augrc"), (0.0, 1.0)) | {
    "brier": (0.0, 2.0),
    "confidence_gap": (-1.0, 1.0),
}
WITHOUT_LIMITS = ("mean_corruption_error",)  # may be a ratio to another model's


def limits_of(measure: str, /) -> tuple[float, float] | None:
    """Return the least and the largest value that a measure, or its change, can have; None where it is not known.

    >>> limits_of("brier"), limits_of("accuracy_change"), limits_of("nll")
    ((0.0, 2.0), (-1.0, 1.0), None)
    """
    name = measure.removesuffix("_change")
    if name not in LIMITS or name in WITHOUT_LIMITS:
        return None
    low, high = LIMITS[name]
    return (low, high) if name == measure else (low - high, high - low)


def limit(row: MutableMapping[str, Any], /) -> None:
    """Cut a row's interval at what its measure can be."""
    limits = limits_of(row["measure"])
    if limits is None or row["low"] is None:
        return
    row["low"], row["high"] = (min(max(end, limits[0]), limits[1]) for end in (row["low"], row["high"]))
