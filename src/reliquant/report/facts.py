"""What a report says of a study's models, datasets and config (`facts.json`): checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from reliquant.files.artifacts import require_words
from reliquant.files.digests import AGAIN, DamagedFile
from reliquant.study.config import EQUIVALENCE, PieceKind
from reliquant.study.pieces import KINDS, report_problems
from reliquant.study.stored import config_in

STUDY = {"study": str, "title": str, "note": str, "config": str, "models": dict, "datasets": dict, "versions": dict}
MODEL = {"source": str, "architecture": str, "n_parameters": int}
DATASET = {"n": int, "classes": int, "entry": dict}


def require_facts(facts: Mapping[str, Any], path: str, /) -> None:
    """Raise DamagedFile naming the file and the word that a report needs and that is missing or of another type."""
    require_words(facts, STUDY, f"{path}:")
    for group, words in (("models", MODEL), ("datasets", DATASET)):
        require_words(facts[group], dict.fromkeys(facts[group], dict), f"{path}: {group}")
        for name, found in facts[group].items():
            require_words(found, words, f"{path}: {group}: {name}")
    require_words(facts["versions"], dict.fromkeys(facts["versions"], str), f"{path}: versions")


def equivalence_of(facts: Mapping[str, Any], path: str, /) -> float:
    """Return the difference that the study's config says is none, or the usual one; raise DamagedFile naming `path`."""
    found = config_in(facts, path).get("equivalence", EQUIVALENCE)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1:
        raise DamagedFile(f"{path}: config: equivalence must be a number between 0 and 1, not {found!r:.60}; {AGAIN}")
    return found


def pieces_of(facts: Mapping[str, Any], path: str, /) -> dict[PieceKind, list[str]]:
    """Return the figures and tables that the study's config asks for, as its `report` says; raise DamagedFile."""
    found = config_in(facts, path).get("report", {})
    if not isinstance(found, dict) or not set(found) <= set(KINDS) or not all(map(_is_list_of_texts, found.values())):
        raise DamagedFile(f"{path}: config: report must name lists of figures and tables, not {found!r:.60}; {AGAIN}")
    if problems := list(report_problems(found)):
        raise DamagedFile(f"{path}: config: {problems[0]:.1000}; {AGAIN}")
    return found


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def require_study(studies: Collection[str], facts: Mapping[str, Any], rows: str, path: str, /) -> None:
    """Raise DamagedFile naming both files where there are rows, of which none is of the study that the facts are of."""
    if studies and facts["study"] not in studies:
        told = f"{rows}: is of the study {', '.join(sorted(studies))[:200]}, and {path} of {facts['study']}"
        raise DamagedFile(f"{told}: one of them is in the other's place; {AGAIN}")
