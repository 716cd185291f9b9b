"""The numbers that a quantized tensor may take. Free of torch, so that a config can be checked without it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

SHARES = {"weight": ("tensor", "channel", "group"), "activation": ("tensor", "token", "group")}  # may share a scale
FLOAT_BITS = 16  # `w4a16`: activations stay in floating point
Bits = Annotated[int, Field(ge=2, le=FLOAT_BITS)]
ElementName = Literal["int", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1"]
ScaleType = Literal["fp32", "fp16", "e8m0", "e4m3"]
SCALE_BITS: dict[ScaleType, int] = {"fp32": 32, "fp16": 16, "e8m0": 8, "e4m3": 8}


@dataclass(frozen=True)
class Element:
    """Describe a small floating-point type: a sign, `exponent` and `mantissa` bits, and its largest finite number.

    Numbers are those of the Open Compute Project: OFP8 v1.0 (E4M3 without infinity, E5M2) and MX v1.0, table 1 (E3M2,
    E2M3, E2M1). Infinities and NaN take no part in quantization, which saturates.
    """

    exponent: int
    mantissa: int
    bias: int
    largest: float

    @property
    def bits(self) -> int:
        """Bits of one number, with its sign."""
        return 1 + self.exponent + self.mantissa

    @property
    def smallest(self) -> float:
        """Smallest positive number, which is subnormal, and the distance of the numbers next to zero."""
        return 2.0 ** (1 - self.bias - self.mantissa)

    @property
    def top(self) -> int:
        """Exponent of the largest binade: `emax` of the MX specification."""
        return int(self.largest).bit_length() - 1


ELEMENTS = {
    "e4m3": Element(4, 3, 7, 448.0),
    "e5m2": Element(5, 2, 15, 57344.0),
    "e3m2": Element(3, 2, 3, 28.0),
    "e2m3": Element(2, 3, 1, 7.5),
    "e2m1": Element(2, 1, 1, 6.0),
}
MX: dict[str, Any] = {"granularity": "group", "group": 32, "scale_type": "e8m0"}
FORMATS: dict[str, dict[str, Any]] = {  # word of a precision -> what it says of a grid
    "fp8": {"bits": 8, "element": "e4m3"},
    "fp8e5m2": {"bits": 8, "element": "e5m2"},
    "fp6": {"bits": 6, "element": "e2m3"},
    "fp6e3m2": {"bits": 6, "element": "e3m2"},
    "fp4": {"bits": 4, "element": "e2m1"},
    "mxint8": {"bits": 8, "element": "int", **MX},
    "mxfp8": {"bits": 8, "element": "e4m3", **MX},
    "mxfp8e5m2": {"bits": 8, "element": "e5m2", **MX},
    "mxfp6": {"bits": 6, "element": "e2m3", **MX},
    "mxfp6e3m2": {"bits": 6, "element": "e3m2", **MX},
    "mxfp4": {"bits": 4, "element": "e2m1", **MX},
    "nvfp4": {"bits": 4, "element": "e2m1", "granularity": "group", "group": 16, "scale_type": "e4m3"},
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Describe the numbers that a tensor may take: integers or small floats, times a scale, and what shares one scale.

    granularity `tensor`: one scale in all; `channel`: one per output channel (row) of a weight (o, i); `group`: one per
    run of `group` inputs within a row of a weight, or of an activation (..., d); `token`: one per row of an activation.
    `dynamic` activations take their range from the batch at hand instead of from calibration.

    `element` is the type of a code; `int` may have a zero point (`symmetric: false`) and be unsigned, floats may not.
    `scale_type` is the type in which scales are stored: by default `fp16` for groups (as AWQ, GPTQ and HQQ kernels take
    them) and `fp32` for all others; `e8m0`, a power of two, makes blocks of the MX formats; `e4m3`, times one FP32
    number per tensor, `tensor_scale`, makes blocks of NVFP4. That number is found when the tensor is known.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    bits: int
    granularity: Literal["tensor", "channel", "group", "token"] = "tensor"
    symmetric: bool = True
    signed: bool = True
    group: int = 64
    dynamic: bool = False
    element: ElementName = "int"
    scale_type: ScaleType | None = None
    tensor_scale: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= FLOAT_BITS:
            raise ValueError(f"bits must be from 2 to {FLOAT_BITS}, not {self.bits}")
        if self.group < 1:
            raise ValueError(f"group must be at least 1, not {self.group}")
        if self.symmetric and not self.signed:
            raise ValueError("an unsigned grid has a zero point: say symmetric: false")
        if self.granularity == "token" and not self.dynamic:
            raise ValueError("granularity token needs dynamic: true; tokens have no calibrated range")
        if self.element != "int":
            self._check_float()
        if self.scale_type in ("e8m0", "e4m3") and (self.granularity != "group" or not self.symmetric):
            raise ValueError(f"scales of {self.scale_type} are those of groups, which have no zero point")

    def _check_float(self) -> None:
        bits = ELEMENTS[self.element].bits
        if not self.symmetric:
            raise ValueError(f"{self.element} has no zero point: symmetric: false is for integers")
        if self.bits != bits:
            raise ValueError(f"{self.element} has {bits} bits, not {self.bits}")

    @property
    def scales_as(self) -> ScaleType:
        """Type in which scales are stored."""
        return self.scale_type or ("fp16" if self.granularity == "group" else "fp32")

    @property
    def is_float(self) -> bool:
        """Whether codes are small floating-point numbers."""
        return self.element != "int"

    @property
    def low(self) -> float:
        """Smallest level in units of the scale: -(2^(b-1)) of signed integers, 0 of unsigned, -largest of floats."""
        if self.is_float:
            return -ELEMENTS[self.element].largest
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> float:
        """Largest level in units of the scale: 2^(b-1) - 1 of signed integers, else 2^b - 1; `largest` of floats."""
        return ELEMENTS[self.element].largest if self.is_float else self.low + 2**self.bits - 1

    @property
    def positive_levels(self) -> int:
        """How many levels lie above 0: `high` of integers without a zero point."""
        if not self.is_float:
            return int(self.high)
        element = ELEMENTS[self.element]
        steps = (self.high / 2.0**element.top - 1) * 2**element.mantissa  # within the largest binade
        return (element.top + element.bias) * 2**element.mantissa + int(steps)

    @property
    def first_code(self) -> int:
        """Smallest code as it is stored: the lowest level of integers, 0 of floats, whose codes are their bits."""
        return 0 if self.is_float else int(self.low)

    @property
    def top(self) -> int:
        """Exponent of the largest binade of the levels, which an E8M0 scale is made for."""
        return ELEMENTS[self.element].top if self.is_float else self.bits - 2

    @property
    def wide(self) -> bool:
        """Whether codes are kept in 16-bit integers, because int8 does not hold all of them."""
        return self.bits > 8 or not self.signed or (self.is_float and self.bits == 8)

    @property
    def least_bits(self) -> float:
        """Stored bits that a number takes at least: its code, and its share of the scale of a group."""
        return self.bits + (SCALE_BITS[self.scales_as] / self.group if self.granularity == "group" else 0)

    def at(self, words: Mapping[str, Any], /) -> Grid:
        """Return this grid at another precision's words; what a format had fixed here is the default again.

        What a scheme says of the grid stays, such as `scale_type: fp32`; a format's blocks and floats have no zero
        point, so that `symmetric: false` is for the integers alone.
        """
        plain: dict[str, Any] = {"element": "int", "tensor_scale": None}
        if self.whole_groups:
            plain |= {"granularity": "tensor" if self.dynamic else "channel", "dynamic": False, "group": 64}
            plain |= {"scale_type": None}
        elif "group" in words or words.get("element", "int") != "int":
            plain |= {"symmetric": True, "signed": True}
        return replace(self, **{**plain, **words})

    @property
    def floating(self) -> bool:
        """Whether this grid means that the tensor stays in floating point as it is."""
        return self.bits >= FLOAT_BITS

    @property
    def whole_groups(self) -> bool:
        """Whether a width must be a multiple of the group, as in the MX formats and NVFP4."""
        return self.scale_type in ("e8m0", "e4m3")


def share_problems(words: Mapping[str, Any], /) -> list[str]:
    """Say which grids among a method's words share a scale in a way that weights, or activations, do not know."""
    problems = []
    known = {word for allowed in SHARES.values() for word in allowed}
    for role, allowed in SHARES.items():
        grid = words.get(role)
        grid = grid if isinstance(grid, Mapping) else {}
        word = grid.get("granularity", "tensor")
        if isinstance(word, str) and word in known.difference(allowed):  # another type is told with the words
            problems.append(f"{role}.granularity: {word!r} is not for {role}s; they take {', '.join(allowed)}")
        if (role, word) == ("activation", "group") and not grid.get("dynamic"):
            problems.append("activation.granularity: group needs dynamic: true; blocks have no calibrated range")
    return problems


