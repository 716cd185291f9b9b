"""Rotate a tower's residual stream by a randomized Hadamard matrix (QuaRot, Ashkboos et al. 2024, section 4).

A stack of pre-norm blocks computes the same on a centred and rotated stream if LayerNorm's scale and shift move into
the Linears that read it, LayerNorm becomes a division by the root mean square, Linears that read the stream undo the
rotation, and those that write to it centre and rotate. In a stack that is built otherwise (ConvNeXt, post-norm), each
Linear rotates its own input.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from reliquant.layers.transforms import RootMeanSquare, Rotation, Stream, attach
from reliquant.layers.twins import QuantLinear, Twin
from reliquant.models.clip import Clip
from reliquant.quantization.fold import add_bias, layer_norm_readers
from reliquant.quantization.proxy import Proxy


def rotate(clip: Clip, made: dict[str, Twin], proxy: Proxy, rng: np.random.Generator, /) -> list[str]:
    """Rotate the stream of each stack that allows it and the inputs of all other Linears; return the rotated stacks.

    The model changes in place and computes the same up to FP32 rounding. In a rotated stack the Linears that write to
    the stream (attention output, second MLP layer) also rotate their own input online. Conv2d stay as they are.
    """
    readers = layer_norm_readers(clip, made, proxy)
    fed: set[str] = set()
    rotated = []
    for stack, blocks in _stacks(clip, made).items():
        norms = {norm: names for norm, names in readers.items() if _in(norm, stack)}
        if _is_pre_norm(clip.model, stack, blocks, norms, made):
            _rotate_stack(clip.model, stack, blocks, norms, made, rng)
            fed |= {name for names in norms.values() for name in names}
            rotated.append(stack)
    for name, layer in made.items():
        if isinstance(layer, QuantLinear) and name not in fed:
            rotate_input(layer, Rotation(layer.weight.shape[1], rng))
    return rotated


@torch.no_grad()
def rotate_input(layer: Twin, rotation: Rotation, /) -> None:
    """Let a layer rotate its input before rounding it, and its weight to match."""
    layer.transform = rotation.to(layer.weight.device)
    layer.weight.copy_(rotation(layer.weight))


def _stacks(clip: Clip, made: Mapping[str, Twin]) -> dict[str, list[str]]:
    """List the blocks that hold twins by the list (ModuleList, Sequential) that they stand in, in order."""
    holding = {clip.parts.block_of(name) for name in made}
    stacks: dict[str, list[str]] = {}
    for block in clip.parts.blocks:
        stack = block.rpartition(".")[0]
        if block in holding and isinstance(clip.model.get_submodule(stack), nn.ModuleList | nn.Sequential):
            stacks.setdefault(stack, []).append(block)
    return stacks


def _is_pre_norm(
    model: nn.Module, stack: str, blocks: list[str], norms: Mapping[str, list[str]], made: Mapping[str, Twin]
) -> bool:
    """Whether each block of a stack is two LayerNorms, the Linears that read them, two that write, and nothing else."""
    if len(blocks) != len(model.get_submodule(stack)):
        return False
    for block in blocks:
        inside = [norm for norm in norms if _in(norm, block)]
        layers = [name for name in made if _in(name, block)]
        read = {name for norm in inside for name in norms[norm]}
        width = {len(model.get_submodule(norm).weight) for norm in inside}
        known = sum(p.numel() for name in [*inside, *layers] for p in model.get_submodule(name).parameters())
        writers = [made[name] for name in layers if name not in read]
        if len(inside) != 2 or len(width) != 1 or len(writers) != 2:
            return False
        if any(not isinstance(made[name], QuantLinear) for name in layers):
            return False
        if any(layer.weight.shape[0] not in width for layer in writers):
            return False
        if known != sum(p.numel() for p in model.get_submodule(block).parameters()):
            return False
    return True


@torch.no_grad()
def _rotate_stack(
    model: nn.Module,
    stack: str,
    blocks: list[str],
    norms: Mapping[str, list[str]],
    made: Mapping[str, Twin],
    rng: np.random.Generator,
) -> None:
    width = len(model.get_submodule(next(iter(norms))).weight)
    entry = Stream(width, "in", rng)
    leaving = Stream(width, "out")
    leaving.load_state_dict(entry.state_dict())
    device = next(iter(made.values())).weight.device
    entry, leaving = entry.to(device), leaving.to(device)
    read = set()
    for norm, names in norms.items():
        module = model.get_submodule(norm)
        for name in names:
            _fuse(made[name], module)
            made[name].weight.copy_(entry.turned(made[name].weight))
            read.add(name)
        parent, _, leaf = norm.rpartition(".")
        setattr(model.get_submodule(parent), leaf, RootMeanSquare(width, module.eps))
    for name, layer in made.items():
        if _in(name, stack) and name not in read:
            layer.weight.copy_(entry(layer.weight.T).T)  # `entry` centres too: the stream stays centred
            if layer.bias is not None:
                layer.bias.copy_(entry(layer.bias))
    attach(model.get_submodule(blocks[0]), entry)
    attach(model.get_submodule(blocks[-1]), leaving)


def _fuse(layer: Twin, norm: nn.LayerNorm) -> None:
    """Move a LayerNorm's scale and shift into a Linear that reads it."""
    add_bias(layer, layer.weight @ norm.bias)
    layer.weight.mul_(norm.weight)


def _in(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")
