"""What values of variants are likely, given estimates that share images: an empirical-Bayes posterior; free of torch.

The best of many estimates is too good: it was chosen for its luck. Here each group of variants (of one precision, where
there are enough) has a normal prior whose mean and spread are learnt from the group, and the errors of the estimates
have the covariance of their replicates. So luck that variants share cancels where they are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reliquant.measures.stats import Z95

Floats = NDArray[np.float64]
SPREADS = 40  # values of a prior's spread that are tried
WIDTHS = np.geomspace(
    0.01, 100, SPREADS
)  # of a mean's prior that are tried, over the root of error variance + spread squared
FLAT = 30.0  # times the size of a group's values: so wide is the prior of its mean
ENOUGH = 6  # variants of a precision, for a prior of their own
ROUNDS = 20  # spreads that are drawn, each for an equal share of the draws


@dataclass(frozen=True)
class Estimates:
    """Hold values (n,), deviations of their replicates (n, b), variances (n,) of what has none, and groups (n,).

    Deviations are 0 where there are no replicates, and so is `alone` where there are: such values err on their own.
    `change` (n,) says which values are changes: the mean of a group of them is near 0 unless it is seen not to be.
    """

    value: Floats
    deviation: Floats
    alone: Floats
    group: NDArray[np.int64]
    change: NDArray[np.bool_]


def draws(estimates: Estimates, rng: np.random.Generator, /, *, number: int) -> Floats:
    """Return draws (number, n) of the true values, made as by `rounds`."""
    return np.concatenate(list(rounds(estimates, rng, number=number)))


def rounds(estimates: Estimates, rng: np.random.Generator, /, *, number: int) -> Iterator[Floats]:
    """Yield draws of the true values, (some, n), as many together as the number says.

    Errors are normal with the covariance of the replicates, of which a share is moved to the diagonal: so few
    replicates would otherwise find correlations that are noise (Schaefer and Strimmer 2005). Groups have normal priors;
    their spread is drawn from its posterior, flat in the spread; their mean has a wide prior, that of changes one
    around 0, of a width drawn from its posterior (half-Cauchy, as wide as the mean's error and the spread). Draws are
    made by Matheron's rule: a draw of prior and errors, corrected by what the estimates are off it. All inverses are of
    b + g columns (Woodbury), so thousands of variants are no matter.
    """
    replicates = estimates.deviation.shape[1]
    scale = np.sqrt(replicates - 1)
    kept = 1 - _shrinkage(estimates.deviation)
    common = estimates.deviation * (np.sqrt(kept) / scale)
    own = (1 - kept) * (estimates.deviation**2).sum(axis=1) / scale**2 + estimates.alone
    groups = np.unique(estimates.group)
    member = (estimates.group[:, None] == groups).astype(float)
    means = (member.T @ estimates.value) / member.sum(axis=0)
    changes = (member.T @ estimates.change) > 0
    centre = np.where(changes, 0.0, means)
    wide = FLAT * np.sqrt((member.T @ (estimates.value**2 + own)) / member.sum(axis=0) + 1e-30)
    priors = [_prior(estimates, estimates.group == group) for group in groups]
    each = -(-number // ROUNDS)
    for start in range(0, number, each):
        spreads = []
        for i, known in enumerate(priors):
            spreads.append(_spread(known, rng))
            if changes[i]:
                wide[i] = _width(known, spreads[-1], rng)
        spread = member @ np.array(spreads)
        prior = spread**2
        true = (centre + rng.standard_normal((each, len(groups))) * wide) @ member.T
        true += spread * rng.standard_normal((each, len(spread)))
        seen = true + np.sqrt(own) * rng.standard_normal(true.shape)
        seen += rng.standard_normal((each, replicates)) @ common.T
        missed = _solved(prior + own, np.hstack([common, wide * member]), (estimates.value - seen).T)
        moved = prior[:, None] * missed + member @ (wide[:, None] ** 2 * (member.T @ missed))
        yield (true + moved.T)[: number - start]


def errors(low: Floats, high: Floats, replicates: NDArray[np.floating], /) -> tuple[Floats, Floats]:
    """Return `deviation` and `alone` of `Estimates` from intervals (n,) and replicates (n, b), NaN where not known.

    An estimate without an interval errs as much as the one that errs most: it may beat another, but not for certain.
    At least one must have an interval.
    """
    known = low < high
    own = np.isfinite(replicates).all(axis=1) & known
    whole = np.where(own[:, None], replicates, 0).astype(float)
    variance = np.where(known, ((high - low) / 2 / Z95) ** 2, np.nan)
    alone = np.where(own, 0.0, np.where(known, variance, np.nanmax(variance)))
    return whole - whole.mean(axis=1, keepdims=True), alone


def groups(precision: NDArray[np.str_], /) -> NDArray[np.int64]:
    """Number the groups of variants: their precision; all precisions of few variants are one, or all variants are."""
    _, index, counts = np.unique(precision, return_inverse=True, return_counts=True)
    few = counts < ENOUGH
    if 0 < counts[few].sum() < ENOUGH:
        return np.zeros(len(index), np.int64)
    return np.where(few[index], len(counts), index)


def _solved(diagonal: Floats, low: Floats, right: Floats) -> Floats:
    """Return (diag(diagonal) + low lowT)^-1 right, by Woodbury's identity."""
    diagonal = np.maximum(diagonal, 1e-12 * (low**2).sum(axis=1) + 1e-30)
    scaled = low / diagonal[:, None]
    middle = np.eye(low.shape[1]) + low.T @ scaled
    return right / diagonal[:, None] - scaled @ np.linalg.solve(middle, scaled.T @ right)


def _shrinkage(deviation: Floats) -> float:
    """Return which share of the correlations of replicates (n, b) is noise, from 0.02 to 1."""
    b = deviation.shape[1]
    norm = np.sqrt((deviation**2).sum(axis=1, keepdims=True))
    unit = np.divide(deviation, norm, out=np.zeros_like(deviation), where=norm > 0)
    used = int((norm > 0).sum())
    squares = float(((unit.T @ unit) ** 2).sum()) - used  # of the correlations of all pairs
    if squares <= 0:
        return 1.0
    noise = max(used * (used - 1) - squares, 0.0) / (b - 1)
    return float(np.clip(noise / squares, 0.02, 1.0))


class _Prior(NamedTuple):
    """Hold what is known of a group's prior: spreads with their chances, and of its values what their mean tells."""

    spreads: Floats
    chances: Floats
    number: float  # of values
    mean: float
    shared: float  # variance of the mean of their errors
    alone: float  # mean variance of what has no replicates


def _prior(estimates: Estimates, at: NDArray[np.bool_]) -> _Prior:
    """Return what is known of a group's prior, from how far its values lie apart beyond what errors do to them.

    The variance between values is that of the prior and that between errors, times chi-square / freedom.
    """
    value, deviation, alone = estimates.value[at], estimates.deviation[at], estimates.alone[at]
    shared = float(np.var(deviation.mean(axis=0), ddof=1))
    rest = {"number": len(value), "mean": float(value.mean()), "shared": shared, "alone": float(alone.mean())}
    freedom = len(value) - 1
    if freedom < 1:
        one = float(np.sqrt((deviation**2).sum() / (deviation.shape[1] - 1) + alone.sum()) * FLAT)
        return _Prior(np.array([one]), np.ones(1), **rest)
    apart = float(np.var(value, ddof=1))
    error = float(np.var(deviation, axis=0, ddof=1).mean() + alone.mean())
    unit = np.sqrt(max(apart, error, 1e-30))
    spreads = unit * np.geomspace(0.01, 10, SPREADS)
    whole = spreads**2 + error
    log = -0.5 * freedom * (np.log(whole) + apart / whole) + np.log(spreads)  # a grid of logs, a flat prior of spreads
    chance = np.exp(log - log.max())
    return _Prior(spreads, chance / chance.sum(), **rest)


def _spread(known: _Prior, rng: np.random.Generator) -> float:
    """Draw the spread of a group's prior; where there is but one, without a number from the generator."""
    return float(known.spreads[0] if len(known.spreads) == 1 else rng.choice(known.spreads, p=known.chances))


def _width(known: _Prior, spread: float, rng: np.random.Generator) -> float:
    """Draw how wide the prior around 0 of a group's mean is, from its values, their errors and their spread."""
    error = float(known.shared + (known.alone + spread**2) / known.number)
    scale = np.sqrt(max(error + spread**2, 1e-30))
    widths = scale * WIDTHS
    whole = widths**2 + error
    log = -0.5 * (np.log(whole) + known.mean**2 / whole) - np.log1p((widths / scale) ** 2) + np.log(widths)
    chance = np.exp(log - log.max())
    return float(rng.choice(widths, p=chance / chance.sum()))
