"""Every quantizer at every precision on the lab's models: accuracy, ECE, stored bits, size, time; Markdown and CSV.

`python benchmarks/quantizers.py FOUND.jsonl > docs/results/quantizers_table.md`: figures go to the file as found, and
all of them at last into FOUND.csv; a run that was stopped goes on from it. About an hour and a half on one core.
`--scheme '{quantizer: lsq, scale_lr: 1.0e-3}' --precision w8a8` measures that one on the ViT and prints its figures,
with the weights' signal to noise.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml
from quantizers_report import WEIGHT_GRIDS, draw, print_tables, write_csv

from reliquant import plugins
from reliquant.evaluation.features import Features
from reliquant.evaluation.records import samples_of
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.layers.backend import use_backend
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.variant import restore, size_in_bytes
from reliquant.measures import calibration
from reliquant.models.clip import Clip
from reliquant.models.open import open_model
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.fold import layer_norm_readers
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

MODELS = ["lab-vit-curated", "lab-convnext-curated"]
OUTLIERS = "lab-vit-curated with outliers"  # the same function in FP32, see `opened`
INTEGERS = ["w8a8", "w6a8", "w4a8", "w4a4"]
FLOATS = ["fp8", "mxfp8", "mxfp4", "nvfp4"]
WEIGHT_ONLY = ["w4a16", "w3a16", "w2a16"]
POST = ["rtn", "percentile", "mse", "smoothquant", "repq", "quarot", "llm_int8", "hqq", "gptq", "awq", "raana"]
SEARCHED = ["erq", "{quantizer: mixed, method: gptq}"]
CORRECTED = [
    f"{{quantizer: {name}, {word}}}"
    for name in ("rtn", "gptq")
    for word in ("bias_correction: true", "compensation: qwt")
]
RECONSTRUCTED = ["qdrop"]
TRAINED = ["ste", "dorefa", "pact", "lsq", "lsq_plus", "statsq", "lsq_mse", "distill", "paretoq", "rot_lsq"]
ON_GRIDS = {"rtn": "", "mse": "", "gptq": "", "awq": "", "hqq": "grid: scheme, "}
PER_TOKEN = "activation: {granularity: token, dynamic: true}"  # inputs of four bits are hardly ever rounded otherwise
IN_BLOCKS = ["rtn", "mse", "smoothquant", "quarot", "gptq", "awq"]
DEPTHWISE = "layers: {other: {'*conv_dw': w8a8}}"  # whose 49 weights a kernel no block divides
TRAINING = "iterations: 100, batch: 64, lr: 1.0e-4"
TASKS = ["shape", "colour", "texture", "background", "count"]
IMAGES, PAIRS = 800, 500


def on_grids() -> list[str]:
    """List the schemes of weight-only methods on matched grids."""
    grids = WEIGHT_GRIDS.values()
    return [f"{{quantizer: {name}, {own}weight: {{{grid}}}}}" for grid in grids for name, own in ON_GRIDS.items()]


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield model, quantizer and precision; what takes long comes last."""
    models = [*MODELS, OUTLIERS]
    for model in models:
        for precision in INTEGERS + FLOATS + WEIGHT_ONLY:
            yield from ((model, name, precision) for name in POST + SEARCHED + CORRECTED)
        yield from ((model, f"{{quantizer: {name}, {PER_TOKEN}}}", "w4a4") for name in POST)
        for precision in WEIGHT_ONLY:
            yield from ((model, name, precision) for name in on_grids())
        for precision in FLOATS[1:] if "convnext" in model else ():
            yield from ((model, f"{{quantizer: {name}, {DEPTHWISE}}}", precision) for name in IN_BLOCKS)
    for model in models:
        for precision in INTEGERS + FLOATS + WEIGHT_ONLY:
            yield from ((model, name, precision) for name in TRAINED)
    for model in models:
        for precision in INTEGERS + WEIGHT_ONLY:
            yield from ((model, name, precision) for name in RECONSTRUCTED)


def opened(model: str, proxy: Proxy) -> Clip:
    """Open a lab model; with outliers every 11th channel behind a LayerNorm is 60 times as large, its readers less."""
    clip = open_model(model.removesuffix(" with outliers"))
    if model == OUTLIERS:
        unpack_attention(clip.model)
        for norm, readers in layer_norm_readers(clip, targets(clip, "image"), proxy).items():
            factor = torch.ones_like(clip.model.get_submodule(norm).weight)
            factor[::11] = 60
            clip.model.get_submodule(norm).weight.data.mul_(factor)
            clip.model.get_submodule(norm).bias.data.mul_(factor)
            for name in readers:
                clip.model.get_submodule(name).weight.data.div_(factor)
    return clip


def images_of(entry: dict[str, Any]) -> tuple[Any, np.ndarray]:
    data = plugins.load("dataset", entry)(Path())
    return data, np.stack([data.read(i) for i in range(len(data.labels))])


