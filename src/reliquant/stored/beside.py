"""Tables of variants beside that of their reference: what each says of the same images, in the same order.

What a variant's table lacks because quantization left it as it was, labels, classes, text, is the reference's, which is
said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from reliquant.evaluation.answers import LEVELS, Answers, answers_of_features, answers_of_predictions
from reliquant.evaluation.class_tables import answers_of_logits, answers_of_probabilities
from reliquant.evaluation.records import Score
from reliquant.files.stored_frames import errors_named
from reliquant.stored.features import doubts_of, features_of, labels_of, numbers_of, probabilities_doubted
from reliquant.stored.match import matched
from reliquant.stored.read import KINDS, NO_NAMES, Table, read_table

BY_PLACE = r"(.+) and (.+): rows are matched by their position, as .*"
Said = list[str]


@dataclass(frozen=True)
class Files:
    """Name a model's tables: of labelled images, of sets of other images, and of shifted ones of the same classes."""

    labelled: Path
    ood: Sequence[Path] = ()
    shifted: Sequence[Path] = ()


@dataclass(frozen=True)
class Tables:
    """Hold a model's tables: of labelled images, and of other and of shifted images by the name of their set."""

    labelled: Table
    ood: Mapping[str, Table]
    shifted: Mapping[str, Table]


def paired_answers(
    variants: Mapping[str, Files],
    reference: Files,
    scores: Mapping[str, Score],
    said: Said,
    /,
    *,
    names: Mapping[str, str] = NO_NAMES,
    reference_names: Mapping[str, str] | None = None,
) -> tuple[dict[str, Answers], Answers]:
    """Read the tables of variants, by name, and of their reference; return what each says, image by image in one order.

    `scores` are the OOD scores of embeddings; `names` and `reference_names` say what columns are called in the files of
    variants and of the reference, as `read_table` takes them, by default `names` where the reference has such columns.
    What was assumed is added to `said`. Raises ValueError naming the files that cannot be of the same images.
    """
    own_names, where_there = (names, True) if reference_names is None else (reference_names, False)
    exact = _read(reference, reference, own_names, said, where_there=where_there)
    sides = {}
    for name, files in variants.items():
        own = _read(files, reference, names, said)
        ood = {one: beside(table, exact.ood[one], said) for one, table in own.ood.items()}
        shifted = {one: beside(table, exact.shifted[one], said, head=False) for one, table in own.shifted.items()}
        sides[name] = Tables(beside(own.labelled, exact.labelled, said), ood, shifted)
    every = [_with_own_head(side, said) for side in (exact, *sides.values())]
    gather(said)
    labelled, others = [side.labelled for side in every], [table for side in every for table in side.ood.values()]
    labelled += [table for side in every for table in side.shifted.values()]
    kind, classes = kind_of(labelled, others), class_names(labelled)
    found = [_answers(side, scores, said, kind, classes) for side in every]
    return dict(zip(sides, found[1:], strict=True)), found[0]


def _with_own_head(side: Tables, said: Said) -> Tables:
    """Return a model's tables with its own classes and scale beside shifted images that are stored without."""
    found = {}
    for name, table in side.shifted.items():
        names = ("text", "logit_scale", "logit_bias", "classes") if "image" in table.arrays else ("classes",)
        lent = {one: side.labelled.arrays[one] for one in names if one in side.labelled.arrays}
        lacking = [one for one in lent if one not in table.arrays]
        if lacking:
            said.append(f"{table.path}: has no {', '.join(lacking)}, so {side.labelled.path}'s is taken")
        found[name] = replace(table, arrays={**lent, **table.arrays})
    return replace(side, shifted=found)


def _answers(
    side: Tables, scores: Mapping[str, Score], said: Said, kind: str | None, classes: Sequence[str] | None
) -> Answers:
    found = answers_of(side.labelled, side.ood, scores, said, kind=kind, classes=classes)
    of_sets = {
        name: answers_of(table, {}, scores, said, kind=kind, classes=classes) for name, table in side.shifted.items()
    }
    known = min((found.known, *(one.known for one in of_sets.values())), key=LEVELS.index)
    return replace(found, shifted={name: one.clean for name, one in of_sets.items()}, known=known)


