"""Take the mean error that rounded weights make out of biases: a step after any method that trains nothing.

A layer y = W x + b whose weight became W_q errs by (W_q - W) x, on average by (W_q - W) E[x], which is subtracted from
b: Nagel et al. 2019 (arXiv 1906.04721), section 4.2, Equation 17. E[x] is the mean over the calibration pairs of what
enters the layer in the model that the method has changed in floating point and not yet rounded (inputs rotated or
smoothed as the method does it), not that of the quantized model: so one pass serves all layers, in any order.
Rounded inputs have a mean of their own; what they add is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from reliquant.layers.surgery import before_first_code, twins
from reliquant.layers.twins import QuantLinear, Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import watch_inputs
from reliquant.quantization.fold import add_bias
from reliquant.quantization.proxy import Proxy


@dataclass
class InputMean:
    """Add up a layer's inputs: over all rows (..., d) of a Linear, over the images (n, c, h, w) of a Conv2d.

    A convolution of the mean image is the mean of the convolutions, padding and all.
    """

    layer: Twin
    total: torch.Tensor | None = None
    count: int = 0

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        rows = x.detach().flatten(0, -2) if isinstance(self.layer, QuantLinear) else x.detach()
        new = rows.sum(0, dtype=torch.float64)
        if not torch.isfinite(new).all():
            raise ValueError("NaN or infinite values")
        self.total = new if self.total is None else self.total + new
        self.count += len(rows)

    @torch.no_grad()
    def output(self) -> torch.Tensor:
        """Return the layer's mean output (o,) for these inputs, unrounded, with its weight as it is now."""
        mean = (cast(torch.Tensor, self.total) / self.count).to(self.layer.weight.dtype)
        if isinstance(self.layer, QuantLinear):
            return self.layer.applied(mean, self.layer.weight)
        return self.layer.applied(mean[None], self.layer.weight).mean((0, 2, 3))


class BiasCorrection:
    """Note what a model's layers give on average before a method rounds them, and mend their biases afterwards.

    It looks when the method fixes its first code, at the first `pairs` pairs of the proxy (all if None).
    """

    def __init__(self, clip: Clip, proxy: Proxy, /, *, batch: int, pairs: int | None) -> None:
        self.clip, self.proxy, self.batch, self.pairs = clip, proxy, batch, pairs
        self.means: dict[str, InputMean] = {}
        self.exact: dict[str, torch.Tensor] = {}
        before_first_code(clip.model, self._look)

    def _look(self) -> None:
        self.means = {name: InputMean(layer) for name, layer in twins(self.clip.model).items()}
        with unrounded(self.clip.model):
            watch_inputs(self.clip, self.means, self.proxy, batch=self.batch, pairs=self.pairs)
        self.exact = {name: mean.output() for name, mean in self.means.items() if mean.total is not None}

    def apply(self) -> None:
        """Add what each layer's mean output has lost to its bias; layers that no input reached stay as they are."""
        for name, output in self.exact.items():
            mean = self.means[name]
            add_bias(mean.layer, output - mean.output())
