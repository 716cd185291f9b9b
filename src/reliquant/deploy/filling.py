"""Write a variant into a traced tower: its numbers into the initializers, its grids in place of the marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from torch import nn

from reliquant.deploy.folding import fold_resized, fold_transposed
from reliquant.deploy.inputs import input_problem, offset, rounded_input
from reliquant.deploy.marking import DOMAIN, Tower, factor_place, tensors_of
from reliquant.deploy.nodes import Builder, array_of
from reliquant.deploy.weights import spared_product, weight_problem, weight_value
from reliquant.layers.products import pieces
from reliquant.layers.surgery import twins
from reliquant.layers.twins import QuantLinear, SparedInput, StaticInput, Twin
from reliquant.models.clip import Clip

OWN = "model."  # before the names of what belongs to the model (`TowerModule.model`)


def problems(clip: Clip, tower: Tower, /) -> dict[str, dict[str, str]]:
    """Say what of a tower ONNX cannot say: under `inputs` and `weights`, the reason by layer."""
    found: dict[str, dict[str, str]] = {"inputs": {}, "weights": {}}
    for place, rounding in _roundings(clip, tower).items():
        if reason := input_problem(rounding):
            found["inputs"][place] = reason
    for name, layer in _layers(clip, tower).items():
        if reason := weight_problem(layer):
            found["weights"][name] = reason
    return found


def unpacked_layers(clip: Clip, towers: Sequence[Tower], /) -> list[str]:
    """Name the layers that could be products of integers, but for codes that are stored in 4 bits."""
    found = []
    for tower in towers:
        for name, layer in _layers(clip, tower).items():
            narrow = layer.codes is not None and not layer.weight_grid.is_float and layer.weight_grid.bits <= 4
            if narrow and isinstance(layer.input, StaticInput) and not layer.input.grid.is_float:
                found.append(name)
    return found


def filled(
    template: ir.Model, clip: Clip, tower: Tower, /, *, float_weights: bool = False, code_bits: int = 4
) -> ir.Model:
    """Return a copy of a traced tower with the numbers and grids of a variant of the same structure.

    `float_weights` writes in float32 the weights that ONNX cannot say by codes; `code_bits` is the least width of a
    code. Raises ValueError for a number of the template that the variant does not have.
    """
    model = template.clone()
    graph = model.graph
    given = tensors_of(clip.model)
    for name, value in list(graph.initializers.items()):
        if not name.startswith(OWN) or name.endswith(".mark"):
            continue  # a constant of the trace
        own = name.removeprefix(OWN)
        if own not in given:
            raise ValueError(f"the variant has no {own!r}, which the traced tower reads")
        value.const_value = ir.tensor(array_of(given[own]).astype(value.dtype.numpy()), name=name)
    roundings, layers = _roundings(clip, tower), _layers(clip, tower)
    as_float = problems(clip, tower)["weights"] if float_weights else {}
    met: Counter[tuple[str, str]] = Counter()
    for node in [node for node in graph if node.domain == DOMAIN]:
        place = node.attributes["place"].as_string()
        met[node.op_type, place] += 1
        again = f"_{met[node.op_type, place]}" if met[node.op_type, place] > 1 else ""  # a layer that is used twice
        if node.op_type == "Input":
            rounding = roundings[place]
            node = _behind_transpose(graph, node, rounding)
            build = Builder(graph, node, place, f"input{again}")
            made = rounded_input(build, node.inputs[0], rounding)
            if offset(rounding) and not isinstance(layers.get(place), QuantLinear):
                made = build.node("Sub", [made, build.number_of("input.offset", offset(rounding))])
        else:
            layer = layers[place]
            build = Builder(graph, node, place, f"weight{again}")
            made = weight_value(build, layer, as_float=place in as_float, code_bits=code_bits)
            if isinstance(layer.input, SparedInput):
                _add_spared(graph, node, layer, place, again)
            elif isinstance(layer, QuantLinear) and offset(layer.input):
                _add_offset(graph, node, layer, place, again)
        node.outputs[0].replace_all_uses_with(made)
        graph.remove(node, safe=True)
    fold_transposed(graph)
    fold_resized(graph)
    model.opset_imports.pop(DOMAIN, None)
    common.RemoveUnusedNodesPass()(model)
    return model


def _layers(clip: Clip, tower: Tower) -> dict[str, Twin]:
    return {name: layer for name, layer in twins(clip.model).items() if clip.parts.in_tower(name, tower)}


def _roundings(clip: Clip, tower: Tower) -> dict[str, nn.Module]:
    """Return what rounds each input of a tower, by its place: those of layers, and the factors of attention."""
    found: dict[str, nn.Module] = {name: layer.input for name, layer in _layers(clip, tower).items()}
    for name, piece in pieces(clip.model).items():
        if clip.parts.in_tower(name, tower):
            for role in piece.roles:
                found[factor_place(name, role)] = piece.rounding(role)
    return found


def _behind_transpose(graph: ir.Graph, mark: ir.Node, rounding: nn.Module) -> ir.Node:
    """Return the mark, moved behind the Transpose that alone reads it, where one scale for all makes that the same.

    ONNX Runtime 1.32 inserts nodes of two types around a Transpose of rounded numbers, and then refuses the model.
    """
    readers = [use.node for use in mark.outputs[0].uses()]
    if not isinstance(rounding, StaticInput) or [reader.op_type for reader in readers] != ["Transpose"]:
        return mark
    (turn,) = readers
    x, turned = mark.inputs[0], turn.outputs[0]
    later = [(use.node, use.idx) for use in turned.uses()]
    turn.replace_input_with(0, x)
    mark.replace_input_with(0, turned)
    for reader, index in later:
        reader.replace_input_with(index, mark.outputs[0])
    mark.outputs[0].shape = turned.shape
    graph.remove(mark)
    graph.insert_after(turn, mark)
    return mark


def _add_spared(graph: ir.Graph, mark: ir.Node, layer: Twin, place: str, again: str) -> None:
    """Add to the product that reads a marked weight what the spared columns of its input give."""
    begin = f"{place}.input{again}."
    masked = next(node for node in graph if node.op_type == "Where" and node.name.startswith(begin))
    _add_to_product(graph, mark, place, f"beside{again}", lambda build: spared_product(build, masked.inputs[2], layer))


def _add_offset(graph: ir.Graph, mark: ir.Node, layer: Twin, place: str, again: str) -> None:
    """Take from the product that reads a marked weight what the offset of its input has added to it."""
    added = -offset(layer.input) * array_of(layer.weight.double()).sum(1)
    _add_to_product(
        graph, mark, place, f"beside{again}", lambda build: build.initializer("offset", added.astype(np.float32))
    )


def _add_to_product(
    graph: ir.Graph, mark: ir.Node, place: str, part: str, added: Callable[[Builder], ir.Value]
) -> None:
    (use,) = mark.outputs[0].uses()
    out = use.node.outputs[0]
    readers = list(out.uses())
    build = Builder(graph, readers[0].node, place, part)
    total = build.node("Add", [out, added(build)])
    for reader in readers:
        reader.node.replace_input_with(reader.idx, total)
