"""Sort the sources of pre-training data into noisy and curated ones, for the looks of figures and for claims 2 and 3.

A source is known by how its name begins, in small letters: `laion2b` is noisy, `DFN` is curated, `COYO` is neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["noisy", "curated"]


@dataclass(frozen=True)
class Beginning:
    """How the names of some sources begin, and of which kind their data are.

    `judged`: whether claims 2 and 3 of the paper are asked of them. `rank`: among several sources of a kind in one
    study, that of the lowest rank is drawn in the kind's look.
    """

    word: str
    kind: Kind
    judged: bool = True
    rank: int = 0


BEGINNINGS = (
    Beginning("laion", "noisy"),
    Beginning("web", "noisy"),  # and so WebLI
    Beginning("noisy", "noisy"),
    Beginning("datacomp", "noisy", judged=False),
    Beginning("wit", "curated"),
    Beginning("openai", "curated"),
    Beginning("dfn", "curated", rank=1),  # WIT beside it keeps its look
    Beginning("curated", "curated"),
    Beginning("clean", "curated", judged=False),
)


def beginning_of(source: str, /) -> Beginning | None:
    """Return the line of the table that a source's name falls under; None where there is none.

    >>> beginning_of("LAION-2B").kind, beginning_of("COYO")
    ('noisy', None)
    """
    return next((line for line in BEGINNINGS if source.lower().startswith(line.word)), None)


def judged(kind: Kind, /) -> tuple[str, ...]:
    """List how the names of the sources begin that the paper's claims about a kind are asked of.

    >>> judged("noisy")
    ('laion', 'web', 'noisy')
    """
    return tuple(line.word for line in BEGINNINGS if line.kind == kind and line.judged)


def foremost(sources: Iterable[str], kind: Kind, /) -> str | None:
    """Return the source that stands for a kind in the figures of a study: the lowest rank, then the first by name.

    >>> foremost(["DFN", "LAION", "WIT"], "curated"), foremost(["DFN", "LAION"], "curated"), foremost(["COYO"], "noisy")
    ('WIT', 'DFN', None)
    """
    ranked = []
    for source in sources:
        line = beginning_of(source)
        if line is not None and line.kind == kind:
            ranked.append((line.rank, source))
    return min(ranked)[1] if ranked else None
