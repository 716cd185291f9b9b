"""Which image-caption pairs a variant is calibrated and trained on, and which are held out to tune its logit scale."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.images.dataset import subset
from reliquant.images.prepare import Prepared
from reliquant.progress import say
from reliquant.quantization.proxy import Proxy
from reliquant.study.config import FEWEST_HELD_OUT, HELD_OUT

FEWEST_CAPTIONS = 2  # an image is told apart by its caption: with one alone there is nothing to tell


@dataclass(frozen=True)
class Pairs:
    """Hold the pairs that every variant of a proxy is calibrated and trained on, and those that none of them sees.

    `held_out` is None where nothing is; `which` says which pairs both are, for the header of a variant.
    """

    proxy: Proxy
    held_out: Proxy | None
    which: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Tell these pairs from others: a training that was killed must not go on with others."""
        return {word: self.which[word] for word in ("pairs_sha256", "held_out")}

    def require_tunable(self) -> None:
        """Raise ValueError, naming the words to change, unless the held-out pairs suffice to tune a logit scale."""
        pairs = 0 if self.held_out is None else len(self.held_out.captions)
        captions = 0 if self.held_out is None else len(set(self.held_out.captions))
        if pairs < FEWEST_HELD_OUT or captions < FEWEST_CAPTIONS:
            share, number = self.which["held_out"]["share"], pairs + len(self.proxy.captions)
            raise ValueError(
                f"held_out: {share:g} of {number} pairs are {pairs} with {captions} captions; tuning the logit scale "
                f"takes at least {FEWEST_HELD_OUT} with {FEWEST_CAPTIONS}: take more pairs, a larger held_out, or "
                "tuning none"
            )


def make_pairs(
    prepared: Prepared, number: int | None, seed: int, device: str, /, *, held_out: float = HELD_OUT
) -> Pairs:
    """Choose image-caption pairs, the same for every variant, and hold out a share of them; say which.

    Pairs with a blank caption are left out, and counted as `blank` where there are any. Raises ValueError if no pairs
    are there, or if none is left to calibrate on.
    """
    if "captions" not in prepared.meta:
        raise ValueError(f"{prepared.meta['entry']}: has no captions; a proxy needs image-caption pairs")
    said = np.array([bool(text.strip()) for text in prepared.meta["captions"]])
    if not said.any():
        raise ValueError(f"{prepared.meta['entry']}: not one of the {len(said)} captions says anything")
    with_caption = np.flatnonzero(said)
    chosen = with_caption[subset(len(with_caption), number)]
    captions = [prepared.meta["captions"][i] for i in chosen]
    images = prepared.images[chosen]
    away = never_seen(images, captions, held_out)
    if away.all():
        raise ValueError(f"held_out: {held_out:g} of {len(away)} pairs leaves none to calibrate on")
    digest = hashlib.sha256(images)
    digest.update("\0".join(captions).encode())
    which = {"dataset": prepared.meta["entry"], "sha256": prepared.meta["sha256"], "indices": chosen.tolist()}
    which |= {"names": [prepared.meta["names"][i] for i in chosen], "pairs_sha256": digest.hexdigest()}
    apart = keeps_captions_apart([" ".join(text.casefold().split()) for text in captions])
    which["held_out"] = {"share": held_out, "by": "caption" if apart else "image", "indices": chosen[away].tolist()}
    if away.any() and not apart:
        told = f"{len(captions)} have {len(set(captions))} captions"
        say("pairs", f"{told}: images are held out, and their captions may be among the others'")
    if blank := int((~said).sum()):
        which["blank"] = blank
        say("pairs", f"{blank} of {len(said)} have a blank caption and are left out")

    def part(of: NDArray[np.bool_]) -> Proxy:
        return Proxy(images[of], [captions[i] for i in np.flatnonzero(of)], seed, device)

    return Pairs(part(~away), part(away) if away.any() else None, which)


def keeps_captions_apart(captions: Sequence[str], /) -> bool:
    """Whether pairs are held out by caption: where a caption is of fewer than two pairs on average.

    Where captions repeat more they name classes, and fresh pairs would have the same ones: a scale that is tuned to
    other classes would miss theirs.
    """
    return 2 * len(set(captions)) > len(captions)


def never_seen(images: NDArray[np.uint8], captions: Sequence[str], share: float, /) -> NDArray[np.bool_]:
    """Return which of n pairs are held out, (n,): about a share of them, whole groups, the same ones every time.

    Pairs of one image are of one group. So are those of one caption (but for case and spaces), and those that a third
    pair joins, unless captions repeat so much that they name classes (`keeps_captions_apart`). Groups come in the order
    of a hash, whatever their number and order, and each is taken that brings the sum closer to the share.

    >>> captions = ["a cat", "A  cat", "a dog", "a cow"]
    >>> away = never_seen(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), captions, 0.5)
    >>> int(away.sum()), bool(away[0] == away[1])
    (2, True)
    """
    pictures = [hashlib.sha256(np.ascontiguousarray(image)).digest() for image in images]
    texts = [hashlib.sha256(" ".join(text.casefold().split()).encode()).digest() for text in captions]
    apart = keeps_captions_apart(texts)
    group = _joined([pictures, texts] if apart else [pictures])
    first: dict[int, bytes] = {}  # the least hash of a group, by which groups are ordered
    for member, digest in zip(group, texts if apart else pictures, strict=True):
        first[member] = min(digest, first.get(member, digest))
    size_of = Counter(group)
    wanted, taken, chosen = share * len(texts), 0, set()
    for number in sorted(first, key=first.__getitem__):
        more = taken + size_of[number]
        if abs(more - wanted) < abs(taken - wanted):
            taken = more
            chosen.add(number)
    return np.array([number in chosen for number in group], bool)


def _joined(columns: Sequence[Sequence[bytes]]) -> list[int]:
    """Number the groups of rows that share a value of a column, directly or through others: a number for each row."""
    parent = list(range(len(columns[0])))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for column in columns:
        seen: dict[bytes, int] = {}
        for i, value in enumerate(column):
            parent[root(i)] = root(seen.setdefault(value, i))
    return [root(i) for i in range(len(parent))]
