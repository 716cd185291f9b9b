"""Which modules of a model are its image tower, its text tower and their blocks, by what one forward of each runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from reliquant.models.blocks import Tower, blocks_of, described
from reliquant.models.dispatch import DispatchMode
from reliquant.models.shapes import shapes_only

Scope = Literal["none", "image", "both"]
CAPTION = "a photo"


@dataclass(frozen=True)
class Parts:
    """Name the outermost modules and parameters of the two towers, and the blocks in them.

    What neither forward reads, such as the decoder of a CoCa or the logit scale, is in no tower; what both read is in
    both. `crossed` names the attention (nn.MultiheadAttention) that is called with another query than key or value,
    `idle` the layers that nothing reads.
    """

    image: tuple[str, ...]
    text: tuple[str, ...]
    blocks: tuple[str, ...]
    crossed: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()

    def in_tower(self, name: str, tower: Literal["image", "text"], /) -> bool:
        """Whether a module or parameter belongs to a tower."""
        tops = self._image if tower == "image" else self._text
        return any(above in tops for above in _upwards(name))

    def in_scope(self, name: str, scope: Scope, /) -> bool:
        """Whether a module or parameter belongs to the towers that a scope quantizes."""
        if scope == "none":
            return False
        return self.in_tower(name, "image") or (scope == "both" and self.in_tower(name, "text"))

    def block_of(self, name: str, /) -> str:
        """Return the outermost block that holds a module or parameter, or is it; empty outside the blocks.

        >>> Parts(("visual",), ("text",), ("visual.blocks.0",)).block_of("visual.blocks.0.fc1")
        'visual.blocks.0'
        """
        return next((above for above in _upwards(name) if above in self._blocks), "")

    def is_in_block(self, name: str, /) -> bool:
        """Whether a module or parameter in a block is read by a forward at all."""
        return bool(self.block_of(name)) and not any(above in self.idle for above in _upwards(name))

    @cached_property
    def _image(self) -> frozenset[str]:
        return frozenset(self.image)

    @cached_property
    def _text(self) -> frozenset[str]:
        return frozenset(self.text)

    @cached_property
    def _blocks(self) -> frozenset[str]:
        return frozenset(self.blocks)


@dataclass
class Run:
    """What one forward of a tower touched: the modules that ran, the parameters that operators read."""

    ran: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    crossed: set[str] = field(default_factory=set)

    @cached_property
    def touched(self) -> set[str]:
        """All that ran or was read, and every module that holds such."""
        return {above for name in self.ran | self.read for above in _upwards(name)}


def find_parts(
    model: nn.Module, shape: tuple[int, int], tokenizer: Callable[[list[str]], torch.Tensor], /, **given: Iterable[str]
) -> Parts:
    """Run one image of a height and width, and one caption, through a model and name its parts.

    `given` are names and patterns for `image`, `text` and `blocks`; what is empty is found. Raises ValueError if a
    forward fails, or if a name or pattern fits no module.
    """
    device, dtype = _device_and_type(model)
    pixels = torch.zeros(1, 3, *shape, device=device, dtype=dtype)
    with shapes_only() if pixels.is_meta else nullcontext():
        image = _run(model, "encode_image", lambda: pixels)
        text = _run(model, "encode_text", lambda: tokenizer([CAPTION]).to(device))
    tops = {}
    for tower, own, other in (("image", image, text), ("text", text, image)):
        tops[tower] = _matching(model, given.get(tower, ()), tower) or _tops(model, "", own.touched, other.touched)
    blocks = _matching(model, given.get("blocks", ()), "blocks") or _blocks(model, tops, image, text)
    touched = image.touched | text.touched
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    idle, crossed = frozenset(layers - touched), frozenset(image.crossed | text.crossed)
    return Parts(tuple(tops["image"]), tuple(tops["text"]), tuple(blocks), crossed, idle)


def outer_modules(model: nn.Module, tops: Iterable[str], /) -> str:
    """Describe a tower's outer modules with their classes, for a message."""
    modules = [name for name in tops if _is_module(model, name)]
    found = described(Tower(model, modules, [name for name, _ in model.named_parameters()]))
    return ", ".join(f"{name} ({kind})" for name, kind in found.items()) or "nothing that multiplies"


