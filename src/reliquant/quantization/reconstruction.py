"""Reconstruct a model block by block: learn rounding so that each block gives what it gave in FP32 (BRECQ, QDrop)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from reliquant.layers.arithmetic import affine
from reliquant.layers.surgery import twins
from reliquant.layers.twins import DynamicInput, StaticInput, Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.models.parts import tensors_in
from reliquant.progress import say
from reliquant.quantization.calibrate import feed
from reliquant.quantization.learn import require_learned
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.ranges import mse_bounds, weight_rows
from reliquant.quantization.rounding import AdaptiveRounding, Decided, DroppedInput, drawn
from reliquant.quantization.train import EPS_OF_SCALES

MANY = 0.1  # of a block's weights


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hold how a block is learned.

    `steps` of Adam, each on one batch; `lr` is the learning rate of the variables of rounding, `scale_lr` that of the
    steps of inputs, by about that share of themselves, which falls to 0 by a cosine. `drop` is the share of numbers
    that stay unrounded, in inputs of layers and of the block. The penalty on undecided weights counts `decision` times
    from the share `warmup` of the steps on, its exponent falling from `betas[0]` to `betas[1]`. Weights' ranges are
    searched among `candidates` shares down to `smallest`.
    """

    steps: int
    lr: float
    scale_lr: float
    drop: float
    decision: float
    warmup: float
    betas: tuple[float, float]
    candidates: int
    smallest: float

    def beta(self, step: int, /) -> float | None:
        """Return the exponent of the penalty at a step (from 0), None as long as there is none."""
        start = self.warmup * self.steps
        if step < start:
            return None
        first, last = self.betas
        return last + (first - last) * (1 - (step - start) / max(1.0, self.steps - start))


@dataclass
class Calls:
    """Hold what a module was called with, a call for each batch, and what it gave."""

    inputs: list[tuple[tuple[Any, ...], dict[str, Any]]]
    outputs: list[torch.Tensor]


def calls_of(
    clip: Clip, name: str, proxy: Proxy, /, *, batch: int, pairs: int, inputs: bool = True, outputs: bool = True
) -> Calls:
    """Note the calls of a module on the first `pairs` pairs, or their inputs or outputs alone; forwards end after it.

    Raises ValueError where it is not called.
    """
    clip.parts  # noqa: B018  found before anything is watched: that takes a forward of its own
    calls, module = Calls([], []), clip.model.get_submodule(name)
    reached: list[nn.Module] = []

    def note(block: nn.Module, args: tuple[Any, ...], words: dict[str, Any], output: Any) -> None:
        reached.append(block)
        if inputs:
            calls.inputs.append((args, words))
        if outputs:
            calls.outputs.append(tensors_in(output)[0])

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        feed(clip, [name], proxy, batch=batch, pairs=pairs, until=module)
    finally:
        handle.remove()
    if not reached:
        raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
    return calls


def reconstruct(
    clip: Clip, name: str, proxy: Proxy, recipe: Recipe, rng: torch.Generator, /, *, batch: int, pairs: int
) -> None:
    """Learn how to round the layers of a block (or the one layer that `name` is), and decide it (`Decided`).

    The FP32 model is the model itself with rounding switched off: no layer may be frozen yet. Of this one block are
    held, for the first `pairs` pairs: its inputs as the decided blocks before it give them, its inputs in FP32, from
    which a share `drop` of the numbers is taken, and its outputs in FP32, which it is to give. Raises ArithmeticError
    where the loss is no number.
    """
    block = clip.model.get_submodule(name)
    layers = {path: twin for path, twin in twins(clip.model).items() if f"{path}.".startswith(f"{name}.")}
    given = calls_of(clip, name, proxy, batch=batch, pairs=pairs, outputs=False)
    with unrounded(clip.model):
        wanted = calls_of(clip, name, proxy, batch=batch, pairs=pairs, inputs=recipe.drop > 0)
    install(layers, recipe, rng)
    if recipe.steps and any(True for layer in layers.values() for _ in _learned(layer)):
        _learn(block, layers, given, wanted, recipe, rng)
        _tell_undecided(name, layers)
    for path, layer in layers.items():
        require_learned(path, layer)
        decide(layer)


def decide(layer: Twin, /) -> None:
    """Fix what a twin's rules have come to; its weight stays in floating point until `freeze`."""
    if hasattr(layer.input, "freeze"):
        layer.input = layer.input.freeze()
    if layer.weight_rule is not None:
        with torch.no_grad():
            layer.weight_rule = Decided(*layer.weight_rule.freeze(layer.weight.detach()), layer.weight_grid)


