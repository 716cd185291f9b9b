"""How a model wants its images, as open_clip's configs say it and as open_clip evaluates; free of torch.

A config has the keys of open_clip's PreprocessCfg: mean, std, interpolation, resize_mode, fill_color, size, mode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reliquant.study.form import Form, Interpolation, Resize

Config = Mapping[str, Any]
Channels = tuple[float, float, float]
OPENAI: Config = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
DEFAULT: Config = {**OPENAI, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}
WORDS = tuple(DEFAULT)  # what an entry of a model may say itself
KEYS = (*WORDS, "size", "mode")
INTERPOLATIONS: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


@dataclass(frozen=True)
class Preprocessing:
    """Hold what becomes of an image: its form, then (level / 255 - mean) / std in each channel.

    `doubts` are what a person should hear of: keys that nobody reads, values that open_clip takes for others.
    """

    form: Form
    mean: Channels
    std: Channels
    doubts: tuple[str, ...] = field(default=(), compare=False)


def read_preprocessing(config: Config, image_size: Any, where: str, /) -> Preprocessing:
    """Return what open_clip does with images under a config; `image_size` is that of the image tower.

    Keys that are missing, or null, are open_clip's defaults. Raises ValueError naming `where`, the key, its value and
    what is allowed.
    """
    given = {key: value for key, value in config.items() if key in KEYS and value is not None}
    facts = {**DEFAULT, **given}
    if facts.get("mode", "RGB") != "RGB":
        raise ValueError(f"{where}: mode: must be RGB, the only one of open_clip, got {facts['mode']!r}")
    height, width = _size(image_size, where)
    resize, interpolation = _resize(facts["resize_mode"], where), _interpolation(facts["interpolation"], where)
    if resize == "shortest" and height != width:
        interpolation = "bicubic"  # open_clip hands the interpolation on to no other resizing but this one's
    fill = _fill(facts["fill_color"], where) if resize == "longest" else (0, 0, 0)
    mean, std = (_channels(facts[key], f"{where}: {key}") for key in ("mean", "std"))
    if not all(std):
        raise ValueError(f"{where}: std: must not be 0 in any channel, got {facts['std']!r}")
    doubts = _doubts(config, facts, interpolation)
    return Preprocessing(Form(height, width, resize, interpolation, fill), mean, std, tuple(doubts))


def differences(one: Config, other: Config, /) -> list[str]:
    """List the keys in which two configs differ, where one that is missing is open_clip's default, with both values."""
    told = []
    for key in WORDS:
        values = [DEFAULT[key] if config.get(key) is None else config[key] for config in (one, other)]
        if _plain(values[0]) != _plain(values[1]):
            told.append(f"{key} {shown(values[0])}, not {shown(values[1])}")
    return told


def described(config: Config, /) -> str:
    """Write a config in one line, as the words of an entry.

    >>> described({"mean": 0.5, "std": (0.5, 0.5, 0.5)})
    'mean: 0.5, std: [0.5, 0.5, 0.5], interpolation: bicubic, resize_mode: shortest'
    """
    facts = {**DEFAULT, **{key: value for key, value in config.items() if value is not None}}
    words = WORDS if facts["resize_mode"] == "longest" else WORDS[:-1]
    return ", ".join(f"{key}: {shown(facts[key])}" for key in words)


def _plain(value: Any) -> Any:
    """Bring values that mean the same to one form: a number for all channels, lists."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value) if len(set(value)) != 1 else value[0]
    return value


def shown(value: Any, /) -> str:
    """Write a value of a config as in YAML."""
    return (
        f"[{', '.join(map(str, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    )


def _size(image_size: Any, where: str) -> tuple[int, int]:
    sides = list(image_size) if isinstance(image_size, Sequence) and not isinstance(image_size, str) else [image_size]
    if len(sides) not in (1, 2) or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"{where}: image_size: must be pixels, or [height, width] in pixels, got {image_size!r}")
    return sides[0], sides[-1]


def _resize(word: Any, where: str) -> Resize:
    if word in ("shortest", "longest", "squash"):
        return word  # type: ignore[no-any-return]
    raise ValueError(f"{where}: resize_mode: must be shortest, longest or squash, as for open_clip, got {word!r}")


def _interpolation(word: Any, where: str) -> Interpolation:
    if isinstance(word, str) and word in INTERPOLATIONS:
        return INTERPOLATIONS[word]
    allowed = "bicubic, bilinear or random (bicubic when open_clip evaluates)"
    raise ValueError(f"{where}: interpolation: must be {allowed}, as for open_clip, got {word!r}")


def _fill(value: Any, where: str) -> tuple[int, int, int]:
    levels = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    levels = levels * 3 if len(levels) == 1 else levels
    if len(levels) != 3 or not all(type(level) is int and 0 <= level <= 255 for level in levels):
        raise ValueError(f"{where}: fill_color: must be a level from 0 to 255, or one for each channel, got {value!r}")
    return levels[0], levels[1], levels[2]


def _channels(value: Any, where: str) -> Channels:
    """Return a value for each channel; like open_clip, take 0 and an empty list for a value that is not given."""
    if value in (0, [], ()) and not isinstance(value, bool):
        value = OPENAI[where.rpartition(": ")[2]]
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    right = len(numbers) == 3 and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    if not right:
        raise ValueError(f"{where}: must be a number, or one for each of the 3 channels, got {value!r}")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _doubts(config: Config, facts: Config, interpolation: Interpolation) -> list[str]:
    doubts = []
    unread = [key for key in config if key not in KEYS]
    if unread:
        doubts.append(f"open_clip reads no key {', '.join(map(repr, unread))}; it reads {', '.join(KEYS)}")
    for key in ("mean", "std"):
        value = facts[key]
        if value in (0, [], ()):
            doubts.append(f"{key}: {value!r} is what open_clip takes for no value: it uses {shown(OPENAI[key])}")
        elif max(value if isinstance(value, Sequence) else [value]) > 1:
            doubts.append(f"{key}: {shown(value)} is above 1; levels are divided by 255 before they are normalised")
    if facts["interpolation"] != interpolation:
        doubts.append(f"interpolation: {facts['interpolation']} is {interpolation} here, as when open_clip evaluates")
    return doubts
