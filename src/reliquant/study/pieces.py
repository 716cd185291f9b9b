"""Which figures and tables a report holds: what a config's `report` names, and all of a kind that it does not name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reliquant import plugins
from reliquant.study.config import PieceKind

# the words of `report`, and the families of plugins that they name
KINDS: dict[PieceKind, str] = {"figures": "figure", "tables": "table"}
Asked = Mapping[PieceKind, Sequence[str]]  # what `report` says


def report_problems(asked: Asked, /) -> Iterator[str]:
    """Say which figures and tables are named that are not there."""
    for kind, named in asked.items():
        for name in named:
            if name not in plugins.names(KINDS[kind]):
                yield f"report: {kind}: {plugins.unknown(KINDS[kind], name, plugins.names(KINDS[kind]))}"


def shown(asked: Asked, /) -> dict[str, list[str]]:
    """Return the names that a report holds of each family.

    >>> shown({"figures": ["overview"], "tables": []})
    {'figure': ['overview'], 'table': []}
    """
    return {
        family: [name for name in plugins.names(family) if name in asked.get(kind, plugins.names(family))]
        for kind, family in KINDS.items()
    }


def left_out(asked: Asked, /) -> dict[str, list[str]]:
    """Return the names that a report does not hold because it was not asked for them, of each kind that has some.

    >>> left_out({"figures": plugins.names("figure")})
    {}
    """
    held = shown(asked)
    rest = {kind: [n for n in plugins.names(family) if n not in held[family]] for kind, family in KINDS.items()}
    return {kind: names for kind, names in rest.items() if names}
