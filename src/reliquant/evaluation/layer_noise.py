"""Where in the image tower noise enters: SQNR of each layer's weight and output, and FP32 with noise in its weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from reliquant.layers.plain import plain
from reliquant.layers.surgery import twins, unpack
from reliquant.layers.transforms import RootMeanSquare, Stream
from reliquant.measures.spectrum import effective_rank, sqnr
from reliquant.models.clip import Clip

MAPS = re.compile(r"visual\.(transformer|trunk\.blocks|trunk\.stages\.\d+|layer\d)\Z")  # before pooling
SMALLEST = 4  # side of a map below which radii mean little
MOVED = 0.1  # relative change of a LayerNorm's weight from which scales were folded into it


def opened(clip: Clip, /) -> Clip:
    """Copy a model with its attention unpacked, so that its layers have the names of a variant's twins."""
    copied = clip.with_model(copy.deepcopy(clip.model))
    unpack(copied)
    return copied


def layers(variant: Clip, /) -> list[str]:
    """Name the image tower's quantized layers whose outputs can be compared with FP32's: none in a rotated stream."""
    if any(isinstance(m, Stream | RootMeanSquare) for m in variant.model.modules()):
        return []
    return [name for name in twins(variant.model) if variant.parts.in_tower(name, "image")]


def weight_facts(exact: Clip, variant: Clip, /) -> dict[str, dict[str, float]]:
    """Return by layer the effective rank of its quantized weight, and its SQNR to FP32's in dB where they compare.

    The two weights do not compare where a method moved scales or rotations between weights and activations.
    """
    folded = _folded(exact, variant)
    facts: dict[str, dict[str, float]] = {}
    for name in layers(variant):
        twin, layer = variant.model.get_submodule(name), exact.model.get_submodule(name)
        weight = twin.weight.detach().flatten(1).double().numpy(force=True)
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        values = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))  # singular values of the weight
        facts[name] = {"weight_effective_rank": effective_rank(values)}
        if isinstance(twin.transform, nn.Identity) and not folded and not twin.weight_grid.floating:
            before = plain(layer).weight.detach().flatten(1).double().numpy(force=True)
            facts[name]["weight_sqnr"] = sqnr(before, weight)
    return facts


class OutputNoise:
    """Add up, batch by batch, signal and noise in the outputs of named layers of two models on the same input."""

    def __init__(self, exact: nn.Module, variant: nn.Module, names: list[str], /) -> None:
        self.exact, self.variant, self.names = exact, variant, names
        self.signal, self.noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Account for one forward of the exact model, and then one of the variant, inside the block."""
        kept: dict[str, torch.Tensor] = {}  # outputs of the exact model until the variant's are there

        def keep(name: str) -> Any:
            def hook(module: nn.Module, given: Any, output: torch.Tensor) -> None:
                kept[name] = output
                self.signal[name] += output.float().square().sum().item()

            return hook

        def subtract(name: str) -> Any:
            def hook(module: nn.Module, given: Any, output: torch.Tensor) -> None:
                self.noise[name] += (output.float() - kept.pop(name).float()).square().sum().item()

            return hook

        handles = [self.exact.get_submodule(n).register_forward_hook(keep(n)) for n in self.names]
        handles += [self.variant.get_submodule(n).register_forward_hook(subtract(n)) for n in self.names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def sqnr(self) -> dict[str, float]:
        """Return SQNR in dB by layer, infinite where nothing changed."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.array([self.signal[n] for n in self.names]) / np.array([self.noise[n] for n in self.names])
        return dict(zip(self.names, (10 * np.log10(ratio)).tolist(), strict=True))


def with_weight_noise(exact: Clip, weights: dict[str, dict[str, float]], generator: torch.Generator, /) -> Clip | None:
    """Copy FP32 with Gaussian noise in its weights at each layer's own weight SQNR; None where one is not known."""
    levels = {name: facts.get("weight_sqnr", np.nan) for name, facts in weights.items()}
    if not levels or not np.isfinite(list(levels.values())).all():
        return None
    model = copy.deepcopy(exact.model)
    with torch.no_grad():
        for name, level in levels.items():
            weight = model.get_submodule(name).weight
            size = weight.square().mean().sqrt() * 10 ** (-level / 20)
            weight.add_((torch.randn(weight.shape, generator=generator) * size.cpu()).to(weight))
    return replace(exact, model=model)


@contextmanager
def maps_of(model: nn.Module, /) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Collect feature maps (n, c, h, w) by place while the block runs: of token towers and of convolutional stages.

    Tokens are laid out on their square grid, without the class and register tokens in front of them; maps of fewer
    than 4 x 4 are not kept.
    """
    maps: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            x = (output[0] if isinstance(output, tuple) else output).detach().float()
            if x.ndim == 3:
                side = int(x.shape[1] ** 0.5)
                x = x[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
            if min(x.shape[-2:]) >= SMALLEST:
                maps.setdefault(name, []).append(x.cpu())

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in model.named_modules() if MAPS.search(n)]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _folded(exact: Clip, variant: Clip) -> bool:
    """Whether a LayerNorm of the image tower carries scales that were moved out of the weights behind it."""
    of_variant = dict(variant.model.named_modules())
    for name, norm in exact.model.named_modules():
        before, after = getattr(norm, "weight", None), getattr(of_variant.get(name), "weight", None)
        if not isinstance(norm, nn.LayerNorm) or before is None or after is None:
            continue
        if not exact.parts.in_tower(name, "image"):
            continue
        if ((after - before).norm() > MOVED * before.norm()).item():
            return True
    return False
