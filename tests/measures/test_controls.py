import numpy as np
import pytest

from reliquant.measures import spectrum
from reliquant.measures.controls import CONTROLS


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(3000, 16)) * np.geomspace(8, 0.5, 16)
    noisy = exact + rng.normal(size=exact.shape) * np.geomspace(0.2, 1, 16)
    fp32 = spectrum.spectrum(exact)
    return exact, noisy, fp32, {name: control(exact, noisy, fp32, rng) for name, control in CONTROLS.items()}


@pytest.mark.parametrize("name", [n for n in CONTROLS if "truncated" not in n])
def test_noise_controls_keep_the_sqnr(made, name):
    exact, noisy, _, controls = made
    assert spectrum.sqnr(exact, controls[name]) == pytest.approx(spectrum.sqnr(exact, noisy), abs=0.2)


def test_only_shaped_noise_and_foreign_errors_keep_the_sqnr_of_every_rank(made):
    exact, noisy, fp32, controls = made
    wanted = spectrum.sqnr_by_rank(fp32, exact, noisy)[0]
    gap = {n: np.abs(spectrum.sqnr_by_rank(fp32, exact, x)[0] - wanted).max() for n, x in controls.items()}
    assert gap["noise, same SQNR by rank"] < 0.6
    assert gap["error of another image"] < 1e-6
    assert gap["gaussian noise"] > 3


def test_uniform_noise_is_bounded_and_gaussian_is_not(made):
    exact, _, _, controls = made
    uniform, gaussian = (controls[n] - exact for n in ("uniform noise", "gaussian noise"))
    assert np.abs(uniform).max() / uniform.std() == pytest.approx(3**0.5, rel=0.01)
    assert np.abs(gaussian).max() / gaussian.std() > 3


def test_truncation_keeps_the_leading_ranks_and_the_mean(made):
    exact, _, fp32, controls = made
    kept = fp32.coordinates(controls["FP32 truncated"])
    assert kept[:, :8] == pytest.approx(fp32.coordinates(exact)[:, :8])
    assert kept[:, 8:] == pytest.approx(0, abs=1e-9)
