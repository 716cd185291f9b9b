"""What is wrong with a scheme whose layers get bits of their own (`mixed`), as far as words say; free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reliquant import plugins
from reliquant.grid import FORMATS, Grid, parse_precision
from reliquant.study.config import Entry, at_own_precision, format_problems, with_grids

NAME = "mixed"


def methods_of(entry: Mapping[str, Any], /) -> list[str]:
    """Name the quantizers that an entry runs: its own, and where that is `mixed` the method that rounds its layers."""
    name = str(entry["quantizer"])
    return [name, _method(entry)] if name == NAME else [name]


def mixed_problems(entry: Mapping[str, Any], precision: str, /) -> Iterator[str]:
    """Say what is wrong with the words of `mixed` at a precision; nothing of other quantizers."""
    if entry.get("quantizer") != NAME:
        return
    problems = [*_method_problems(entry, precision)]
    yield from problems or list(_choice_problems(entry)) or list(_budget_problems(entry, precision))


def unpaired_measure(entry: Mapping[str, Any], /) -> str:
    """Name the measure of a `mixed` that asks which caption an image has; empty where it asks for none."""
    if entry.get("quantizer") != NAME:
        return ""
    measure = str(_default(entry, "measure"))
    return "" if measure in ("output_error", "ood_gap") else measure


def _method(entry: Mapping[str, Any]) -> str:
    return str(_default(entry, "method"))


def _default(entry: Mapping[str, Any], word: str) -> Any:
    """Return a word of the entry, or its default."""
    return entry.get(word, plugins.words(plugins.source("quantizer", NAME), "quantizer")[word][1])


def _rounding(entry: Mapping[str, Any]) -> Entry:
    """Return the entry of the method, without bits."""
    grids = {grid: entry[grid] for grid in ("weight", "activation") if grid in entry}
    return {"quantizer": _method(entry), **_default(entry, "words"), **grids}


def _method_problems(entry: Mapping[str, Any], precision: str) -> Iterator[str]:
    method, of_method = _method(entry), _rounding(entry)
    able = [name for name in plugins.names("quantizer") if plugins.literal("quantizer", name, "LOCAL")]
    try:
        local = bool(plugins.literal("quantizer", method, "LOCAL"))
    except plugins.ConfigError as error:
        yield from (f"method: {problem}" for problem in error.problems)
        return
    if not local:
        told = "mixed tries layers one at a time, and takes methods that change each by itself"
        yield f"method: {method}: {told}: {', '.join(able)}"
        return
    own = {word for word in ("quantizer", "weight", "activation") if word in _default(entry, "words")}
    if own:
        yield f"words: {', '.join(sorted(own))}: belong beside `method`; `words` has the other words of {method}"
        return
    yield from (f"words: {problem}" for problem in plugins.check("quantizer", with_grids(of_method, precision)))
    others = entry.get("layers", {}).get("other", {}).values()
    yield from format_problems(of_method, precision)
    for each in others:
        yield from format_problems(at_own_precision(of_method, each), each)


def _choice_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    choices = _default(entry, "choices")
    if not choices or len(set(map(str, choices))) < len(choices):
        yield f"choices: need bits or formats, each once, got {choices!r}"
        return
    for choice in choices:
        allowed = 2 <= choice < 16 if isinstance(choice, int) else choice in FORMATS
        if not allowed:
            told = f"bits from 2 to 15, or a format of {', '.join(FORMATS)}"
            yield f"choices: {choice!r} is none of what there is: {told}; layers: keep spares layers"
            continue
        problems = format_problems(_rounding(entry), f"w{choice}a16")
        yield from (f"choices: {problem}" for problem in problems)


def _budget_problems(entry: Mapping[str, Any], precision: str) -> Iterator[str]:
    """Say which budget leaves no room even for the least of the choices, by their bits alone."""
    weight = Grid(**with_grids(entry, precision)["weight"])
    if weight.floating:
        yield f"precision {precision}: gives mixed no bits of weights to share out; give the scheme `precisions`"
        return
    budget = entry.get("budget")
    if budget is not None and entry.get("budget_bytes") is not None:
        yield "budget, budget_bytes: say one of them"
        return
    if entry.get("budget_bytes") is not None and entry["budget_bytes"] < 1:
        yield f"budget_bytes: must be above 0, got {entry['budget_bytes']}"
    words = [parse_precision(f"w{choice}a16")[0] for choice in _default(entry, "choices")]
    if budget is None and entry.get("budget_bytes") is None and min(word["bits"] for word in words) > weight.bits:
        least = min(word["bits"] for word in words)
        yield f"choices: the least has {least} bits, more than the {weight.bits} of {precision}, which are the budget"
    least = min(weight.at(word).least_bits for word in words)
    if budget is not None and budget < least:
        yield f"budget: {budget:g} stored bits a weight are fewer than the {least:g} of the least of the choices"
