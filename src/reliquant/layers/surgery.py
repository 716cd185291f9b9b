"""Prepare a CLIP-like model for quantization: unpack attention, find the layers inside the blocks, insert twins."""

from __future__ import annotations

from collections.abc import Callable, Container

from torch import nn

from reliquant.grid import Grid
from reliquant.layers.attention import CrossAttention, NormedAttention, SelfAttention, can_be_unpacked
from reliquant.layers.plain import linear_of
from reliquant.layers.twins import Twin, twin
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.parts import Scope, outer_modules

SELF = (open_clip.transformer.ResidualAttentionBlock, nn.TransformerEncoderLayer)  # attend to what they are given
OWN = open_clip.transformer.Attention
Places = dict[int, list[tuple[nn.Module, str]]]


def unpack(clip: Clip, /) -> None:
    """Replace what hides a model's layers from their twins by plain layers that share its parameters, in place.

    Outputs change by floating-point rounding only.
    """
    unpack_attention(clip.model, crossed(clip))


def crossed(clip: Clip, /) -> frozenset[str]:
    """Name the attention with another query than key or value; a forward is only run where its place does not say."""
    for parent in clip.model.modules():
        unknown = not isinstance(parent, SELF) or hasattr(parent, "ln_1_kv")
        if unknown and any(isinstance(child, nn.MultiheadAttention) for child in parent.children()):
            return clip.parts.crossed
    return frozenset()


def unpack_attention(model: nn.Module, crossed: Container[str] = (), /) -> None:
    """Replace every packed attention, torch's and open_clip's own, by Linears that share its parameters, in place.

    open_clip's ViT hides a third of its block weights in them: `in_proj_weight` is no Linear, and the `out_proj` of
    nn.MultiheadAttention is a Linear that is never called. timm's EVA, BEiT and SwinV2 use the weight of `qkv` with
    biases of their own: they are told to call the layer, and to add the biases to its output. Attention in `crossed`,
    by name, gets a Linear each for query, key and value.
    """
    for path, parent in list(model.named_modules()):
        if getattr(parent, "qkv_bias_separate", None) is False and getattr(parent, "q_bias", None) is not None:
            parent.qkv_bias_separate = True
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention) and can_be_unpacked(child):
                apart = isinstance(parent, open_clip.transformer.AttentionalPooler) or hasattr(parent, "ln_1_kv")
                apart = apart or (f"{path}.{name}" if path else name) in crossed or child.in_proj_weight is None
                setattr(parent, name, (CrossAttention if apart else SelfAttention)(child))
            elif isinstance(child, OWN) and type(child).forward is OWN.forward:
                setattr(parent, name, NormedAttention(child))
            elif linear := linear_of(child):
                setattr(parent, name, linear)


def targets(clip: Clip, scope: Scope, /) -> list[str]:
    """List the Linear and Conv2d modules inside the blocks of the towers in scope, in the order of the model.

    LayerNorm, softmax, attention products, patch embedding, downsampling and final projection stay FP32, as in the
    first author's code (docs/fidelity.md).
    """
    parts = clip.parts
    return [
        name
        for name, module in clip.model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and parts.is_in_block(name) and parts.in_scope(name, scope)
    ]


def nothing_found(clip: Clip, scope: Scope, /) -> str:
    """Say of a model without targets what was looked for in the towers in scope, and what is there."""
    if twins(clip.model):
        return "nothing to quantize: the model is quantized already; open it anew"
    told = []
    for tower in ("image", "text") if scope == "both" else ("image",):
        tops = clip.parts.image if tower == "image" else clip.parts.text
        blocks = [block for block in clip.parts.blocks if clip.parts.in_tower(block, tower)]
        held = f"{len(blocks)} blocks, {blocks[0]} first" if blocks else "no blocks"
        told.append(f"its {tower} tower has {held}, and in it are {outer_modules(clip.model, tops)}")
    return (
        "nothing to quantize: looked for Linear and Conv2d layers in blocks, which are modules in a row (of a "
        f"ModuleList or Sequential, or of one class) with two weights or more; {'; '.join(told)}. A tower plugin can "
        "name them: Clip(..., blocks=('visual.encoder.*',))"
    )


def insert_twins(
    model: nn.Module, names: list[str], weight: Grid, activation: Grid, /, *, places: Places | None = None
) -> dict[str, Twin]:
    """Replace the named layers by their quantized twins, in place; return the twins by name.

    A layer that is a twin already stays, with what was prepared in it, and takes the given grids. `places` saves the
    search for them where this is called layer by layer. Raises ValueError naming a layer that has no twin, or that has
    not the width for a grid.
    """
    made = {}
    places = places_of(model) if places is None else places
    for name in names:
        inner = model.get_submodule(name)
        if isinstance(inner, Twin):
            try:
                inner.take(weight, activation)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            made[name] = inner
            continue
        try:
            made[name] = twin(inner, weight, activation)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        made[name].name = name
        for parent, leaf in places[id(inner)]:
            setattr(parent, leaf, made[name])
    return made


def places_of(model: nn.Module, /) -> Places:
    """Return where each module stands, parents and names by its id: a shared one stands in several places."""
    places: Places = {}
    for parent in model.modules():
        for leaf, child in parent._modules.items():
            if child is not None:
                places.setdefault(id(child), []).append((parent, leaf))
    return places


def before_first_code(model: nn.Module, look: Callable[[], None], /) -> None:
    """Let the twins of a model call `look` once, before a method fixes the first code of any of them.

    What was to be called there before is called first.
    """
    layers = twins(model).values()
    earlier = [layer.before_rounding for layer in layers]

    def once() -> None:
        for layer in layers:
            layer.before_rounding = None
        if earlier[0] is not None:
            earlier[0]()
        look()

    for layer in layers:
        layer.before_rounding = once


def twins(model: nn.Module, /) -> dict[str, Twin]:
    """Return the quantized twins of a model by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Twin)}
