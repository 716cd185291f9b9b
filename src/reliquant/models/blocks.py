"""The blocks of a tower, found by its structure: modules in a row that hold most of its weights, each several matrices.

A row is the children of a list (ModuleList, Sequential, ModuleDict), or children of one class (the stages of a RegNet).
The row that holds most weights is that of the blocks, or of stages whose own rows are the blocks: then what else is in
a stage, downsampling, is in no block. Only where both levels could be meant do names decide: the members of `blocks`,
`layers`, `layer` or `resblocks` are blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import nn

LISTS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
NAMES_OF_ROWS = re.compile(r"(^|\.)(resblocks|blocks|layers?\d*)\Z")  # of transformers, ConvNeXt, ResNet, EfficientNet
LEAST = 0.05  # of the weights of the main row: what a second row of the tower must hold (hybrids; not a stem)
WHOLE_STAGE = 0.75  # of a stage's weights: what children of one class must hold to be its blocks
ROOT = ""


class Tower:
    """Hold the modules of one tower by name, and the weights of those that its forward really read.

    `tops` are the outermost modules of the tower, `read` the names of the parameters that its forward read.
    """

    def __init__(self, model: nn.Module, tops: Iterable[str], read: Iterable[str], /) -> None:
        self.modules: dict[str, nn.Module] = {}
        self.children: dict[str, list[str]] = {ROOT: []}
        for top in tops:
            self._add(top, model.get_submodule(top))
            self.children[ROOT].append(top)
        self.matrices: dict[str, dict[str, int]] = {name: {} for name in [ROOT, *self.modules]}
        sizes = {name: p.numel() for name, p in model.named_parameters() if p.ndim >= 2}
        for name in sorted(set(read) & sizes.keys()):
            owner = name.rpartition(".")[0]
            if owner in self.modules and not isinstance(self.modules[owner], nn.Embedding):
                for module in self._upwards(owner):
                    self.matrices[module][name] = sizes[name]

    def _add(self, name: str, module: nn.Module) -> None:
        self.modules[name] = module
        self.children[name] = []
        for leaf, child in module.named_children():
            self.children[name].append(f"{name}.{leaf}")
            self._add(f"{name}.{leaf}", child)

    def _upwards(self, name: str) -> list[str]:
        """List a module and all above it in the tower, and the root."""
        parts = name.split(".")
        above = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return [ROOT, *(module for module in above if module in self.modules)]

    def weight(self, names: Iterable[str], /) -> int:
        """Count the matrices' numbers in some modules, each matrix once."""
        held: dict[str, int] = {}
        for name in names:
            held |= self.matrices[name]
        return sum(held.values())

    def is_unit(self, name: str, /) -> bool:
        """Whether a module could be a block: it has children and at least two matrices."""
        return bool(self.children[name]) and len(self.matrices[name]) >= 2

    def is_list(self, name: str, /) -> bool:
        """Whether a module is nothing but the list of its children."""
        return name != ROOT and isinstance(self.modules[name], LISTS)

    def row(self, name: str, /) -> list[str]:
        """Name the children of a module that could be blocks in a row; of one class where the module is no list."""
        units = [child for child in self.children[name] if self.is_unit(child)]
        if self.is_list(name):
            return units
        alike: dict[object, list[str]] = {}
        for unit in units:
            alike.setdefault(self._kind(unit), []).append(unit)
        rows = [row for kind, row in alike.items() if len(row) >= 2 and kind]
        return max(rows, key=self.weight, default=[])

    def _kind(self, name: str) -> object:
        """Say what must be equal in a row: the class, of lists that of the blocks in them; None for a list without."""
        if not self.is_list(name):
            return type(self.modules[name])
        return frozenset(type(self.modules[unit]) for unit in self.row(name)) or None


def blocks_of(tower: Tower, /) -> list[str]:
    """Name the blocks of a tower, in its order; none where nothing in it stands in a row."""
    rows = {name: tower.row(name) for name in [ROOT, *tower.modules]}
    weights = {name: tower.weight(row) for name, row in rows.items() if row}
    taken: list[str] = []
    blocks: set[str] = set()
    for name in sorted(weights, key=lambda name: (-weights[name], _depth(name))):
        apart = not any(_nested(name, other) for other in taken)
        if apart and weights[name] >= LEAST * max(weights.values()):
            taken.append(name)
            blocks |= set(_blocks_in(tower, name, rows[name]))
    return [name for name in tower.modules if name in blocks]


def _blocks_in(tower: Tower, name: str, row: list[str]) -> list[str]:
    """Name the blocks in a row: its members, or those of the rows in them where they are stages."""
    if tower.is_list(name) and NAMES_OF_ROWS.search(name):
        return [child for child in tower.children[name] if tower.children[child] and tower.matrices[child]]
    inside = {member: _row_of_stage(tower, member) for member in row}
    if not any(inside.values()):
        return row
    kinds = {type(tower.modules[block]) for blocks in inside.values() for block in blocks}
    for stage, blocks in inside.items():
        if not blocks:  # a small one, or of one block: their class is known from the others
            inside[stage] = _of_kinds(tower, stage, kinds)
    return [block for blocks in inside.values() for block in blocks]


def _row_of_stage(tower: Tower, stage: str) -> list[str]:
    """Name the blocks of a stage: the units of its one list, or its children of one class; none if it is a block."""
    if tower.is_list(stage):
        return tower.row(stage)
    lists = [child for child in tower.children[stage] if tower.is_list(child) and tower.row(child)]
    row = tower.row(lists[0] if len(lists) == 1 else stage)
    needed = 0.5 if len(lists) == 1 else WHOLE_STAGE
    return row if len(lists) <= 1 and tower.weight(row) >= needed * tower.weight([stage]) else []


def _of_kinds(tower: Tower, stage: str, kinds: set[type]) -> list[str]:
    """Name the units of known classes among a stage's children and those of its lists."""
    children = [child for child in tower.children[stage] if not tower.is_list(child)]
    for name in tower.children[stage]:
        children += tower.children[name] if tower.is_list(name) else []
    return [child for child in children if tower.is_unit(child) and type(tower.modules[child]) in kinds]


def _nested(name: str, other: str) -> bool:
    """Whether one of two modules holds the other."""
    return ROOT in (name, other) or f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _depth(name: str) -> int:
    return 0 if name == ROOT else name.count(".") + 1


def described(tower: Tower, /) -> Mapping[str, str]:
    """Return the class of each outer module of a tower that holds matrices, two levels deep, for a message."""
    found = {}
    for top in tower.children[ROOT]:
        for name in [top, *tower.children[top]]:
            if tower.matrices[name]:
                found[name] = type(tower.modules[name]).__name__
    return found
