"""A quantized model as arrays: integer codes packed at their real width, scales, and what stayed in floating point."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import asdict
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from reliquant.files.artifacts import DamagedFile, load_tensors, require_words
from reliquant.grid import Grid
from reliquant.layers import products, stored
from reliquant.layers.surgery import Scope, crossed, insert_twins, places_of, twins, unpack_attention
from reliquant.layers.transforms import Compensation, RootMeanSquare, Stream, attach, build
from reliquant.layers.twins import DynamicInput, Held, Scratch, SparedInput, StaticInput, Twin
from reliquant.models.clip import Clip
from reliquant.models.files import load_model

Arrays = dict[str, NDArray[Any]]
GRID = TypeAdapter(Grid)  # which refuses words of other types, as a config does
WORDS = {"sha256": str, "model_sha256": str, "modules": dict, "logit_scale_tuned": object}  # of a variant's header


def export(clip: Clip, scope: Scope, /) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays of a quantized model's towers in scope, and the facts of its twins, by module name.

    Beside twins the facts describe what a method put into the FP32 model itself; those entries have a `kind`.
    """
    arrays: Arrays = {}
    modules: dict[str, Any] = {}
    owned: set[str] = set()
    for name, module in clip.model.named_modules():
        if isinstance(module, Stream | RootMeanSquare | Compensation):
            modules[name] = module.facts()
        elif isinstance(module, products.AttentionProducts) and module.active:
            modules[name] = _attention_facts(module)
    for name, module in twins(clip.model).items():
        modules[name] = _facts(module)
        if module.codes is not None:
            arrays |= stored.arrays(name, module)
            owned.add(f"{name}.weight")
    for name, value in clip.model.state_dict().items():
        if clip.parts.in_scope(name, scope) and name not in owned:
            arrays[name] = value.detach().cpu().numpy()
    return arrays, modules


