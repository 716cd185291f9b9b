"""Rows of studies whose truth is known, with the correlations of a real one: variants share images, models and sets.

Each set of images has errors that all variants of all models share, errors of a model, and a variant's own; column 0 is
the study's error, the others are the deviations of its replicates, drawn from the same distribution. Squared
calibration errors are computed from bins by the package's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures.squared_ce import SquaredCE

BINS = 15
MODELS = (("vit-wit", "wit"), ("cnx-wit", "wit"), ("vit-laion", "laion"), ("cnx-laion", "laion"))
SCHEMES = (("rtn", "Simple PTQ"), ("lsq", "QAT (Contr.)"), ("rot", "Rot+LSQ"))
PRECISIONS, SCOPES = ("w8a8", "w4a8"), ("image", "both")
CLEAN = {"a": 4000, "b": 5000}
SHIFT, OOD = {"a-sketch": 1000, "a-rotated": 1500}, {"near": 1000, "far": 1000}
NOISE, SPURIOUS = {"a": 500}, {"cued": 1500}
SPREAD = {  # of one image's part in a change
    "accuracy_change": 0.3,
    "accuracy_delta": 0.4,
    "auroc_change": 0.08,
    "vuln_add": 0.5,
    "brier_change": 0.2,
}
RANKS = (0, 1, 2, 4, 8, 16, 32, 64)
SHARED = {"all": 0.15, "model": 0.35, "own": 0.5}  # of the variance of an error


@dataclass(frozen=True)
class Study:
    """Hold the variants of a study, its source of randomness, and the true changes by measure (and suite or scale).

    A truth is a number or an array, one number per variant; what is not said is 0.
    """

    rng: np.random.Generator
    truth: Mapping[str, float | np.ndarray] = field(default_factory=dict)
    variants: pl.DataFrame = field(default_factory=lambda: variants())

    @property
    def model(self) -> np.ndarray:
        """The number of each variant's model."""
        return self.variants["number"].to_numpy()

    def true(self, name: str) -> np.ndarray:
        """Return the true change of each variant."""
        return np.broadcast_to(np.asarray(self.truth.get(name, 0.0), float), (self.variants.height,))

    def errors(self, images: int, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Draw errors of unit variance an image, of every variant: (variants, *shape, 1 + KEPT)."""
        draw, last = self.rng.standard_normal, (*shape, 1 + KEPT)
        whole = np.sqrt(SHARED["all"]) * draw(last) + np.sqrt(SHARED["model"]) * draw((len(MODELS), *last))
        own = np.sqrt(SHARED["own"]) * draw((self.variants.height, *last))
        return (whole[self.model] + own) / np.sqrt(images)

    def block(
        self, suite: str, dataset: str, measure: str, errors: np.ndarray, n: int, **words: object
    ) -> pl.DataFrame:
        """Return the rows of one measure on one set: truth and errors (variants, 1 + KEPT)."""
        value = errors[:, 0]
        replicates = value[:, None] + errors[:, 1:]
        half = 1.96 * errors[:, 1:].std(axis=1, ddof=1)
        kept = pl.Series("replicates", replicates.astype(np.float32), dtype=ROW_SCHEMA["replicates"])
        labels = {"suite": suite, "dataset": dataset, "reference": "a", "measure": measure, "n": n, **words}
        columns = {"value": value, "low": value - half, "high": value + half}
        frame = self.variants.drop("number").with_columns(
            **{k: pl.Series(v) for k, v in columns.items()}, replicates=kept
        )
        return frame.with_columns(**{name: pl.lit(word) for name, word in labels.items()})

    def simple(self, suite: str, sets: Mapping[str, int], measure: str, **words: object) -> list[pl.DataFrame]:
        """Return the rows of a measure whose errors are normal, on every set of a suite."""
        blocks = []
        for name, n in sets.items():
            errors = SPREAD[measure] * self.errors(n)
            errors[:, 0] += self.true(f"{suite}:{measure}")
            blocks.append(self.block(suite, name, measure, errors, n, **words))
        return blocks

    def calibration(self, scales: tuple[str, ...] = ("native", "tuned", "both_tuned")) -> list[pl.DataFrame]:
        """Return the rows of changes of the squared calibration error; FP32's own is 0.0025, and 0.0009 when tuned."""
        blocks = []
        for name, n in CLEAN.items():
            count = np.full((BINS, 1), n / BINS)
            shared = self.rng.standard_normal((len(MODELS), BINS, 1 + KEPT))
            own = self.rng.standard_normal((self.variants.height, BINS, 1 + KEPT))
            form = self.rng.choice([-1.0, 1.0], (len(MODELS), BINS, 1)) * np.linspace(0.5, 1.5, BINS)[:, None]
            form /= np.sqrt((form**2).mean(axis=1, keepdims=True))
            for scale in scales:
                before = 0.0009 if scale == "both_tuned" else 0.0025
                after = np.maximum(before + self.true(f"{scale}:squared_ce_change"), 0)
                fp32 = _squared(np.sqrt(before) * form, shared, count)
                noise = np.sqrt(0.7) * shared[self.model] + np.sqrt(0.3) * own
                changed = _squared(np.sqrt(after)[:, None, None] * form[self.model], noise, count) - fp32[self.model]
                changed[:, 1:] -= changed[:, :1]
                blocks.append(self.block("clean", name, "squared_ce_change", changed, n, scale=scale))
        return blocks

    def detection(self) -> list[pl.DataFrame]:
        """Return the rows of changes of AUROC; OOD sets share the errors of their in-distribution images."""
        known = self.errors(CLEAN["a"])
        blocks = []
        for name, n in OOD.items():
            errors = SPREAD["auroc_change"] * (np.sqrt(0.5) * known + np.sqrt(0.5) * self.errors(n))
            errors[:, 0] += self.true("ood:auroc_change")
            blocks.append(self.block("ood", name, "auroc_change", errors, n + CLEAN["a"], score="mcm", group="near"))
        return blocks

    def spurious(self) -> list[pl.DataFrame]:
        """Return the rows of Vuln_add and of the change of RSG, which follows it."""
        (vuln,) = self.simple("spurious", SPURIOUS, "vuln_add")
        scaled = {name: 0.75 * pl.col(name) for name in ("value", "low", "high")}
        table = 0.75 * vuln["replicates"].to_numpy()
        rsg = vuln.with_columns(**scaled, measure=pl.lit("rsg_change"))
        return [vuln, rsg.with_columns(pl.Series("replicates", table, dtype=ROW_SCHEMA["replicates"]))]

    def explained(self) -> list[pl.DataFrame]:
        """Return SQNR by rank, with a slope of each variant's own, and changes of accuracy of bands, of 4 bits."""
        at = self.variants.select((pl.col("precision") == "w4a8") & (pl.col("scope") == "image")).to_series()
        slope = self.true("slope") + self.rng.normal(0, 2, len(at))
        level = self.rng.normal(15, 3, len(at))
        blocks = []
        for rank in RANKS:
            errors = 0.3 * self.errors(1)
            errors[:, 0] += level + slope * np.log10(1 + rank)
            blocks.append(self.block("explain", "a", f"sqnr_rank_{rank}", errors, 500))
        for band in ("0_8", "64_end"):
            errors = 0.4 * self.errors(500)
            errors[:, 0] += self.true(f"band:{band}")
            blocks.append(self.block("explain", "a", f"accuracy_rank_{band}_change", errors, 500))
        return [block.filter(at) for block in blocks]

    def sizes(self) -> list[pl.DataFrame]:
        """Return the rows of the variants' bytes: by precision, scope and kind of model."""
        small = (pl.col("precision") == "w4a8").cast(pl.Float64) + (pl.col("scope") == "both") * 0.4
        value = 100.0 - 30 * small + 20.0 * pl.col("model").str.starts_with("cnx")
        labels = {"suite": "", "measure": "bytes", "n": 0}
        return [self.variants.drop("number").with_columns(value=value, **{k: pl.lit(v) for k, v in labels.items()})]

    def whole(self) -> pl.DataFrame:
        """Return all rows."""
        parts = self.simple("clean", CLEAN, "accuracy_change") + self.simple("clean", CLEAN, "accuracy_delta")
        parts += self.simple("clean", CLEAN, "brier_change") + self.simple("shift", SHIFT, "accuracy_change")
        for measure in ("accuracy_change", "accuracy_delta"):
            parts += self.simple("noise", NOISE, measure, corruption="mean")
        return rows(
            [*parts, *self.calibration(), *self.detection(), *self.spurious(), *self.explained(), *self.sizes()]
        )


def rows(blocks: list[pl.DataFrame]) -> pl.DataFrame:
    """Put blocks together as rows of a study."""
    frame = pl.concat(blocks, how="diagonal_relaxed")
    absent = {name: pl.lit(None, kind) for name, kind in ROW_SCHEMA.items() if name not in frame.columns}
    frame = frame.with_columns(**absent).with_columns(pl.col("severity").fill_null(0))
    frame = frame.with_columns(pl.col("scale").fill_null("native")).with_columns(pl.col(pl.String).fill_null(""))
    return frame.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))


