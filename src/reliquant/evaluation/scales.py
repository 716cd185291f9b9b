"""Confidences at logit scales beside a model's own: tuned on held-out pairs, or a cross-fitted temperature.

Free of torch. A record keeps `confidence`, `nll` and `brier` at each scale as `<name>_<word>`; the words are
`tuned` (of a variant), `tuned:<proxy>` (of FP32, for each proxy of its variants), `temperature`, and `sigmoid`: the
native scale of a model with a logit bias, read as a yes or no of each class.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import SCALED, TUNED, samples_of
from reliquant.measures.conformal import SIZES
from reliquant.measures.prompts import TEMPLATE
from reliquant.measures.rows import rows
from reliquant.measures.stats import Z95
from reliquant.measures.temperature import best_temperature

TEMPERATURE, SIGMOID = "temperature", "sigmoid"
COLUMN = rf"^({'|'.join(TUNED)})_(tuned|tuned:.+|{TEMPERATURE}|{SIGMOID})$"
WIDEST = 10.0  # times sharper or flatter: a half without an error would be calibrated by no end of sharpness
FEWEST = 20  # images of a half, to fit a temperature to
BOTH_SUITES = frozenset(("clean", "shift"))  # where a variant is compared with FP32 at the same kind of scale, too


def scales_of(header: Mapping[str, Any], /) -> dict[str, float]:
    """Return the tuned logit scales that the header of a variant holds, by their words; FP32 has one per proxy."""
    tuned = {f"tuned:{proxy}": found["scale"] for proxy, found in (header.get("tuned_on") or {}).items()}
    own = header.get("logit_scale_tuned")
    return tuned if own is None else {**tuned, "tuned": own}


def at_scale(features: Features, logit_scale: float, word: str = "tuned", /) -> list[pl.Series]:
    """Return confidence, nll and brier of each image under another logit scale, as `<name>_<word>`."""
    records = samples_of(replace(features, logit_scale=logit_scale), {})
    return [records[name].alias(f"{name}_{word}") for name in TUNED]


def at_temperature(features: Features, photographs: NDArray[np.uint64], /) -> list[pl.Series]:
    """Return confidence, nll and brier of labelled images at a temperature that other images were fitted by.

    Images fall into two halves by the last bit of their photographs' keys (n,), so that no copy of an image is measured
    by a temperature that it helped to fit. Each half takes the one that minimises the other's NLL (Guo et al. 2017),
    within a factor of 10. Empty where a half has fewer than 20 images.
    """
    half = (photographs & np.uint64(1)).astype(bool)
    if min(half.sum(), (~half).sum()) < FEWEST:
        return []
    parts, places, logits = [], [], features.logits
    bare = replace(features, patches=None, negatives=None, photographs=None)
    for own in (half, ~half):
        others = logits[~own] if isinstance(logits, np.ndarray) else bare.some(~own).logits
        t = best_temperature(others, features.label[~own])
        scale = features.logit_scale / float(np.clip(t, 1 / WIDEST, WIDEST))
        parts.append(pl.DataFrame(at_scale(bare.some(own), scale, TEMPERATURE)))
        places.append(np.flatnonzero(own))
    frame = pl.concat(parts).with_columns(place=np.concatenate(places)).sort("place")
    return frame.drop("place").get_columns()


def at_sigmoid(features: Features, /) -> list[pl.Series]:
    """Return confidence, nll and brier of images as SigLIP's loss reads its logits: a yes or no for each pair.

    The confidence is the sigmoid of the likeliest class's logit (Zhai et al. 2023), which does not know of the other
    classes; nll and brier are those of the answer "the prediction is right" in two words, null without a class. Empty
    for models without a logit bias, whose logits mean nothing by themselves.
    """
    if not features.logit_bias:
        return []
    logit = features.logits.max(axis=1).astype(float)
    right = features.logits.argmax(axis=1) == features.label
    confidence = expit(logit)
    nll, brier = -log_expit(np.where(right, logit, -logit)), (confidence - right) ** 2
    columns = (("confidence", confidence), ("nll", nll), ("brier", brier))
    frame = pl.DataFrame({f"{name}_{SIGMOID}": values.astype(np.float32) for name, values in columns})
    known = pl.lit(pl.Series(features.label >= 0))
    frame = frame.with_columns(pl.when(known).then(f"{name}_{SIGMOID}") for name in ("nll", "brier"))
    return frame.get_columns()


def words_of(samples: pl.DataFrame, /) -> list[str]:
    """Return the words of the scales that records hold beside the native one."""
    return [name.partition("_")[2] for name in samples.columns if name.startswith(f"{TUNED[0]}_")]


def at_word(samples: pl.DataFrame, word: str, /) -> pl.DataFrame | None:
    """Return the records that have a scale, as they would be at it, without OOD scores; None if none has it."""
    if f"{TUNED[0]}_{word}" not in samples.columns:
        return None
    there = samples.filter(pl.col(f"{TUNED[0]}_{word}").is_not_null())
    renamed = {f"{name}_{word}": name for name in TUNED}
    return without_scores(there.drop(*TUNED).rename(renamed)) if len(there) else None


def without_scores(samples: pl.DataFrame, /) -> pl.DataFrame:
    """Return records without OOD scores, without other scales than the one that they are at, and what is not of it."""
    of_native = pl.selectors.starts_with("score:", TEMPLATE) | pl.selectors.by_name(SIZES, require_all=False)
    return samples.drop(of_native, pl.selectors.matches(COLUMN))


def scaled_rows(
    samples: pl.DataFrame,
    baseline: pl.DataFrame | None,
    proxy: str,
    /,
    *,
    suites: Collection[str],
    resamples: int,
) -> Iterator[pl.DataFrame]:
    """Yield what depends on the logit scale at the scales beside the native one, in the suites other than ood.

    `scale` is `tuned` or `temperature`; changes are to FP32 at its native scale. In the clean and shift suites follow
    changes to FP32 at a scale of the same kind (tuned on the same held-out pairs, of the variant's `proxy`; its own
    temperature), which leave out what tuning alone does: `scale` is `both_tuned` or `both_temperature`. FP32's own
    tuned rows have the column `proxy`: it has one tuned scale for each. At the scale `sigmoid` changes are to FP32's
    sigmoid alone.
    """
    for word in words_of(samples):
        there, (scale, _, of) = at_word(samples, word), word.partition(":")
        if there is None:
            continue
        asked = (set(suites) - {"ood"}) & set(there["suite"].unique())
        if not asked:
            continue
        if scale == SIGMOID:
            same = None if baseline is None else at_word(baseline, word)
            yield _measured(there, same, asked, resamples).with_columns(scale=pl.lit(scale))
            continue
        measured = _measured(there, None if baseline is None else without_scores(baseline), asked, resamples)
        yield measured.with_columns(scale=pl.lit(scale), **({"proxy": pl.lit(of)} if of else {}))
        other = None if baseline is None else at_word(baseline, f"tuned:{proxy}" if scale == "tuned" else word)
        if other is not None and asked & BOTH_SUITES:
            changes = _measured(there, other, asked & BOTH_SUITES, resamples).filter(_is_change())
            yield changes.with_columns(scale=pl.lit(f"both_{scale}"))


def _measured(
    samples: pl.DataFrame, baseline: pl.DataFrame | None, suites: Collection[str], resamples: int
) -> pl.DataFrame:
    """Return the rows of some suites that depend on the logit scale."""
    inside = pl.col("suite").is_in(list(suites)) | (pl.col("suite") == "clean")  # noise is beside clean images
    sides = [side if side is None else side.filter(inside) for side in (samples, baseline)]
    if baseline is not None:
        there = samples.select("suite", "dataset", "reference").unique()
        sides[1] = sides[1].join(there, on=there.columns, how="semi", maintain_order="left")
    return rows(*sides, resamples=resamples, suites=suites).filter(pl.col("measure").str.contains(SCALED))


def _is_change() -> pl.Expr:
    return pl.col("measure").str.contains("_change$")


def scale_rows(header: Mapping[str, Any], /) -> pl.DataFrame:
    """Return the tuned logit scales of a variant as rows: value, interval, and n, the held-out pairs.

    FP32 has one for each proxy, in the column `proxy`. The interval, normal in the logarithm, is of the scale alone:
    intervals of other rows at a tuned scale take it as given.
    """
    found = [(None, header["tuned"])] if header.get("tuned") else list((header.get("tuned_on") or {}).items())
    kinds = {"proxy": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64}
    lines = []
    for proxy, tuned in found:
        times = None if tuned["error"] is None else math.exp(Z95 * tuned["error"] / tuned["scale"])
        ends = (None, None) if times is None else (tuned["scale"] / times, tuned["scale"] * times)
        lines.append((proxy, tuned["scale"], *ends, tuned["pairs"]))
    frame = pl.DataFrame(lines, schema=kinds, orient="row")
    frame = frame if any(proxy for proxy, _ in found) else frame.drop("proxy")
    return frame.with_columns(measure=pl.lit("logit_scale"), scale=pl.lit("tuned"))