def restore(model: nn.Module, arrays: Arrays, modules: dict[str, Any], crossed: Container[str] = (), /) -> None:
    """Turn an FP32 model, in place, into the variant that `export` described; its outputs are the same to the bit.

    `crossed` is what `unpack_attention` takes.
    """
    if not arrays:
        return
    unpack_attention(model, crossed)
    there, places = dict(model.named_modules()), places_of(model)
    scratch, frozen = Scratch(), set[str]()
    for name, facts in modules.items():
        added = facts.get("kind") in ("stream", "compensation", "attention")  # what a block or an attention gets
        changed = name.rpartition(".")[0] if added else name
        if changed not in there:
            raise ValueError(f"the variant changes {name!r}, which the model has not; is it another architecture?")
        if "kind" in facts:
            _put(model, name, facts)
            continue
        grids = GRID.validate_python(facts["weight"]), GRID.validate_python(facts["activation"])
        made = insert_twins(model, [name], *grids, places=places)[name]
        made.input = _rounding(made.activation_grid, facts.get("input"), scratch, made.inputs)
        if "transform" in facts:
            made.transform = build(facts["transform"])
        if made.bias is None and f"{name}.bias" in arrays:  # it came from a folded LayerNorm
            made.bias = nn.Parameter(torch.zeros(made.weight.shape[0]))
        if f"{name}.codes" in arrays:
            made.freeze(*stored.codes_of(name, made, arrays), held=_held(name, arrays))
            frozen |= {f"{name}.{part}" for part in stored.PARTS}
        if f"{name}.spared" in arrays:
            made.spare(torch.from_numpy(arrays[f"{name}.input.columns"]), torch.from_numpy(arrays[f"{name}.spared"]))
    rest = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in frozen}
    unknown = model.load_state_dict(rest, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the variant holds {unknown[0]!r}, which the model does not; is it another architecture?")


def size_in_bytes(arrays: Arrays, /) -> int:
    """Return how many bytes the arrays take on disk."""
    return sum(array.nbytes for array in arrays.values())


def _held(name: str, arrays: Arrays) -> Held | None:
    """Return what of a weight stays in floating point beside its codes; None where that is nothing."""
    if f"{name}.{stored.HELD[0]}" not in arrays:
        return None
    return Held(*(torch.from_numpy(arrays[f"{name}.{part}"]) for part in stored.HELD))


def _facts(layer: Twin) -> dict[str, Any]:
    facts: dict[str, Any] = {"weight": asdict(layer.weight_grid), "activation": asdict(layer.activation_grid)}
    rounding = layer.input.inner if isinstance(layer.input, SparedInput) else layer.input
    if isinstance(rounding, StaticInput):
        facts["input"] = {"scale": rounding.scale, "zero": rounding.zero}
    if not isinstance(layer.transform, nn.Identity):
        facts["transform"] = layer.transform.facts()
    return facts


def _attention_facts(piece: products.AttentionProducts) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for role in piece.roles:
        rounding = piece.rounding(role)
        facts[role] = {"grid": asdict(rounding.grid), "input": products.static_facts(rounding)}
        facts[role]["log_sqrt2"] = isinstance(rounding, products.LogSqrt2)
    return {"kind": "attention", "factors": facts}


def _put(model: nn.Module, name: str, facts: dict[str, Any]) -> None:
    """Put a piece that is no twin into its place."""
    parent, _, leaf = name.rpartition(".")
    if facts["kind"] == "attention":
        factors = {role: _factor(role, words) for role, words in facts["factors"].items()}
        piece = products.AttentionProducts(factors)
        products.attach(model, parent, piece)
        piece.active = True
        return
    piece = build(facts)
    if isinstance(piece, Stream | Compensation):
        attach(model.get_submodule(parent), piece)
    else:
        setattr(model.get_submodule(parent), leaf, piece)


def _factor(role: str, words: dict[str, Any]) -> nn.Module:
    """Make what rounds a factor of an attention's products; it lends no memory, since both are read at once."""
    grid, static = GRID.validate_python(words["grid"]), words["input"]
    if not words["log_sqrt2"]:
        return _rounding(grid, static, None, products.axis_of(role, grid))
    _require_numbers(static)
    return products.LogSqrt2(grid.bits, static["scale"])


def _rounding(grid: Grid, static: dict[str, Any] | None, scratch: Scratch | None, axis: int) -> nn.Module:
    if grid.floating:
        return nn.Identity()
    if not static:
        return DynamicInput(grid, axis)
    _require_numbers(static)
    return StaticInput(grid, static["scale"], static["zero"], scratch)


def _require_numbers(static: dict[str, Any]) -> None:
    if not all(isinstance(number, Real) and math.isfinite(number) for number in (static["scale"], static["zero"])):
        raise ValueError(f"an input's scale and zero must be numbers, not {static}")


def load_variant(model: Path, variant: Path, /, *, tower: str | None = None) -> tuple[Clip, dict[str, Any]]:
    """Read a model and quantize it as the variant's file says; raise DamagedFile if the two do not belong together.

    `tower` is what `load_model` takes: the module that the model's file may name.
    """
    clip, facts = load_model(model, tower=tower)
    arrays, header = load_tensors(variant)
    if header.get("kind") != "variant":
        raise DamagedFile(f"{variant}: is a {header.get('kind')}, not a variant")
    require_words(header, WORDS, f"{variant}: its header")
    tuned = header["logit_scale_tuned"]
    if tuned is not None and not (isinstance(tuned, Real) and 0 < tuned < float("inf")):
        raise DamagedFile(f"{variant}: its logit_scale_tuned is {tuned!r}, not a number above 0; quantize it again")
    if header["model_sha256"] != facts["sha256"]:
        raise DamagedFile(f"{variant}: was made from other weights than {model} holds; quantize it again")
    if arrays and not header["modules"]:
        raise DamagedFile(f"{variant}: its header describes none of its modules; quantize it again")
    try:
        restore(clip.model, arrays, header["modules"], crossed(clip) if arrays else ())
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:  # of what the header says
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise DamagedFile(
            f"{variant}: its header and arrays do not make a variant of {model} ({told}); quantize it again"
        ) from error
    return clip, header
