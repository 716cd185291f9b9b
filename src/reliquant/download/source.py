"""Where a plugin's files are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reliquant import plugins


@dataclass(frozen=True)
class Source:
    """One published file: where, its sha256 and size in bytes, its licence, and whether to unpack it.

    sha256 and bytes are None where nobody whom we trust publishes them: the first download then records its own.
    """

    url: str
    sha256: str | None
    bytes: int | None
    licence: str
    unpack: bool = False


def sources_of(family: str, entry: Mapping[str, Any], /) -> Sequence[Source]:
    """Return the sources of a dataset or lexicon entry: its plugin's SOURCES, or what `sources` makes of its words."""
    module = plugins.module(family, entry[family])
    words = {k: v for k, v in entry.items() if k != family}
    return module.SOURCES if hasattr(module, "SOURCES") else module.sources(**words)
