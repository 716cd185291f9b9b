"""A process of its own for `benchmarks/gpu.py`: it embeds images when it is told to, or trains and evaluates twice."""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time

import numpy as np
from gpu_models import Setting, method_of, quantize_in_place, random_images, random_proxy, tower, wait

from reliquant.device import add_words, chosen
from reliquant.evaluation.zero_shot import image_features
from reliquant.layers.backend import use_backend
from reliquant.layers.surgery import targets, unpack
from reliquant.layers.variant import export
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints


def embed(setting: Setting) -> None:
    """Embed images for some seconds for each line of the standard input, which names the type; print the rate."""
    clip = tower("ViT-B/32", setting)
    clip.model.to(setting.device)
    batch = setting.size(256, 8)
    quantize_in_place(clip, random_proxy(clip, batch, setting.device), batch=batch)
    images = random_images(4 * batch, clip)
    models = {"float32": clip, "bfloat16": clip.with_model(copy.deepcopy(clip.model).bfloat16())}
    for dtype, model in models.items():
        image_features(model, images[:batch], batch=batch, device=setting.device, dtype=dtype)
    print("ready", flush=True)
    for line in sys.stdin:
        dtype, done, start = line.strip(), 0, time.perf_counter()
        while time.perf_counter() - start < setting.seconds:
            image_features(models[dtype], images, batch=batch, device=setting.device, dtype=dtype)
            done += len(images)
        print(json.dumps({"rate": done / (time.perf_counter() - start)}), flush=True)


def twice(setting: Setting, method: str) -> None:
    """Train twice and evaluate twice; print what is the same to the bit, and seconds a step."""
    exact = tower("ViT-B/32", setting)
    exact.model.to(setting.device)
    found = [trained(exact, setting, method) for _ in range(2)]
    (first, arrays, _), (_, other, seconds) = found
    equal = [name for name in arrays if np.array_equal(arrays[name], other[name])]
    images = random_images(setting.size(1024, 16), exact)
    told = {"equal": len(equal), "arrays": len(arrays), "seconds": seconds}
    for backend in ("simulate", "auto"):
        model = copy.deepcopy(first.model)
        use_backend(model, backend, "a variant")
        words = {"batch": setting.size(256, 8), "device": setting.device}
        one, two = (image_features(exact.with_model(model), images, **words) for _ in range(2))
        told[backend] = bool(np.array_equal(one, two))
    print(json.dumps(told), flush=True)


def trained(exact: Clip, setting: Setting, method: str) -> tuple[Clip, dict[str, np.ndarray], float]:
    """Train a copy of a model for a few iterations; return it, its arrays, and the seconds of all."""
    clip = exact.with_model(copy.deepcopy(exact.model))
    unpack(clip)
    batch = setting.size(64, 8)
    proxy = random_proxy(clip, 2 * batch, setting.device)
    wait(setting.device)
    start = time.perf_counter()
    words = {"iterations": setting.size(8, 2), "batch": batch, "lr": 1e-4}
    method_of(method, **words)(clip, targets(clip, "image"), proxy, Checkpoints())
    wait(setting.device)
    seconds = time.perf_counter() - start
    return clip, export(clip, "image")[0], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["embed", "twice"])
    parser.add_argument("--method", default="lsq")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--tiny", action="store_true")
    add_words(parser)
    args = parser.parse_args()
    setting = Setting(chosen(args), args.tiny, args.seconds)
    if args.what == "embed":
        embed(setting)
    else:
        twice(setting, args.method)


if __name__ == "__main__":
    main()
