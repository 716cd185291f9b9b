"""How much memory and time measuring stored embeddings takes: a made-up table, measured by a process of its own.

    python benchmarks/stored.py --images 1000000 --type float16

The table is written block by block into a folder that is removed, (images x width x 2 or 4) bytes. Printed: seconds of
each part, and the largest memory that the process ever held.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SCORES = ("mcm", "msp", "max_logit", "energy")
TYPES = {"float16": ("F16", "<f2"), "float32": ("F32", "<f4")}
BLOCK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--type", choices=TYPES, default="float16")
    parser.add_argument("--folder", type=Path, help="for the table; a temporary one if left out")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(*args.measure)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        paths = [Path(folder) / f"{name}.safetensors" for name in ("images", "others")]
        write(paths[0], args.images, args.width, args.classes, args.type, noise=1.0)
        write(paths[1], max(1, args.images // 10), args.width, args.classes, args.type, noise=3.0)
        subprocess.run([sys.executable, __file__, "--measure", *map(str, paths)], check=True)


def write(path: Path, images: int, width: int, classes: int, kind: str, /, *, noise: float) -> None:
    """Write embeddings around those of their classes, block by block, in the layout of safetensors."""
    name, given = TYPES[kind]
    rng = np.random.default_rng(0)
    text = rng.normal(size=(classes, width)).astype(np.float32)
    label = np.arange(images) % classes
    tensors = {
        "image": (name, (images, width), np.dtype(given).itemsize),
        "label": ("I64", (images,), 8),
        "text": ("F32", (classes, width), 4),
        "logit_scale": ("F32", (1,), 4),
    }
    header, at = {}, 0
    for tensor, (stored, shape, size) in tensors.items():
        end = at + size * int(np.prod(shape))
        header[tensor] = {"dtype": stored, "shape": shape, "data_offsets": [at, end]}
        at = end
    words = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        for start in range(0, images, BLOCK):
            near = text[label[start : start + BLOCK]]
            spread = noise * np.sqrt(20) * rng.standard_normal(near.shape, np.float32)
            file.write((near + spread).astype(given).tobytes())
        file.write(label.astype("<i8").tobytes() + text.tobytes() + np.float32([50]).tobytes())


def measure(images: Path, others: Path, /) -> None:
    """Measure a table and its scores against another one; print seconds and the largest memory."""
    from reliquant import plugins
    from reliquant.evaluation.measure import measure_features
    from reliquant.stored.features import features_of
    from reliquant.stored.read import read_table

    print(f"imported                {_memory():6.0f} MiB", flush=True)
    start = time.perf_counter()
    table = read_table(images)
    features = features_of(table)
    ood = features_of(read_table(others), table)
    print(f"read {time.perf_counter() - start:8.1f} s     {_memory():6.0f} MiB  {features.image.shape}", flush=True)
    scores = {score: plugins.load("score", {"score": score}) for score in SCORES}
    measured = measure_features(features, {"others": ood}, scores, name="images")
    taken = time.perf_counter() - start
    print(f"measured {taken:8.1f} s     {_memory():6.0f} MiB  in memory: {features.in_memory}", flush=True)
    shown = {name: round(measured["images"][name]["value"], 4) for name in ("accuracy", "ece", "nll", "ace")}
    print(json.dumps({**shown, "mcm_auroc": round(measured["others"]["mcm_auroc"]["value"], 4)}))


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