def _learn(
    block: nn.Module, layers: Mapping[str, Twin], given: Calls, wanted: Calls, recipe: Recipe, rng: torch.Generator
) -> None:
    rules = [layer.weight_rule for layer in layers.values() if layer.weight_rule is not None]
    optimizer, schedule = _optimizer(layers, recipe)
    parameters = [parameter for layer in layers.values() for parameter in _learned(layer)]
    order, count = np.random.default_rng(rng.initial_seed()), len(given.inputs)
    for step in range(recipe.steps):
        if step % count == 0:
            shuffled = order.permutation(count)
        i = int(shuffled[step % count])
        exact = wanted.inputs[i] if wanted.inputs else given.inputs[i]
        target = wanted.outputs[i]
        args, words = mixed(given.inputs[i], exact, recipe.drop, rng)
        error = tensors_in(block(*args, **words))[0] - target
        loss = error.square().sum(channel_axis(block, target)).mean()
        if not torch.isfinite(loss):
            named = next(iter(layers))
            raise ArithmeticError(f"the loss of the block with {named} became {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        if (beta := recipe.beta(step)) is not None:
            for rule in rules:
                rule.add_penalty_gradient(beta, recipe.decision)
        optimizer.step()
        schedule.step()


def _tell_undecided(name: str, layers: Mapping[str, Twin]) -> None:
    """Say where many weights lie between two codes when learning ends: rounding them undoes what was learned."""
    rules = [layer.weight_rule for layer in layers.values() if layer.weight_rule is not None]
    whole, count = sum(rule.v.numel() for rule in rules), sum(rule.undecided() for rule in rules)
    if count > MANY * whole:
        told = f"{count / whole:.0%} of the weights of {name} lie between two codes when learning ends"
        say("reconstruction", f"warning: {told}, and are rounded now; take a larger decision, or more steps")


def install(layers: Mapping[str, Twin], recipe: Recipe, rng: torch.Generator, /) -> None:
    """Give twins the rules that are learned; what stays in floating point gets none."""
    for layer in layers.values():
        grid, device = layer.weight_grid, layer.weight.device
        if not grid.floating:
            rows = weight_rows(layer.weight, grid)
            scale, zero = affine(*mse_bounds(rows, grid, recipe.candidates, recipe.smallest), grid)
            layer.weight_rule = AdaptiveRounding(layer.weight, scale, zero, grid).to(device)
        if isinstance(layer.input, StaticInput | DynamicInput):
            layer.input = DroppedInput(layer.input, recipe.drop, rng).to(device)


def mixed(given: Any, exact: Any, drop: float, rng: torch.Generator, /) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call, (args, words), a share `drop` of whose first tensor's numbers are those of the exact call."""
    (args, words), (its, others) = given, exact
    if args:
        return (torch.where(drawn(args[0], drop, rng), its[0], args[0]), *args[1:]), words
    first = next(iter(words))
    return (), {**words, first: torch.where(drawn(words[first], drop, rng), others[first], words[first])}


def channel_axis(block: nn.Module, x: torch.Tensor, /) -> int:
    """Return the axis of the channels of what a block gives: -3 of images (n, c, h, w), -1 of tokens (..., d)."""
    has_convolution = any(isinstance(m, nn.Conv2d) or getattr(m, "inputs", -1) == -3 for m in block.modules())
    return -3 if x.ndim == 4 and has_convolution else -1


def _learned(layer: Twin) -> Iterator[nn.Parameter]:
    for rule in (layer.weight_rule, layer.input):
        if rule is not None:
            yield from rule.parameters()


def _optimizer(layers: Mapping[str, Twin], recipe: Recipe) -> tuple[torch.optim.Optimizer, Any]:
    """Return Adam, and the schedule by which the rates of inputs' steps fall."""
    rules = [layer.weight_rule for layer in layers.values()]
    weights = [rule.v for rule in rules if rule is not None]
    scales = [parameter for layer in layers.values() for parameter in layer.input.parameters()]
    groups = [{"params": weights, "lr": recipe.lr}, {"params": scales, "lr": recipe.scale_lr, "eps": EPS_OF_SCALES}]
    falls = {id(weights): _stays, id(scales): partial(_cosine, recipe.steps)}
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.Adam([dict(group) for group in groups], fused=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, [falls[id(group["params"])] for group in groups])


def _stays(step: int) -> float:
    return 1.0


def _cosine(steps: int, step: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))