def _blocks(model: nn.Module, tops: dict[str, list[str]], image: Run, text: Run) -> list[str]:
    found: set[str] = set()
    for tower, run in (("image", image), ("text", text)):
        modules = [name for name in tops[tower] if _is_module(model, name)]
        found |= set(blocks_of(Tower(model, modules, run.read)))
    return [name for name, _ in model.named_modules() if name in found]


def _tops(module: nn.Module, name: str, own: set[str], other: set[str]) -> list[str]:
    """Name the outermost modules and parameters below a module that are one tower's own, or wholly shared."""
    found = []
    for leaf, child in module.named_children():
        path = f"{name}.{leaf}" if name else leaf
        if path not in own:
            continue
        shared = {touched for touched in other if f"{touched}.".startswith(f"{path}.")}
        if not shared or shared == {touched for touched in own if f"{touched}.".startswith(f"{path}.")}:
            found.append(path)
        else:
            found += _tops(child, path, own, other)
    for leaf, _ in module.named_parameters(recurse=False):
        path = f"{name}.{leaf}" if name else leaf
        if path in own:
            found.append(path)
    return found


def _run(model: nn.Module, encode: str, make: Callable[[], torch.Tensor]) -> Run:
    """Watch one forward of a tower; `make` makes its input."""
    run = Run()
    try:
        x = make()
        with torch.no_grad(), _noted(model, run), _Reads(model, run):
            getattr(model, encode)(x)
    except Exception as error:  # the model is anybody's
        told = " ".join(str(error).split())
        raise ValueError(f"the model cannot {encode} one input: {type(error).__name__}: {told}") from error
    return run


@contextmanager
def _noted(model: nn.Module, run: Run) -> Iterator[None]:
    """Note the modules that run, and the attention that is called with another query than key or value."""

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            run.ran.add(name)
            if isinstance(module, nn.MultiheadAttention):
                given = [*args, *(kwargs.get(word) for word in ("query", "key", "value")[len(args) :])]
                if given[0] is not given[1] or given[0] is not given[2]:
                    run.crossed.add(name)

        return hook

    handles = [module.register_forward_pre_hook(note(name), with_kwargs=True) for name, module in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Reads(DispatchMode):
    """Note which parameters the operators read, by the storages of their inputs (views share them)."""

    def __init__(self, model: nn.Module, run: Run, /) -> None:
        super().__init__()
        self.run, self.names = run, {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self.names.setdefault(storage_of(parameter), []).append(name)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tensors_in([args, *(kwargs or {}).values()]):
            self.run.read.update(self.names.get(storage_of(tensor), ()))
        return func(*args, **(kwargs or {}))


def storage_of(tensor: torch.Tensor, /) -> int:
    """Return the address of a tensor's storage object, also where it holds no data (meta); 0 where it has none."""
    try:
        return tensor.untyped_storage()._cdata
    except NotImplementedError:  # of a sparse tensor
        return 0


def tensors_in(value: Any, /) -> list[torch.Tensor]:
    """List the tensors in nested lists and tuples."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for part in value for t in tensors_in(part)] if isinstance(value, list | tuple) else []


def _matching(model: nn.Module, patterns: Iterable[str], word: str) -> list[str]:
    """Name the modules and parameters that fit names and patterns, in which `*` stands for one part of a name."""
    names = [name for name, _ in model.named_modules() if name]
    names += [name for name, _ in model.named_parameters() if word != "blocks"]
    found: set[str] = set()
    for pattern in patterns:
        fitting = {name for name in names if _fits(name, pattern)}
        if not fitting:
            there = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"{word}: {pattern!r} fits no module; the model's outer modules are {there}")
        found |= fitting
    return [name for name in names if name in found]


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(w in ("*", p) for p, w in zip(parts, wanted, strict=True))


def _is_module(model: nn.Module, name: str) -> bool:
    return any(name == there for there, _ in model.named_modules())


def _device_and_type(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    floating = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return floating.device, floating.dtype


def _upwards(name: str) -> list[str]:
    """List a name with all that stand above it, outermost first.

    >>> _upwards("a.b.c")
    ['a', 'a.b', 'a.b.c']
    """
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
