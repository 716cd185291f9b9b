"""Sections of `benchmarks/gpu.py`: the product's own loops: evaluation, several processes, training, calibration."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from gpu_models import (
    EIGHT,
    Section,
    Setting,
    free,
    method_of,
    peak,
    pixels_of,
    precision,
    quantize_in_place,
    random_images,
    random_proxy,
    seconds_of,
    tower,
    wait,
)

from reliquant import plugins
from reliquant.evaluation.evaluate import evaluate
from reliquant.evaluation.zero_shot import image_features
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import load, prepare
from reliquant.layers.backend import use_backend
from reliquant.layers.surgery import targets, unpack
from reliquant.models.clip import Clip
from reliquant.models.preprocess import batches, pixel_words
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize

CHILD = Path(__file__).with_name("gpu_child.py")
FOUR = {"bits": 4, "granularity": "channel"}
PTQ = ["rtn", "percentile", "mse", "smoothquant", "awq", "gptq", "hqq", "quarot", "raana", "llm_int8", "repq"]
FLOATING = {"bits": 16}
TRAINED: dict[str, dict[str, Any]] = {  # the first is a training in floating point by the same loop
    "FP32": {"quantizer": "lsq", "weight": FLOATING, "activation": FLOATING},
    "lsq": {"quantizer": "lsq"},
    "lsq, learned weights": {"quantizer": "lsq", "weights": "learned"},
    "lsq_plus": {"quantizer": "lsq_plus", "activation": {"bits": 8, "symmetric": False}},
    "pact": {"quantizer": "pact"},
    "statsq": {"quantizer": "statsq", "weight": FOUR},
    "paretoq": {"quantizer": "paretoq", "weight": FOUR},
    "dorefa": {"quantizer": "dorefa"},
    "ste": {"quantizer": "ste"},
    "rot_lsq": {"quantizer": "rot_lsq"},
}


def evaluation(section: Section, setting: Setting) -> float | None:
    """Evaluation of prepared images by the product's own loop, against the bare forward of the module."""
    torch.set_num_threads(1)  # as a step has it
    clip = tower("ViT-B/32", setting)
    clip.model.to(setting.device)
    quantize_in_place(clip, random_proxy(clip, setting.size(64, 8), setting.device), batch=setting.size(64, 8))
    count = setting.size(6144, 24)
    batch = setting.size(256, 8)
    table = section.table("Evaluation, ViT-B/32 W8A8", "type", "backend", "images/s of", "images/s", "times bare")
    ratio = None
    with TemporaryDirectory() as folder:
        path = Path(folder, "data", clip.form)
        labels = np.arange(count) % 10
        images = random_images(count, clip)
        names = [str(i) for i in range(count)]
        dataset = Dataset([f"class {i}" for i in range(10)], ["a photo of a {}."], labels, images.__getitem__, names)
        start = time.perf_counter()
        prepare(dataset, path, form=clip.form, entry={})
        section.note(f"preparing {count} images took {time.perf_counter() - start:.1f} s")
        _pieces(section, clip, load(path).images, batch, setting)
        for dtype in ("float32", "bfloat16"):
            for backend in ("simulate", "auto"):
                with section.guard(f"{dtype}, {backend}"):
                    model = copy.deepcopy(clip.model).to(getattr(torch, dtype))
                    use_backend(model, backend, "a variant")
                    found = _loops(table, clip.with_model(model), path, batch, dtype, backend, setting)
                    ratio = found if ratio is None else ratio
                free()
    return ratio


