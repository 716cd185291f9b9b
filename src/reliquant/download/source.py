"""Where a plugin's files are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from reliquant import plugins
from reliquant.names import file_problem, folded


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


def trusted_on_first_use(source: Source, /) -> str:
    """Say that the first download of a file is trusted, and how far that goes; empty where its sha256 is published."""
    if source.sha256 is not None:
        return ""
    over = urlsplit(source.url).scheme
    open_to = "" if over == "https" else ", so that anybody on the way could change it"
    return f"nobody publishes the sha256 of {source.url}: it is trusted as it first comes, over {over}{open_to}"


def sources_of(family: str, entry: Mapping[str, Any], /) -> Sequence[Source]:
    """Return the sources of a dataset or lexicon entry: its plugin's SOURCES, or what `sources` makes of its words.

    Raises ValueError for an address whose last part names no file in a folder, or one that another address has, too.
    """
    module = plugins.module(family, entry[family])
    words = {k: v for k, v in entry.items() if k != family}
    sources: Sequence[Source] = module.SOURCES if hasattr(module, "SOURCES") else module.sources(**words)
    seen: dict[str, str] = {}
    for source in sources:
        name = unquote(urlsplit(source.url).path).rpartition("/")[2]
        if problem := file_problem(name):
            raise ValueError(
                f"{family} {entry[family]!r}: {source.url!r}: the name of its file {problem}, got {name!r}"
            )
        other = seen.setdefault(folded(name), source.url)
        if other != source.url:
            raise ValueError(f"{family} {entry[family]!r}: {source.url!r}: its file has the name of another's: {other}")
    return sources
