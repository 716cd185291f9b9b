"""How many images of the sets that are searched a variant has seen before, by the keys of photographs; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.files.digests import AGAIN, DamagedFile
from reliquant.images.meta import require_made_of
from reliquant.images.prepare import load
from reliquant.progress import say

MOST = 0.01  # the share of a set's images that may have been seen: no Recall can move by more than it


def seen_keys(folder: Path, entry: Mapping[str, Any], pairs: Mapping[str, Any] | None, /) -> NDArray[np.uint64]:
    """Return the keys of photographs of a prepared folder that were seen: all, or those that `pairs` names.

    `pairs` is that word of a variant's header (`quantization.held_out.Pairs.which`). Raises DamagedFile where the
    folder is of another entry, or was prepared again with other images since the variant was made.
    """
    prepared = load(folder)
    require_made_of(entry, prepared.meta, folder)
    keys = prepared.photographs
    assert keys is not None  # of every folder that `prepare.load` opened
    if pairs is None:
        return keys
    if pairs.get("sha256") != prepared.meta["sha256"]:
        raise DamagedFile(f"{folder}: holds other images than the variant was made with: make the variant again")
    indices = np.asarray(pairs.get("indices", []), np.int64)
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(keys):
        raise DamagedFile(f"{folder}: has {len(keys)} images, and the variant saw image {indices.max()}; {AGAIN}")
    return keys[indices]


def count_seen(
    searched: Mapping[str, NDArray[np.uint64] | None], seen: Sequence[tuple[str, NDArray[np.uint64]]], /
) -> dict[str, int]:
    """Count the images of each searched set, by its keys of photographs, that were seen, and say how many.

    `seen` holds keys with the name of who saw them. Raises ValueError naming the set where more than `MOST` of its
    images were seen: what searches find there is no measure of pairs that are new.
    """
    found = {}
    for name, keys in searched.items():
        if keys is None:
            continue
        own, every = np.unique(keys), np.zeros(0, np.uint64)
        for who, theirs in seen:
            common = np.intersect1d(own, theirs)
            every = np.union1d(every, common)
            if not len(common):
                continue
            told = f"{len(common)} of {len(own)} images are among the pairs of {who}"
            if len(common) > MOST * len(own):
                raise ValueError(f"{name}: {told}: no pair that is searched may have been seen (at most {MOST:.0%})")
            say(name, f"{told}: they are searched all the same")
        found[name] = len(every)
    return found
