"""The form of prepared images: how open_clip brings an image to a model's size, with a name that is a folder's.

`224-shortest-bicubic` is what most models take; `224x448-squash-bilinear` is 224 pixels high and 448 wide;
`224-longest-bicubic-fill0` pads with black.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Resize = Literal["shortest", "longest", "squash"]
Interpolation = Literal["bicubic", "bilinear"]
NATIVE = "native"  # images of one size that stay as they are
READS = (
    "native, <size>-<shortest|squash>-<bicubic|bilinear> or <size>-longest-<bicubic|bilinear>-fill<level>"
    " (size: pixels, or <height>x<width>; level: 0 to 255, or <red>.<green>.<blue>)"
)
_SIDE, _LEVEL = r"[1-9]\d{0,4}", r"\d{1,3}"
NAME = re.compile(
    rf"(?P<height>{_SIDE})(x(?P<width>{_SIDE}))?-(?P<resize>shortest|squash|longest)-(?P<interpolation>bicubic|bilinear)"
    rf"(-fill(?P<fill>{_LEVEL}(\.{_LEVEL}\.{_LEVEL})?))?"
)


@dataclass(frozen=True)
class Form:
    """Say how large an image becomes, in pixels, and how.

    `shortest` fits the shorter side and crops the centre, `longest` fits the longer side and pads the rest with the
    levels `fill` (red, green, blue; 0 to 255), `squash` changes the proportions.
    """

    height: int
    width: int
    resize: Resize = "shortest"
    interpolation: Interpolation = "bicubic"
    fill: tuple[int, int, int] = (0, 0, 0)

    @property
    def name(self) -> str:
        """Name the form as a folder of `data/prepared/<dataset>`, and as the word `form` of a config.

        >>> Form(32, 32).name, Form(32, 64, "longest", "bilinear", (255, 255, 255)).name
        ('32-shortest-bicubic', '32x64-longest-bilinear-fill255')
        """
        size = f"{self.height}" if self.height == self.width else f"{self.height}x{self.width}"
        name = f"{size}-{self.resize}-{self.interpolation}"
        if self.resize != "longest":
            return name
        levels = self.fill[:1] if len(set(self.fill)) == 1 else self.fill
        return f"{name}-fill{'.'.join(map(str, levels))}"

    def scaled(self, height: int, width: int, /) -> tuple[int, int]:
        """Return the height and width of an image once it is resized, before it is cropped or padded.

        The arithmetic is that of torchvision's Resize for `shortest` into a square, which cuts the longer side to a
        whole number, else that of open_clip's ResizeKeepRatio, which rounds both sides. Raises ValueError where a side
        would vanish.

        >>> Form(32, 32).scaled(40, 81), Form(32, 32, "longest").scaled(40, 81)
        ((32, 64), (16, 32))
        """
        if self.resize == "squash":
            return self.height, self.width
        if self.resize == "shortest" and self.height == self.width:
            size = self.height
            return (int(size * height / width), size) if width <= height else (size, int(size * width / height))
        ratios = height / self.height, width / self.width
        ratio = max(ratios) if self.resize == "longest" else min(ratios)
        target = round(height / ratio), round(width / ratio)
        if 0 in target:
            raise ValueError(f"{width}x{height} pixels: nothing is left of the shorter side in the form {self.name}")
        return target

    def offset(self, height: int, width: int, /) -> tuple[int, int]:
        """Return where the model's field begins in a resized image, from its top and left; negative: so much is padded.

        >>> Form(32, 32).offset(32, 64), Form(32, 32, "longest").offset(15, 32)
        ((0, 16), (-8, 0))
        """
        return _offset(height, self.height), _offset(width, self.width)


def _offset(side: int, field: int) -> int:
    return -((field - side) // 2) if field > side else round((side - field) / 2)


def parse_form(name: str, /) -> Form:
    """Read the name of a form; raise ValueError saying how one must read. `native` has no size and is none."""
    match = NAME.fullmatch(str(name))
    if match is None or (match["resize"] == "longest") != (match["fill"] is not None):
        raise ValueError(f"must read {READS}, got {name!r}")
    levels = [int(level) for level in (match["fill"] or "0").split(".")]
    height = int(match["height"])
    form = Form(
        height,
        int(match["width"] or height),
        match["resize"],  # type: ignore[arg-type]
        match["interpolation"],  # type: ignore[arg-type]
        (levels[0], levels[1], levels[2]) if len(levels) == 3 else (levels[0],) * 3,
    )
    if max(levels) > 255 or form.name != name:
        raise ValueError(f"must read {READS}, got {name!r}")
    return form
