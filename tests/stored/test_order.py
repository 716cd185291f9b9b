"""Rows in another order are refused, rows that say little are doubted, and coarse ones of the same images pass."""

from pathlib import Path

import numpy as np
import pytest

from reliquant.stored import order
from reliquant.stored.column import column_of
from reliquant.stored.order import order_of, require_order
from reliquant.stored.read import Table

N, CLASSES, WIDTH = 300, 8, 48
RNG = np.random.default_rng(0)
LABEL = np.arange(N) % CLASSES
EXACT = (2 + RNG.normal(size=(CLASSES, WIDTH)))[LABEL] + 0.7 * RNG.normal(size=(N, WIDTH))
SHUFFLES = range(1, 21)  # seed 0 made the images


def rounded(values, bits):
    """Round each row to a grid of so many bits, from its least to its largest value."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    step = (high - low) / (2**bits - 1)
    return np.round((values - low) / step) * step + low


def said(variant, reference=EXACT, of="image"):
    name = order.COLUMN[of]
    both = [
        Table(Path(path), {name: column_of(np.asarray(x, np.float32))}, ())
        for path, x in (("q.npz", variant), ("f.npz", reference))
    ]
    return require_order(*both, of)


def within_classes(rng):
    at = np.arange(N)
    for k in range(CLASSES):
        at[k == LABEL] = rng.permutation(at[k == LABEL])
    return at


def half(rng):
    at, moved = np.arange(N), rng.choice(N, N // 2, replace=False)
    at[moved] = rng.permutation(moved)
    return at


ORDERS = {
    "random": lambda rng: rng.permutation(N),
    "half of the rows": half,
    "within classes": within_classes,
    "one on": lambda rng: np.roll(np.arange(N), -1),
    "one back": lambda rng: np.roll(np.arange(N), 1),
    "backwards": lambda rng: np.arange(N)[::-1],
}


@pytest.mark.parametrize("name", ORDERS)
def test_each_wrong_order_is_refused_each_time(name):
    coarse = rounded(EXACT, 4)
    for seed in SHUFFLES:
        with pytest.raises(ValueError, match=r"q\.npz: \d+ of 256 images looked at are clearly other images"):
            said(coarse[ORDERS[name](np.random.default_rng(seed))])


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_the_same_images_at_few_bits_are_never_refused(bits):
    found = said(rounded(EXACT, bits))
    assert found == [] if bits > 2 else len(found) <= 1


@pytest.mark.parametrize(
    "what", ["noise", "noise around the mean", "noise around the class", "noise of few directions"]
)
def test_noise_is_said_and_not_refused(what):
    for seed in SHUFFLES:
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=EXACT.shape)
        means = np.stack([EXACT[k == LABEL].mean(axis=0) for k in range(CLASSES)])
        variant = {
            "noise": noise,
            "noise around the mean": EXACT.mean(axis=0) + noise,
            "noise around the class": means[LABEL] + 0.7 * noise,
            "noise of few directions": EXACT.mean(axis=0) + rng.normal(size=(N, 3)) @ means[:3],
        }[what]
        (told,) = said(variant)
        assert "of 256 images looked at are nearest to themselves by their embeddings" in told
        assert "not the same images in the same order, or the variant's embeddings say little of them" in told


def test_a_few_rows_that_are_clearly_others_are_told_by_the_first():
    at = np.arange(N)
    at[:20] = np.roll(at[:20], 1)
    (told,) = said(rounded(EXACT, 4)[at])
    assert "clearly other ones (image 0 is image 19 there)" in told


def test_a_counterpart_is_found_among_rows_that_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(order, "LOOKED_AT", 12)
    monkeypatch.setattr(order, "BLOCK", 7 * WIDTH)
    at = np.random.default_rng(1).permutation(N)
    found = order_of(column_of(EXACT[at].astype(np.float32)), column_of(EXACT.astype(np.float32)))
    assert found.rows == 12
    assert all(at[row] == other for row, other in found.others)
    assert len(found.others) >= 11


def test_images_that_are_there_twice_are_no_other_images():
    twice = np.repeat(EXACT[:150], 2, axis=0)
    assert said(rounded(twice, 4), twice) == []


def test_two_classes_are_doubted_and_four_refused():
    assert "2 clearly other ones (class 0 is class 1 there)" in said(EXACT[[1, 0]], EXACT[:2], "class")[0]
    with pytest.raises(ValueError, match="store text in the reference's order of classes"):
        said(EXACT[[1, 0, 3, 2]], EXACT[:4], "class")
    with pytest.raises(ValueError, match="store the texts of both in one order"):
        said(EXACT[::-1], EXACT, "text")


@pytest.mark.parametrize(
    ("variant", "reference"),
    [
        (EXACT[:, :-1], EXACT),
        (EXACT[:-1], EXACT),
        (np.full_like(EXACT, np.nan), EXACT),
        (EXACT[:1], EXACT[:1]),
        (EXACT[0], EXACT[0]),
    ],
)
def test_what_cannot_be_compared_says_nothing(variant, reference):
    assert said(variant, reference) == []


def test_narrow_rows_are_doubted_and_never_refused():
    narrow = EXACT[:, :8]
    assert len(said(narrow[::-1], narrow)) == 1
    assert order_of(*(column_of(x.astype(np.float32)) for x in (narrow[::-1], narrow))).others.shape == (0, 2)
