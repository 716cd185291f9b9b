"""QwT, quantization without tears (Fu et al. 2025): a linear layer beside each quantized block takes out its error.

Block after block, W and b are the least squares of what the block's output lacks, Y - Y', on what enters the block, X':
they minimize |Y - Y' - (W X' + b)|^2, in closed form. X' and Y' are of the quantized model, in which the blocks before
are compensated already, Y is of FP32. W is kept in FP16 and counts in the stored bits.
"""

from __future__ import annotations

import copy

import torch

from reliquant.layers.surgery import twins
from reliquant.layers.transforms import Compensation, attach
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.progress import say
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.reconstruction import calls_of, channel_axis

PAIRS = 256  # at most: each block runs the blocks before it anew, in both models
SMALLEST = 1e-10  # of the largest eigenvalue of X'^T X': directions below are as good as absent


class Compensating:
    """Keep what a model is before a method rounds it, and compensate its blocks afterwards.

    It looks when the method fixes its first code: what the method has changed in floating point is then done. The copy
    is one model more in memory; the inputs and outputs of one block are held besides.
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
                self.exact = clip.with_model(copy.deepcopy(clip.model))

        for layer in layers:
            layer.before_rounding = once

    def apply(self) -> None:
        """Give each block with quantized layers its compensation; say which have none, as places of theirs differ."""
        if self.exact is None:
            return
        names = list(twins(self.clip.model))
        blocks = [block for block in self.clip.parts.blocks if any(self.clip.parts.block_of(n) == block for n in names)]
        for name in blocks:
            found = self._fitted(name)
            if found is None:
                say("compensation", f"{name} gives other places than it takes, and gets none")
            else:
                attach(self.clip.model.get_submodule(name), found)
        self.exact = None

    @torch.no_grad()
    def _fitted(self, name: str) -> Compensation | None:
        block = self.clip.model.get_submodule(name)
        ours, its = (calls_of(clip, name, self.proxy, **self.of) for clip in (self.clip, self.exact))
        inputs = [args[0] if args else next(iter(words.values())) for args, words in ours.inputs]
        axis = channel_axis(block, ours.outputs[0])
        if not all(_places(x, axis) == _places(y, axis) for x, y in zip(inputs, ours.outputs, strict=True)):
            return None
        lacking = [exact - given for exact, given in zip(its.outputs, ours.outputs, strict=True)]
        found = least_squares(inputs, lacking, axis)
        if found.weight.is_meta or torch.isfinite(found.weight).all():
            return found
        raise ValueError(f"compensation: {name} would need weights that FP16 does not hold; leave compensation out")


@torch.no_grad()
def least_squares(inputs: list[torch.Tensor], outputs: list[torch.Tensor], axis: int, /) -> Compensation:
    """Return the W and b of the least |y - W x - b|^2 over batches of inputs and outputs with channels along an axis.

    Directions in which inputs do not vary get no weight (the solution of least norm).
    """
    gram = cross = power = 0
    for x, y in zip(inputs, outputs, strict=True):
        rows, wanted = (v.movedim(axis, -1).flatten(0, -2).double() for v in (x, y))
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        gram, cross, power = gram + rows.T @ rows, cross + rows.T @ wanted, power + wanted.square().sum()
    if gram.is_meta:
        return Compensation(cross[:-1].T, cross[-1], axis, 0.0).to(gram.device)
    found = torch.linalg.pinv(gram, rtol=SMALLEST, hermitian=True) @ cross  # (d + 1, o)
    explained = ((found * cross).sum() / power).item() if power else 0.0
    return Compensation(found[:-1].T.contiguous(), found[-1], axis, explained)


def _places(x: torch.Tensor, axis: int) -> torch.Size:
    return x.movedim(axis, -1).shape[:-1]
