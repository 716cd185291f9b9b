"""Studies that no model made, and the true values of their measures: what `coverage.py` draws, again and again.

An image is a label, a difficulty z, a uniform u and a fresh key; models that see the same photograph share them. A
model is sure of its answer by c = 1/K + (1 - 1/K) expit(mean + effect of the class + spread z'), z' being z with some
noise of its own, and right if u' < c - gap: calibrated where gap = 0. Scores tell OOD images by z' and a distance.

The true values are those of `truths`: of very many images, with each image's chance to be right in place of its answer
(so a calibrated model's squared error is exactly 0); what rests on scores or on all classes is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from reliquant.measures import calibration, detection, selective, shift
from reliquant.measures.conformal import set_sizes
from reliquant.measures.divergence import top_of
from reliquant.measures.rows import rows

Found = dict[tuple[str, ...], float]  # (suite, dataset or "mean", measure) -> value
Floats = NDArray[np.float64]
PLACE = ("suite", "dataset", "measure")
K = 10  # answers that a model may give
SETS = {"near": 0.0, "middle": 0.6, "far": 1.6}  # OOD sets: how far away
HARDER = {("fog", 1): 0.4, ("fog", 2): 0.9, ("snow", 1): 0.6, ("snow", 2): 1.3}
GROUPS = {"common": (-0.3, 0.75), "counter": (1.0, 0.25)}  # how much harder, and their share of the images
FEW = (0.0013, 0.013)  # of right answers turn wrong in `few`; 0.3 times as many wrong ones turn right, at accuracy 0.94


@dataclass(frozen=True)
class Model:
    """What a simulated model does, see above. `own` is its share of noise, `edge` its distance of OOD images."""

    mean: float = 2.2
    spread: float = 1.7
    gap: float = 0.0
    own: float = 0.0
    edge: float = 1.6
    flips: float = 0.0


FP32 = Model()
W4 = Model(mean=2.0, gap=0.04, own=0.05, edge=1.45)
SURE = Model(mean=4.0)


@dataclass(frozen=True)
class World:
    """A kind of study: FP32 and variants of it, its suites and classes; `seeds` is how far seeds move the mean."""

    models: tuple[Model, ...] = (FP32, W4)
    suites: tuple[str, ...] = ("clean",)
    classes: str = "ten"  # even; "uneven": each 1.6 times as large as the next; "five": five images each
    whole: bool = False  # records hold what all classes give: sizes of prediction sets, and the likeliest ones
    seeds: float = 0.0


WORLDS = {
    "whole": World(suites=("clean", "shared", "ood", "noise", "spurious")),
    "runs": World((FP32, W4, replace(W4, mean=1.8, edge=1.5), replace(W4, mean=2.3, own=0.1)), ("clean", "ood")),
    "seeds": World((FP32, W4, W4, W4, W4), seeds=0.15),
    "few flips": World((SURE, SURE), ("clean", "shared")),
    "sharp, flat": World((Model(mean=3.52, spread=1.2), Model(mean=1.62, spread=1.2))),  # accuracies 0.95 and 0.80
    "fall": World((Model(gap=0.03), Model(own=0.05))),
    "over-confident": World((Model(gap=0.1), Model(mean=2.4, gap=0.14, own=0.05))),
    "uneven": World(classes="uneven"),
    "five a class": World(classes="five"),
    "all classes": World(suites=("clean", "shift", "ood"), whole=True),
    "nearly perfect": World((Model(mean=6.0, spread=1.2), Model(mean=6.0, spread=1.2, own=0.05))),  # accuracy 0.995
}


@dataclass(frozen=True)
class Images:
    """Photographs of a set, (n,) each; `other` is the wrong answer nearest to the right one."""

    label: NDArray[np.int64]
    z: Floats
    u: Floats
    other: NDArray[np.int64]
    key: NDArray[np.uint64]

    def half(self) -> Images:
        """Return every other image."""
        return Images(*(getattr(self, name)[::2] for name in self.__dataclass_fields__))


def labels(n: int, classes: str) -> NDArray[np.int64]:
    """Return the labels of n images; classes have the same sizes in every study."""
    if classes == "five":
        return np.arange(n) % (n // 5)
    if classes == "uneven":
        ends = np.ceil(n * np.cumsum(1.6 ** -np.arange(10.0)) / (1.6 ** -np.arange(10.0)).sum() - 1e-9)
        return np.searchsorted(ends, np.arange(n), side="right")
    return np.arange(n) % 10


def images(label: NDArray[np.int64], rng: np.random.Generator) -> Images:
    n = len(label)
    key = rng.integers(0, 2**64, n, np.uint64)
    return Images(label, rng.normal(size=n), rng.random(n), rng.integers(1, K, n), key)


def records(
    seen: Images,
    model: Model,
    rng: np.random.Generator,
    *,
    harder: float = 0.0,
    whole: bool = False,
    **place: object,
) -> pl.DataFrame:
    """Return what a model says of images, as records of a cell; `chance` is how likely each is right.

    With `whole` there are columns of what all classes give, too.
    """
    n, own = len(seen.label), model.own
    z = np.sqrt(1 - own) * seen.z + np.sqrt(own) * rng.normal(size=n) if own else seen.z
    u = np.where(rng.random(n) < own, rng.random(n), seen.u) if own else seen.u
    effect = 0.8 * np.sin(2.0 * seen.label + 1.0)
    c = 1 / K + (1 - 1 / K) * expit(model.mean - harder + effect + model.spread * z)
    chance = np.maximum(c - model.gap, 0)
    right = u < chance
    if model.flips:
        drawn, back = rng.random(n), 5 * model.flips
        right = np.where(right, drawn >= model.flips, drawn < back)
        chance = chance * (1 - model.flips) + (1 - chance) * back
    where = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": "", "severity": 0, **place}
    away = SETS[str(where["dataset"])] if where["suite"] == "ood" else -model.edge
    nll, brier = (np.where(right, *scores) for scores in proper(c))
    columns = {"label": np.where(where["suite"] == "ood", -1, seen.label), "confidence": c, "chance": chance}
    columns |= {
        "prediction": np.where(right, seen.label, seen.label + seen.other),
        "rank": np.where(right, 0, seen.other),
    }
    columns |= {"nll": nll, "brier": brier, "score:s": z - away, "photograph": seen.key}
    if whole:
        columns |= {column.name: column for column in of_all_classes(c, columns["prediction"])}
    return pl.DataFrame(columns).with_columns(**{name: pl.lit(word) for name, word in where.items()})


def of_all_classes(c: Floats, prediction: NDArray[np.int64]) -> list[pl.Series]:
    """Return the sizes of prediction sets and the likeliest classes, where all but the predicted one are alike."""
    log_p = np.repeat(np.log((1 - c) / (K - 1))[:, None], K, axis=1)
    log_p[np.arange(len(c)), prediction % K] = np.log(c)
    return [set_sizes(log_p), *top_of(log_p)]


def proper(c: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return NLL and Brier score of right and of wrong answers: other classes share what is left alike."""
    rest = (1 - c) / (K - 1)
    wrong = c**2 + (1 - rest) ** 2 + (K - 2) * rest**2
    return (-np.log(c), -np.log(rest)), ((1 - c) ** 2 + (K - 1) * rest**2, wrong)