def gather(said: Said, /) -> None:
    """Put what is said of several tables beside one reference into one sentence."""
    found = list(filter(None, (re.fullmatch(BY_PLACE, line) for line in said)))
    tables: dict[str, list[str]] = {}
    for match in found:
        tables.setdefault(match[2], []).append(match[1])
    if len(found) > len(tables):
        said[:] = [line for line in said if not re.fullmatch(BY_PLACE, line)]
        for reference, own in tables.items():
            said.append(f"{', '.join(own)} and {reference}: rows are matched by their position, as not all have ids")


def _read(files: Files, reference: Files, names: Mapping[str, str], said: Said, *, where_there: bool = False) -> Tables:
    """Read a model's tables; those of sets are called as the reference's."""
    read = partial(read_table, names=names, where_there=where_there)
    ood, shifted = (
        {name: read(path) for name, path in same_sets(mine, theirs, files.labelled, said).items()}
        for mine, theirs in ((files.ood, reference.ood), (files.shifted, reference.shifted))
    )
    tables = Tables(read(files.labelled), ood, shifted)
    for table in (tables.labelled, *ood.values(), *shifted.values()):
        said += table.said
    return tables


def answers_of(
    table: Table,
    ood: Mapping[str, Table],
    scores: Mapping[str, Score],
    said: Said,
    /,
    *,
    kind: str | None = None,
    classes: Sequence[str] | None = None,
) -> Answers:
    """Return what a table says of its labelled images, and tables of other images, by the name of their set, of those.

    `kind` is one of KINDS, by default the first that all the tables have; `classes` are names of classes, by which
    predictions that are names are numbered alike in all tables. What was assumed is added to `said`. Raises ValueError
    naming the file.
    """
    kind = kind or kind_of([table], list(ood.values()))
    if kind is None:
        told = f"the tables of OOD sets hold none of {', '.join(k for k in KINDS if k in table.arrays)}"
        raise ValueError(f"{table.path}: {told}: they must hold what the labelled images have")
    rows = len(table.arrays[kind])
    table.require("label")
    if kind != "prediction":
        classes = None  # names in the order of the alphabet are not that of text or of columns: the table must know it
    elif classes is None:
        classes = class_names([table])
    label = labels_of(table, rows, classes=classes)
    if ood and kind == "prediction":
        raise ValueError(f"{table.path}: predictions give no OOD scores; give probabilities, logits, or image and text")
    if kind == "image":
        test = features_of(table, labelled=True, classes=classes)
        said += doubts_of(table.path, test)
        others = {name: features_of(images, table) for name, images in ood.items()}
        found = answers_of_features(test, others, scores)
    else:
        with errors_named(table.path):
            if kind == "prediction":
                confidence = table.arrays["confidence"][:] if "confidence" in table.arrays else None
                found = answers_of_predictions(numbers_of(table, "prediction", classes=classes), label, confidence)
            else:
                function = answers_of_probabilities if kind == "probabilities" else answers_of_logits
                if kind == "logits":
                    said += probabilities_doubted(table)
                exact = {name: other.arrays[kind].exact(slice(None)) for name, other in ood.items()}
                found = function(table.arrays[kind].exact(slice(None)), label, exact)
    unread = [name for name in KINDS if name in table.arrays and name != kind]
    if unread and kind != "prediction":
        said.append(f"{table.path}: {kind} is measured, and {', '.join(unread)} is not read")
    said += [f"{table.path}: {line}" for line in found.said]
    return found


def kind_of(tables: Sequence[Table], ood: Sequence[Table] = (), /) -> str | None:
    """Return the first of KINDS that all tables have, and None where they have none in common.

    Raises ValueError naming the first table that has none of them.
    """
    for table in (*tables, *ood):
        table.require_one(*KINDS)
    for kind in KINDS:
        if all(kind in table.arrays for table in (*tables, *ood)):
            return kind
    return None


