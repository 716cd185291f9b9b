"""Rows with a known truth, for tests, benchmarks and demonstrations; free of torch.

`rows(shape, truth)` draws what a study of that shape would measure if this were the truth; each claim of the paper has
its field in `Truth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures.row import as_column
from reliquant.measures.rows import HEADLINE, HEADLINE_OF_EXPLAIN
from reliquant.measures.stats import Z95
from reliquant.report.synthetic_explain import alone, explained, long
from reliquant.report.synthetic_searches import searched
from reliquant.report.synthetic_trust import trusted

CLEAN_MEASURES = ("accuracy", "top5_accuracy", "ece", "nll", "brier", "confidence_gap")
OOD_MEASURES = ("auroc", "aupr_in", "aupr_out", "fpr95_id_positive", "fpr95_ood_positive")


@dataclass(frozen=True)
class Shape:
    """The grid and the suites of a synthetic study."""

    models: Sequence[tuple[str, str]] = (
        ("vit-wit", "wit"),
        ("cnx-wit", "wit"),
        ("vit-laion", "laion"),
        ("cnx-laion", "laion"),
    )
    schemes: Sequence[tuple[str, str]] = (("rtn", "Simple PTQ"), ("lsq", "QAT (Contr.)"), ("rot-lsq", "Rot+LSQ"))
    precisions: Sequence[str] = ("w8a8", "w6a8", "w4a8")
    scopes: Sequence[str] = ("image", "both")
    proxies: Sequence[str] = ("captions",)
    seeds: Sequence[int] = (0, 1)
    clean: Sequence[str] = ("shapes", "colours", "textures")
    ood: Sequence[tuple[str, str]] = (("new-shapes", "near"), ("digits", "far"))
    scores: Sequence[str] = ("mcm", "energy")
    shift: Sequence[str] = ("sketch", "silhouette")
    spurious: Sequence[str] = ("countered",)
    retrieval: Sequence[str] = ("fresh",)
    corruptions: Sequence[str] = ("gaussian_noise", "defocus_blur", "fog", "pixelate")
    severities: Sequence[int] = (1, 2, 3, 4, 5)
    scales: Sequence[str] = ("native", "tuned")
    iterations: Sequence[int] = (0, 50, 100, 200)
    ranks: Sequence[int] = (0, 1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Truth:
    """What is true in a synthetic study; changes as fractions (0.01 = one point), relative ones named so."""

    accuracy: dict[tuple[str, int], float] = field(
        default_factory=lambda: {
            ("Simple PTQ", 8): -0.004, ("Simple PTQ", 6): -0.012, ("Simple PTQ", 4): -0.12,
            ("QAT (Contr.)", 8): 0.004, ("QAT (Contr.)", 6): -0.006, ("QAT (Contr.)", 4): -0.30,
            ("Rot+LSQ", 8): 0.002, ("Rot+LSQ", 6): -0.004, ("Rot+LSQ", 4): -0.03,
        }
    )  # fmt: skip
    ece: dict[str, float] = field(default_factory=lambda: {"wit": -0.2, "laion": 0.49})  # relative, by source
    text_ece: float = 0.5  # relative, added when the text tower is quantized too
    tuned_ece: float = -0.8  # relative to FP32, after tuning the logit scale
    noise: float = 0.089  # relative change of accuracy under corruptions, beside the clean one
    shift: float = -0.03  # relative change of accuracy on shifted sets, beside the clean one
    vuln: dict[tuple[str, int], float] = field(
        default_factory=lambda: {
            ("Simple PTQ", 8): 0.030, ("Simple PTQ", 6): 0.05, ("Simple PTQ", 4): 0.103,
            ("QAT (Contr.)", 8): 0.019, ("QAT (Contr.)", 6): 0.03, ("QAT (Contr.)", 4): 0.08,
            ("Rot+LSQ", 8): -0.002, ("Rot+LSQ", 6): 0.01, ("Rot+LSQ", 4): 0.044,
        }
    )  # fmt: skip
    auroc: float = 0.012
    sqnr: tuple[float, float] = (18.0, -4.0)  # dB at rank 0; dB per factor of ten in rank
    bands: tuple[float, float] = (0.02, -0.03)  # change of accuracy from ranks 0-8 and from 64 on, QAT
    jitter: float = 0.002
    images: int = 20_000


def rows(shape: Shape = Shape(), truth: Truth = Truth(), /, *, seed: int = 0) -> pl.DataFrame:
    """Draw the rows of a synthetic study: FP32 and every variant, in all suites that the shape has."""
    rng = np.random.default_rng(seed)
    variants, places = _variants(shape, truth), [cells for cells in _cells(shape) if cells.height]
    parts = [_measured(variants, cells, truth) for cells in places]
    parts += [_of_variant(variants), _spurious(variants, shape, truth), *explained(variants, shape, truth)]
    parts += trusted(variants, places)
    frame = pl.concat([p for p in parts if p.height], how="diagonal_relaxed")
    absent = {name: pl.lit(None, kind) for name, kind in ROW_SCHEMA.items() if name not in frame.columns}
    frame = frame.with_columns(**absent)
    exact = pl.col("measure").str.contains("^(bytes|quantized|seconds)")
    noise = pl.Series(rng.normal(0, truth.jitter, frame.height)) * pl.col("unit").fill_null(1.0)
    frame = frame.with_columns(value=pl.when(exact).then("value").otherwise(pl.col("value") + noise))
    half = 2.5 * truth.jitter * pl.col("unit").fill_null(1.0)
    known = pl.when(exact | pl.col("iteration").is_not_null()).then(None)
    frame = frame.with_columns(
        low=known.otherwise(pl.col("value") - half), high=known.otherwise(pl.col("value") + half)
    )
    p = pl.when(pl.col("measure").str.contains("change|delta|vuln")).then(0.05 * half / pl.col("value").abs())
    frame = frame.with_columns(p=p.clip(0.0, 1.0), n=pl.lit(truth.images), study=pl.lit("synthetic"))
    frame = frame.with_columns(pl.col("severity").fill_null(0), pl.col("scale").fill_null("native"))
    frame = frame.with_columns(pl.col(pl.String).fill_null("")).drop("replicates").with_columns(_replicates(frame, rng))
    frame = frame.select(ROW_SCHEMA.names()).cast(ROW_SCHEMA)
    plain = [
        _stored_bits(variants),
        *alone(variants, shape),
        *searched(variants, shape),
    ]  # last: what is drawn for the others stays what it was
    return pl.concat([frame, *(_undisturbed(made, truth) for made in plain)])


def _stored_bits(variants: pl.DataFrame) -> pl.DataFrame:
    """Return how many bits a weight takes in each quantized variant, one FP32 scale for each thousand of them."""
    return long(variants.filter(~pl.col("fp32")), {"stored_bits": pl.col("bits") + 0.032})


def _undisturbed(made: pl.DataFrame, truth: Truth) -> pl.DataFrame:
    """Return rows whose values are the truth, without noise."""
    made = made.with_columns(
        n=pl.lit(truth.images), study=pl.lit("synthetic"), severity=pl.lit(0), scale=pl.lit("native")
    )
    made = made.with_columns(**{c: pl.lit(None, kind) for c, kind in ROW_SCHEMA.items() if c not in made.columns})
    texts = [name for name, kind in ROW_SCHEMA.items() if kind == pl.String]
    return made.select(ROW_SCHEMA.names()).cast(ROW_SCHEMA).with_columns(pl.col(texts).fill_null(""))


def _replicates(frame: pl.DataFrame, rng: np.random.Generator) -> pl.Series:
    """Return normal replicates of the rows that keep some, as wide as their intervals; no two rows share images."""
    why = frame["suite"] == "explain"
    headline = frame["measure"].str.strip_suffix("_change").is_in(HEADLINE) & ~why
    headline |= frame["measure"].str.contains(HEADLINE_OF_EXPLAIN) & why
    cell = pl.col("corruption").is_in(["", "mean"]) & pl.col("low").is_not_null()
    known = (headline & frame.select(cell.fill_null(pl.col("low").is_not_null())).to_series()).to_numpy()
    some = frame.filter(known)
    half = ((some["high"] - some["low"]) / 2).to_numpy().astype(np.float32)
    table = np.full((frame.height, KEPT), np.nan, np.float32)
    table[known] = rng.standard_normal((some.height, KEPT), np.float32) * (half / np.float32(Z95))[:, None]
    table[known] += some["value"].to_numpy().astype(np.float32)[:, None]
    return as_column(table, known)


def _variants(shape: Shape, truth: Truth) -> pl.DataFrame:
    """Return FP32 and every variant of the shape, with what is true of each: `base`, `loss`, `vuln`, `calibration`."""
    models = pl.DataFrame(list(shape.models), schema=["model", "source"], orient="row")
    fp32 = {"scheme": "fp32", "family": "FP32", "precision": "fp32", "scope": "none", "proxy": "none", "seed": 0}
    schemes = pl.DataFrame(list(shape.schemes), schema=["scheme", "family"], orient="row")
    grid = models.join(schemes, how="cross")
    for name, axis in (
        ("precision", shape.precisions),
        ("scope", shape.scopes),
        ("proxy", shape.proxies),
        ("seed", shape.seeds),
    ):
        grid = grid.join(pl.DataFrame({name: list(axis)}), how="cross")
    both = pl.concat([models.with_columns(**{k: pl.lit(v) for k, v in fp32.items()}), grid], how="diagonal_relaxed")
    place = {name: i for i, (name, _) in enumerate(shape.models)}
    bits = pl.col("precision").str.extract(r"w(\d+)").cast(pl.Int64).fill_null(32)
    frame = both.with_columns(
        bits=bits, base=0.7 + 0.02 * pl.col("model").replace_strict(place, return_dtype=pl.Float64)
    )
    keys = ["family", "bits"]
    for name, table in (("loss", truth.accuracy), ("vuln", truth.vuln)):
        lines = [(family, bits, value) for (family, bits), value in table.items()]
        values = pl.DataFrame(lines, schema=[*keys, name], orient="row")
        frame = frame.join(values, on=keys, how="left", maintain_order="left").with_columns(pl.col(name).fill_null(0.0))
    ece = pl.col("source").replace_strict(truth.ece, default=0.0, return_dtype=pl.Float64)
    text = pl.when(pl.col("scope") == "both").then(truth.text_ece).otherwise(0.0)
    return frame.with_columns(fp32=pl.col("scheme") == "fp32", calibration=ece + text)


def _cells(shape: Shape) -> list[pl.DataFrame]:
    """Return the places of rows in the clean, shift, noise and OOD suites, one frame per suite."""
    first = shape.clean[0] if shape.clean else ""
    clean = pl.DataFrame(
        {"dataset": list(shape.clean), "reference": list(shape.clean)}, schema=["dataset", "reference"]
    )
    shift = pl.DataFrame({"dataset": list(shape.shift)}, schema={"dataset": pl.String}).with_columns(
        reference=pl.lit(first)
    )
    noise = pl.DataFrame({"corruption": list(shape.corruptions)}, schema={"corruption": pl.String}).join(
        pl.DataFrame({"severity": list(shape.severities)}, schema={"severity": pl.Int64}), how="cross"
    )
    mean = pl.DataFrame({"corruption": ["mean"] * bool(shape.corruptions)}, schema={"corruption": pl.String})
    noise = pl.concat([noise, mean.with_columns(severity=pl.lit(0, pl.Int64))])
    noise = noise.with_columns(dataset=pl.lit(first), reference=pl.lit(first))
    ood = pl.DataFrame(list(shape.ood), schema={"dataset": pl.String, "group": pl.String}, orient="row").join(
        pl.DataFrame({"score": list(shape.scores)}, schema={"score": pl.String}), how="cross"
    )
    ood = ood.with_columns(reference=pl.lit(first))
    scales = pl.DataFrame({"scale": list(shape.scales)})
    named = {"clean": clean.join(scales, how="cross"), "shift": shift, "noise": noise, "ood": ood}
    return [frame.with_columns(suite=pl.lit(suite)) for suite, frame in named.items()]


def _measured(variants: pl.DataFrame, cells: pl.DataFrame, truth: Truth) -> pl.DataFrame:
    """Return the rows of all variants in the places of one suite."""
    frame = variants.join(cells, how="cross")
    suite = cells["suite"][0]
    if suite == "ood":
        values = {m: (0.9 - 0.4 * m.startswith("fpr"), truth.auroc * (-1) ** m.startswith("fpr")) for m in OOD_MEASURES}
        columns = {m: pl.lit(v) + pl.when("fp32").then(0.0).otherwise(c) for m, (v, c) in values.items()}
        columns |= {f"{m}_change": pl.when(~pl.col("fp32")).then(c) for m, (_, c) in values.items()}
        return long(frame, columns)
    tuned = (pl.col("scale") == "tuned") if "scale" in frame.columns else pl.lit(False)
    harder = {"clean": 0.0, "shift": 0.15, "noise": 0.05}[suite]
    severity = (
        pl.when(pl.col("corruption") == "mean").then(3).otherwise("severity") if suite == "noise" else pl.lit(1.0)
    )
    before = pl.col("base") - harder * severity
    extra = {"clean": 0.0, "shift": truth.shift, "noise": truth.noise}[suite]
    relative = pl.when("fp32").then(0.0).otherwise(pl.col("loss") + extra)
    rise = pl.when("fp32").then(0.0).when(tuned).then(truth.tuned_ece).otherwise(pl.col("calibration"))
    sign = pl.when(pl.col("source") == "laion").then(1.0).otherwise(-1.0)
    quantized = pl.when(~pl.col("fp32"))
    columns = {
        "accuracy": before * (1 + relative), "top5_accuracy": (before * (1 + relative) + 0.2).clip(0, 1),
        "ece": 0.08 * (1 + rise), "squared_ce": (0.08 * (1 + rise)) ** 2, "nll": 0.9 * (1 + rise / 2),
        "brier": 0.4 * (1 + rise / 3),
        "confidence_gap": 0.06 * sign * (1 + rise),
        "accuracy_change": quantized.then(before * relative), "ece_change": quantized.then(0.08 * rise),
        "squared_ce_change": quantized.then((0.08 * (1 + rise)) ** 2 - 0.08**2),
        "nll_change": quantized.then(0.45 * rise), "brier_change": quantized.then(0.4 * rise / 3),
        "confidence_gap_change": quantized.then(0.06 * sign * rise), "accuracy_delta": quantized.then(-relative),
        "ece_relative_change": quantized.then(rise),
        "flips_right_to_wrong": quantized.then(0.02 - relative.clip(None, 0.0)),
        "flips_wrong_to_right": quantized.then(0.02 + relative.clip(0.0, None)),
        "conformal_coverage_90_fp32": quantized.then(0.9 + relative / 2),
        "conformal_coverage_90_fp32_change": quantized.then(relative / 2),
        "conformal_size_90_fp32_change": quantized.then(-relative),
    }  # fmt: skip
    return long(frame.filter(~tuned | ~pl.col("fp32")), columns)


def _of_variant(variants: pl.DataFrame) -> pl.DataFrame:
    """Return the rows about variants themselves: bytes, seconds and shares of what is quantized."""
    share = pl.when("fp32").then(0.0).otherwise(0.98)
    size = pl.when("fp32").then(1.0).otherwise(pl.col("bits") / 32 + 0.02)
    columns = {"bytes": 3.5e8 * size, "bytes_fp32": pl.lit(3.5e8), "quantized_weight_share": share}
    return long(variants, columns | {"quantized_mac_share": share, "seconds": 10.0 + 0.0 * pl.col("bits")})


def _spurious(variants: pl.DataFrame, shape: Shape, truth: Truth) -> pl.DataFrame:
    """Return the rows of the spurious suite: of the two groups, and between them."""
    sets = pl.DataFrame({"dataset": list(shape.spurious)}, schema={"dataset": pl.String})
    frame = variants.join(sets.with_columns(suite=pl.lit("spurious"), reference="dataset"), how="cross")
    quantized = pl.when(~pl.col("fp32"))
    change = quantized.then(0.75 * pl.col("vuln") / (1 + pl.col("loss")))
    whole = {"rsg": 0.25 + change.fill_null(0.0), "rsg_change": change, "vuln_add": quantized.then("vuln")}
    groups = [
        long(
            frame.with_columns(group=pl.lit(g)),
            {"accuracy": pl.lit(a) * (1 - lost), "accuracy_delta": quantized.then(lost)},
        )
        for g, a, lost in (("common", 0.8, -pl.col("loss")), ("counter", 0.6, -pl.col("loss") + pl.col("vuln")))
    ]
    return pl.concat([long(frame, whole), *groups], how="diagonal_relaxed")
