"""What the sections of `benchmarks/gpu.py` share: models, their quantized copies, images, the clock and the report."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reliquant import plugins
from reliquant.images.datasets.lab_captions import dataset as lab_captions
from reliquant.layers.surgery import targets, unpack
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.preprocess import batches, pixel_words
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy

TOWERS = {"ViT-B/32": "ViT-B-32", "ViT-L/14": "ViT-L-14", "ConvNeXt-B": "convnext_base"}
BATCHES = {"ViT-B/32": 1024, "ViT-L/14": 128, "ConvNeXt-B": 256}  # that fill an 80 GB card
LAB = {"lab ViT": ("lab_vit", "lab-vit-curated"), "lab ConvNeXt": ("lab_convnext", "lab-convnext-curated")}
CHANNEL, EIGHT = {"bits": 8, "granularity": "channel"}, {"bits": 8}
TOKEN = {"bits": 8, "granularity": "token", "dynamic": True}
TINY_TEXT = {"context_length": 77, "vocab_size": 128, "width": 32, "heads": 2, "layers": 1}
TINY_VIT = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}
TINY_CONVNEXT = {"timm_model_name": "test_convnext", "timm_model_pretrained": False, "timm_pool": "avg"}
START = time.perf_counter()


def say(line: str) -> None:
    print(f"[{time.perf_counter() - START:6.1f} s] {line}", flush=True)


@dataclass(frozen=True)
class Setting:
    """Hold the device, whether shapes are tiny, how many seconds one measurement may take, and the towers asked for."""

    device: str
    tiny: bool
    seconds: float
    towers: tuple[str, ...] = tuple(TOWERS)

    def size(self, usual: int, tiny: int) -> int:
        """Return the usual number, or where shapes are tiny the other."""
        return tiny if self.tiny else usual


@dataclass
class Table:
    """A table of the report; each row is said as soon as it is known."""

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """Add a row."""
        self.rows.append(list(cells))
        say("   " + " | ".join(f"{c}: {shown(v)}" for c, v in zip(self.columns, cells, strict=True)))


def shown(value: Any) -> str:
    """Return a figure with four digits, and anything else as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


@dataclass
class Section:
    """Hold the tables of a section, what it found out in words, what failed in it, and its seconds."""

    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self, title: str, *columns: str) -> Table:
        """Begin a table."""
        self.tables.append(Table(title, list(columns)))
        say(f"  {title}")
        return self.tables[-1]

    def note(self, line: str) -> None:
        """Add a line in words."""
        self.notes.append(line)
        say(f"   {line}")

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Record an exception of the block, by the last lines of its traceback, and go on."""
        try:
            yield
        except Exception as error:
            frames = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
            told = " ".join(str(error).split())[:500]
            self.errors.append(f"{what}: {type(error).__name__}: {told} ({' < '.join(frames[::-1][:4])})")
            say(f"   FAILED {self.errors[-1]}")
            free()


def free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


@contextmanager
def peak(device: str) -> Iterator[dict[str, float]]:
    """Measure the peak of allocated GPU memory while the block runs, in GiB (0 on a CPU)."""
    found = {"gib": 0.0}
    if device.startswith("cuda"):
        wait(device)
        torch.cuda.reset_peak_memory_stats()
    yield found
    if device.startswith("cuda"):
        wait(device)
        found["gib"] = torch.cuda.max_memory_allocated() / 2**30


def precision(tf32: bool, convolutions: bool | None = None) -> None:
    """Let FP32 products, and convolutions (by default likewise), use TF32 or not."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32 if convolutions is None else convolutions


@torch.no_grad()
def seconds_of(run: Callable[[int], Any], setting: Setting, /, *, fewest: int = 3, most: int = 50) -> float:
    """Return the median seconds of `run(i)`, warmed up, in about the seconds that the setting allows."""
    run(0)
    wait(setting.device)
    start = time.perf_counter()
    run(1)
    wait(setting.device)
    once = time.perf_counter() - start
    repeats = max(fewest, min(most, int(setting.seconds / max(once, 1e-5))))
    found = []
    for i in range(repeats):
        if setting.device.startswith("cuda"):
            ends = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            ends[0].record()
            run(i)
            ends[1].record()
            found.append(ends)
        else:
            start = time.perf_counter()
            run(i)
            found.append(time.perf_counter() - start)
    wait(setting.device)
    times = [f if isinstance(f, float) else f[0].elapsed_time(f[1]) / 1000 for f in found]
    return float(np.median(times))


def tower(name: str, setting: Setting) -> Clip:
    """Return a CLIP with a random image tower and one block of text, on the CPU."""
    if setting.tiny:
        vision = {**TINY_CONVNEXT, "image_size": 32, "timm_proj": "linear"} if "Conv" in name else TINY_VIT
        config = {"embed_dim": 24, "vision_cfg": dict(vision), "text_cfg": dict(TINY_TEXT)}
    else:
        config = copy.deepcopy(open_clip.get_model_config(TOWERS[name]))
        config["text_cfg"]["layers"] = 1
    torch.manual_seed(0)
    words = {k: v for k, v in config.items() if k not in ("custom_text", "multimodal_cfg")}
    model = open_clip.CLIP(**words).eval()
    size = config["vision_cfg"]["image_size"]
    return Clip(model, lambda texts: torch.ones(len(texts), 77, dtype=torch.long), size, (0.5,) * 3, (0.25,) * 3)


def lab_model(name: str) -> Clip:
    """Return one of the lab's trained models."""
    architecture, weights = LAB[name]
    entry = {"tower": "small", "architecture": architecture, "pretrained": weights}
    return plugins.load("tower", entry)(None)


@lru_cache(maxsize=1)
def lab_images(count: int) -> tuple[Any, np.ndarray]:
    """Return captioned images of the lab: the dataset and pixels (n, h, w, 3)."""
    data = lab_captions(Path(), world="curated", images=count, seed=3)
    return data, np.stack([data.read(i) for i in range(count)])


def random_images(count: int, clip: Clip) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *clip.shape, 3), dtype=np.uint8)


def pixels_of(clip: Clip, batch: int, setting: Setting, buffers: int = 3) -> list[torch.Tensor]:
    """Return normalised batches on the device, channels last in memory, as evaluation makes them."""
    images = random_images(batch, clip)
    rolled = (np.roll(images, 7 * i, axis=2) for i in range(buffers))
    return [next(batches(x, **pixel_words(clip), batch=batch, device=setting.device)) for x in rolled]


def random_proxy(clip: Clip, count: int, device: str) -> Proxy:
    return Proxy(random_images(count, clip), [f"number {i}" for i in range(count)], 0, device)


def method_of(
    quantizer: str, weight: dict[str, Any] = CHANNEL, activation: dict[str, Any] = EIGHT, **words: Any
) -> Any:
    return plugins.load("quantizer", {"quantizer": quantizer, "weight": weight, "activation": activation, **words})


def quantize_in_place(clip: Clip, proxy: Proxy, quantizer: str = "rtn", **words: Any) -> None:
    """Let a method quantize a model's image tower, without what the product records of it."""
    unpack(clip)
    names = targets(clip, "image")
    method_of(quantizer, **words)(clip, names, proxy, Checkpoints())
    clip.model.requires_grad_(False)


def on(clip: Clip, device: str, dtype: torch.dtype = torch.float32) -> Clip:
    """Return a copy of a model on a device."""
    return clip.with_model(copy.deepcopy(clip.model).to(device, dtype))
