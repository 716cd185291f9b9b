"""Sections of `benchmarks/gpu.py`: the card, bare products, towers, and the rounding alone."""

from __future__ import annotations

import copy
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import torch
from gpu_models import (
    BATCHES,
    Section,
    Setting,
    Table,
    free,
    peak,
    pixels_of,
    precision,
    quantize_in_place,
    random_proxy,
    seconds_of,
    tower,
)

from reliquant.grid import Grid
from reliquant.layers.backend import use_backend
from reliquant.layers.int8 import Product, fast_on
from reliquant.layers.integer import integer_twin
from reliquant.layers.twins import StaticInput, twin
from reliquant.models.clip import Clip

Forward = Callable[[torch.Tensor], Any]
Sides = Iterator[tuple[str, Callable[[], Forward], torch.dtype]]  # name, what makes the forward, type of its input

QUERY = "name,driver_version,memory.total,power.limit,power.draw,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu"
SHAPES = {  # of a block's products at the batch that fills the card: rows, inputs, outputs
    "ViT-B/32 qkv": (1024 * 50, 768, 2304),
    "ViT-B/32 out": (1024 * 50, 768, 768),
    "ViT-B/32 fc1": (1024 * 50, 768, 3072),
    "ViT-B/32 fc2": (1024 * 50, 3072, 768),
    "ViT-L/14 fc1": (128 * 257, 1024, 4096),
    "ViT-L/14 fc2": (128 * 257, 4096, 1024),
}


def card(section: Section, setting: Setting) -> None:
    """What the machine is."""
    table = section.table("Machine", "what", "value")
    cuda = torch.version.cuda or "none"
    facts = {"torch": torch.__version__, "CUDA of torch": cuda, "python": platform.python_version()}
    facts |= {"processors": os.cpu_count(), "threads of torch": torch.get_num_threads(), "int8": fast_on_words(setting)}
    if setting.device.startswith("cuda"):
        made = torch.cuda.get_device_properties(0)
        facts |= {"GPU": made.name, "GiB": made.total_memory / 2**30, "multiprocessors": made.multi_processor_count}
        facts |= {"capability": f"{made.major}.{made.minor}", "cuDNN": torch.backends.cudnn.version()}
        facts |= {"TF32 in products as torch starts": torch.backends.cuda.matmul.allow_tf32}
        facts |= {"TF32 in convolutions as torch starts": torch.backends.cudnn.allow_tf32}
    for name, value in facts.items():
        table.add(name, value)
    if setting.device.startswith("cuda"):
        with section.guard("nvidia-smi"):
            words = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
            line = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout
            for name, value in zip(QUERY.split(","), line.splitlines()[0].split(", "), strict=True):
                table.add(name, value)


def fast_on_words(setting: Setting) -> str:
    return fast_on(torch.device(setting.device)) or "fast"


def products(section: Section, setting: Setting) -> None:
    """Bare products of the towers' shapes: what a kernel could give, and what the layers make of it."""
    table = section.table("Products", "shape", "product", "ms", "T operations/s", "times bf16")
    for name, shape in SHAPES.items():
        if setting.tiny:
            shape = (64, 32, 48)
        bf16 = 0.0
        for kind, make in _products(*shape, setting).items():
            with section.guard(f"{name}, {kind}"):
                run = make()
                seconds = seconds_of(run, setting, fewest=10)
                bf16 = seconds if kind == "bf16" else bf16
                rate = 2 * shape[0] * shape[1] * shape[2] / seconds / 1e12
                table.add(name, kind, seconds * 1000, rate, bf16 / seconds if bf16 else 0.0)
                del run
                free()


