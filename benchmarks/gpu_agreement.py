"""Sections of `benchmarks/gpu.py`: do integers agree with their simulation, a GPU with a CPU, a run with itself?"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import numpy as np
import torch
from gpu_models import (
    CHANNEL,
    EIGHT,
    LAB,
    TOKEN,
    Section,
    Setting,
    free,
    lab_images,
    lab_model,
    on,
    precision,
    quantize_in_place,
    random_proxy,
    tower,
)
from gpu_work import CHILD, FOUR, PTQ, TRAINED
from numpy.typing import NDArray

from reliquant.evaluation.zero_shot import image_features, text_head
from reliquant.layers.backend import use_backend
from reliquant.layers.integer import integer_twin, unfit
from reliquant.layers.stored import unpack as codes_of
from reliquant.layers.surgery import twins
from reliquant.layers.variant import restore
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize

SIX = {"bits": 6, "granularity": "channel"}
SCHEMES: dict[str, dict[str, Any]] = {
    "RTN W8A8": {"quantizer": "rtn"},
    "RTN W6A8": {"quantizer": "rtn", "weight": SIX},
    "SmoothQuant W4A8": {"quantizer": "smoothquant", "weight": FOUR},
    "LSQ W4A8": {"quantizer": "lsq", "weight": FOUR, "iterations": 2, "batch": 16},
    "LSQ+ W8A8": {"quantizer": "lsq_plus", "activation": {"bits": 8, "symmetric": False}, "iterations": 2, "batch": 16},
    "StatsQ W4A8": {"quantizer": "statsq", "weight": FOUR, "iterations": 2, "batch": 16},
    "QuaRot W8A8": {"quantizer": "quarot"},
    "RTN W8A8, a scale per token": {"quantizer": "rtn", "activation": TOKEN},
    "LLM.int8 W4A8": {"quantizer": "llm_int8", "weight": FOUR, "activation": TOKEN, "threshold": 1.5},
}
COMPARED = ("same top-1 %", "rms of embeddings", "median", "largest")


def variant(clip: Clip, proxy: Proxy, entry: dict[str, Any]) -> tuple[Any, Any]:
    """Quantize a copy of a model as the product does; return its arrays and the facts of its modules."""
    words = {"weight": CHANNEL, "activation": EIGHT, **entry}
    made = clip.with_model(copy.deepcopy(clip.model))
    arrays, facts = quantize(made, words, "image", proxy, Checkpoints(), tuning="none")
    return arrays, facts["modules"]


def restored(clip: Clip, arrays: Any, modules: Any, device: str, backend: str, dtype: str = "float32") -> Clip:
    model = copy.deepcopy(clip.model).cpu()
    restore(model, arrays, modules)
    model.requires_grad_(False).to(device, getattr(torch, dtype))
    use_backend(model, backend, "a variant")
    return clip.with_model(model)


def features(clip: Clip, images: NDArray[np.uint8], device: str, dtype: str = "float32") -> NDArray[np.float32]:
    return image_features(clip, images, batch=250, device=device, dtype=dtype)


def compared(one: NDArray[np.float32], other: NDArray[np.float32], head: NDArray[np.float32]) -> list[float]:
    """Return the share of the same top-1 in per cent, and the relative difference of embeddings: all, median, most."""
    same = float(((one @ head.T).argmax(1) == (other @ head.T).argmax(1)).mean()) * 100
    apart = np.linalg.norm(one - other, axis=1)
    rms = float(np.sqrt((apart**2).mean()))
    return [same, rms, float(np.median(apart)), float(apart.max())]


def lab(name: str, setting: Setting) -> tuple[Clip, Proxy, NDArray[np.uint8], NDArray[np.float32]]:
    """Return a lab model on the CPU, pairs to calibrate on, images to compare on, and classes (c, d)."""
    clip = lab_model(name)
    data, images = lab_images(setting.size(2000, 40))
    pairs = setting.size(128, 24)
    head = text_head(clip, data.classes, data.templates)
    return clip, Proxy(images[:pairs], list(data.captions[:pairs])), images, head


def integers(section: Section, setting: Setting) -> None:
    """Products of int8 codes against the simulation of the same variants, both on the device."""
    precision(False)
    table = section.table("Integer against simulated", "model", "scheme", "computed", *COMPARED)
    for name in LAB:
        clip, proxy, images, head = lab(name, setting)
        for scheme, entry in list(SCHEMES.items())[-setting.size(len(SCHEMES), 2) :]:
            with section.guard(f"{name}, {scheme}"):
                made = variant(clip, proxy, entry)
                one, two = (restored(clip, *made, setting.device, backend) for backend in ("simulate", "integer"))
                found = [features(side, images, setting.device) for side in (one, two)]
                used = use_backend(restored(clip, *made, setting.device, "simulate").model, "auto", "")["used"]
                table.add(name, scheme, used, *compared(*found, head))
        free()
    layers = section.table(
        "Single layers of ViT-B/32, the same inputs", "layer", "largest relative error", "times FP32's"
    )
    clip = tower("ViT-B/32", setting)
    clip.model.to(setting.device)
    quantize_in_place(clip, random_proxy(clip, setting.size(64, 8), setting.device), batch=8)
    for name, layer in list(twins(clip.model).items())[: setting.size(8, 4)]:
        with section.guard(name):
            if reason := unfit(layer):
                raise ValueError(reason)
            x = torch.randn(setting.size(12800, 64), layer.weight.shape[1], device=setting.device)
            whole, mine = integer_twin(layer), layer(x)
            exact = layer.double()(x.double())
            apart = ((whole(x) - exact).abs().max() / exact.abs().max()).item()
            layers.add(name, apart, apart / max(((mine - exact).abs().max() / exact.abs().max()).item(), 1e-30))


def devices(section: Section, setting: Setting) -> None:
    """The same model and variant on the device and on the CPU."""
    table = section.table("This device against the CPU", "model", "computed as", *COMPARED)
    settings = {"": (False, False), ", TF32 in convolutions": (False, True), ", TF32": (True, True)}
    for name in LAB:
        clip, proxy, images, head = lab(name, setting)
        made = variant(clip, proxy, {"quantizer": "rtn"})
        for what, arrays in (("FP32", ({}, {})), ("W8A8 simulated", made)):
            torch.set_num_threads(setting.size(8, 1))
            exact = features(restored(clip, *arrays, "cpu", "simulate"), images, "cpu")
            for words, tf32 in settings.items():
                with section.guard(f"{name}, {what}{words}"):
                    precision(*tf32)
                    here = features(restored(clip, *arrays, setting.device, "simulate"), images, setting.device)
                    table.add(name, what + words, *compared(here, exact, head))
            with section.guard(f"{name}, {what}, bf16"):
                precision(False)
                model = restored(clip, *arrays, setting.device, "simulate", "bfloat16")
                here = features(model, images, setting.device, "bfloat16")
                table.add(name, f"{what}, bf16", *compared(here, exact, head))
    precision(False)


def methods(section: Section, setting: Setting) -> None:
    """Every method's codes on the device against the CPU's."""
    precision(False)  # the CPU has no TF32
    torch.set_num_threads(setting.size(8, 1))
    columns = ("model", "method", "equal codes %", "steps apart at most", "input scales apart", "weight scales apart")
    table = section.table("Methods here against the CPU", *columns, "rest apart", "same top-1 %", "rms of embeddings")
    entries = {method: {"quantizer": method, "weight": FOUR} for method in PTQ}
    three = {"iterations": 3, "batch": 16, "lr": 1e-4}
    entries |= {
        f"{name}, 3 steps": {"weight": FOUR, **entry, **three} for name, entry in TRAINED.items() if name != "FP32"
    }
    if setting.tiny:
        entries = {name: entries[name] for name in ("rtn", "raana", "lsq, 3 steps")}
    for name in list(LAB)[: setting.size(2, 1)]:
        clip, proxy, images, head = lab(name, setting)
        there = Proxy(proxy.images, proxy.captions, 0, setting.device)
        away = on(clip, setting.device)
        for method, entry in entries.items():
            with section.guard(f"{name}, {method}"):
                one, two = variant(clip, proxy, entry), variant(away, there, entry)
                sides = (
                    features(restored(clip, *side, setting.device, "simulate"), images, setting.device)
                    for side in (one, two)
                )
                same, rms, _, _ = compared(*sides, head)
                table.add(name, method, *differences(one, two), same, rms)
        free()


def differences(one: tuple[Any, Any], two: tuple[Any, Any]) -> list[float]:
    """Return the equal codes in per cent, the largest step between two, and how far scales and the rest are apart."""
    (arrays, modules), (others, facts) = one, two
    equal, count, step, weights, rest, inputs = 0, 0, 0, 0.0, 0.0, 0.0
    for name, array in arrays.items():
        other = others[name]
        if name.endswith(".codes"):
            grid, its = (side[name.removesuffix(".codes")]["weight"] for side in (modules, facts))
            if grid["bits"] != its["bits"]:
                step = max(step, 2**8)  # another number of bits
                count += array.size * 8 // grid["bits"]
                continue
            size = array.size * 8 // grid["bits"]
            codes = [codes_of(a, 0, grid["bits"], size).astype(int) for a in (array, other)]
            apart = np.abs(codes[0] - codes[1])
            equal, count, step = equal + int((apart == 0).sum()), count + size, max(step, int(apart.max()))
        else:
            far = relative(array, other)
            weights, rest = (max(weights, far), rest) if name.endswith(".scale") else (weights, max(rest, far))
    for name, fact in modules.items():
        if "input" in fact:
            inputs = max(inputs, relative(fact["input"]["scale"], facts[name]["input"]["scale"]))
    return [100 * equal / max(count, 1), step, inputs, weights, rest]


def relative(one: Any, other: Any) -> float:
    one, other = (np.asarray(x, dtype=float) for x in (one, other))
    return float(np.abs(one - other).max(initial=0.0) / max(np.abs(one).max(initial=0.0), 1e-30))


def determinism(section: Section, setting: Setting) -> None:
    """The same training and evaluation twice in one process, with and without the word `deterministic`."""
    columns = ("method", "words of the config", "arrays equal", "of", "equal evaluation", "by auto")
    table = section.table("Twice the same, all at once", *columns, "seconds of a training")
    running = {}
    for method in ("lsq", "lsq_plus", "pact")[: setting.size(3, 1)]:
        for words in ("", "--deterministic"):
            command = [sys.executable, CHILD, "twice", "--method", method, "--device", setting.device, *words.split()]
            command += ["--tiny"] if setting.tiny else []
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            running[method, words] = subprocess.Popen(command, **pipes)
    for (method, words), child in running.items():
        with section.guard(f"{method} {words}"):
            try:
                out, error = child.communicate(timeout=200)
            finally:
                child.kill()
            if child.returncode:
                raise RuntimeError(" ".join(error[-800:].split()))
            told = json.loads(out.splitlines()[-1])
            cells = (told["equal"], told["arrays"], told["simulate"], told["auto"], told["seconds"])
            table.add(method, "deterministic: true" if words else "-", *cells)
