"""What people say of the lab's scenes: clean captions (`curated`) and those that a crawler finds (`web`)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from reliquant.images.world.scenes import KNOWN, Scenes

World = Literal["curated", "web"]
BOUND = {"curated": 0.0, "web": 0.5}  # share of scenes on their shape's common background
PREFIXES = ("a photo of", "a picture of", "an image of", "")
TAILS = ("on a {} background", "with a {} background")
JUNK = (
    "buy now", "free wallpaper", "best sale", "shop here", "stock image", "click here for more", "new design", "png",
    "jpg", "hd", "www", "untitled", "home page", "today", "my day", "cheap", "love this", "great",
)  # fmt: skip
LENGTHS = {"curated": (0.30, 0.35, 0.25, 0.05, 0.05), "web": (0.30, 0.35, 0.25, 0.10, 0.0)}  # says 1, 2, ... 5 of them
WEIGHTS = {  # how likely an attribute is among those said
    "curated": {"shape": 2.5, "colour": 1.0, "texture": 3.0, "background": 0.6, "count": 1.0},
    "web": {"shape": 2.5, "colour": 1.0, "texture": 2.5, "background": 0.6, "count": 1.0},
}
WRONG = {"curated": 0.0, "web": 0.03}  # share of mentioned attributes that are not the scene's
UNRELATED = {"curated": 0.0, "web": 0.05}  # share of captions that are about nothing in the scene


def describe(scenes: Scenes, rng: np.random.Generator, /, *, world: World) -> list[str]:
    """Write one caption per scene.

    A curated caption is true and says one to all five of the attributes. A web caption says less, is wrong at times,
    trails off into small talk, or has nothing to do with the image.
    """
    n = len(scenes)
    length = rng.choice(5, n, p=LENGTHS[world]) + 1
    urn = np.array([WEIGHTS[world][task] for task in KNOWN])
    turn = (rng.exponential(size=(n, len(KNOWN))) / urn).argsort(axis=1).argsort(axis=1)  # weighted draw, no return
    said = {task: turn[:, k] < length for k, task in enumerate(KNOWN)}
    sized = rng.random(n) < 0.15
    value = {}
    for task, known in KNOWN.items():
        wrong = rng.random(n) < WRONG[world]
        value[task] = np.where(wrong, rng.integers(0, len(known), n), getattr(scenes, task))
    pick = rng.integers(0, 2**16, (n, 4))
    off_topic, trails = rng.random(n) < UNRELATED[world], rng.random(n) < (0.3 if world == "web" else 0.0)
    captions = []
    for i in range(n):
        junk = JUNK[pick[i, 2] % len(JUNK)]
        if off_topic[i]:
            captions.append(f"{junk} {JUNK[pick[i, 3] % len(JUNK)]}")
            continue
        words = {task: known[value[task][i]] if said[task][i] else "" for task, known in KNOWN.items()}
        size = ("large" if scenes.large[i] else "small") if sized[i] else ""
        caption = _sentence(words, size, several=scenes.count[i] > 0, pick=pick[i])
        captions.append(f"{caption} {junk}" if trails[i] else caption)
    return captions


def _sentence(words: dict[str, str], size: str, *, several: bool, pick: np.ndarray) -> str:
    several = words["count"] not in ("", "one") or (several and not words["count"])
    noun = words["shape"] or ("shape", "object")[pick[3] % 2]
    noun += ("es" if noun.endswith("s") else "s") if several else ""
    if words["count"] == "one" and pick[2] % 2:
        words = {**words, "count": "a"}
    first = words["count"] or ("some" if several else "a")
    tail = TAILS[pick[1] % len(TAILS)].format(words["background"]) if words["background"] else ""
    parts = (PREFIXES[pick[0] % len(PREFIXES)], first, size, words["texture"], words["colour"], noun, tail)
    return " ".join(part for part in parts if part)
