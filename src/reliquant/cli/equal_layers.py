"""Layers that differ by one number of their names alone, such as the same layer of every block, as one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NUMBER = re.compile(r"\d+")
Numbers = tuple[int, ...]


def grouped(products: Sequence[Mapping[str, Any]], /) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Put together products that are equal in all but one number of the module's name; each group with its name.

    Groups stand in the order of their first product, and together hold every product once.

    >>> layers = [{"module": f"blocks.{i}.mlp.{j}", "weight": "int4"} for i in range(12) for j in (0, 2)]
    >>> [(name, len(members)) for name, members in grouped(layers)]
    [('blocks.{0..11}.mlp.0', 12), ('blocks.{0..11}.mlp.2', 12)]
    """
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for product in products:
        words = tuple((word, value) for word, value in product.items() if word != "module")
        alike.setdefault((NUMBER.sub("#", product["module"]), words), []).append(product)
    place = {id(product): i for i, product in enumerate(products)}
    groups = [(_name(group), group) for members in alike.values() for group in _by_one_number(members)]
    return sorted(groups, key=lambda named: place[id(named[1][0])])


def _by_one_number(members: list[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """Part products whose names differ in numbers alone into as few groups as differ in one of these numbers."""
    numbers = [_numbers(product) for product in members]
    best: dict[Numbers, list[Mapping[str, Any]]] = {(): members} if len(members) == 1 else {}
    for free in range(len(numbers[0])):
        groups: dict[Numbers, list[Mapping[str, Any]]] = {}
        for product, own in zip(members, numbers, strict=True):
            groups.setdefault(own[:free] + own[free + 1 :], []).append(product)
        if not best or len(groups) < len(best):
            best = groups
    return best.values() if best else [[product] for product in members]


def _numbers(product: Mapping[str, Any]) -> Numbers:
    return tuple(int(number) for number in NUMBER.findall(product["module"]))


def _name(group: list[Mapping[str, Any]]) -> str:
    """Name a group by its first module, with all values of the number that differs in its place."""
    first, numbers = group[0]["module"], [_numbers(product) for product in group]
    for i, number in enumerate(NUMBER.finditer(first)):
        values = sorted({own[i] for own in numbers})
        if len(values) > 1:
            return f"{first[: number.start()]}{{{_written(values)}}}{first[number.end() :]}"
    return str(first)


def _written(values: list[int]) -> str:
    """Write numbers in rising order with runs of three and more as their ends."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts = [f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return ",".join(parts)
