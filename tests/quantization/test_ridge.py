import itertools

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import weight_affine
from reliquant.quantization.moments import spread
from reliquant.quantization.ridge import Errors, against_inputs, against_weights, refined

GRID = Grid(bits=3, granularity="channel", symmetric=False)


def coarse(x):
    return (x * 2).round() / 2


def seen(n=200, d=9, seed=0):
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + 0.3 * rng.normal(size=(n, d)) + 0.4).float()
    found = Errors(coarse)
    for part in x.split(64):
        found.update(part[None])
    return x.double().numpy(), found


def weight(o=6, d=9):
    return torch.randn(o, d + 1, generator=torch.Generator().manual_seed(1))


def regression(inputs, wanted, penalty):
    """Ridge regression by least squares on stacked rows: numpy alone, in float64."""
    width = inputs.shape[1]
    rows = np.concatenate([inputs, penalty**0.5 * np.eye(width)])
    return np.linalg.lstsq(rows, np.concatenate([wanted, np.zeros((width, wanted.shape[1]))]), rcond=None)[0]


def with_one(x):
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def test_a_weight_is_updated_as_least_squares_on_the_inputs_themselves_says():
    x, found = seen()
    w, penalty = weight(), found.penalty(0.05)
    near = with_one(np.asarray(coarse(torch.tensor(x))))
    assert penalty == pytest.approx(0.05 * (near[:, :-1] ** 2).sum(0).mean(), rel=1e-5)
    wanted = (with_one(x) - near) @ w.double().numpy().T
    expected = w.double().numpy() + regression(near, wanted, penalty).T
    np.testing.assert_allclose(against_inputs(w, found, 0.05), expected, atol=1e-4)


def test_the_update_lowers_the_output_error_of_rounded_inputs():
    x, found = seen()
    w = weight()
    near, exact = with_one(np.asarray(coarse(torch.tensor(x)))), with_one(x) @ w.numpy().T
    before, after = (np.square(near @ v.numpy().T - exact).sum() for v in (w, against_inputs(w, found, 0.001)))
    assert after < 0.9 * before


def slow(w, near, scale, zero, grid, penalty, flips):
    """Follow the paper's text, row by row and on the data themselves, in float64."""
    codes, biases = [], []
    for row, s, z in zip(w, scale, zero, strict=True):
        row, left, done = row.copy(), list(range(len(row))), []
        while len(left) > 1:
            first, left = left[: len(left) // 2], left[len(left) // 2 :]
            x = near[:, first]
            part = row[first]
            now = np.clip(np.round(part / s + z), grid.low, grid.high)
            for _ in range(flips):
                e = (now - z) * s - part
                slope = e @ (x.T @ x)
                other = np.clip(np.where(e > 0, now - 1, now + 1), grid.low, grid.high)
                away = np.abs((now - z) * s - part) > s / 2 + 1e-9  # beyond the range: there is no other neighbour
                can = (slope * e > 0) & (other != now) & ~away
                if not can.any():
                    break
                j = np.argmax(np.where(can, np.abs(slope), 0))
                trial = now.copy()
                trial[j] = other[j]
                if np.square(x @ ((trial - z) * s - part)).sum() >= np.square(x @ e).sum():
                    break
                now = trial
            e = (now - z) * s - part
            row[left] -= regression(near[:, left], (x @ e)[:, None], penalty)[:, 0]
            done += now.tolist()
        codes.append(done)
        biases.append(row[-1])
    return np.array(codes), np.array(biases)


@pytest.mark.parametrize("flips", [0, 100])
def test_codes_and_bias_are_those_of_the_papers_loop_over_rows(flips):
    x, found = seen(d=13)
    w = weight(d=13)
    scale, zero = weight_affine(w[:, :-1] * 0.8, GRID)
    near = with_one(np.asarray(coarse(torch.tensor(x))))
    wide = [spread(v, w[:, :-1].shape, GRID) for v in (scale, zero)]
    codes, bias = against_weights(w, found.gram, found.penalty(0.1), *wide, GRID, flips)
    columns = [v[:, 0].double().numpy() for v in (scale, zero)]
    expected, its = slow(w.double().numpy(), near, *columns, GRID, found.penalty(0.1), flips)
    assert (codes.numpy() == expected).mean() > 0.98  # float32 may fall to the other side of a tie
    np.testing.assert_allclose(bias, its, atol=0.02)


def test_refined_rounding_is_no_worse_than_nearest_and_near_the_best_of_all():
    _, found = seen(d=8)
    gram, w = found.gram[:-1, :-1], weight(o=20, d=8)[:, :-1]
    scale, zero = (spread(v, w.shape, GRID) for v in weight_affine(w, GRID))
    ratio = w / scale + zero

    def error(codes):
        e = (codes - zero) * scale - w
        return ((e @ gram) * e).sum(1)

    nearest = ratio.round().clamp(GRID.low, GRID.high)
    codes = refined(w, gram, scale, zero, GRID, 100)
    assert ((codes - ratio).abs() < 1 + 1e-4).all()
    choices = [
        (ratio.floor() + torch.tensor(up)).clamp(GRID.low, GRID.high) for up in itertools.product((0, 1), repeat=8)
    ]
    best = torch.stack([error(choice) for choice in choices]).amin(0)
    assert (error(codes) <= error(nearest) * (1 + 1e-5)).all()
    assert (error(codes) >= best * (1 - 1e-4)).all()
    assert error(codes).sum() < 0.7 * error(nearest).sum()


def test_inputs_that_are_no_numbers_are_told():
    with pytest.raises(ValueError, match="NaN or infinite"):
        Errors(coarse).update(torch.full((2, 3), torch.nan))


def test_the_bias_holds_no_more_memory_than_its_numbers():
    _, found = seen()
    grid = Grid(bits=3, granularity="channel")
    scale, zero = (spread(v, (6, 9), grid) for v in weight_affine(weight()[:, :-1], grid))
    _, bias = against_weights(weight(), found.gram, found.penalty(0.1), scale, zero, grid, 10)
    assert bias.untyped_storage().nbytes() == 6 * 4
