"""QwT, quantization without tears (Fu et al. 2025): a linear layer beside each quantized block takes out its error.

Block after block, W and b are the least squares of what the block's output lacks, Y - Y', on what enters the block, X':
they minimize |Y - Y' - (W X' + b)|^2, in closed form. X' and Y' are of the quantized model, in which the blocks before
are compensated already, Y is of FP32. W is kept in FP16 and counts in the stored bits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from reliquant.layers.surgery import twins
from reliquant.layers.transforms import Compensation, attach
from reliquant.layers.twins import Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.models.parts import tensors_in
from reliquant.progress import say
from reliquant.quantization.calibrate import feed
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.reconstruction import calls_of, channel_axis
from reliquant.quantization.rounding import Decided

PAIRS = 256  # at most: each block runs the blocks before it anew, in both models
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
        layers = twins(clip.model).values()
        before = [layer.before_rounding for layer in layers]

        def once() -> None:
            for layer in layers:
                layer.before_rounding = None
            if before[0] is not None:
                before[0]()
            with unrounded(clip.model):
                self.exact = clip.with_model(_sharing(clip.model))

        for layer in layers:
            layer.before_rounding = once

    def apply(self) -> None:
        """Give each block with quantized layers its compensation; say which have none, as places of theirs differ."""
        if self.exact is None:
            return
        with _codes_alone(self.clip.model, self.exact.model):
            for name in _quantized_blocks(self.clip):
                found = self._fitted(name)
                if found is None:
                    say("compensation", f"{name} gives other places than it takes, and gets none")
                else:
                    attach(self.clip.model.get_submodule(name), found)
        self.exact = None

    @torch.no_grad()
    def _fitted(self, name: str) -> Compensation | None:
        wanted = iter(calls_of(self.exact, name, self.proxy, **self.of, inputs=False).outputs)
        sums: list[LeastSquares] = []

        def add(block: nn.Module, args: tuple[Any, ...], words: dict[str, Any], output: Any) -> None:
            x, given = args[0] if args else next(iter(words.values())), tensors_in(output)[0]
            if not sums:
                sums.append(LeastSquares(channel_axis(block, given)))
            sums[0].add(x, next(wanted), given)

        block = self.clip.model.get_submodule(name)
        handle = block.register_forward_hook(add, with_kwargs=True)
        try:
            feed(self.clip, [name], self.proxy, **self.of, until=block)
        finally:
            handle.remove()
        found = sums[0].solved()
        if found is None or found.weight.is_meta or torch.isfinite(found.weight).all():
            return found
        raise ValueError(f"compensation: {name} would need weights that FP16 does not hold; leave compensation out")


@torch.no_grad()
def plan(clip: Clip, proxy: Proxy, /, *, batch: int, pairs: int) -> dict[str, Any]:
    """Give each block that a fit would compensate a compensation of zeros; say which blocks, and at what cost.

    `stored_bits` are bits per rounded weight, None where no weight is rounded.
    """
    found: dict[str, Compensation] = {}
    for name in (blocks := _quantized_blocks(clip)):
        calls, block = calls_of(clip, name, proxy, batch=batch, pairs=pairs), clip.model.get_submodule(name)
        (args, words), y = calls.inputs[0], calls.outputs[0]
        x, axis = args[0] if args else next(iter(words.values())), channel_axis(block, calls.outputs[0])
        if _places(x, axis) == _places(y, axis):
            found[name] = Compensation(y.new_zeros(y.shape[axis], x.shape[axis]), y.new_zeros(y.shape[axis]), axis, 0.0)
    for name, piece in found.items():
        attach(clip.model.get_submodule(name), piece)
    bits = sum(8 * value.nbytes for piece in found.values() for value in piece.buffers())
    weights = sum(layer.weight.numel() for layer in twins(clip.model).values() if layer.codes is not None)
    without = [name for name in blocks if name not in found]
    return {"blocks": list(found), "without": without, "bits": bits, "stored_bits": bits / weights if weights else None}


def _quantized_blocks(clip: Clip) -> list[str]:
    """Name the blocks that hold quantized layers, in order."""
    holding = {clip.parts.block_of(name) for name in twins(clip.model)}
    return [block for block in clip.parts.blocks if block in holding]


class LeastSquares:
    """Add up over batches what the least |y - y' - W x - b|^2 needs; channels of x, y and y' lie along an axis."""

    def __init__(self, axis: int, /) -> None:
        self.axis = axis
        self.gram: Any = 0  # of x with a 1 behind it (d + 1, d + 1)
        self.cross: Any = 0  # of that and y - y' (d + 1, o)
        self.power: Any = 0
        self.fits = True

    def add(self, x: torch.Tensor, wanted: torch.Tensor, given: torch.Tensor, /) -> None:
        """Take one batch into account: what enters a block, what it is to give, and what it gives."""
        self.fits = self.fits and _places(x, self.axis) == _places(given, self.axis)
        if not self.fits:
            return
        rows, lacking = (v.movedim(self.axis, -1).flatten(0, -2).double() for v in (x, wanted - given))
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        self.gram, self.cross = self.gram + rows.T @ rows, self.cross + rows.T @ lacking
        self.power = self.power + lacking.square().sum()

    def solved(self) -> Compensation | None:
        """Return W and b, None where a block gave other places than it took.

        Directions in which inputs do not vary get no weight (the solution of least norm).
        """
        if not self.fits:
            return None
        gram, cross, power = self.gram, self.cross, self.power
        if gram.is_meta:
            return Compensation(cross[:-1].T, cross[-1], self.axis, 0.0).to(gram.device)
        found = torch.linalg.pinv(gram, rtol=SMALLEST, hermitian=True) @ cross  # (d + 1, o)
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
