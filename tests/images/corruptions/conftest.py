from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter


@pytest.fixture(scope="session")
def photos() -> Callable[..., np.ndarray]:
    """Make images that look a little like photographs: clouds of colour, edges, some black and some white."""

    def make(n: int = 3, h: int = 32, w: int = 32, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        field = gaussian_filter(rng.normal(size=(n, h, w, 3)), (0, h / 16, w / 16, 0.5))
        field /= field.std()
        field += (gaussian_filter(rng.normal(size=(n, h, w, 1)), (0, h / 8, w / 8, 0)) > 0) - 0.5
        return np.clip(128 + 60 * field, 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def seeds() -> Callable[[int], np.ndarray]:
    return lambda n: np.arange(1000, 1000 + n, dtype=np.uint64)
