"""Quantization-aware training on proxy pairs: resumable, and the same weights whether or not it was interrupted."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from reliquant import plugins
from reliquant.clip import Clip
from reliquant.progress import progress
from reliquant.proxy import Proxy, embed
from reliquant.resume import Checkpoints
from reliquant.surgery import Scope, in_scope, tower_of, twins


class Diverged(ArithmeticError):
    """The loss is no longer a number; the message gives the iteration."""


def train(
    clip: Clip,
    proxy: Proxy,
    saved: Checkpoints,
    losses: Sequence[Mapping[str, Any]],
    scales: Iterable[nn.Parameter],
    /,
    *,
    iterations: int,
    batch: int,
    lr: float,
    scale_lr: float,
    weight_decay: float,
    clip_norm: float,
    warmup: float = 0.1,
) -> None:
    """Train the quantized towers of a model in place with AdamW; the logit scale and the other tower stay fixed.

    `losses` are entries that are summed; learning rates of weights (`lr`) and quantizer scales (`scale_lr`) rise over
    the `warmup` share of the iterations and fall to 0 by a cosine. Raises Diverged at the first non-finite loss.
    """
    bound = [plugins.load("loss", entry) for entry in losses]
    teacher = _teacher(clip) if any(entry["loss"] != "contrastive" for entry in losses) else None
    weights, scales = _parameters(clip.model), list(scales)
    groups = [
        {"params": weights, "lr": lr, "weight_decay": weight_decay},
        {"params": scales, "lr": scale_lr, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: _rate(i, iterations, warmup))
    start = _resume(saved, optimizer, schedule)
    for iteration in progress(range(start, iterations), label="training"):
        pixels, tokens, captions = proxy.shuffled(clip, iteration, batch)
        with torch.no_grad():
            target = embed(teacher, pixels, tokens, captions) if teacher else None
        student = embed(clip, pixels, tokens, captions)
        value = torch.stack([loss(student, target) for loss in bound]).sum()
        if not torch.isfinite(value):
            raise Diverged(f"the loss is {value.item()} at iteration {iteration}; the last good checkpoint is kept")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_([*weights, *scales], clip_norm)
        optimizer.step()
        schedule.step()
        if saved.is_due(iteration + 1) and iteration + 1 < iterations:
            saved.save(iteration + 1, _state(optimizer))


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    """Free the weights of every tower that holds a twin, and of no other; the twins' own scales are left out."""
    towers = {tower_of(name) for name in twins(model)}
    scope: Scope = "both" if "text" in towers else "image"
    model.requires_grad_(False)
    chosen = []
    for name, parameter in model.named_parameters():
        if in_scope(name, scope) and ".input." not in name:
            chosen.append(parameter.requires_grad_())
    for layer in twins(model).values():
        layer.input.requires_grad_()
    return chosen


def _teacher(clip: Clip) -> Clip:
    model = copy.deepcopy(clip.model).requires_grad_(False)
    for layer in twins(model).values():
        layer.input, layer.weight_rule = nn.Identity(), None
    return Clip(**{**clip.__dict__, "model": model})


def _rate(iteration: int, iterations: int, warmup: float) -> float:
    rising = max(1, round(warmup * iterations))
    if iteration < rising:
        return (iteration + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (iteration - rising) / max(1, iterations - rising)))


def _state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    found = {}
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        found[f"{i}.value"] = parameter.detach()
        found |= {f"{i}.{key}": value for key, value in optimizer.state[parameter].items()}
    return found


def _resume(saved: Checkpoints, optimizer: torch.optim.Optimizer, schedule: Any) -> int:
    iteration, state = saved.latest()
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"] if state):
        parameter.data.copy_(state[f"{i}.value"])
        keys = ("step", "exp_avg", "exp_avg_sq")
        optimizer.state[parameter] = {key: state[f"{i}.{key}"].to(parameter.device) for key in keys}
    for group, base in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
        group["lr"] = base * schedule.lr_lambdas[0](iteration)
    schedule.last_epoch = iteration
    return iteration
