import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FACTS = json.loads((Path(__file__).parent / "library.json").read_text())["facts"]


def picture(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / side
    c = np.arange(3)
    waves = np.sin(2 * np.pi * (3 * y[..., None] + c / 3)) * np.cos(2 * np.pi * (2 * x[..., None] + c / 5))
    return np.clip(127.5 + 90 * (waves + 0.4 * np.sign(np.sin(40 * (x * x + y))[..., None])), 0, 255).astype(np.uint8)


def look(image: np.ndarray, corrupted: np.ndarray) -> list[float]:
    change = corrupted.astype(float) - image
    return [np.abs(change).mean(), change.mean(), np.abs(np.diff(corrupted.astype(float), axis=1)).mean()]


@pytest.mark.parametrize("case", FACTS)
def test_corruption_changes_a_picture_as_the_published_code_does(case):
    name, side, severity = case.split()
    corruption, image = import_module(f"reliquant.images.corruptions.{name}").corruption, picture(int(side))
    wanted, error = np.array(FACTS[case])
    draws = 60 if error.any() else 1
    images = np.repeat(image[None], draws, axis=0)
    corrupted = corruption(images, np.arange(draws, dtype=np.uint64), severity=int(severity))
    ours = np.array([look(image, one) for one in corrupted])
    own_error = ours.std(axis=0, ddof=1) / np.sqrt(draws) if draws > 1 else 0
    # 0.15 of a level for truncation just below or above a whole number, and four standard errors
    np.testing.assert_array_less(np.abs(ours.mean(axis=0) - wanted), 0.15 + 4 * np.hypot(error, own_error))
