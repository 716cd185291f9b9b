"""What `reliquant check` says, for a terminal: for each variant a block, for each wish a line."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from reliquant.cli.columns import columns, window
from reliquant.cli.units import counted
from reliquant.report.against import compares
from reliquant.report.common_sets import some_of
from reliquant.report.escaping import one_line
from reliquant.report.gate import FAILS, HOLDS, OPEN, Line
from reliquant.report.recommend import wish

WIDEST = 100  # columns of a line; where the window is narrower, its own
HEAD = ("  wish", "value", "bounds", "n", "verdict")
TOLD = {HOLDS: "hold", FAILS: "fail", OPEN: "cannot be told"}
DIGITS = range(4, 9)  # decimals of a number below 10,000: as few as tell a bound from what was wished


def checked_text(data: Mapping[str, Any], /) -> str:
    """Lay out what `check` found (its `--json`): blocks, which sets, what it means, and the verdict last."""
    wide = min(window() or WIDEST, WIDEST)
    lines: list[list[str]] = []
    for variant in data["variants"]:
        less = f" less {one_line(variant['against'])} of {one_line(data['against'])}" if variant["against"] else ""
        lines += _wrapped(f"{one_line(variant['name'])}{less}: {variant['verdict']}", wide, "")
        for one in (Line(**line) for line in variant["wishes"]):
            lines.append(_cells(one))
            lines += _wrapped(one_line(one.why), wide, "    ")
    shown = columns(HEAD, lines, right=("value", "n"), width=wide)
    sentences = [*_sets(data["variants"]), *_alone(data), legend(data["confidence"]), _whole(data)]
    return "\n".join([*shown, "", *(line for text in sentences for line in _fit(text, wide))])


def legend(confidence: float, /) -> str:
    """Say what the verdicts mean, and how often they are wrong."""
    most = f"{1 - confidence:.4g}"
    return (
        f"bounds: one below and one above the value, each with a confidence of {confidence:g}. A wish holds where"
        " both meet it, and fails where neither does. A variant that falls short of a wish passes with a chance of"
        f" {most} at most, however many wishes it has; each wish that is true reads fails with a chance of {most} at"
        " most."
    )


def _cells(one: Line) -> list[str]:
    """Return the cells of a wish: what was wished, the value, its bounds, images of a set, the verdict."""
    asked = wish(one.wish)
    if one.value is None:
        return [f"  {one_line(one.wish)}", "", "", "", one.verdict]
    if one.low is None or one.high is None:
        value, ends = _number(one.value, 4), "exact" if one.how == "exact" else ""
    else:
        digits = _digits(one, asked.bound)
        value, low, high = (_number(number, digits) for number in (one.value, one.low, one.high))
        ends = f"[{low}, {high}]"
    return [f"  {one_line(one.wish)}", value, ends, f"{one.n:,}" if one.n else "", one.verdict]


def _digits(one: Line, bound: float) -> int:
    """Return as few decimals as keep the written bounds on their sides of what was wished."""
    assert one.low is not None
    assert one.high is not None
    for digits in DIGITS:
        sides = [(round(end, digits) > bound) - (round(end, digits) < bound) for end in (one.low, one.high)]
        if sides == [(end > bound) - (end < bound) for end in (one.low, one.high)] and one.high - one.low > 10**-digits:
            return digits
    return DIGITS[-1]


def _number(value: float, digits: int) -> str:
    if value == int(value) and abs(value) >= 1e4:
        return f"{value:,.0f}"
    text = f"{value:,.{digits}f}" if abs(value) < 1e4 else f"{value:,.1f}"
    return text.lstrip("-") if not any(digit in "123456789" for digit in text) else text


def _fit(text: str, wide: int, **indents: str) -> list[str]:
    """Break a text at blanks; a path or a name stays whole."""
    return textwrap.wrap(text, wide, break_on_hyphens=False, break_long_words=False, **indents)


def _wrapped(text: str, wide: int, indent: str) -> list[list[str]]:
    return [[line] for line in _fit(text, wide, initial_indent=indent, subsequent_indent=indent + "  ")]


def _sets(variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say over which sets the value of each wish is a mean; n is the number of images of one of them."""
    known: dict[str, str] = {}
    for variant in variants:
        for line in variant["wishes"]:
            if line["sets"]:
                known.setdefault(line["wish"], line["sets"])
    by_sets: dict[str, list[str]] = {}
    for wished, sets in known.items():
        by_sets.setdefault(sets, []).append(wished)
    told = []
    for sets, wished in by_sets.items():
        mean = "means over " if ", " in sets else "on "
        told.append(f"{one_line('; '.join(wished) if len(by_sets) > 1 else 'values')}: {mean}{one_line(sets)}.")
    return told


def _alone(data: Mapping[str, Any]) -> list[str]:
    """Say which wishes are of the first table alone, where there are two."""
    wishes = [line["wish"] for line in data["variants"][0]["wishes"]] if data["against"] else []
    alone = [one_line(text) for text in wishes if not compares(wish(text))]
    return [f"{'; '.join(alone)}: of {one_line(data['rows'])} alone."] if alone else []


def _whole(data: Mapping[str, Any]) -> str:
    """Say the verdict of all, how many verdicts there are of each kind, and which variants are in the way."""
    words = [line["verdict"] for variant in data["variants"] for line in variant["wishes"]]
    counts = [(words.count(word), told) for word, told in TOLD.items()]
    told = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    short = [one_line(one["name"]) for one in data["variants"] if one["verdict"] != HOLDS]
    which = f" ({some_of(short)})" if short and len(data["variants"]) > 1 else ""
    return f"{data['verdict']}: of {counted(len(words), 'wish')} {told}{which}".replace("wishs", "wishes")
