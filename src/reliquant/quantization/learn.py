"""Quantization-aware training as a whole: calibrate, give every twin its rules, train, and fix the codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import StaticInput, Twin
from reliquant.models.clip import Clip
from reliquant.quantization.attention import calibrate_attention
from reliquant.quantization.calibrate import fix_inputs, is_static, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.observers import Bounds, Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import AbsMaxWeight, Learned, LearnedInput
from reliquant.quantization.train import train
from reliquant.quantization.training_words import DEFAULTS, Training, TrainingWords

InputRule = Callable[[StaticInput], nn.Module]
WeightRule = Callable[[torch.Tensor, Grid], nn.Module]


def learn(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    words: TrainingWords,
    input_rule: InputRule,
    weight_rule: WeightRule,
    /,
    *,
    weight: Grid,
    activation: Grid,
    watch: Callable[[], Bounds],
    change: Callable[[dict[str, Twin]], object] | None = None,
) -> None:
    """Calibrate the named layers, train them in place under the given rules, and fix what the rules have come to.

    Words of training that are not given take their defaults.
    `input_rule` makes a rule from a calibrated quantizer, `weight_rule` from a weight and its grid; `watch` makes the
    observer of a layer's input in calibration; `change` alters the new twins first, for example by a rotation.
    """
    training = Training(**{**DEFAULTS, **words})
    made = insert_twins(clip.model, names, weight, activation)
    if change:
        change(made)
    observers = {name: watch() for name, layer in made.items() if is_static(layer)}
    watch_inputs(clip, observers, proxy, batch=training.batch)
    fix_inputs(made, observers)
    for layer in made.values():
        layer.settle()
    calibrate_attention(clip, proxy, batch=training.batch)  # gradients pass through what it rounds
    install(made, input_rule, weight_rule)
    train(clip, proxy, saved, training, freeze)
    freeze(made)


def learn_lsq(
    method: str,
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    words: TrainingWords,
    weight_rule: WeightRule = AbsMaxWeight,
    /,
    *,
    weight: Grid,
    activation: Grid,
    momentum: float,
    change: Callable[[dict[str, Twin]], object] | None = None,
) -> None:
    """Learn one scale per input tensor as LSQ does, started from moving averages; weights follow `weight_rule`.

    Inputs in the blocks of a format have their scales from the input at hand: nothing of them is learned. Raises
    ValueError, in the name of the method, for any other grid of inputs that is not symmetric, static and per tensor.
    """
    if not activation.whole_groups:
        require_symmetric(method, activation)
    grids = {"weight": weight, "activation": activation}
    watch = partial(Range, momentum)
    learn(clip, names, proxy, saved, words, LearnedInput, weight_rule, **grids, watch=watch, change=change)


def install(made: dict[str, Twin], input_rule: InputRule, weight_rule: WeightRule, /) -> None:
    """Give each twin its rules; dynamic inputs and what stays in floating point get none."""
    for layer in made.values():
        if not layer.weight_grid.floating:
            layer.weight_rule = weight_rule(layer.weight.detach(), layer.weight_grid).to(layer.weight.device)
        if isinstance(layer.input, StaticInput):
            layer.input = input_rule(layer.input).to(layer.weight.device)


def freeze(layers: Mapping[str, Twin], /) -> None:
    """Replace the rules of twins, by name, by the codes, scales and zero points that they have come to.

    Raises ValueError with the name of a layer, and how many, whose learned scales have fallen to the smallest one.
    """
    for name, layer in layers.items():
        require_learned(name, layer)
        if hasattr(layer.input, "freeze"):
            layer.input = layer.input.freeze()
        if layer.weight_rule is not None:
            with torch.no_grad():
                layer.freeze(*layer.weight_rule.freeze(layer.weight.detach()))


def require_learned(name: str, layer: Twin, /) -> None:
    """Raise ValueError where learned scales of a layer have fallen to the smallest one."""
    for rule, what in ((layer.input, "inputs"), (layer.weight_rule, "weights")):
        for learned in rule.modules() if rule is not None else ():
            if isinstance(learned, Learned) and (count := learned.fallen()):
                raise ValueError(
                    f"{name}: {count} of {learned.start.numel()} learned scales of its {what} have fallen to the "
                    "smallest scale, which leaves nothing of what they scale; train with a smaller scale_lr"
                )


def require_static(name: str, activation: Grid, /) -> None:
    """Raise ValueError if a grid of inputs is dynamic or has more than one scale per tensor."""
    if activation.dynamic or activation.granularity != "tensor":
        raise ValueError(f"{name} learns one range per tensor: activation takes no other granularity, nor dynamic")


def require_symmetric(name: str, activation: Grid, /) -> None:
    """Raise ValueError if a grid of inputs is dynamic, has more than one scale per tensor, or has a zero point."""
    require_static(name, activation)
    if not activation.symmetric:
        raise ValueError(f"{name} learns a symmetric range: activation takes no symmetric: false")
