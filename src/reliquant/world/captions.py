"""What people say of the lab's scenes: clean captions (`curated`) and those that a crawler finds (`web`)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from reliquant.world.scenes import KNOWN, Scenes

World = Literal["curated", "web"]
BOUND = {"curated": 0.0, "web": 0.75}  # share of scenes on their shape's common background
PREFIXES = ("a photo of", "a picture of", "an image of", "")
TAILS = ("on a {} background", "with a {} background")
JUNK = (
    "buy now", "free wallpaper", "best sale", "shop here", "stock image", "click here for more", "new design", "png",
    "jpg", "hd", "www", "untitled", "home page", "today", "my day", "cheap", "love this", "great",
)  # fmt: skip
MENTIONED = {  # how often a caption says an attribute
    "curated": {"count": 0.85, "size": 0.4, "texture": 0.85, "colour": 0.85, "shape": 0.9, "background": 0.85},
    "web": {"count": 0.6, "size": 0.2, "texture": 0.6, "colour": 0.65, "shape": 0.8, "background": 0.4},
}
WRONG = {"curated": 0.0, "web": 0.06}  # share of mentioned attributes that are not the scene's
UNRELATED = {"curated": 0.0, "web": 0.08}  # share of captions that are about nothing in the scene


def describe(scenes: Scenes, rng: np.random.Generator, /, *, world: World) -> list[str]:
    """Write one caption a scene.

    A curated caption is true and says most of the scene; one in three says only part of it. A web caption leaves more
    out, is wrong at times, trails off into small talk, or has nothing to do with the image.
    """
    n = len(scenes)
    short = np.where(rng.random(n) < 1 / 3, 0.6, 1.0)
    said = {task: rng.random(n) < short * share for task, share in MENTIONED[world].items()}
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
        size = ("large" if scenes.large[i] else "small") if said["size"][i] else ""
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