def parse_precision(precision: str, /) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a precision says of the grids of weights and activations.

    `w4a8` are integers, 16 means floating point as it is; `mxfp4` is one of FORMATS for both; `wmxfp4afp8` and
    `w4afp8` are one for weights and one for activations. Dynamic ranges belong to formats of blocks.

    >>> parse_precision("w4a16")
    ({'bits': 4}, {'bits': 16})
    >>> parse_precision("w4afp8")[1]
    {'bits': 8, 'element': 'e4m3'}
    """
    if precision in FORMATS:
        return dict(FORMATS[precision]), _of_activations(FORMATS[precision])
    number = "|".join(["0|[1-9][0-9]{0,8}", *FORMATS])
    match = re.fullmatch(f"w({number})a({number})", precision)  # no word for one precision twice
    if not match:
        raise ValueError(
            f"precision {precision!r} must read w<bits>a<bits>, like w4a8 (a16: floating point), with a format for "
            f"bits, like w4afp8, or be a format for both; formats: {', '.join(FORMATS)}"
        )
    names = match.groups()
    if names[0] == names[1] and names[0] in FORMATS:
        raise ValueError(f"precision {precision!r}: say {names[0]!r} where both are that format")
    weight, activation = (FORMATS.get(name) or {"bits": int(name)} for name in names)
    for words in (weight, activation):
        if not 2 <= words["bits"] <= FLOAT_BITS:
            raise ValueError(f"precision {precision!r}: bits must be from 2 to {FLOAT_BITS}, not {words['bits']}")
    return dict(weight), _of_activations(activation)


def attention_precision(word: str, /) -> dict[str, Any]:
    """Return what the precision of attention products says of their factors' grids.

    It reads as the part of a precision that is about activations, such as `a8` or `afp8`, or is a format.

    >>> attention_precision("a8"), attention_precision("fp8")
    ({'bits': 8}, {'bits': 8, 'element': 'e4m3'})
    """
    if word in FORMATS:
        return _of_activations(FORMATS[word])
    own = FORMATS.get(word[1:]) or ({"bits": int(word[1:])} if re.fullmatch("a[1-9][0-9]?", word) else None)
    if word[:1] != "a" or own is None or not 2 <= own["bits"] < FLOAT_BITS:
        raise ValueError(
            f"precision {word!r} must read a<bits>, from a2 to a{FLOAT_BITS - 1}, with a format for bits, like afp8, "
            f"or be a format; formats: {', '.join(FORMATS)}"
        )
    return _of_activations(own)


def _of_activations(words: dict[str, Any]) -> dict[str, Any]:
    return {**words, "dynamic": True} if words.get("granularity") == "group" else dict(words)


def bits_of(precision: str, /) -> tuple[int, int]:
    """Return the bits of a weight and of an activation, without their scales.

    >>> bits_of("wnvfp4afp8")
    (4, 8)
    """
    weight, activation = parse_precision(precision)
    return weight["bits"], activation["bits"]
