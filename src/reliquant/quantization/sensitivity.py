"""How much a loss feels an error in each layer's output."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reliquant import plugins
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.quantization.proxy import Proxy, embed


def sensitivities(clip: Clip, made: dict[str, Twin], proxy: Proxy, samples: int, /) -> NDArray[np.float64]:
    """Return |dL/dH| |X| |W| / sqrt(d) of each layer H = X W^T, X (n, d): Frobenius norms, L the contrastive loss.

    It takes one forward and backward pass over the first `samples` pairs. A layer whose output the loss does not feel
    gets 0.
    """
    inputs: dict[str, float] = {}
    leaves: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        def look(module: Twin, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            inputs[name] = given[0].detach().float().norm().item()
            leaves[name] = torch.zeros_like(output, requires_grad=True)
            return output + leaves[name]  # its gradient is that of the output; no weight needs one

        return look

    wanted = [p for p in clip.model.parameters() if p.requires_grad]
    handles = [layer.register_forward_hook(watch(name)) for name, layer in made.items()]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            embedded = embed(clip, *next(proxy.in_order(clip, samples)))
            plugins.load("loss", {"loss": "contrastive"})(embedded, None).backward()
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        for handle in handles:
            handle.remove()
    return np.array([_felt(layer, inputs.get(name, 0.0), leaves.get(name)) for name, layer in made.items()])


def _felt(layer: Twin, norm: float, leaf: torch.Tensor | None) -> float:
    """Return the sensitivity of a layer, given the norm of its input and the leaf that was added to its output."""
    if leaf is None or leaf.grad is None:
        return 0.0
    weight = layer.weight.detach()
    return leaf.grad.norm().item() * norm * weight.norm().item() / weight[0].numel() ** 0.5