def measured(clip: Clip, sets: list[tuple[Any, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Return which images are right, over all sets, and the mean ECE of the sets."""
    right, ece = [], []
    words = {"batch": 256, "device": "cpu", "dtype": "float32"}
    for data, images in sets:
        text = text_head(clip, data.classes, data.templates, device="cpu")
        found = Features(image_features(clip, images, **words), text, data.labels, *logit_scale_and_bias(clip))
        records = samples_of(found, {})
        correct = (records["prediction"] == records["label"]).to_numpy()
        right.append(correct)
        ece.append(calibration.ece(records["confidence"].to_numpy(), correct))
    return np.concatenate(right), float(np.mean(ece))


def found_of(model: str, name: str, precision: str, proxy: Proxy, sets: Any, fp32: np.ndarray) -> dict[str, Any]:
    """Quantize, load what was stored as an evaluation does, and measure."""
    words = yaml.safe_load(name) if name.startswith("{") else {"quantizer": name}
    training = yaml.safe_load(f"{{{TRAINING}}}") if words["quantizer"] in TRAINED else {}
    entry = scheme_entry(json.dumps(training | words), precision)
    torch.manual_seed(0)
    clip = opened(model, proxy)
    whole = sum(v.nbytes for k, v in clip.model.state_dict().items() if k.startswith("visual."))
    start = time.process_time()
    arrays, facts = quantize(clip, entry, "image", proxy, Checkpoints(), tuning="none")
    seconds, modules = time.process_time() - start, facts["modules"]
    variant = opened(model, proxy)
    restore(variant.model.requires_grad_(False), arrays, modules)
    use_backend(variant.model, "auto", name)
    right, ece = measured(variant, sets)
    change = right.astype(float) - fp32
    half = 1.96 * change.std(ddof=1) / len(change) ** 0.5
    size, seen = size_in_bytes(arrays) / whole, facts["measures"]
    dead, stored = int(seen["dead_channels"]), seen["stored_bits"]
    facts = {"lost": int((change < 0).sum()), "gained": int((change > 0).sum())}
    facts |= {
        "change": change.mean(),
        "half": half,
        "ece": ece,
        "size": size,
        "seconds": seconds,
        "stored_bits": stored,
    }
    facts["snr_db"] = signal_to_noise(opened(model, proxy).model, arrays, modules)
    return {"accuracy": right.mean(), **facts, "dead": dead}


def signal_to_noise(model: torch.nn.Module, arrays: Any, modules: Any) -> float:
    """Return the power of the weights that a variant rounds over that of their errors, in dB."""
    unpack_attention(model)
    exact = copy.deepcopy(model)
    restore(model.requires_grad_(False), arrays, modules)
    pairs = [(exact.get_submodule(name).weight, layer.weight) for name, layer in twins(model).items()]
    power, error = (
        sum(v.square().sum().item() for v in side) for side in ([w for w, _ in pairs], [w - q for w, q in pairs])
    )
    return 10 * math.log10(power / error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("found", type=Path, nargs="?")
    parser.add_argument("--scheme")
    parser.add_argument("--precision", default="w8a8")
    parser.add_argument("--outliers", action="store_true", help="measure the scheme on the ViT with outliers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets = [images_of({"dataset": "lab", "task": task, "images": IMAGES}) for task in TASKS]
    pairs, pictures = images_of({"dataset": "lab_captions", "world": "curated", "images": PAIRS, "seed": 3})
    proxy = Proxy(pictures, list(pairs.captions))
    if args.scheme:
        model = OUTLIERS if args.outliers else MODELS[0]
        right, _ = measured(opened(model, proxy), sets)
        print(json.dumps(found_of(model, args.scheme, args.precision, proxy, sets, right.astype(float))))
        return
    path = args.found
    lines = path.read_text().splitlines() if path.exists() else []
    known = {tuple(r["case"]): r for r in map(json.loads, lines)}
    fp32 = {}
    for model in [*MODELS, OUTLIERS]:
        right, ece = measured(opened(model, proxy), sets)
        fp32[model] = {"right": right.astype(float), "accuracy": right.mean(), "ece": ece}
    for case in cases():
        if case in known:
            continue
        try:
            found = found_of(*case, proxy, sets, fp32[case[0]]["right"])
        except ValueError as error:
            found = {"refused": str(error)}
        known[case] = {"case": case, **found}
        with path.open("a") as file:
            file.write(json.dumps(known[case]) + "\n")
        print(known[case], file=sys.stderr, flush=True)
    groups = (INTEGERS, FLOATS, WEIGHT_ONLY)
    told = {"IMAGES": IMAGES, "PAIRS": PAIRS, "TRAINING": TRAINING}
    print_tables(known, fp32, groups, **told)
    write_csv(path.with_suffix(".csv"), known)
    draw(path.with_suffix(".png"), known, fp32, WEIGHT_ONLY)


if __name__ == "__main__":
    main()