def _products(rows: int, inputs: int, outputs: int, setting: Setting) -> dict[str, Callable[[], Callable[[int], Any]]]:
    """Return makers of products by name; each takes the number of an input."""
    words = {"device": setting.device, "generator": torch.Generator(setting.device).manual_seed(0)}
    some = [torch.randn(rows, inputs, **words) for _ in range(3)]
    weight = torch.randn(outputs, inputs, **words) * inputs**-0.5
    codes = [(x * 32).clamp(-128, 127).to(torch.int8) for x in some]
    code_weight = (weight * 32 * inputs**0.5).clamp(-128, 127).to(torch.int8)

    def plain(tf32: bool) -> Callable[[int], Any]:
        precision(tf32)
        return lambda i: some[i % 3] @ weight.t()

    def half() -> Callable[[int], Any]:
        short, other = [x.bfloat16() for x in some], weight.bfloat16()
        return lambda i: short[i % 3] @ other.t()

    def int_mm() -> Callable[[int], Any]:
        return lambda i: torch._int_mm(codes[i % 3], code_weight.t())

    def product() -> Callable[[int], Any]:
        made = Product(
            code_weight, torch.rand(outputs, device=setting.device), torch.rand(outputs, device=setting.device)
        )
        kind = torch.uint8 if made.unsigned else torch.int8
        return lambda i: made(codes[i % 3].to(kind) if made.unsigned else codes[i % 3])

    def eight(fast: bool, by_row: bool) -> Callable[[int], Any]:
        short, other = [x.to(torch.float8_e4m3fn) for x in some], weight.to(torch.float8_e4m3fn)
        a = torch.ones((rows, 1) if by_row else (), device=setting.device)
        b = torch.ones((1, outputs) if by_row else (), device=setting.device)
        form = {"scale_a": a, "scale_b": b, "out_dtype": torch.bfloat16, "use_fast_accum": fast}
        return lambda i: torch._scaled_mm(short[i % 3], other.t(), **form)

    def layer(integer: bool, tf32: bool = False) -> Callable[[int], Any]:
        precision(tf32)
        inner = torch.nn.Linear(inputs, outputs, device=setting.device).requires_grad_(False)
        inner.weight.copy_(weight)
        made = twin(inner, Grid(bits=8, granularity="channel"), Grid(bits=8))
        made.input = StaticInput(Grid(bits=8), 0.03)
        made.freeze_absmax()
        run = integer_twin(made) if integer else made
        return lambda i: run(some[i % 3])

    return {
        "bf16": half,
        "FP32": lambda: plain(False),
        "TF32": lambda: plain(True),
        "_int_mm": int_mm,
        "_scaled_mm FP8": lambda: eight(True, False),
        "_scaled_mm FP8, exact sums": lambda: eight(False, False),
        "_scaled_mm FP8, scales by row": lambda: eight(True, True),
        "int8 with scale and bias (ours)": product,
        "layer, simulated": lambda: layer(False),
        "layer, simulated in TF32": lambda: layer(False, True),
        "layer, integer": lambda: layer(True),
    }


def towers(section: Section, setting: Setting) -> None:
    """Images a second of image towers in every way of computing them."""
    table = section.table("Image towers", "tower", "batch", "computed as", "images/s", "times FP32", "peak GiB")
    for name in setting.towers:
        with section.guard(name):
            clip = tower(name, setting)
            clip.model.to(setting.device)
            exact = {}
            sizes = (256, BATCHES[name]) if name == "ViT-B/32" else (BATCHES[name],)
            for batch in sizes:
                exact[batch] = _rates(section, table, name, setting.size(batch, 4), _exact(clip), clip, setting)
            quantize_in_place(clip, random_proxy(clip, setting.size(64, 8), setting.device), batch=setting.size(64, 8))
            for batch in sizes:
                _rates(section, table, name, setting.size(batch, 4), _rounded(clip), clip, setting, exact[batch])
            del clip
        free()


def _rates(
    section: Section, table: Table, name: str, batch: int, sides: Sides, clip: Clip, setting: Setting, fp32: float = 0.0
) -> float:
    """Time the sides at a batch; return the images a second of FP32."""
    pixels = pixels_of(clip, batch, setting)
    for kind, make, dtype in sides:
        with section.guard(f"{name}, {kind}"):
            run, given = make(), [x.to(dtype) for x in pixels]
            with peak(setting.device) as memory:
                rate = batch / seconds_of(lambda i, run=run, given=given: run(given[i % 3]), setting)
            fp32 = rate if kind == "FP32" else fp32
            table.add(name, batch, kind, rate, rate / fp32 if fp32 else 0.0, memory["gib"])
        run = given = None
        free()
    precision(False, True)
    return fp32