def beside(variant: Table, reference: Table, said: Said, /, *, head: bool = True) -> Table:
    """Return a variant's table with its rows in the reference's order, and the reference's where it lacks a column.

    Text and logit scale are lent with the `head` alone. Raises ValueError where the two cannot be of the same images.
    """
    place, own, told = matched(variant, reference)
    if len(own) != reference.rows() or (own != np.arange(len(own))).any():
        raise ValueError(f"{variant.path}: is not of all images of {reference.path}")
    said += told
    found, lent = variant.taken(place), {}
    names = ["label", "classes"]
    if head and "image" in variant.arrays and "image" in reference.arrays:
        names += ["text", *(["logit_bias"] if "logit_scale" not in variant.arrays else []), "logit_scale"]
    for name in names:
        if name in reference.arrays and name not in found.arrays:
            lent[name] = reference.arrays[name]
    if lent:
        said.append(f"{variant.path}: has no {', '.join(lent)}, so {reference.path}'s is taken")
    return replace(found, arrays={**found.arrays, **lent})


def same_sets(ood: Sequence[Path], reference: Sequence[Path], variant: Path, said: Said, /) -> dict[str, Path]:
    """Return a variant's file of each set of other, or shifted, images by the name of the reference's.

    By name, where the names of both are the same in any order, else by order. Raises ValueError where there are more
    of one than of the other.
    """
    if len(ood) != len(reference):
        told = f"{len(ood)} tables of sets, and {len(reference)} of the reference's"
        raise ValueError(f"{variant}: {told}; each set needs both")
    names, mine = unique_names(reference), {path.stem: path for path in ood}
    if len(mine) == len(ood) and set(mine) == {path.stem for path in reference}:
        return {name: mine[path.stem] for name, path in zip(names, reference, strict=True)}
    pairs = dict(zip(names, ood, strict=True))
    said += [f"{path} is taken for the set {name}, by their order" for name, path in pairs.items()]
    return pairs


def unique_names(paths: Sequence[Path], /) -> list[str]:
    """Return the names of files without their endings, with their folders where names alone are not unique.

    >>> unique_names([Path("a/q.npz"), Path("b/q.npz")]), unique_names([Path("a/q4.npz"), Path("b/q8.npz")])
    (['a/q', 'b/q'], ['q4', 'q8'])
    """
    stems = [path.stem or path.name for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path.with_suffix("")) for path in paths]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ValueError(f"{twice}: is named twice")
    return stems


def class_names(tables: Sequence[Table], /) -> list[str] | None:
    """Return the names of classes that tables store, or else of all labels and predictions that are names, sorted.

    None where labels are numbers. Raises ValueError where two tables store other names, or another order, and where
    labels are names in one and numbers in another, so that nothing says which is which.
    """
    stored = [table for table in tables if _has_names(table, "classes")]
    names = [[str(word) for word in table.arrays["classes"][:].reshape(-1)] for table in stored]
    for table, own in zip(stored, names, strict=True):
        if own != names[0]:
            raise ValueError(f"{table.path}: has other classes than {stored[0].path}, or in another order")
    if names:
        return names[0]
    columns = [(table, name) for name in ("label", "prediction") for table in tables]
    words: set[str] = set()
    for table, name in columns:
        if not _has_names(table, name):
            continue
        words |= {str(word) for word in table.arrays[name][:].reshape(-1)}
    numbered = [table for table in tables if "label" in table.arrays and not _has_names(table, "label")]
    if words and numbered:
        told = "store the names of all classes in their order as `classes`"
        raise ValueError(f"{numbered[0].path}: has numbers as labels, and another table names: {told}")
    return sorted(words) or None


def _has_names(table: Table, name: str) -> bool:
    return name in table.arrays and table.arrays[name].dtype == object
