"""Speed, size and export of what is deployed: a ViT-B/32 image tower as W8A8, random weights, one thread.

The sides (eager FP32 of torch, the FP32 export and the W8A8 export in each runtime) take turns in one process; what
counts is processor time, and the median over turns of the ratio within a turn. Exports run in processes of their own,
whose peak memory is told: both towers of ViT-B/32 and ViT-L/14, from an opened variant to sealed files; and the image
tower of ViT-B/32 ten times, by one Exporter and by ten. The last line's ratio is the least of all values over their
targets. `python benchmarks/deploy.py [--rounds 9] [--batch 1] [--no-large] [--times-only]`
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from peers import require

from reliquant.deploy.export import Exporter
from reliquant.deploy.marking import TOWERS, Tower
from reliquant.deploy.runtimes import RUNTIMES, opened
from reliquant.models.clip import Clip
from reliquant.models.open import open_model
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

BASE, LARGE = "ViT-B-32", "ViT-L-14"
SCHEMES = ("fp32", "w8a8")
VARIANTS = 10
TARGETS = {  # (bound, whether more is better)
    "eager FP32 / int8": (4.0, True),
    "own FP32 / int8": (2.5, True),
    "file / FP32 file": (0.28, False),
    f"export of {BASE}, s": (60.0, False),
    f"export of {BASE}, peak GiB": (3.0, False),
    f"export of {LARGE}, s": (300.0, False),
    "ten one by one / by one Exporter": (3.0, True),
}


def model_of(architecture: str, scheme: str, images: int = 8) -> Clip:
    """Return a model with random weights, FP32 or rounded to nearest on a few random images."""
    clip = open_model(architecture, random_weights=True)
    if scheme == "w8a8":
        pixels = np.random.default_rng(0).integers(0, 256, (images, *clip.shape, 3), dtype=np.uint8)
        proxy = Proxy(pixels, [f"a photo of {number}" for number in range(images)])
        quantize(clip, scheme_entry("rtn", "w8a8"), "both", proxy, Checkpoints())
    return clip


def written(exporter: Exporter, clip: Clip, folder: Path, scheme: str) -> float:
    """Export a model and return the seconds that it took."""
    start = time.perf_counter()
    exporter.export(clip, folder, name=scheme, facts={"model_sha256": "random", "variant_sha256": ""})
    return time.perf_counter() - start


def export_alone(architecture: str, scheme: str, tower: str, folder: Path) -> dict[str, float]:
    """Export in this process, and tell its seconds and the peak memory of all that the process did."""
    towers: tuple[Tower, ...] = TOWERS if tower == "both" else ("image",)
    clip = model_of(architecture, scheme)
    seconds = written(Exporter(to="onnx", towers=towers), clip, folder, scheme)
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def export_ten(folder: Path) -> dict[str, float]:
    """Export the image tower of one variant under ten names, by one Exporter and by ten, in processor time."""
    clip = model_of(BASE, "w8a8")
    found = {}
    for name, apart in (("together", False), ("apart", True)):
        exporter, start = Exporter(to="onnx", towers=("image",)), time.process_time()
        for _ in range(VARIANTS):
            exporter = Exporter(to="onnx", towers=("image",)) if apart else exporter
            written(exporter, clip, folder, "w8a8")
        found[name] = time.process_time() - start
    return found


def in_a_process(*words: str) -> dict[str, float]:
    """Run a part of this file in a process of its own, and return what it tells."""
    made = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(made.stdout.splitlines()[-1])


def sides(folder: Path) -> dict[str, Callable[[Any], Any]]:
    """Return the forwards that are compared."""
    torch.set_num_threads(1)
    eager = open_model(BASE, random_weights=True).model.requires_grad_(False)
    found: dict[str, Callable[[Any], Any]] = {"torch fp32": lambda x: eager.encode_image(torch.from_numpy(x))}
    for runtime in RUNTIMES:
        for scheme in SCHEMES:
            session = opened(folder / scheme / "image.onnx", runtime, threads=1)
            found[f"{runtime} {scheme}"] = session.run
            print(f"{runtime} {session.facts['version']} {scheme}: {session.facts['layers']}")
    return found


def processor_seconds(found: dict[str, Callable[[Any], Any]], batch: int, rounds: int) -> dict[str, np.ndarray]:
    """Return by side the processor's seconds a batch, turn by turn, after two turns that warm up."""
    pixels = np.random.default_rng(1).standard_normal((batch, 3, 224, 224)).astype(np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    repeats = max(1, 8 // batch)
    for turn in range(rounds + 2):
        for name, run in found.items():
            start = time.process_time()
            for _ in range(repeats):
                run(pixels)
            if turn > 1:
                seconds[name].append((time.process_time() - start) / repeats)
    return {name: np.array(each) for name, each in seconds.items()}


def times(folder: Path, batch: int, rounds: int) -> dict[str, float]:
    """Time the sides, print them, and return the ratios of the better runtime."""
    seconds = processor_seconds(sides(folder), batch, rounds)
    for name, each in seconds.items():
        milli = median(each) * 1000 / batch
        print(
            f"{name:20} {milli:7.1f} ms an image at batch {batch}, {median(seconds['torch fp32'] / each):.2f} x torch"
        )
    eager = {r: median(seconds["torch fp32"] / seconds[f"{r} w8a8"]) for r in RUNTIMES}
    own = {r: median(seconds[f"{r} fp32"] / seconds[f"{r} w8a8"]) for r in RUNTIMES}
    print(", ".join(f"{r}: {eager[r]:.2f} x torch's FP32, {own[r]:.2f} x its own" for r in RUNTIMES))
    better = max(RUNTIMES, key=lambda r: eager[r])
    return {"eager FP32 / int8": eager[better], "own FP32 / int8": own[better]}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--no-large", action="store_true")
    parser.add_argument("--times-only", action="store_true")
    parser.add_argument("--part", nargs="+", help="what a process of its own does")
    words = parser.parse_args()
    if words.part:
        name, *rest = words.part
        parts: dict[str, Any] = {"alone": export_alone, "ten": export_ten}
        print(json.dumps(parts[name](*rest[:-1], Path(rest[-1]))))
        return
    require("deploy", "onnx", "onnxscript", "onnxruntime", "openvino")
    with tempfile.TemporaryDirectory() as temporary:
        folder, values = Path(temporary), {}
        for scheme in SCHEMES:
            in_a_process("--part", "alone", BASE, scheme, "image", str(folder / scheme))
        sizes = {scheme: (folder / scheme / "image.onnx").stat().st_size for scheme in SCHEMES}
        values["file / FP32 file"] = sizes["w8a8"] / sizes["fp32"]
        values |= times(folder, words.batch, words.rounds)
        if not words.times_only:
            found = in_a_process("--part", "alone", BASE, "w8a8", "both", str(folder / "both"))
            values |= {f"export of {BASE}, s": found["seconds"], f"export of {BASE}, peak GiB": found["peak"]}
            found = in_a_process("--part", "ten", str(folder / "ten"))
            values["ten one by one / by one Exporter"] = found["apart"] / found["together"]
            print(f"{VARIANTS} variants: {found}")
        if not words.times_only and not words.no_large:
            found = in_a_process("--part", "alone", LARGE, "w8a8", "both", str(folder / "large"))
            values[f"export of {LARGE}, s"] = found["seconds"]
            print(f"{LARGE}: {found}")
    within = {name: value / TARGETS[name][0] for name, value in values.items()}
    within = {name: share if TARGETS[name][1] else 1 / share for name, share in within.items()}
    report = {"name": "deploy", "ratio": min(within.values()), "target": 1.0, "better": "higher", "values": values}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