def variants() -> pl.DataFrame:
    """Return the variants of a study: 4 models, 3 schemes, 2 precisions, 2 scopes."""
    lines = []
    for number, (model, source) in enumerate(MODELS):
        for scheme, family in SCHEMES:
            for precision in PRECISIONS:
                lines += [(number, model, source, scheme, family, precision, scope) for scope in SCOPES]
    schema = ["number", "model", "source", "scheme", "family", "precision", "scope"]
    fixed = {"study": "simulated", "proxy": "captions"}
    frame = pl.DataFrame(lines, schema=schema, orient="row")
    return frame.with_columns(**{k: pl.lit(v) for k, v in fixed.items()}, seed=pl.lit(0))


def _squared(gap: np.ndarray, noise: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return squared errors (models, 1 + KEPT) of true gaps (models, bins, 1) and noise (models, bins, 1 + KEPT)."""
    variance = 0.15
    deviation = noise * np.sqrt(variance * count)
    seen = gap * count + deviation[..., :1]
    square = count * (variance + (seen / count) ** 2)
    error = SquaredCE(seen, np.broadcast_to(count, seen.shape), square)
    resampled = seen + deviation[..., 1:]
    kept = error.replicate(resampled, np.broadcast_to(count, resampled.shape))
    return np.concatenate([error.value, kept], axis=-1)
