"""Time the 15 common corruptions against imagecorruptions, per image of 224 px, one thread, mean of five severities.

The peer is imagecorruptions 1.1.2 (extra `benchmarks`); it no longer runs on today's numpy, scipy and setuptools, so
that what it misses is put back here, in this process only. `python benchmarks/corruptions.py [repeats] [side]`
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import numpy as np
import scipy.ndimage
from peers import require

FIFTEEN = ["gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"]
FIFTEEN += ["snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"]
TARGET, BATCH = 3.0, 8
Corrupt = Callable[[str, np.ndarray, int], object]


def peer() -> Corrupt:
    """Import imagecorruptions with what it needs of old libraries."""
    import cv2
    import skimage.filters

    cv2.setNumThreads(1)
    folder = Path(importlib.util.find_spec("imagecorruptions").origin).parent
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda package, name: str(folder / name)
    sys.modules.setdefault("pkg_resources", resources)
    sys.modules.setdefault("scipy.ndimage.interpolation", scipy.ndimage)
    np.float_ = np.float64
    import imagecorruptions
    import imagecorruptions.corruptions as module

    def gaussian(image: np.ndarray, *, sigma: float, multichannel: bool = False, **more: object) -> np.ndarray:
        more.setdefault("channel_axis", -1 if multichannel else None)
        return skimage.filters.gaussian(image, sigma=sigma, **more)

    module.gaussian = lambda image, sigma=1, **more: gaussian(image, sigma=sigma, **more)
    return lambda name, image, severity: imagecorruptions.corrupt(image, severity=severity, corruption_name=name)


def ours() -> Corrupt:
    """Bind the plugins; a call corrupts a batch."""
    found = {name: importlib.import_module(f"reliquant.images.corruptions.{name}").corruption for name in FIFTEEN}
    seeds = np.arange(BATCH, dtype=np.uint64)
    return lambda name, images, severity: found[name](images, seeds, severity=severity)


def photographs(n: int, side: int) -> np.ndarray:
    """Make images with the smoothness of photographs."""
    field = np.random.default_rng(0).normal(size=(n, side, side, 3))
    field = scipy.ndimage.gaussian_filter(field, (0, side / 16, side / 16, 0.5))
    return np.clip(128 + 60 * field / field.std(), 0, 255).astype(np.uint8)


def timed(corrupt: Corrupt, name: str, images: np.ndarray, severity: int) -> float:
    start = time.perf_counter()
    corrupt(name, images, severity)
    return (time.perf_counter() - start) * 1e3


def compare(name: str, mine: Corrupt, theirs: Corrupt | None, images: np.ndarray, repeats: int) -> tuple[float, float]:
    """Return ms an image of both sides, in turn; the mean over severities of the median of repeats."""
    here, there = [], []
    for severity in (1, 2, 3, 4, 5):
        mine(name, images, severity)
        runs: list[tuple[float, float]] = []
        for _ in range(repeats):
            a = timed(mine, name, images, severity) / len(images)
            b = timed(theirs, name, images[0], severity) if theirs else np.nan
            runs.append((a, b))
        here.append(median(a for a, _ in runs))
        there.append(median(b for _, b in runs))
    return mean(here), mean(there)


def main() -> None:
    require("corruptions", "imagecorruptions", "skimage", "cv2", "numba")
    repeats, side = (int(word) for word in [*sys.argv[1:], *("3", "224")[len(sys.argv) - 1 :]])
    mine, theirs, images = ours(), peer(), photographs(BATCH, side)
    small = photographs(BATCH, 32)
    rows = {name: compare(name, mine, theirs, images, repeats) for name in FIFTEEN}
    tiny = {name: compare(name, mine, None, small, repeats)[0] for name in FIFTEEN}
    print(f"{'ms an image':20}{'ours, 32 px':>12}{f'ours, {side} px':>14}{f'peer, {side} px':>14}{'ratio':>8}")
    for name, (a, b) in rows.items():
        print(f"{name:20}{tiny[name]:12.3f}{a:14.2f}{b:14.2f}{b / a:8.1f}")
    a, b = (mean(row[side] for row in rows.values()) for side in (0, 1))
    loops = [mean(row[side] for name, row in rows.items() if name != "glass_blur") for side in (0, 1)]
    print(f"{'mean of the 15':20}{mean(tiny.values()):12.3f}{a:14.2f}{b:14.2f}{b / a:8.1f}")
    print(f"{'without glass_blur':20}{'':12}{loops[0]:14.2f}{loops[1]:14.2f}{loops[1] / loops[0]:8.1f}")
    result = {"name": "corruptions", "ratio": b / a, "target": TARGET, "better": "higher"}
    medians = {"ours_ms": a, "ours_32_px_ms": mean(tiny.values()), "peer_ms": b}
    more = {"ratio_without_glass_blur": loops[1] / loops[0]}
    print(json.dumps(result | {"medians": medians} | more))


if __name__ == "__main__":
    main()