def _exact(clip: Clip) -> Sides:
    precision(False)
    yield "FP32", lambda: clip.model.encode_image, torch.float32
    precision(False, True)
    yield "FP32, TF32 in convolutions", lambda: clip.model.encode_image, torch.float32
    precision(True)
    yield "TF32", lambda: clip.model.encode_image, torch.float32
    yield "bf16", lambda: copy.deepcopy(clip.model).bfloat16().encode_image, torch.bfloat16


def _rounded(clip: Clip) -> Sides:
    precision(False)
    yield "W8A8 simulated", lambda: clip.model.encode_image, torch.float32
    precision(True)
    yield "W8A8 simulated, TF32", lambda: clip.model.encode_image, torch.float32
    yield "W8A8 simulated, bf16", lambda: copy.deepcopy(clip.model).bfloat16().encode_image, torch.bfloat16
    precision(False)
    yield "W8A8 integer", lambda: integer(clip), torch.float32
    precision(True)
    yield "W8A8 integer, TF32 elsewhere", lambda: integer(clip), torch.float32
    yield "W8A8 integer, bf16 elsewhere", lambda: integer(clip, torch.bfloat16), torch.bfloat16


def integer(clip: Clip, dtype: torch.dtype = torch.float32) -> Forward:
    """Return the forward of a copy that multiplies integers."""
    model = copy.deepcopy(clip.model).to(dtype)
    use_backend(model, "integer", "a variant")
    return model.encode_image


def rounding(section: Section, setting: Setting) -> None:
    """The rounding of inputs alone: what passes over memory cost, and what one kernel in their place would."""
    columns = ("what", "ms", "GB/s of one reading and writing", "unequal to the layer's")
    table = section.table("Rounding of the widest tensor of ViT-B/32", *columns)
    shape = (64, 32) if setting.tiny else (1024 * 50, 3072)
    some = [torch.randn(shape, device=setting.device) for _ in range(2)]
    made = StaticInput(Grid(bits=8), 0.03)
    inverse, scale = (1 / torch.tensor(made.scale)).item(), made.scale
    twin_codes = _codes(made, setting)
    backend = "aot_eager" if setting.tiny else "inductor"
    sides: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "copy": torch.clone,
        "the layer's": made,
        "four passes": lambda x: x.mul(inverse).round_().clamp_(-128, 127).mul_(scale),
        "torch.fake_quantize_per_tensor_affine": lambda x: torch.fake_quantize_per_tensor_affine(
            x, scale, 0, -128, 127
        ),
        "the layer's formula, compiled": torch.compile(
            lambda x: (x * inverse).round().clamp(-128, 127) * scale, backend=backend
        ),
        "codes: the integer layer's": twin_codes,
        "codes: four passes": lambda x: (x * inverse).round_().clamp_(-128, 127).to(torch.int8),
        "codes: the same, compiled": torch.compile(
            lambda x: (x * inverse).round().clamp(-128, 127).to(torch.int8), backend=backend
        ),
        "codes: torch.quantize_per_tensor": lambda x: torch.quantize_per_tensor(x, scale, 0, torch.qint8).int_repr(),
    }
    for kind, run in sides.items():
        with section.guard(kind), torch.no_grad():
            expected = twin_codes(some[0]) if kind.startswith("codes") else made(some[0])
            unequal = int((run(some[0]) != expected).sum()) if kind != "copy" else 0
            seconds = seconds_of(lambda i, run=run: run(some[i % 2]), setting, fewest=10)
            table.add(kind, seconds * 1000, some[0].nbytes * 2 / seconds / 1e9, unequal)


def _codes(made: StaticInput, setting: Setting) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what makes the codes of an integer layer's input."""
    inner = torch.nn.Linear(64, 64, device=setting.device)
    layer = twin(inner, Grid(bits=8, granularity="channel"), Grid(bits=8))
    layer.input = made
    layer.freeze_absmax()
    integers = integer_twin(layer)
    codes = lambda x: integers.codes(x, 1 / torch.tensor(made.scale), made.zero)  # noqa: E731
    return (lambda x: (codes(x).short() - 128).to(torch.int8)) if integers.unsigned else codes
