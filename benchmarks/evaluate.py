"""Evaluation of a variant on prepared images against the bare forward of the same module on arrays in memory.

ViT-B/32 with random weights, quantized W8A8, one thread. `python benchmarks/evaluate.py [--images N] [--repeats N]`
It also times the check of the images against their digests, which is part of the evaluation (at most 3 % of it).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from reliquant import plugins
from reliquant.evaluation.evaluate import evaluate
from reliquant.files.digests import Seal
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.models.open import open_model
from reliquant.models.preprocess import batches, pixel_words
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.images, 224, 224, 3), dtype=np.uint8)
    clip = open_model("ViT-B-32", random_weights=True)
    proxy = Proxy(images[:8], [f"a photo of number {i}" for i in range(8)])
    quantize(clip, scheme_entry("{quantizer: rtn, batch: 8}", "w8a8"), "image", proxy, Checkpoints())
    scores = {name: plugins.load("score", {"score": name}) for name in ("mcm", "msp", "max_logit", "energy")}
    ready = list(batches(images, **pixel_words(clip), batch=BATCH))

    with TemporaryDirectory() as folder:
        names = [str(i) for i in range(len(images))]
        labels = np.arange(len(images)) % 10
        classes = [f"class {i}" for i in range(10)]
        dataset = Dataset(classes, ["a photo of a {}."], labels, images.__getitem__, names)
        path = Path(folder, "data", clip.form)
        prepare(dataset, path, form=clip.form, entry={})
        cell = {"suite": "clean", "dataset": "data", "reference": "data", "group": "", "corruption": ""}
        cells = [{**cell, "severities": [0], "images": None, "folder": str(path), "head": str(path)}]

        def ours() -> None:
            evaluate(clip, cells, scores, batch=BATCH, device="cpu", dtype="float32")

        def bare() -> None:
            with torch.no_grad():
                for pixels in ready:
                    clip.model.encode_image(pixels)
                for name in classes:  # the text head is part of an evaluation too
                    clip.model.encode_text(clip.tokenizer([f"a photo of a {name}."]))

        def check() -> None:
            Seal(path / "images.npy").require()

        times: dict[str, list[float]] = {"evaluate": [], "bare": [], "check": []}
        ours(), bare()
        for _ in range(args.repeats):
            for name, run in (("evaluate", ours), ("bare", bare), ("check", check)):
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = statistics.median(b / a for a, b in zip(times["evaluate"], times["bare"], strict=True))
    for name, seconds in medians.items():
        print(f"{name:10} {seconds:7.3f} s  {args.images / seconds:7.2f} images/s")
    share = medians["check"] / medians["evaluate"]
    print(f"checking the images against their digests: {share:.2%} of the evaluation (at most 3 %)")
    found = {"name": "evaluate", "ratio": ratio, "target": 0.95, "better": "higher", "medians": medians}
    print(json.dumps({**found, "share_of_check": share}))


if __name__ == "__main__":
    main()
