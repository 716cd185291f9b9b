"""Combinations of a scheme's words that its method refuses whatever the data: told when the DAG is built.

A quantizer's file lists them in a literal, so that they are read without importing it:
`REFUSES = [({"grid": "scheme", "weight.symmetric": True}, "why, and what to write instead")]`. A key is a word of the
method or an attribute of a grid; an entry is refused where all of them have the given values. `REFUSES_OTHER`, of the
same form, lists what is refused where layers have a precision of their own (`layers: other`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reliquant import plugins
from reliquant.grid import Grid


def refusals(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say why a quantizer refuses an entry whose words are right by themselves and whose grids have their bits."""
    yield from _told(entry, "REFUSES")


def refusals_of_other(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say why a quantizer refuses that layers of such an entry have a precision of their own."""
    yield from _told(entry, "REFUSES_OTHER")


def _told(entry: Mapping[str, Any], literal: str) -> Iterator[str]:
    method = entry["quantizer"]
    listed = plugins.literal("quantizer", method, literal)
    if not listed:
        return
    defaults = plugins.words(plugins.source("quantizer", method), "quantizer")
    words = {word: entry.get(word, default) for word, (_, default) in defaults.items()}
    for conditions, why in listed:
        if all(_value(words, key) == value for key, value in conditions.items()):
            yield f"{method}: {why}"


def _value(words: Mapping[str, Any], key: str) -> Any:
    word, _, attribute = key.partition(".")
    return getattr(Grid(**words[word]), attribute) if attribute else words[word]
