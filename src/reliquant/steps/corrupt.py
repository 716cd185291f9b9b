"""Apply one common corruption, at each severity, to the images of a prepared dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from reliquant import plugins
from reliquant.files.artifacts import save_array
from reliquant.images.corrupting import image_seeds
from reliquant.images.dataset import subset
from reliquant.images.prepare import load
from reliquant.progress import progress
from reliquant.steps import run
from reliquant.study import paths

BATCH = 64


def main() -> None:
    """Parse, corrupt the chosen images batch by batch, save them as one array (severities, n, h, w, 3)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--corruption", required=True)
    parser.add_argument("--severities", type=int, nargs="+", required=True)
    parser.add_argument("--images", type=int, help="how many images; all if left out")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    prepared = load(args.prepared)
    clean = prepared.images
    chosen = subset(len(clean), args.images)
    corrupted = np.empty((len(args.severities), len(chosen), *clean.shape[1:]), np.uint8)
    seeds = image_seeds(chosen, args.corruption)
    starts = range(0, len(chosen), BATCH)
    for start in progress(starts, label=args.corruption):
        part = slice(start, start + BATCH)
        for i, severity in enumerate(args.severities):
            corrupt = plugins.load("corruption", {"corruption": args.corruption, "severity": severity})
            corrupted[i, part] = corrupt(clean[chosen[part]], seeds[part])
    made_of = {
        "corruption": args.corruption,
        "severities": args.severities,
        "images": prepared.meta["arrays"][paths.IMAGES],
    }
    save_array(args.output, corrupted, made_of)


if __name__ == "__main__":
    run(main)
