"""Zero-shot classification of JPEGs at full size: this project against CLIP_benchmark's loop, same model, same images.

FP32, and ten quantized variants of one model. CLIP_benchmark decodes the images for every variant and forwards each as
the module it is given; here they are decoded once, and quantized variants run on integers where they can. One thread
and no worker processes on either side, processor time, so that nothing hides behind a second core. Needs
CLIP_benchmark (extra `benchmarks`). `python benchmarks/zero_shot.py [--images N] [--repeats N]`
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from peers import require
from PIL import Image

from reliquant import plugins
from reliquant.evaluation.evaluate import evaluate
from reliquant.images.formats import FORMATS
from reliquant.images.prepare import prepare
from reliquant.layers.backend import use_backend
from reliquant.layers.variant import restore
from reliquant.models.clip import Clip
from reliquant.models.open import open_model
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

TEN = [("rtn", f"w{bits}a8") for bits in range(2, 9)] + [("percentile", f"w{bits}a8") for bits in (4, 6, 8)]
CLASSES = [f"kind of thing {i}" for i in range(10)]
TEMPLATES = ["a photo of a {}.", "a blurry photo of a {}.", "a drawing of a {}."]
BATCH = 32


def write_images(folder: Path, count: int) -> None:
    """Write JPEGs of 500 x 375 pixels in one folder per class: smooth random pictures with some grain."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        (folder / CLASSES[i % 10]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / CLASSES[i % 10] / f"{i:05d}.jpg", quality=90)


def variants(clip: Clip) -> Iterator[Clip]:
    """Yield ten quantized variants of a model, one at a time, not yet fixed to a backend."""
    rng = np.random.default_rng(1)
    captions = [f"a photo of {name}" for name in CLASSES[:8]]
    proxy = Proxy(rng.integers(0, 256, (8, 224, 224, 3), dtype=np.uint8), captions)
    for quantizer, precision in TEN:
        entry = scheme_entry(f"{{quantizer: {quantizer}, batch: 8}}", precision)
        arrays, facts = quantize(copy.deepcopy(clip), entry, "image", proxy, Checkpoints(), tuning="none")
        made = copy.deepcopy(clip)
        restore(made.model.requires_grad_(False).eval(), arrays, facts["modules"])
        yield made


class Jpegs(torch.utils.data.Dataset):
    """Labelled files as CLIP_benchmark reads them: decoded and transformed when asked for."""

    def __init__(self, root: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.classes = CLASSES
        self.files = [(f, CLASSES.index(f.parent.name)) for f in sorted(root.glob("*/*.jpg"))]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.files[i][0], formats=FORMATS).convert("RGB")), self.files[i][1]


def theirs(clip: Clip, root: Path) -> float:
    """Return top-1 accuracy of a variant by CLIP_benchmark's loop: JPEGs in, logits out."""
    from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier

    transform = open_clip.image_transform(clip.model.visual.image_size, is_train=False)
    loader = torch.utils.data.DataLoader(Jpegs(root, transform), batch_size=BATCH, num_workers=0)
    templates = [t.replace("{}", "{c}") for t in TEMPLATES]
    with redirect_stderr(io.StringIO()):  # its `evaluate` does this, then fails in its accuracy beside NumPy 2.4
        classifier = zero_shot_classifier(clip.model, clip.tokenizer, CLASSES, templates, "cpu", amp=False)
        logits, labels = run_classification(clip.model, classifier, loader, "cpu", amp=False)
    return (logits.argmax(1) == labels).float().mean().item()


def decoded(form: str, root: Path, folder: Path) -> Path:
    """Decode the JPEGs once, for all variants."""
    path = folder / "jpegs" / form
    dataset = plugins.load("dataset", {"dataset": "image_folder", "templates": TEMPLATES})(root)
    prepare(dataset, path, form=form, entry={})
    return path


def ours(clip: Clip, path: Path) -> float:
    """Return top-1 accuracy of a variant, with the records and scores that a study keeps."""
    scores = {name: plugins.load("score", {"score": name}) for name in ("mcm", "msp", "max_logit", "energy")}
    cell: dict[str, Any] = {"suite": "clean", "dataset": "jpegs", "reference": "jpegs", "group": ""}
    cell |= {"corruption": "", "severities": [0], "images": None, "folder": str(path), "head": str(path)}
    records = evaluate(clip, [cell], scores, batch=BATCH, device="cpu", dtype="float32")
    return float((records["prediction"] == records["label"]).mean())


def timed(run: Callable[..., Any], *words: Any) -> tuple[float, Any]:
    start = time.process_time()
    found = run(*words)
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=3, help="of the one variant")
    args = parser.parse_args()
    require("zero_shot", "clip_benchmark")
    torch.set_num_threads(1)
    clip = open_model("ViT-B-32", random_weights=True)
    clip.model.requires_grad_(False).eval()
    with TemporaryDirectory() as name:
        root = Path(name, "jpegs")
        write_images(root, args.images)
        theirs(clip, root), ours(clip, decoded(clip.form, root, Path(name, "warm")))
        one = []
        for i in range(args.repeats):
            other, _ = timed(theirs, clip, root)
            once, path = timed(decoded, clip.form, root, Path(name, str(i)))
            one.append((other, once + timed(ours, clip, path)[0]))
        sums = {"clip_benchmark": 0.0, "reliquant": once}
        for made in variants(clip):
            use_backend(made.model, "simulate", "ViT-B-32")
            found = {"clip_benchmark": timed(theirs, made, root)}
            use_backend(made.model, "auto", "ViT-B-32")
            found["reliquant"] = timed(ours, made, path)
            for side, (seconds, _) in found.items():
                sums[side] += seconds
            print({side: round(top1, 3) for side, (_, top1) in found.items()}, file=sys.stderr, flush=True)
    single = median(a / b for a, b in one)
    ten = sums["clip_benchmark"] / sums["reliquant"]
    a, b = (median(side) for side in zip(*one, strict=True))
    print(f"{'variants':16} {'CLIP_benchmark s':>17} {'reliquant s':>12} {'ratio':>6}  target")
    print(f"{'FP32':16} {a:17.2f} {b:12.2f} {single:6.2f}  1.0")
    print(f"{'ten quantized':16} {sums['clip_benchmark']:17.2f} {sums['reliquant']:12.2f} {ten:6.2f}  3.0")
    medians = {"one": single, "decoding_s": once, "images": args.images, **sums}
    print(json.dumps({"name": "zero_shot", "ratio": ten, "target": 3.0, "better": "higher", "medians": medians}))


if __name__ == "__main__":
    main()
