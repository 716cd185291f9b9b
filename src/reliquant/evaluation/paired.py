"""Anybody's variants beside their reference, FP32: every measure of both and every change, as rows of a study.

Free of torch. The measures, intervals and replicates are those of `measures/rows.py`, which a study uses too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from reliquant.evaluation.answers import LEVELS, Answers, OfClasses, known_from
from reliquant.evaluation.measure import Values, by_dataset, placed
from reliquant.evaluation.scales import scaled_rows
from reliquant.files.artifacts import ROW_SCHEMA, UNKNOWN
from reliquant.measures.pairing import require_same_scores
from reliquant.measures.resampling import PHOTOGRAPH
from reliquant.measures.rows import rows
from reliquant.measures.stats import normal_test, variance_of_mean

FP32 = {"scheme": "fp32", "family": "FP32", "precision": "fp32", "scope": "none"}


@dataclass(frozen=True)
class Labels:
    """Say what rows are of: the columns that a study takes from its config. `dataset` names the labelled images."""

    study: str
    model: str
    source: str = UNKNOWN
    dataset: str = "images"


@dataclass(frozen=True)
class Quantized:
    """Hold a variant's answers, and what is known of the variant itself.

    `measures` are known without images, by their names in a study: bytes, bytes_fp32, stored_bits, ... `family` is the
    kind of its method, by default its own name.
    """

    answers: Answers
    precision: str = UNKNOWN
    measures: Mapping[str, float] = field(default_factory=dict)
    family: str = ""
    scope: str = UNKNOWN


def measure_paired(
    variants: Mapping[str, Quantized],
    reference: Answers,
    labels: Labels,
    /,
    *,
    reference_measures: Mapping[str, float] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> pl.DataFrame:
    """Measure variants by name and their reference on the same images: rows of a study (ROW_SCHEMA).

    The reference's rows are those of scheme `fp32`; a variant's scheme is its name. Images stand in the same order on
    all sides. `resamples` and `seed` are the bootstrap's, so that a variant has the same figures whatever stands beside
    it. Raises ValueError naming the variant where it was not evaluated on the reference's images, classes or OOD sets.

    >>> from reliquant.evaluation.answers import answers_of_predictions
    >>> label = np.array([0, 0, 1, 1])
    >>> fp32, q = (answers_of_predictions(np.array(p), label) for p in ([0, 0, 1, 0], [0, 1, 1, 1]))
    >>> found = measure_paired({"int8": Quantized(q)}, fp32, Labels("mine", "clip"), resamples=100)
    >>> found.filter(pl.col("measure").str.contains("flips"))["value"].to_list()
    [0.25, 0.25]
    """
    words = {"resamples": resamples, "seed": seed}
    sets = [labels.dataset, *reference.ood, *reference.shifted]
    if twice := [name for name in sets if sets.count(name) > 1]:
        raise ValueError(f"two sets of images are called {twice[0]}; each needs a name of its own")
    parts = [_labelled(_rows(reference, None, labels, **words), reference_measures or {}, labels, **FP32)]
    for name, variant in variants.items():
        try:
            found = _rows(beside(variant.answers, reference), reference, labels, **words)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        of = {"scheme": name, "family": variant.family or name, "precision": variant.precision, "scope": variant.scope}
        parts.append(_labelled(found, variant.measures, labels, **of))
    return pl.concat(parts)


def measure_answers(
    answers: Answers, /, *, name: str = "images", resamples: int = 10_000, seed: int = 0
) -> dict[str, Values]:
    """Measure a model's answers alone: {`name`, and each OOD set: {measure: {value, low, high, n}}}.

    What answers do not tell is left out, and so are measures without a value.

    >>> from reliquant.evaluation.answers import answers_of_predictions
    >>> found = measure_answers(answers_of_predictions(np.array([0, 1, 1]), np.array([0, 1, 0])), resamples=100)
    >>> sorted(found["images"])
    ['accuracy', 'balanced_accuracy']
    """
    found = _rows(answers, None, Labels("", "", dataset=name), resamples=resamples, seed=seed)
    return by_dataset(found.filter(scale="native"))


def beside(variant: Answers, reference: Answers, /) -> Answers:
    """Return a variant's answers with the reference's keys of photographs; raise ValueError where sets differ.

    So all variants and the reference weigh each image alike in the resamples that rows keep.
    """
    if missing := sorted(set(variant.ood) ^ set(reference.ood)):
        raise ValueError(f"OOD sets must be there for variant and reference; one of the two lacks {', '.join(missing)}")
    if missing := sorted(set(variant.shifted) ^ set(reference.shifted)):
        raise ValueError(f"shifted sets must be there for both; one of the two lacks {', '.join(missing)}")
    ood = {name: _with_keys(variant.ood[name], reference.ood[name], name) for name in reference.ood}
    shifted = {name: _with_keys(variant.shifted[name], reference.shifted[name], name) for name in reference.shifted}
    return replace(variant, clean=_with_keys(variant.clean, reference.clean, ""), ood=ood, shifted=shifted)


def _with_keys(mine: pl.DataFrame, theirs: pl.DataFrame, name: str) -> pl.DataFrame:
    if len(mine) != len(theirs):
        of = f"set {name}: " if name else ""
        raise ValueError(f"{of}{len(mine):,} images here, {len(theirs):,} in the reference")
    if PHOTOGRAPH not in theirs.columns:
        return mine.drop(PHOTOGRAPH, strict=False)
    return mine if PHOTOGRAPH in mine.columns else mine.with_columns(theirs[PHOTOGRAPH])


def _rows(variant: Answers, reference: Answers | None, labels: Labels, *, resamples: int, seed: int) -> pl.DataFrame:
    """Measure answers, with a reference also its changes, at the native logit scale and the others that they have."""
    samples = _samples(variant, labels)
    baseline = None if reference is None else _samples(reference, labels)
    if baseline is not None:
        require_same_scores(samples, baseline)
    found = [rows(samples, baseline, resamples=resamples, seed=seed).with_columns(scale=pl.lit("native"))]
    known = variant.known if reference is None else min(variant.known, reference.known, key=LEVELS.index)
    if known == "classes":
        suites = set(samples["suite"])
        found += scaled_rows(samples, baseline, "none", suites=suites, resamples=resamples)
        sizes = {"n": pl.lit(len(variant.clean), pl.Int64), "suite": pl.lit("clean"), "scale": pl.lit("native")}
        of_classes = _of_classes(variant, reference).with_columns(
            dataset=pl.lit(labels.dataset), reference=pl.lit(labels.dataset), severity=pl.lit(0), **sizes
        )
        found.append(of_classes)
    return known_from(pl.concat(found, how="diagonal_relaxed"), known)


def _samples(answers: Answers, labels: Labels) -> pl.DataFrame:
    parts = [placed(answers.clean, "clean", labels.dataset, labels.dataset)]
    parts += [placed(records, "shift", name, labels.dataset) for name, records in answers.shifted.items()]
    parts += [placed(records, "ood", name, labels.dataset) for name, records in answers.ood.items()]
    return pl.concat(parts, how="diagonal")


def _of_classes(variant: Answers, reference: Answers | None) -> pl.DataFrame:
    """Return measures of the whole tables of probabilities, and their changes.

    The calibration errors of all classes have no interval: in 1,000 classes nearly every bin is empty or holds a few
    images, so that the noise of the bins outweighs any error. The temperature has one, by the influence of each image.
    """
    mine, theirs = variant.of_classes, None if reference is None else reference.of_classes
    lines = [] if mine is None else list(_values(mine))
    if mine is not None and theirs is not None:
        for name in ("classwise_ece", "ace"):
            lines.append((f"{name}_change", getattr(mine, name) - getattr(theirs, name), np.nan, np.nan, np.nan))
        change, moved = mine.temperature - theirs.temperature, mine.influence - theirs.influence
        lines.append(("best_temperature_change", change, *normal_test(change, variance_of_mean(moved))))
    schema = {"measure": pl.String, **dict.fromkeys(["value", "low", "high", "p"], pl.Float64)}
    return pl.DataFrame(lines, schema=schema, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))


def _values(found: OfClasses) -> Iterator[tuple[str, float, float, float, float]]:
    yield "classwise_ece", found.classwise_ece, np.nan, np.nan, np.nan
    yield "ace", found.ace, np.nan, np.nan, np.nan
    low, high, _ = normal_test(found.temperature, variance_of_mean(found.influence))
    known = np.isfinite(low)
    yield "best_temperature", found.temperature, max(0.0, low) if known else np.nan, high if known else np.nan, np.nan


def _labelled(found: pl.DataFrame, measures: Mapping[str, float], labels: Labels, /, **of: str) -> pl.DataFrame:
    """Add what the rows are of, and what is known without images: rows of no suite."""
    if measures:
        values = [float(value) for value in measures.values()]
        lines = pl.DataFrame({"measure": list(measures), "value": values}).with_columns(scale=pl.lit("native"))
        found = pl.concat([found, lines], how="diagonal_relaxed")
    of |= {"study": labels.study, "model": labels.model, "source": labels.source, "proxy": "none"}
    constants = {name: pl.lit(word) for name, word in of.items()}
    whole = found.drop("proxy", strict=False).with_columns(
        **constants, seed=pl.lit(0, pl.Int64), iteration=pl.lit(None, pl.Int64)
    )
    whole = whole.with_columns(pl.col(pl.String).fill_null(""))
    return whole.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))
