"""Zero-shot classification of JPEGs at full size: this project against CLIP_benchmark's loop, same model, same images.

One variant, and ten variants of one model. CLIP_benchmark decodes the images for every variant and forwards each as
the module it is given; here they are decoded once, and quantized variants run on integers where they can. One thread
and no worker processes on either side, processor time, so that nothing hides behind a second core. Needs
`pip install --no-deps clip_benchmark`. `python benchmarks/zero_shot.py [--images N] [--repeats N]`
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from reliquant import plugins
from reliquant.backend import use_backend
from reliquant.clip import Clip
from reliquant.evaluate import evaluate
from reliquant.opening import open_model, scheme_entry
from reliquant.prepare import prepare
from reliquant.proxy import Proxy
from reliquant.quantize import quantize
from reliquant.resume import Checkpoints
from reliquant.torchvision_shim import open_clip
from reliquant.variant import restore

PRECISIONS = ["w8a8", "w7a8", "w6a8", "w5a8", "w4a8", "w3a8", "w2a8", "w6a6", "w4a6"]  # and FP32: ten variants
CLASSES = [f"kind of thing {i}" for i in range(10)]
TEMPLATES = ["a photo of a {}.", "a blurry photo of a {}.", "a drawing of a {}."]
BATCH = 32


def write_images(folder: Path, count: int) -> None:
    """Write JPEGs of 500 x 375 pixels in one folder a class: smooth random pictures with some grain."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        (folder / CLASSES[i % 10]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / CLASSES[i % 10] / f"{i:05d}.jpg", quality=90)


def variants(clip: Clip) -> list[Clip]:
    """Return FP32 and nine quantized variants of a model, none of them frozen to a backend yet."""
    rng = np.random.default_rng(1)
    captions = [f"a photo of {name}" for name in CLASSES[:8]]
    proxy = Proxy(rng.integers(0, 256, (8, 224, 224, 3), dtype=np.uint8), captions)
    made = [clip]
    for precision in PRECISIONS:
        entry = scheme_entry("{quantizer: rtn, batch: 8}", precision)
        arrays, facts = quantize(copy.deepcopy(clip), entry, "image", proxy, Checkpoints(), tuning="none")
        made.append(copy.deepcopy(clip))
        restore(made[-1].model.requires_grad_(False).eval(), arrays, facts["modules"])
    return made


class Jpegs(torch.utils.data.Dataset):
    """Labelled files as CLIP_benchmark reads them: decoded and transformed when asked for."""

    def __init__(self, root: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.classes = CLASSES
        self.files = [(f, CLASSES.index(f.parent.name)) for f in sorted(root.glob("*/*.jpg"))]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.files[i][0]).convert("RGB")), self.files[i][1]


def theirs(models: list[Clip], root: Path) -> list[float]:
    """Return top-1 accuracy of each variant by CLIP_benchmark's loop."""
    from clip_benchmark.metrics import zeroshot_classification

    size = models[0].model.visual.image_size
    transform = open_clip.image_transform(size, is_train=False)
    loader = torch.utils.data.DataLoader(Jpegs(root, transform), batch_size=BATCH, num_workers=0)
    templates = [t.replace("{}", "{c}") for t in TEMPLATES]
    found = []
    with redirect_stderr(io.StringIO()):
        for m in models:  # its `evaluate` does this and then fails in its accuracy beside NumPy 2.4
            words = (m.tokenizer, CLASSES, templates, "cpu")
            classifier = zeroshot_classification.zero_shot_classifier(m.model, *words, amp=False)
            logits, labels = zeroshot_classification.run_classification(m.model, classifier, loader, "cpu", amp=False)
            found.append((logits.argmax(1) == labels).float().mean().item())
    return found


def ours(models: list[Clip], root: Path) -> list[float]:
    """Return top-1 accuracy of each variant, with the records and scores that a study keeps."""
    scores = {name: plugins.load("score", {"score": name}) for name in ("mcm", "msp", "max_logit", "energy")}
    with TemporaryDirectory() as folder:
        path = Path(folder, "jpegs", models[0].form)
        dataset = plugins.load("dataset", {"dataset": "image_folder", "templates": TEMPLATES})(root)
        prepare(dataset, path, form=models[0].form, entry={})
        cell: dict[str, Any] = {"suite": "clean", "dataset": "jpegs", "reference": "jpegs", "group": ""}
        cell |= {"corruption": "", "severities": [0], "images": None, "folder": str(path), "head": str(path)}
        words = {"batch": BATCH, "device": "cpu", "dtype": "float32"}
        records = [evaluate(m, [cell], scores, **words) for m in models]
    return [float((r["prediction"] == r["label"]).mean()) for r in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    simulated = variants(open_model("ViT-B-32"))
    chosen = copy.deepcopy(simulated)
    for model, backend in [(m, "simulate") for m in simulated[1:]] + [(m, "auto") for m in chosen[1:]]:
        use_backend(model.model, backend, "ViT-B-32")
    cases = {
        "one": (lambda r: theirs(simulated[:1], r), lambda r: ours(chosen[:1], r), args.repeats),
        "ten": (lambda r: theirs(simulated, r), lambda r: ours(chosen, r), max(1, args.repeats // 2)),
        "ten, simulated": (None, lambda r: ours(simulated, r), 1),
    }
    found: dict[str, dict[str, list[float]]] = {}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root, args.images)
        theirs(simulated[:1], root), ours(chosen[:1], root)  # warm up
        for name, (their_run, our_run, repeats) in cases.items():
            sides = {"clip_benchmark": their_run, "reliquant": our_run}
            found[name] = {side: [] for side in sides}
            for _ in range(repeats):
                accuracies = {}
                for side, run in sides.items():
                    if run is not None:
                        start = time.process_time()
                        accuracies[side] = run(root)
                        found[name][side].append(time.process_time() - start)
            print(name, {side: [round(a, 3) for a in values] for side, values in accuracies.items()}, file=sys.stderr)
    found["ten, simulated"]["clip_benchmark"] = found["ten"]["clip_benchmark"][-1:]
    ratios = {}
    print(f"{'variants':16} {'CLIP_benchmark s':>17} {'reliquant s':>12} {'ratio':>6}")
    for name, times in found.items():
        theirs_s, ours_s = median(times["clip_benchmark"]), median(times["reliquant"])
        ratios[name] = median(a / b for a, b in zip(times["clip_benchmark"], times["reliquant"], strict=True))
        print(f"{name:16} {theirs_s:17.2f} {ours_s:12.2f} {ratios[name]:6.2f}")
    medians = {"ratios": ratios, "images": args.images}
    for name, target in (("one", 1.0), ("ten", 3.0)):
        line = {"name": f"zero_shot_{name}", "ratio": ratios[name], "target": target, "better": "higher"}
        print(json.dumps(line | {"medians": medians}))


if __name__ == "__main__":
    main()