def study(
    world: World, label: NDArray[np.int64], models: tuple[Model, ...], rng: np.random.Generator
) -> list[pl.DataFrame]:
    """Draw one study: the records of each model, FP32 first, all on the same images."""
    parts: list[list[pl.DataFrame]] = [[] for _ in models]

    def add(seen: Images, **words: object) -> None:
        for part, model in zip(parts, models, strict=True):
            part.append(records(seen, model, rng, whole=world.whole, **words))  # type: ignore[arg-type]

    known = images(label, rng)
    add(known)
    if "shared" in world.suites:  # half of the photographs, in another set of easier questions
        add(known.half(), harder=-0.5, dataset="e", reference="e")
    if "shift" in world.suites:
        add(images(label, rng), harder=0.7, suite="shift", dataset="v")
    for name in SETS if "ood" in world.suites else ():
        add(images(label, rng), suite="ood", dataset=name)
    for (corruption, severity), harder in HARDER.items() if "noise" in world.suites else ():
        add(known, harder=harder, suite="noise", corruption=corruption, severity=severity)
    for group, (harder, share) in GROUPS.items() if "spurious" in world.suites else ():
        add(images(label[: int(share * len(label))], rng), harder=harder, suite="spurious", dataset="w", group=group)
    number = pl.int_range(pl.len()).over("suite", "dataset", "corruption", "severity").alias("index")
    return [pl.concat(part).with_columns(number) for part in parts]


