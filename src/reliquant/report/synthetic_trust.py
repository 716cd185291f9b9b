"""Rows of prediction sets, of refusal and of single templates with a known truth; free of torch."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from reliquant.report.synthetic_explain import long

TEMPLATES = 0.01  # spread of the accuracy over templates; the best and the worst lie as far from the mean


def trusted(variants: pl.DataFrame, cells: Iterable[pl.DataFrame], /) -> list[pl.DataFrame]:
    """Return rows that `synthetic` lacks for the places of each suite, at the native scale and over all corruptions.

    With FP32's thresholds coverage falls by half of the relative loss of accuracy and sets shrink by it; with a
    variant's own it is what was asked. AUGRC rises by a quarter of that loss, full-spectrum AUROC falls by a tenth.
    """
    found = []
    for places in cells:
        suite = places["suite"][0]
        some = places.filter(pl.col("scale") == "native") if "scale" in places.columns else places
        some = some.filter(pl.col("corruption") == "mean") if suite == "noise" else some
        columns = _unknown() if suite == "ood" else _sets()
        columns |= _refused() if suite in ("clean", "shift") else {}
        columns |= _templates() if suite == "clean" else {}
        found.append(long(variants.join(some, how="cross"), columns))
    return found


def _sets() -> dict[str, pl.Expr]:
    quantized, loss = pl.when(~pl.col("fp32")), pl.col("loss")
    columns = {f"conformal_coverage_{level}_own": pl.lit(float(level) / 100) for level in ("90", "95")}
    columns |= {"conformal_size_90_own": 2 + 0 * loss, "conformal_size_95_own": 3 + 0 * loss}
    columns |= {"conformal_size_90_fp32": quantized.then(2 + loss), "conformal_size_95_fp32": quantized.then(3 + loss)}
    return columns | {"conformal_coverage_95_fp32": quantized.then(0.95 + loss / 2)}


def _refused() -> dict[str, pl.Expr]:
    rise = -pl.col("loss") / 4
    return {"augrc": 0.05 + rise, "augrc_change": pl.when(~pl.col("fp32")).then(rise)}


def _unknown() -> dict[str, pl.Expr]:
    fall = pl.col("loss") / 10
    return {"full_spectrum_auroc": 0.8 + fall, "full_spectrum_auroc_change": pl.when(~pl.col("fp32")).then(fall)}


def _templates() -> dict[str, pl.Expr]:
    accuracy = pl.col("base") * (1 + pl.col("loss"))
    ends = {"accuracy_best_template": accuracy + TEMPLATES, "accuracy_worst_template": accuracy - TEMPLATES}
    return ends | {"template_spread": TEMPLATES + 0 * accuracy}
