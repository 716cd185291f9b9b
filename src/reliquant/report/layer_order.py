"""The order of a model's layers, and the numbers of their blocks, read from their names."""

from __future__ import annotations

import re


def in_order(name: str, /) -> list[tuple[int, int | str]]:
    """Return what sorts layers as they run: numbers as numbers, attention before the MLP, its input before its output.

    >>> sorted(["b.10.mlp.fc1", "b.2.attn.proj", "b.2.attn.qkv"], key=in_order)
    ['b.2.attn.qkv', 'b.2.attn.proj', 'b.10.mlp.fc1']
    """
    name = name.replace("qkv", "a_qkv").replace("c_proj", "z_proj").replace("conv_dw", "a_dw")
    return [(0, int(x)) if x.isdigit() else (1, x) for x in re.split(r"[._]", name)]


def block_number(name: str, /) -> str:
    """Return the numbers in the name of a layer or block, which say which block it is.

    >>> block_number("visual.trunk.stages.1.blocks.0.conv_dw"), block_number("visual.transformer.resblocks.11")
    ('1.0', '11')
    """
    return ".".join(re.findall(r"(?<=\.)\d+(?=\.|$)", name))
