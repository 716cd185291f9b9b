from collections.abc import Callable

import numpy as np
import pytest

from reliquant.evaluation.features import Features


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def world() -> Callable[..., Features]:
    """Make features of images around their class directions, or, for `spread` large, of images around none."""

    def make(n: int = 200, spread: float = 0.3, seed: int = 0, **more: object) -> Features:
        text = unit(np.random.default_rng(0).normal(size=(10, 32)))
        rng = np.random.default_rng(seed)
        label = rng.integers(10, size=n)
        image = unit(text[label] + spread * rng.normal(size=(n, 32)))
        return Features(image, text, label, **{"logit_scale": 20.0, **more})

    return make
