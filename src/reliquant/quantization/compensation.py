"""QwT, quantization without tears (Fu et al. 2025): a linear layer beside each quantized block takes out its error.

Block after block, W and b are the least squares of what the block's output lacks, Y - Y', on what enters the block, X':
they minimize |Y - Y' - (W X' + b)|^2, in closed form. X' and Y' are of the quantized model, in which the blocks before
are compensated already, Y is of FP32. W is kept in FP16 and counts in the stored bits.

On few pairs W would fit their noise and harm. So a block gets a compensation only where there are twice as many rows
(pairs times places) as W and b have columns, and where one that is fitted on three quarters of the pairs lessens the
error on the rest; that of all pairs is then taken. In the text tower a caption's pairs are on the same side.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from reliquant.layers.surgery import before_first_code, twins
from reliquant.layers.transforms import Compensation, attach
from reliquant.layers.twins import Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.models.parts import tensors_in
from reliquant.progress import say
from reliquant.quantization.calibrate import feed
from reliquant.quantization.pages import LARGE, pages_of_their_own
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.reconstruction import calls_of, channel_axis
from reliquant.quantization.rounding import Decided

PAIRS = 256  # at most: each block runs the blocks before it anew, in both models
ROWS = 2  # at least, for each column of W and b
QUARTER = 4  # every fourth pair checks what is fitted on the others
SEQUENTIAL = "it is a torch.nn.Sequential, which would run whatever it holds one after the other"
SMALLEST = 1e-10  # of the largest eigenvalue of X'^T X': directions below are as good as absent


class Compensating:
    """Keep what a model is before a method rounds it, and compensate its blocks afterwards.

    It looks when the method fixes its first code: what the method has changed in floating point is then done. The copy
    shares the memory of matrices and kernels: a method may put others in their places from then on, and change none.
    FP32's outputs of one block are held besides.
    """

    def __init__(self, clip: Clip, proxy: Proxy, /, *, batch: int, pairs: int | None) -> None:
        self.clip, self.proxy, self.of = clip, proxy, {"batch": batch, "pairs": min(pairs or PAIRS, PAIRS)}
        self.exact: Clip | None = None
        before_first_code(clip.model, self._look)

    def _look(self) -> None:
        with unrounded(self.clip.model):
            self.exact = self.clip.with_model(_sharing(self.clip.model))

    def apply(self) -> None:
        """Give each block with quantized layers its compensation; say which get none, and why."""
        if self.exact is None:
            return
        with pages_of_their_own(LARGE), _codes_alone(self.clip.model, self.exact.model):
            for name in _quantized_blocks(self.clip):
                if isinstance(self.clip.model.get_submodule(name), nn.Sequential):
                    say("compensation", f"{name} gets none: {SEQUENTIAL}")
                    continue
                sums = self._summed(name)
                if doubt := sums.doubt():
                    say("compensation", f"{name} gets none: {doubt}")
                    continue
                found = sums.solved()
                if not found.weight.is_meta and not torch.isfinite(found.weight).all():
                    told = "would need weights that FP16 does not hold; leave compensation out"
                    raise ValueError(f"compensation: {name} {told}")
                attach(self.clip.model.get_submodule(name), found)
        self.exact = None

    @torch.no_grad()
    def _summed(self, name: str) -> LeastSquares:
        """Run both models up to the end of a block; return what its compensation is to be solved from."""
        wanted = iter(calls_of(self.exact, name, self.proxy, **self.of, inputs=False).outputs)
        sums: list[LeastSquares] = []
        checking = iter(self._checking(name).split(self.of["batch"]))

        def add(block: nn.Module, args: tuple[Any, ...], words: dict[str, Any], output: Any) -> None:
            x, given = args[0] if args else next(iter(words.values())), tensors_in(output)[0]
            if not sums:
                sums.append(LeastSquares(channel_axis(block, given)))
            sums[0].add(x, next(wanted), given, next(checking))

        block = self.clip.model.get_submodule(name)
        handle = block.register_forward_hook(add, with_kwargs=True)
        try:
            feed(self.clip, [name], self.proxy, **self.of, until=block)
        finally:
            handle.remove()
        return sums[0]

    def _checking(self, name: str) -> torch.Tensor:
        """Say of each of the pairs whether it checks what is fitted on the others, (n,)."""
        captions = self.proxy.captions[: self.of["pairs"]]
        numbers = np.arange(len(captions))
        if self.clip.parts.in_tower(name, "text"):
            numbers = np.unique(captions, return_inverse=True)[1]
        return torch.from_numpy(numbers % QUARTER == QUARTER - 1)


@torch.no_grad()
def plan(clip: Clip, proxy: Proxy, /, *, batch: int, pairs: int, kept: int = 0) -> dict[str, Any]:
    """Give each block that a fit would compensate a compensation of zeros; say which blocks, and at what cost.

    `stored_bits` are bits per weight, with those in floating point and as many as are `kept` besides, as `stored`
    counts them; None where no weight is rounded.
    """
    found: dict[str, Compensation] = {}
    for name in (blocks := _quantized_blocks(clip)):
        block = clip.model.get_submodule(name)
        if isinstance(block, nn.Sequential):
            continue
        calls = calls_of(clip, name, proxy, batch=batch, pairs=pairs)
        (args, words), y = calls.inputs[0], calls.outputs[0]
        x, axis = args[0] if args else next(iter(words.values())), channel_axis(block, calls.outputs[0])
        if _places(x, axis) == _places(y, axis):
            found[name] = Compensation(y.new_zeros(y.shape[axis], x.shape[axis]), y.new_zeros(y.shape[axis]), axis, 0.0)
    for name, piece in found.items():
        attach(clip.model.get_submodule(name), piece)
    bits = sum(8 * value.nbytes for piece in found.values() for value in piece.buffers())
    layers = twins(clip.model).values()
    weights = kept + sum(layer.weight.numel() for layer in layers)
    more = bits / weights if any(layer.codes is not None for layer in layers) else None
    without = [name for name in blocks if name not in found]
    return {"blocks": list(found), "without": without, "bits": bits, "stored_bits": more}


def _quantized_blocks(clip: Clip) -> list[str]:
    """Name the blocks that hold quantized layers, in order."""
    holding = {clip.parts.block_of(name) for name in twins(clip.model)}
    return [block for block in clip.parts.blocks if block in holding]


class Sums:
    """Add up over rows what the squared error |lacking - x W|^2 of any W needs; x has a 1 behind it."""

    def __init__(self) -> None:
        self.gram: Any = 0  # of x (d + 1, d + 1)
        self.cross: Any = 0  # of x and what is lacking (d + 1, o)
        self.power: Any = 0  # of what is lacking
        self.count = 0

    def add(self, rows: torch.Tensor, lacking: torch.Tensor, /) -> None:
        """Take rows (n, d + 1) and (n, o) into account."""
        self.gram, self.cross = self.gram + rows.T @ rows, self.cross + rows.T @ lacking
        self.power, self.count = self.power + lacking.square().sum(), self.count + len(rows)

    def without(self, other: Sums, /) -> Sums:
        """Return the sums of the rows that are not among some of them."""
        rest = Sums()
        rest.gram, rest.cross = self.gram - other.gram, self.cross - other.cross
        rest.power, rest.count = self.power - other.power, self.count - other.count
        return rest

    def solved(self) -> torch.Tensor:
        """Return the W (d + 1, o) of least squares, the one of least norm where there are several."""
        return torch.linalg.pinv(self.gram, rtol=SMALLEST, hermitian=True) @ self.cross

    def error(self, found: torch.Tensor, /) -> float:
        """Return the squared error that a W leaves of these rows."""
        return (self.power - 2 * (found * self.cross).sum() + (found * (self.gram @ found)).sum()).item()


class LeastSquares:
    """Add up over batches what the least |y - y' - W x - b|^2 needs; channels of x, y and y' lie along an axis."""

    def __init__(self, axis: int, /) -> None:
        self.axis, self.fits = axis, True
        self.whole, self.checking = Sums(), Sums()

    def add(
        self, x: torch.Tensor, wanted: torch.Tensor, given: torch.Tensor, checking: torch.Tensor | None = None, /
    ) -> None:
        """Take one batch into account: what enters a block, what it is to give, and what it gives.

        `checking` (n,) says which of the n pairs, along the first axis, check what is fitted on the others.
        """
        self.fits = self.fits and _places(x, self.axis) == _places(given, self.axis)
        if not self.fits:
            return
        lacking = (wanted - given).movedim(self.axis, -1).flatten(0, -2).double()
        inputs = x.movedim(self.axis, -1)
        rows = x.new_ones(lacking.shape[0], inputs.shape[-1] + 1, dtype=torch.float64)
        rows[:, :-1] = inputs.flatten(0, -2)
        self.whole.add(rows, lacking)
        if checking is not None and len(rows) % len(checking) == 0 and not rows.is_meta:
            chosen = checking.to(rows.device).repeat_interleave(len(rows) // len(checking))
            self.checking.add(rows[chosen], lacking[chosen])

    def doubt(self) -> str:
        """Say why the compensation would be none, or might do harm; empty if it does good."""
        if not self.fits:
            return "it gives other places than it takes"
        whole, checking = self.whole, self.checking
        if whole.gram.is_meta:
            return ""
        width = len(whole.gram)
        if whole.count < ROWS * width:
            return f"{whole.count} rows (pairs times places) are fewer than {ROWS} for each of {width} columns"
        if not checking.count:
            return f"nothing is left to check it on; that needs {QUARTER} different pairs or more"
        after = checking.error(whole.without(checking).solved())
        if after < checking.power:
            return ""
        return f"its error on pairs that it is not fitted on would be {after / checking.power:.3g} times as large"

    def solved(self) -> Compensation:
        """Return W and b; directions in which inputs do not vary get no weight (the solution of least norm)."""
        gram, cross, power = self.whole.gram, self.whole.cross, self.whole.power
        if gram.is_meta:
            return Compensation(cross[:-1].T, cross[-1], self.axis, 0.0).to(gram.device)
        found = self.whole.solved()  # (d + 1, o)
        explained = ((found * cross).sum() / power).item() if power else 0.0
        return Compensation(found[:-1].T.contiguous(), found[-1], self.axis, explained)


@contextmanager
def _codes_alone(model: nn.Module, exact: nn.Module) -> Iterator[None]:
    """Hold the codes of weights alone while the block runs, where they are all there is: FP32's stand in their places.

    Each forward then works the weights out anew, to the bit.
    """
    codes: dict[Twin, Decided] = {}
    for name, layer in twins(model).items():
        if layer.codes is None or layer.weight.is_meta:
            continue
        rule = Decided(layer.codes, layer.weight_scale, layer.weight_zero, layer.weight_grid)
        if torch.equal(rule(layer.weight), layer.weight):  # not so where columns or rows are spared
            codes[layer] = rule
            layer.weight, layer.weight_rule = exact.get_submodule(name).weight, rule
    try:
        yield
    finally:
        for layer, rule in codes.items():
            layer.weight, layer.weight_rule = nn.Parameter(rule(layer.weight), requires_grad=False), None


def _sharing(model: nn.Module) -> nn.Module:
    """Copy a model but for its matrices and kernels; vectors are few, and biases may be changed in place."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters() if p.ndim > 1})


def _places(x: torch.Tensor, axis: int) -> torch.Size:
    return x.movedim(axis, -1).shape[:-1]
