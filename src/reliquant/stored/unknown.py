"""What a table holds under names that are not known here, in words for a message that refuses it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from reliquant.stored.column import Column
from reliquant.stored.synonyms import MATRICES

MOST = 12  # names in a message
LETTERS = 16  # of a word that is shown
WORDS = (  # how the first word of a column begins, and what such words are
    (r"\s*[\[(]", "a list that was written as a word; write its numbers as a column each, or as parquet"),
    (r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*$", "numbers with decimal commas; write them with points"),
)


def there(known: Collection[str], others: Mapping[str, Column], wanted: str, /) -> str:
    """Say which columns a table has: those of our names, the others with what they hold, and how one is named.

    `wanted` is the one of ours that is looked for.

    >>> there(["label"], {}, "image")
    'there are label'
    """
    said = "there are " + (", ".join(sorted(known)) or "none that is known by its name")
    if not others:
        return said
    numbered: dict[str, list[str]] = {}
    for name in others:
        numbered.setdefault(name.rstrip("0123456789"), []).append(name)
    told = [_told(names, held(others[names[0]])) for names in list(numbered.values())[:MOST]]
    said = f"{said}, and {', '.join(told)}" + " ..." * (len(numbered) > MOST)
    matrix = wanted in MATRICES
    usable = [
        name for name, column in others.items() if _is_matrix(column) or (not matrix and column.given is not None)
    ]
    example = usable[0] if matrix and len(usable) == 1 else "NAME"
    return f"{said} (--names {wanted}={example} says which it is)" if usable else said


def _told(names: list[str], what: str) -> str:
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more such"
    return f"{name} ({what})" if what else name


def held(column: Column, /) -> str:
    """Say what a column holds, or why it is not read; nothing of plain numbers and words, one a row."""
    if column.given is None:
        return f"of type {column.stored}, which is not read"
    if column.given.kind != "O":
        return " x ".join(map(str, column.shape)) if len(column.shape) > 1 else ""
    first = str(column[:1].reshape(-1)[0]) if column.shape and column.shape[0] else ""
    for begins, what in WORDS:
        if re.match(begins, first):
            return f"{first[:LETTERS]!r}{' ...' * (len(first) > LETTERS)}: {what}"
    return ""


def _is_matrix(column: Column) -> bool:
    return column.given is not None and column.given.kind == "f" and len(column.shape) == 2