def truths(world: World, models: tuple[Model, Model], n: int, images_of_truth: int) -> Found:
    """Return the true values of a model's measures, and of their changes from the first, in studies of n images."""
    label, rng = np.tile(labels(n, world.classes), -(-images_of_truth // n)), np.random.default_rng(12345)
    both = study(world, label, models, rng)
    if world.whole:
        return _of_all_classes(*both)
    cells = [part.partition_by("suite", "dataset", "group", "corruption", "severity", as_dict=True) for part in both]
    named = [_named(part) for part in cells]
    found = dict(named[1])
    for (suite, dataset, measure), value in named[1].items():
        found[suite, dataset, f"{measure}_change"] = value - named[0][suite, dataset, measure]
    for place, fp32 in cells[0].items():
        if place[0] == "clean":
            found |= {
                ("clean", place[1], name): value for name, value in _paired(fp32, cells[1][place], models[1]).items()
            }
    for suite, dataset in {key[:2] for key in found} & {("clean", "d"), ("clean", "e"), ("noise", "d")}:
        found[suite, dataset, "accuracy_delta"] = float(
            shift.accuracy_delta(named[0][suite, dataset, "accuracy"], named[1][suite, dataset, "accuracy"])
        )
    if "noise" in world.suites:
        found |= {("noise", "d", name): value for name, value in _corruption_errors(*cells).items()}
    if "spurious" in world.suites:
        four = [float(cell["spurious", "w", group, "", 0]["chance"].mean()) for cell in cells for group in GROUPS]
        found["spurious", "w", "rsg_change"] = float(shift.rsg_change(*four))
        found["spurious", "w", "vuln_add"] = float(shift.vuln_add(*four))
    return found


def _of_all_classes(fp32: pl.DataFrame, variant: pl.DataFrame) -> Found:
    """Return what the measures of all classes and of the full spectrum are on so many images."""
    found = rows(variant, fp32, resamples=2).filter(pl.col("measure").str.contains("^(conformal|kl_|full_spectrum)"))
    return {(suite, dataset, measure): value for suite, dataset, measure, value in found.select(*PLACE, "value").rows()}


def _named(cells: dict[tuple[object, ...], pl.DataFrame]) -> Found:
    """Return the values of one model; those of noise are means over the cells."""
    found: Found = {}
    known = cells["clean", "d", "", "", 0]["score:s"].to_numpy()
    noise: dict[str, list[float]] = {}
    for (suite, dataset, _, _, _), part in cells.items():
        if suite == "ood":
            estimates = detection.estimates(known, part["score:s"].to_numpy())
            found |= {("ood", str(dataset), name): estimate.value for name, estimate in estimates.items()}
        elif suite == "clean":
            found |= {("clean", str(dataset), name): value for name, value in _of_a_cell(part).items()}
        elif suite == "noise":
            for name, value in _of_a_cell(part).items():
                noise.setdefault(name, []).append(value)
    found |= {("noise", "d", name): float(np.mean(values)) for name, values in noise.items()}
    groups = [float(part["chance"].mean()) for place, part in cells.items() if place[0] == "spurious"]
    if groups:
        found["spurious", "w", "rsg"] = float(shift.rsg(*groups))
        found["spurious", "w", "worst_group_accuracy"] = min(groups)
    return found


def _of_a_cell(part: pl.DataFrame) -> dict[str, float]:
    c, chance = (part[name].to_numpy() for name in ("confidence", "chance"))
    bin_of, (nll, brier) = calibration.equal_mass_bins(c), proper(c)
    size, a = np.bincount(bin_of), float(chance.mean())
    augrc = selective.augrc(c, chance)[0]
    return {
        "accuracy": a,
        "squared_ce": float((np.bincount(bin_of, c - chance) ** 2 / size).sum() / size.sum()),
        "nll": float(np.mean(chance * nll[0] + (1 - chance) * nll[1])),
        "brier": float(np.mean(chance * brier[0] + (1 - chance) * brier[1])),
        "confidence_gap": float(np.mean(c - chance)),
        "aurc": selective.aurc(c, chance)[0],
        "excess_aurc": selective.excess_aurc(c, chance)[0],
        "augrc": augrc,
        "misclassification_auroc": 1 - (augrc - (1 - a) ** 2 / 2) / (a * (1 - a)),
    }


def _paired(fp32: pl.DataFrame, variant: pl.DataFrame, model: Model) -> dict[str, float]:
    """Return the chances that answers of a model differ from FP32's, with which it shares u but for `own` of them."""
    was, now = (part["chance"].to_numpy() for part in (fp32, variant))
    if model.flips:
        lost, won = float(np.mean(was * model.flips)), float(np.mean((1 - was) * 5 * model.flips))
    else:
        both = float(np.mean((1 - model.own) * np.minimum(was, now) + model.own * was * now))
        lost, won = float(was.mean()) - both, float(now.mean()) - both
    return {"agreement": 1 - lost - won, "flips_right_to_wrong": lost, "flips_wrong_to_right": won}


def _corruption_errors(*sides: dict[tuple[object, ...], pl.DataFrame]) -> dict[str, float]:
    clean = [1 - float(cells["clean", "d", "", "", 0]["chance"].mean()) for cells in sides]
    error = [[1 - float(cells["noise", "d", "", *cell]["chance"].mean()) for cell in HARDER] for cells in sides]
    fp32, variant = (np.reshape(values, (2, 2)) for values in error)
    added = shift.relative_mean_corruption_error(variant, clean[1], fp32, clean[0])
    return {
        "mean_corruption_error": float(variant.mean()),
        "mce_to_fp32": float(shift.mean_corruption_error(variant, fp32)),
        "relative_mce_to_fp32": float(added),
    }
