"""Quantization-aware training on proxy pairs; an interrupted run that resumes ends with the same weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from reliquant import plugins
from reliquant.layers.surgery import twins
from reliquant.layers.twins import Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.models.embedded import Embedded
from reliquant.models.parts import Scope
from reliquant.progress import progress
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed_all
from reliquant.quantization.training_words import Training

EPS_OF_SCALES = 1e-15  # AdamW's 1e-8 is larger than the gradient of a small scale's logarithm, and would hold it still
PARTS = ("input", "weight_rule")  # the attributes in which a twin holds its rules


class Diverged(ArithmeticError):
    """The loss or its gradient is no longer a number; the message gives the iteration."""


def train(
    clip: Clip, proxy: Proxy, saved: Checkpoints, training: Training, freeze: Callable[[Mapping[str, Twin]], None], /
) -> None:
    """Train the quantized towers of a model in place with AdamW; the logit scale and the other tower stay fixed.

    `freeze` fixes the twins, by name, of a copy of the model for a snapshot. Raises Diverged before the step if a loss
    or a gradient is not finite, so that a checkpoint holds only weights whose loss was finite. Raises ValueError for
    snapshots with no place to keep them.
    """
    if training.snapshots and saved.snapshot is None:
        raise ValueError("snapshots: there is no place to keep them but in a study (in Python: a Checkpoints.snapshot)")
    losses = [plugins.load("loss", entry) for entry in training.losses]
    reference = _reference(clip, proxy, training.batch)  # of the FP32 model, because no step is done yet
    optimizer = _optimizer(clip, training)
    start = _resume(clip.model, saved, optimizer)
    for iteration in progress(range(start, training.iterations), label="training"):
        if iteration in training.snapshots:
            saved.snapshot(iteration, _frozen(clip.model, freeze))
        chosen = proxy.chosen(iteration, training.batch)
        ranges = {name: buffer.clone() for name, buffer in _buffers(clip.model).items()}  # the forward moves them
        student, teacher = _student(clip, proxy, chosen, reference, training), _take(reference, chosen)
        value = torch.stack([loss(student, teacher) for loss in losses]).sum() + _penalty(clip.model)
        if not torch.isfinite(value):
            raise Diverged(_where("loss", value, iteration, saved))
        if saved.is_due(iteration) and iteration > start:
            saved.save(iteration, _state(clip.model, optimizer) | ranges)
        _step(value, optimizer, training, iteration, saved)
    if not all(torch.isfinite(p).all() for p in clip.model.parameters() if p.requires_grad):
        raise Diverged(_where("weights", math.nan, training.iterations, saved))
    if training.iterations in training.snapshots:
        saved.snapshot(training.iterations, _frozen(clip.model, freeze))


def _reference(clip: Clip, proxy: Proxy, batch: int) -> Embedded:
    """Embed all pairs once with the model in floating point: the teacher, and the text of a tower that stays fixed."""
    with unrounded(clip.model):
        return embed_all(clip, proxy, batch)


def _take(pairs: Embedded, chosen: NDArray[Any]) -> Embedded:
    return Embedded(
        image=pairs.image[chosen],
        text=pairs.text[chosen],
        logit_scale=pairs.logit_scale,
        logit_bias=pairs.logit_bias,
        caption=pairs.caption[chosen],
    )


def _student(clip: Clip, proxy: Proxy, chosen: NDArray[Any], reference: Embedded, training: Training) -> Embedded:
    pixels, tokens, captions = proxy.take(clip, chosen)
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=training.bf16):
        image = clip.model.encode_image(pixels, normalize=True).float()
        if _scope(clip) == "both":
            text = clip.model.encode_text(tokens, normalize=True).float()
        else:
            text = reference.text[chosen]
    return Embedded(image, text, reference.logit_scale, reference.logit_bias, captions)


def _step(
    value: torch.Tensor, optimizer: torch.optim.Optimizer, training: Training, iteration: int, saved: Checkpoints
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * training.rate(iteration)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, training.clip_norm)
    if not torch.isfinite(norm):
        raise Diverged(_where("gradient", norm, iteration, saved))
    optimizer.step()


def _optimizer(clip: Clip, training: Training) -> torch.optim.Optimizer:
    """Train the weights of each tower that holds a twin, and the parameters of the twins' rules; freeze all else."""
    rules = {id(p) for layer in twins(clip.model).values() for p in _of_rules(layer)}
    scope = _scope(clip)
    clip.model.requires_grad_(False)
    weights, scales = [], []
    for name, parameter in clip.model.named_parameters():
        if clip.parts.in_scope(name, scope):
            (scales if id(parameter) in rules else weights).append(parameter.requires_grad_())
    groups = [
        {"params": weights, "initial_lr": training.lr, "weight_decay": training.weight_decay},
        {"params": scales, "initial_lr": training.scale_lr, "weight_decay": 0.0, "eps": EPS_OF_SCALES},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def _of_rules(layer: Twin) -> Iterator[nn.Parameter]:
    for part in PARTS:
        if (rule := getattr(layer, part)) is not None:
            yield from rule.parameters()


def _scope(clip: Clip) -> Scope:
    return "both" if any(clip.parts.in_tower(name, "text") for name in twins(clip.model)) else "image"


def _penalty(model: nn.Module) -> torch.Tensor | float:
    """Sum what input rules add to the loss (only PACT's do)."""
    return sum(layer.input.penalty() for layer in twins(model).values() if hasattr(layer.input, "penalty"))


def _frozen(model: nn.Module, freeze: Callable[[Mapping[str, Twin]], None]) -> nn.Module:
    copied = copy.deepcopy(model)
    freeze(twins(copied))
    return copied


def _where(what: str, value: Any, iteration: int, saved: Checkpoints) -> str:
    kept = f"; the last good checkpoint is kept in {saved.folder}" if saved.kept() else ""
    return f"the {what} became {float(torch.as_tensor(value).detach())} at iteration {iteration}{kept}"


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the trained parameters, each with its moments in the optimizer."""
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            state[name] = parameter
            state |= {f"{name}:{key}": value for key, value in optimizer.state[parameter].items()}
    return state


def _resume(model: nn.Module, saved: Checkpoints, optimizer: torch.optim.Optimizer) -> int:
    iteration, state = saved.latest()
    if iteration == 0:
        return 0
    with torch.no_grad():
        for name, buffer in _buffers(model).items():
            buffer.copy_(state[name])
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state[name])
                moments = {k: state.get(f"{name}:{k}") for k in ("step", "exp_avg", "exp_avg_sq")}
                if moments["step"] is not None:  # a parameter without a gradient has no moments
                    optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in moments.items()}
    return iteration


def _buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers of rules by name: what training changes without a gradient."""
    buffers = {}
    for name, layer in twins(model).items():
        for part in PARTS:
            rule = getattr(layer, part)
            if rule is not None:
                buffers |= {f"{name}.{part}.{key}": buffer for key, buffer in rule.named_buffers()}
    return buffers