def _loops(table: Any, clip: Clip, path: Path, batch: int, dtype: str, backend: str, setting: Setting) -> float:
    """Time bare forward, the loop over images, and a whole evaluation; return the latter two's worse ratio."""
    short = setting.size(3, 1)
    pixels = [x.to(getattr(torch, dtype)) for x in pixels_of(clip, batch, setting)]
    bare = batch / seconds_of(lambda i: clip.model.encode_image(pixels[i % 3]), setting, fewest=10)
    table.add(dtype, backend, "bare forward", bare, 1.0)
    images = load(path).images
    words = {"batch": batch, "device": setting.device, "dtype": dtype}
    scores = {name: plugins.load("score", {"score": name}) for name in ("mcm", "msp", "max_logit", "energy")}
    cell = {"suite": "clean", "dataset": "data", "reference": "data", "group": "", "corruption": ""}
    cells = [{**cell, "severities": [0], "images": None, "folder": str(path), "head": str(path)}]
    sides = {
        "the loop over images": lambda: image_features(clip, images, **words),
        "a whole evaluation": lambda: evaluate(clip, cells, scores, **words),
    }
    rates = {}
    for name, run in sides.items():
        run()
        times = []
        for _ in range(short):
            wait(setting.device)
            start = time.perf_counter()
            run()
            wait(setting.device)
            times.append(time.perf_counter() - start)
        rates[name] = len(images) / float(np.median(times))
        table.add(dtype, backend, name, rates[name], rates[name] / bare)
    return rates["the loop over images"] / bare


def _pieces(section: Section, clip: Clip, images: np.ndarray, batch: int, setting: Setting) -> None:
    """Time what surrounds the forward, each piece alone."""
    table = section.table("Pieces of the loop, one thread", "piece", "images/s", "GB/s")
    part = images[:batch]
    here = torch.from_numpy(np.array(part))
    there = here.to(setting.device)
    words = {**pixel_words(clip), "batch": batch, "device": setting.device}

    def copied(_: int) -> Any:
        return np.array(part)

    def moved(_: int) -> Any:
        return here.to(setting.device)

    def whole(_: int) -> Any:
        return next(batches(part, **words))

    def normalised(_: int) -> Any:
        return there.permute(0, 3, 1, 2).float().sub_(1.0).mul_(0.5)

    pieces = {"copy of the mapped array": copied, "to the device, pageable": moved, "normalisation": normalised}
    pieces["all of these: `batches`"] = whole
    if setting.device.startswith("cuda"):
        pinned = here.pin_memory()
        pieces["to the device, pinned"] = lambda _: pinned.to(setting.device, non_blocking=True)
    for name, run in pieces.items():
        with section.guard(name):
            times = []
            for i in range(setting.size(30, 3)):
                wait(setting.device)
                start = time.perf_counter()
                run(i)
                wait(setting.device)
                times.append(time.perf_counter() - start)
            seconds = float(np.median(times))
            table.add(name, batch / seconds, part.nbytes / seconds / 1e9)
    for name in ("`batches` of all, read ahead, checked against digests", "the same again, already checked"):
        with section.guard(name):
            wait(setting.device)
            start = time.perf_counter()
            for _ in batches(images, **words):
                pass
            wait(setting.device)
            seconds = time.perf_counter() - start
            table.add(name, len(images) / seconds, images.nbytes / seconds / 1e9)


def processes(section: Section, setting: Setting) -> None:
    """Whether one process saturates the card: images a second of one and of several at once, the product's loop."""
    table = section.table("Processes side by side", "processes", "type", "images/s in all", "times one", "GPU busy %")
    counts = (1, 2) if setting.tiny else (1, 2, 4)
    seconds = 0.1 if setting.tiny else 3.0
    words = ["--device", setting.device, "--seconds", str(seconds), *(["--tiny"] if setting.tiny else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, CHILD, "embed", *words], **pipes) for _ in range(counts[-1])]
    try:
        for child in children:
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("a child did not start; its words are above")
        for dtype in ("float32", "bfloat16"):
            one = 0.0
            for count in counts:
                for child in children[:count]:
                    child.stdin.write(f"{dtype}\n")
                    child.stdin.flush()
                time.sleep(seconds * 0.6)
                used = busy(setting)
                rate = sum(json.loads(child.stdout.readline())["rate"] for child in children[:count])
                one = one or rate
                table.add(count, dtype, rate, rate / one, used)
    finally:
        for child in children:
            child.kill()
            child.wait()


def busy(setting: Setting) -> str:
    """Return the share of time in which a kernel ran, as the driver says it."""
    if not setting.device.startswith("cuda"):
        return "-"
    words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip()


