import numpy as np
import pytest

from reliquant.measures import spectrum
from reliquant.measures.spectrum import banded, bands, randomised_svd, sqnr_by_rank


def features(n=300, d=24, seed=0):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return rng.normal(size=(n, d)) * np.geomspace(10, 0.1, d) @ turn + rng.normal(size=d), turn


def test_the_basis_is_that_of_the_covariance():
    x, _ = features()
    found = spectrum.spectrum(x)
    energy, vectors = np.linalg.eigh(np.cov(x.T))
    assert found.values**2 / (len(x) - 1) == pytest.approx(energy[::-1])
    assert np.abs((found.basis * vectors[:, ::-1]).sum(axis=0)) == pytest.approx(1, abs=1e-6)
    assert found.mean == pytest.approx(x.mean(axis=0))


def test_a_sketch_equals_the_exact_decomposition():
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.normal(size=s))[0] for s in ((700, 90), (400, 90)))
    x = left * np.geomspace(100, 0.01, 90) @ right.T + 1e-3 * rng.normal(size=(700, 400))
    u, s, v = randomised_svd(x, 20, rng)
    exact = np.linalg.svd(x, full_matrices=False)
    assert s == pytest.approx(exact[1][:20], rel=1e-6)
    assert np.abs((v * exact[2][:20]).sum(axis=1)) == pytest.approx(1, abs=1e-6)
    assert (u * s @ v) == pytest.approx(exact[0][:, :20] * exact[1][:20] @ exact[2][:20], abs=1e-4)


def test_large_features_are_sketched_and_small_ones_are_not(monkeypatch):
    monkeypatch.setattr(spectrum, "LARGE", 50)
    monkeypatch.setattr(spectrum, "randomised_svd", lambda x, r, rng: (None, np.full(r, 7.0), np.eye(r, x.shape[1])))
    x = np.random.default_rng(0).normal(size=(200, 120))
    assert spectrum.spectrum(x, ranks=8).values.tolist() == [7.0] * 8
    assert len(spectrum.spectrum(x[:40], ranks=8).values) == 8
    assert spectrum.spectrum(x[:40], ranks=8).values[0] != 7.0


def test_fewer_images_than_dimensions_lose_one_rank_to_the_mean():
    x, _ = features(n=10)
    found = spectrum.spectrum(x)
    assert found.basis.shape == (24, 9)
    assert found.basis.T @ found.basis == pytest.approx(np.eye(9), abs=1e-9)


def test_sqnr_by_rank_is_the_ratio_that_was_put_in():
    n, d = 4000, 6
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    signal, noise = np.array([32.0, 16, 8, 4, 2, 1]), np.array([1.0, 1, 1, 2, 2, 4])
    x = rng.normal(size=(n, d)) * signal
    noisy = (x + rng.normal(size=(n, d)) * noise) @ turn
    value, influence = sqnr_by_rank(spectrum.spectrum(x @ turn), x @ turn, noisy)
    assert value == pytest.approx(20 * np.log10(signal / noise), abs=0.4)
    assert influence.mean(axis=0) == pytest.approx(0, abs=1e-9)
    halves = [
        sqnr_by_rank(spectrum.spectrum(x @ turn), x[h] @ turn, noisy[h])[0] for h in (slice(0, 2000), slice(2000, None))
    ]
    error = influence.std(axis=0) / np.sqrt(n)
    assert (np.abs(halves[0] - halves[1]) < 5 * 2 * error).all()


def test_no_noise_is_infinitely_clean():
    x, _ = features()
    assert np.isinf(sqnr_by_rank(spectrum.spectrum(x), x, x)[0]).all()
    assert spectrum.sqnr(x, x) == np.inf
    assert spectrum.sqnr(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20)


def test_effective_rank_counts_equal_directions_and_ignores_scale():
    assert spectrum.effective_rank(np.array([5.0, 5, 5, 0])) == pytest.approx(3)
    assert np.isnan(spectrum.effective_rank(np.zeros(3)))


def test_all_bands_together_give_the_features_back():
    x, _ = features()
    of = spectrum.spectrum(x)
    parts = [banded(x, of, low, high) - of.mean for low, high in bands(24).values()]
    assert sum(parts) + of.mean == pytest.approx(x)
    assert np.linalg.matrix_rank(parts[0], tol=1e-8) == 3


@pytest.mark.parametrize(
    ("width", "edges"), [(512, (8, 64)), (128, (8, 64)), (64, (8, 32)), (24, (3, 12)), (4, (1, 2))]
)
def test_bands_are_the_papers_where_the_embedding_is_wide_enough(width, edges):
    assert list(bands(width).values()) == [(0, edges[0]), edges, (edges[1], width)]


@pytest.mark.parametrize("wrong", [np.zeros((1, 4)), np.zeros(4), np.full((5, 4), np.nan)])
def test_features_that_have_no_spectrum_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least two images|NaN or infinite"):
        spectrum.spectrum(wrong)
