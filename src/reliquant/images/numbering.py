"""Number the labels of images by their classes, whatever type they were written in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.study.prompts import class_problems

NUMERAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NO_NAMES = "the labels are numbers: say what they mean with `classes` or in classes.json beside them"


@dataclass(frozen=True)
class Labels:
    """Hold the places of labels (n,) among the classes, -1 where one is no class, and what is wrong with them."""

    numbers: NDArray[np.int64]
    classes: list[str]
    problem: str | None = None


def numbered(labels: Sequence[Any], classes: Sequence[str] | None, names: Sequence[str], /) -> Labels:
    """Return the places of labels (n,) among the classes, by default the sorted distinct labels.

    Labels are class names, or whole numbers of any type (1, 1.0, "1", [1]) when `classes` says what they mean. `names`
    (n,) are those of the images. What is wrong is not raised, as a set that is out of distribution needs no labels: the
    problem names the first image without a label or with one that is no class.

    >>> numbered([1.0, 0.0, -1], ["cat", "dog"], ["a", "b", "c"])
    Labels(numbers=array([ 1,  0, -1]), classes=['cat', 'dog'], problem='c: label -1 is outside the 2 classes')
    """
    values = [_plain(label) for label in labels]
    if all(value is None for value in values):
        return Labels(np.full(len(values), -1, np.int64), list(classes or []), "has no labels")
    if wrong := _wrong(values, classes, names):
        return Labels(np.full(len(values), -1, np.int64), [], wrong)
    if _are_numbers(values, classes):
        return _by_number(values, classes, names)
    return _by_name(values, classes, names)


def number(
    labels: Sequence[Any], classes: Sequence[str] | None, names: Sequence[str], /
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the places of labels (n,) among the classes, and the classes; raise ValueError with what is wrong.

    >>> number(["dog", "cat", "dog"], None, ["a", "b", "c"])
    (array([1, 0, 1]), ['cat', 'dog'])
    """
    found = numbered(labels, classes, names)
    if found.problem:
        raise ValueError(found.problem)
    return found.numbers, found.classes


def odd_names(classes: Sequence[str], /) -> tuple[str, ...]:
    """Say what prompts will hold that is likely not meant: numbers, underscores, names that differ only in case.

    >>> odd_names(["guinea_pig", "ant"])
    ("prompts hold the underscores of class names, as in 'guinea_pig'",)
    """
    if classes and all(NUMERAL.fullmatch(name) for name in classes):
        return (f"its classes are called by numbers, and so in prompts: {', '.join(classes[:3])}",)
    told = []
    if (underscored := next((name for name in classes if "_" in name), None)) is not None:
        told.append(f"prompts hold the underscores of class names, as in {underscored!r}")
    return (*told, *_same_but_for_case(classes))


def _same_but_for_case(classes: Sequence[str]) -> Iterator[str]:
    """Say which two classes are one to a tokenizer that reads in lower case, as CLIP's does."""
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            yield f"classes {other!r} and {name!r} differ only in case: tokenizers such as CLIP's give both one prompt"


def _wrong(values: Sequence[Any], classes: Sequence[str] | None, names: Sequence[str]) -> str | None:
    """Say which classes are no names, or which label is neither a name nor a number."""
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str | int | float | None):
            return f"{name}: label {value!r} is neither a name nor a number"
    return None if classes is None else next(class_problems(classes), None)


def _plain(label: Any) -> Any:
    """Return a label as a number or a stripped text; None where there is none."""
    while isinstance(label, list | tuple | np.ndarray) and len(label) == 1:
        label = label[0]
    if isinstance(label, str):
        return None if label.strip() in ("", "nan", "NaN") else label.strip()
    if isinstance(label, bool | np.bool_ | np.integer):
        return int(label)
    if isinstance(label, float | np.floating):
        return None if math.isnan(label) else _whole(float(label))
    return label


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _are_numbers(values: Sequence[Any], classes: Sequence[str] | None) -> bool:
    """Whether no label is a name; numerals are names where all of them are those of classes."""
    texts = {value for value in values if isinstance(value, str)}
    if classes is not None and texts and texts <= set(classes):
        return False
    return all(NUMERAL.fullmatch(text) for text in texts)


def _by_number(values: Sequence[Any], classes: Sequence[str] | None, names: Sequence[str]) -> Labels:
    if classes is None:
        return Labels(np.full(len(values), -1, np.int64), [], NO_NAMES)
    numbers = [_whole(float(value)) if isinstance(value, str) else value for value in values]
    inside = [isinstance(number, int) and 0 <= number < len(classes) for number in numbers]
    places = [number if right else -1 for number, right in zip(numbers, inside, strict=True)]
    return Labels(np.array(places, np.int64), list(classes), _outside(numbers, inside, names, len(classes)))


def _outside(numbers: Sequence[Any], inside: Sequence[bool], names: Sequence[str], classes: int) -> str | None:
    if all(inside):
        return None
    first = list(inside).index(False)
    number = numbers[first]
    if number is None:
        return f"{names[first]}: has no label"
    if not isinstance(number, int):
        return f"{names[first]}: label {number!r} is no whole number"
    return f"{names[first]}: label {number} is outside the {classes} classes{_more(inside)}"


def _by_name(values: Sequence[Any], classes: Sequence[str] | None, names: Sequence[str]) -> Labels:
    if classes is None:
        texts = {value for value in values if isinstance(value, str)}
        classes = sorted(text for text in texts if not text.startswith("-") or not NUMERAL.fullmatch(text))
    place = {label: i for i, label in enumerate(classes)}
    inside = [isinstance(value, str) and value in place for value in values]
    places = [place[value] if right else -1 for value, right in zip(values, inside, strict=True)]
    problem = None
    if not all(inside):
        first = list(inside).index(False)
        known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        problem = f"{names[first]}: label {values[first]!r} is not among the {len(classes)} classes: {known}"
        problem = f"{names[first]}: has no label" if values[first] is None else problem + _more(inside)
    return Labels(np.array(places, np.int64), list(classes), problem or next(class_problems(classes), None))


def _more(inside: Sequence[bool]) -> str:
    """Say how many labels are no class, where there are more than the one that is named."""
    wrong = sum(not right for right in inside)
    return f" ({wrong} such images)" if wrong > 1 else ""
