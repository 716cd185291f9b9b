"""The reference of the library, by autodoc: which modules a page shows, and docstrings as reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from markup import CODE_SPAN

import reliquant
from reliquant import plugins

NOTEBOOK = "notebook"  # the word for what `import reliquant` gives by itself


def modules(*named: str) -> str:
    """Write modules by their dotted names below the package; `measures.*` stands for all in a room."""
    if named == (NOTEBOOK,):
        lines = [f".. autofunction:: reliquant.{name}" for name in reliquant._PLACES]
        return "```{eval-rst}\n" + "\n\n".join(lines) + "\n```"
    return "\n\n".join(_module(name) for pattern in named for name in _expanded(pattern))


def _expanded(pattern: str) -> list[str]:
    room, star, _ = pattern.partition(".*")
    if not star:
        return [pattern]
    return [f"{room}.{path.stem}" for path in sorted((plugins.PACKAGE / room).glob("*.py")) if path.stem != "__init__"]


def _module(name: str) -> str:
    return f"## `reliquant.{name}`\n\n```{{eval-rst}}\n.. automodule:: reliquant.{name}\n   :members:\n```"


def as_rst(*given: Any) -> None:
    """Turn a docstring, in place, from the plain text and backticks of our code into reStructuredText."""
    lines = given[-1]
    in_doctest = False
    for i, line in enumerate(lines):
        in_doctest = line.lstrip().startswith(">>>") or (in_doctest and bool(line.strip()))
        if not in_doctest:
            lines[i] = _line(line)


def _line(line: str) -> str:
    pieces, end = [], 0
    for span in CODE_SPAN.finditer(line):
        pieces += [_plain(line[end : span.start()]), f"\\ ``{span[2]}``\\ "]
        end = span.end()
    return "".join([*pieces, _plain(line[end:])])


def _plain(words: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", words)