class Watched(Proxy):
    """A proxy that notes when each iteration of a training begins."""

    def chosen(self, iteration: int, size: int, /) -> Any:
        """Return the pairs of an iteration."""
        wait(self.device)
        vars(self).setdefault("starts", []).append(time.perf_counter())
        if iteration == 1 and self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        return super().chosen(iteration, size)


def training(section: Section, setting: Setting) -> float | None:
    """A training step of every method against one in floating point, by the product's own loop."""
    torch.set_num_threads(1)
    exact = tower("ViT-B/32", setting)
    table = section.table(
        "Training, ViT-B/32", "method", "batch", "type", "ms a step", "times FP32", "peak GiB", "times FP32's memory"
    )
    rates: dict[tuple[int, bool], tuple[float, float]] = {}
    found = None
    for batch, bf16, methods in (
        (64, False, TRAINED),
        (256, False, ("FP32", "lsq", "lsq_plus", "pact")),
        (256, True, ("FP32", "lsq")),
    ):
        for name in methods:
            with section.guard(f"{name}, {batch}"):
                size = setting.size(batch, 8)
                seconds, gib = _step(exact, TRAINED[name], size, bf16, setting)
                rates.setdefault((batch, bf16), (seconds, gib))
                base, memory = rates[batch, bf16]
                cells = (seconds * 1000, seconds / base, gib, gib / memory if memory else 0.0)
                table.add(name, size, "bf16 autocast" if bf16 else "float32", *cells)
                if (name, batch, bf16) == ("lsq", 64, False):
                    found = seconds / base
            free()
    return found


def _step(exact: Clip, entry: dict[str, Any], batch: int, bf16: bool, setting: Setting) -> tuple[float, float]:
    """Return the median seconds of a training iteration and the peak memory in GiB."""
    clip = exact.with_model(copy.deepcopy(exact.model).to(setting.device))
    unpack(clip)
    made = random_proxy(clip, 2 * batch, setting.device)
    proxy = Watched(made.images, made.captions, 0, setting.device)
    iterations = setting.size(12, 3)
    words = {**entry, "iterations": iterations, "batch": batch, "bf16": bf16}
    with peak(setting.device) as memory:
        method_of(**words)(clip, targets(clip, "image"), proxy, Checkpoints())
    return float(np.median(np.diff(vars(proxy)["starts"])[1:])), memory["gib"]


def ptq(section: Section, setting: Setting) -> None:
    """Seconds and memory of every post-training method, W4A8, on its default number of pairs."""
    precision(False, True)
    columns = ("tower", "method", "seconds", "forwards over 1,000 images", "peak GiB", "times the model")
    table = section.table("Post-training methods", *columns)
    for name, methods in {"ViT-B/32": PTQ, "ViT-L/14": ["rtn", "gptq"]}.items():
        if name not in setting.towers:
            continue
        exact = tower(name, setting)
        exact.model.to(setting.device)
        pixels = pixels_of(exact, setting.size(250, 8), setting, 1)[0]
        forward = seconds_of(lambda _, p=pixels, m=exact.model: m.encode_image(p), setting) * 1000 / len(pixels)
        size = sum(p.nbytes for p in exact.model.parameters()) / 2**30
        proxy = random_proxy(exact, setting.size(512, 16), setting.device)
        for method in methods:
            with section.guard(f"{name}, {method}"):
                clip = exact.with_model(copy.deepcopy(exact.model))
                wait(setting.device)
                with peak(setting.device) as memory:
                    start = time.perf_counter()
                    quantize_in_place(clip, proxy, method, weight=FOUR, activation=EIGHT)
                    wait(setting.device)
                    seconds = time.perf_counter() - start
                table.add(name, method, seconds, seconds / forward, memory["gib"], memory["gib"] / size)
            clip = None
            free()
        with section.guard(f"{name}, all that the step does"):
            clip = exact.with_model(copy.deepcopy(exact.model))
            entry = {"quantizer": "rtn", "weight": FOUR, "activation": EIGHT}
            start = time.perf_counter()
            quantize(clip, entry, "image", proxy, Checkpoints(), tuning="none")
            seconds = time.perf_counter() - start
            table.add(name, "rtn, checked, counted and packed", seconds, seconds / forward, 0.0, 0.0)
        exact = clip = None
        free()
