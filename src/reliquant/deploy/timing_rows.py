"""Times, sizes and memory of exported towers as rows of a study, of the suite `deploy`; free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from reliquant.deploy.timing import Seconds, Timed, median_interval
from reliquant.evaluation.paired import FP32
from reliquant.files.artifacts import ROW_SCHEMA, UNKNOWN
from reliquant.report.costs import DEPLOY
from reliquant.study.scheme import precision_of

WORDS = ("study", "model", "source", "scheme", "family", "precision", "scope", "proxy", "seed")
Values = tuple[float, float | None, float | None]  # a value, and the ends of its interval


def measures_of(
    timed: Mapping[int, Sequence[Mapping[str, Any]]], place: int, reference: int | None, /
) -> dict[str, Values]:
    """Return the measures of times of one side, from `timing.by_batch`; `reference` is the place of its FP32.

    `latency_batch_<b>_ms` is of one image in a batch of b by the clock, `throughput_batch_<b>` images a second, and
    `latency_batch_<b>_ratio` the latency over that of FP32 in the same round (below 1: faster): medians over rounds.
    `processor_batch_<b>_ms` and `_ratio` are the same of the processor's time, over all threads;
    `processor_share_batch_<b>` is below 1 where other work took the processor. Where the clock gave 0 for FP32 in
    any round, as where a machine counts the processor's time in long steps, the ratio is not a number.
    """
    found: dict[str, Values] = {}
    for batch, sides in timed.items():
        for name, word in (("latency", "seconds"), ("processor", "processor")):
            seconds: Seconds = sides[place][word]
            found[f"{name}_batch_{batch}_ms"] = median_interval(seconds * 1000)
            if reference is not None and reference != place:
                of_reference: Seconds = sides[reference][word]
                known = bool((of_reference > 0).all())
                ratio = median_interval(seconds / of_reference) if known else (np.nan, None, None)
                found[f"{name}_batch_{batch}_ratio"] = ratio
        found[f"throughput_batch_{batch}"] = median_interval(1 / sides[place]["seconds"])
        found[f"processor_share_batch_{batch}"] = (float(sides[place]["share"]), None, None)
    return found


def labels_of(side: Timed, given: Mapping[str, str], /) -> dict[str, Any]:
    """Return what rows of a side are of: the labels of the export, `given` words, or what can be known of it.

    The scheme is that of the variant and the runtime: `rtn@onnxruntime`. An export that is of no study has its own
    name as its scheme.
    """
    labels, entry = side.facts.get("labels") or {}, side.facts.get("entry") or {}
    known: dict[str, Any] = {"study": "times", "model": UNKNOWN, "source": UNKNOWN, "proxy": "none", "seed": 0}
    if not side.facts["variant_sha256"]:
        known |= FP32
    else:
        family = str(entry.get("quantizer", UNKNOWN))
        known |= {"scheme": side.facts["name"], "family": family, "precision": precision_of(entry), "scope": UNKNOWN}
    known |= {word: labels[word] for word in WORDS if labels.get(word) is not None}
    known |= {word: value for word, value in given.items() if value}
    return {**known, "scheme": f"{known['scheme']}@{side.runtime}"}


def rows_of(side: Timed, measures: Mapping[str, Values], rounds: int, given: Mapping[str, str], /) -> pl.DataFrame:
    """Return the measures of a side in the columns of a study (ROW_SCHEMA); the group is the tower, n the rounds."""
    values = np.array([[np.nan if end is None else end for end in each] for each in measures.values()])
    frame = pl.DataFrame({"measure": list(measures), "value": values[:, 0]})
    ends = {name: pl.Series(values[:, place], nan_to_null=True) for name, place in (("low", 1), ("high", 2))}
    words = {**labels_of(side, given), "suite": DEPLOY, "group": side.tower, "scale": "native"}
    words |= dict.fromkeys(("dataset", "reference", "corruption", "score"), "")
    columns = {name: pl.lit(value) for name, value in words.items()}
    absent = {name: pl.lit(None) for name in ("iteration", "p", "replicates")}
    frame = frame.with_columns(**ends, **columns, **absent, severity=pl.lit(0), n=pl.lit(rounds))
    return frame.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))
