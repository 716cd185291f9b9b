"""Limits of what is read from files that others made, and JSON and YAML read within them.

A file of a few bytes can ask for any amount of memory and time. So what it declares, sizes, counts and depths, is
compared with a limit before anything is read. The limits leave room for what real data need; where some need more,
the environment variable RELIQUANT_LIMITS, a number, multiplies them all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

WORD = "RELIQUANT_LIMITS"
JSON_BYTES = 32 * 2**20  # of lists of classes, descriptions of models
YAML_BYTES = 2**20  # of a config
YAML_NODES = 100_000  # keys and values of a config, those that aliases repeat among them
DEPTH = 64  # lists and mappings in one another
LONGEST_PLAIN = 10_000  # letters of a word without quotes: what looks like a number is made one, digit by digit
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where PyYAML has it


class TooMuch(ValueError):
    """A file declares more than is read; the message names it, the limit, and how to raise that."""


def limit(usual: float, /) -> int:
    """Return a limit, multiplied by RELIQUANT_LIMITS; raise ValueError where that is no number of at least 1."""
    word = os.environ.get(WORD, "").strip() or "1"
    try:
        factor = float(word)
        return int(usual * factor) if factor >= 1 else int("less than 1")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{WORD}: must be a number of at least 1, got {word!r:.40}") from error


def require(about: object, what: str, declared: int, usual: float, /) -> None:
    """Raise TooMuch where more of something is declared than the limit.

    >>> require("a.tar", "members", 3, 2)
    Traceback (most recent call last):
    reliquant.files.bounded.TooMuch: a.tar: 3 members; at most 2 are read (RELIQUANT_LIMITS=2 doubles all limits)
    """
    if declared > (most := limit(usual)):
        raise TooMuch(f"{about}: {declared:,} {what}; {told(most)}")


def told(most: int, /) -> str:
    """Say a limit, and how to raise it, for a message."""
    return f"at most {most:,} are read ({WORD}=2 doubles all limits)"


def read_bytes(path: Path, usual: float = JSON_BYTES, /) -> bytes:
    """Read a file of at most so many bytes; raise TooMuch for a longer one."""
    require(path, "bytes", path.stat().st_size, usual)
    return path.read_bytes()


def read_json(path: Path, usual: float = JSON_BYTES, /) -> Any:
    """Read a JSON file of at most so many bytes, with or without a byte order mark; raise ValueError naming it."""
    return parse_json(read_bytes(path, usual), f"{path}:", usual)


def parse_json(text: str | bytes, about: str, usual: float = JSON_BYTES, /) -> Any:
    """Parse JSON of at most so many bytes; raise ValueError, about the file that is named, where it cannot be."""
    require(about.rstrip(":"), "bytes of JSON", len(text), usual)
    try:
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text.decode("utf-8-sig"))
    except RecursionError as error:
        raise TooMuch(f"{about} no JSON that is read: lists or objects nested too deeply") from error
    except ValueError as error:  # no text, no JSON, a number of too many digits
        raise ValueError(f"{about} no JSON: {str(error)[:200]}") from error


def load_yaml(text: str | bytes, /) -> Any:
    """Parse YAML as `yaml.safe_load` does, within limits of its size, depth, words, and what its aliases repeat.

    Raises yaml.YAMLError for all that cannot be read.
    """
    try:
        require("YAML", "bytes", len(text), YAML_BYTES)
        _count(text)
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise yaml.YAMLError("lists or mappings nested too deeply") from error
    except (ValueError, OverflowError, TypeError, AttributeError) as error:  # no such day; a number of too many digits
        raise yaml.YAMLError(str(error)[:200]) from error


def require_small(value: object, /) -> None:
    """Raise TooMuch for lists and mappings that are nested too deeply, or repeat one another too often.

    Parsed YAML holds what an alias repeats once, and whoever walks through it meets it again each time.
    """
    _walked(value, {}, 0)


def _count(text: str | bytes) -> None:
    """Raise TooMuch for YAML that is nested too deeply, or has too many nodes with those that aliases repeat."""
    by_anchor: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # the anchor of each, and the nodes that were counted before it
    nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.events.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                by_anchor[anchor] = nodes - before
            continue
        if not isinstance(event, yaml.events.NodeEvent):
            continue
        before, nodes = nodes, nodes + 1
        if isinstance(event, yaml.events.AliasEvent):
            nodes += by_anchor.get(event.anchor or "", YAML_NODES)  # one that is still open would never end
        elif isinstance(event, yaml.events.CollectionStartEvent):
            open_nodes.append((event.anchor, before))
            require("YAML", "levels of lists and mappings", len(open_nodes), DEPTH)
        elif isinstance(event, yaml.events.ScalarEvent):
            if event.anchor is not None:
                by_anchor[event.anchor] = 1
            if event.style is None or event.style == "":
                require("YAML", "letters in a word without quotes", len(event.value), LONGEST_PLAIN)
        require("YAML", "keys and values, repeated ones among them", nodes, YAML_NODES)


def _walked(value: object, known: dict[int, int], depth: int) -> int:
    """Count the values in a value, each as often as it is met; those that are already known are not walked again."""
    if not isinstance(value, Mapping | list | tuple):
        return 1
    require("the config", "levels of lists and mappings", depth, DEPTH)
    if id(value) not in known:
        known[id(value)] = 1 + sum(_walked(part, known, depth + 1) for part in _parts(value))
        require("the config", "keys and values, repeated ones among them", known[id(value)], YAML_NODES)
    return known[id(value)]


def _parts(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    else:
        yield from value
