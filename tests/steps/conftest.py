import json
import sys

import numpy as np
import pytest

from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare


@pytest.fixture
def run(monkeypatch):
    """Run a step in this process with the words of its command line; mappings become JSON."""

    def with_words(step, **words):
        line = ["step"]
        for word, value in words.items():
            values = value if isinstance(value, list) else [value]
            line.append(f"--{word}")
            line += [json.dumps(v) if isinstance(v, dict) else str(v) for v in values]
        monkeypatch.setattr(sys, "argv", line)
        step.main()

    return with_words


@pytest.fixture
def prepared(tmp_path):
    """The folder of nine prepared images of 32 pixels with labels and captions."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    names, captions = [f"{i}.png" for i in range(9)], [f"a {('red', 'blue')[i % 2]} star" for i in range(9)]
    labels = np.arange(9) % 2
    dataset = Dataset(["red", "blue"], ["a {}"], labels, lambda i: images[i], names, captions=captions)
    folder = tmp_path / "data" / "prepared" / "stars" / "native"
    prepare(dataset, folder, form="native", entry={"dataset": "lab"})
    return folder
