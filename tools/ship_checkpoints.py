"""Measure trained lab models and ship them: `python tools/ship_checkpoints.py data/models/lab-*.safetensors`.

Each file, as the step `pretrain` wrote it, is copied into `src/reliquant_lab`, and `table.json` of
`src/reliquant/models/shipped` gains its sha256, size, recipe and FP32 measures on fresh test images.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from reliquant.evaluation.features import Features
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.files.artifacts import read_header, save_json, whole
from reliquant.images.datasets.lab import dataset
from reliquant.measures.calibration import confidence_gap, ece
from reliquant.models.clip import Clip
from reliquant.models.files import load_model
from reliquant.models.shipped.weights import FOLDER, checkpoint_table, weights_folder

IMAGES = 2000
TASKS = ("shape", "colour", "texture", "background", "count")
SETS = {task: {"task": task} for task in TASKS}
SETS |= {
    f"shape, {rendering}": {"task": "shape", "rendering": rendering}
    for rendering in ("sketch", "silhouette", "rotated", "rescaled", "negative", "mosaic")
}


def main() -> None:
    """Measure, copy, write the table."""
    table = checkpoint_table()
    for path in map(Path, sys.argv[1:]):
        clip, header = load_model(path)
        content = path.read_bytes()
        with whole(weights_folder() / path.name) as part:
            part.write_bytes(content)
        table[path.stem] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            **{key: header[key] for key in ("tower", "recipe", "pairs", "parameters", "versions")},
            "fp32": measures(clip),
        }
        assert read_header(weights_folder() / path.name) == header
    save_json(FOLDER / "table.json", table)


def measures(clip: Clip) -> dict[str, dict[str, float]]:
    """Return accuracy, ECE and signed confidence gap on every set, on the mean of the tasks, and on the two groups."""
    out = {name: measured(clip, words)[0] for name, words in SETS.items()}
    out["mean"] = {key: round(float(np.mean([out[t][key] for t in TASKS])), 4) for key in out["shape"]}
    _, right, groups = measured(clip, {"task": "shape", "counter": True})
    for group in ("common", "counter"):
        out[group] = {"accuracy": round(float(right[groups == group].mean()), 4)}
    out["logit_scale"] = {"value": round(logit_scale_and_bias(clip)[0], 2)}
    return out


def measured(clip: Clip, words: dict[str, object]) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Classify one set; return its measures, which images are right, and their groups."""
    data = dataset(Path(), images=IMAGES, **words)
    images = np.stack([data.read(i) for i in range(IMAGES)])
    scale, bias = logit_scale_and_bias(clip)
    head = text_head(clip, data.classes, data.templates)
    features = Features(image_features(clip, images), head, data.labels, scale, bias)
    confidence, right = features.probabilities.max(1), features.probabilities.argmax(1) == data.labels
    found = {
        "accuracy": right.mean(),
        "ece": ece(confidence, right),
        "confidence_gap": confidence_gap(confidence, right),
    }
    return {key: round(float(value), 4) for key, value in found.items()}, right, np.array(data.groups or [])


if __name__ == "__main__":
    main()
