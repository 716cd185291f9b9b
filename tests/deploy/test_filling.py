import functools
import re
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper

from reliquant.deploy.filling import filled, problems
from reliquant.deploy.inputs import offset
from reliquant.deploy.marking import DOMAIN
from reliquant.deploy.runtimes import opened
from reliquant.layers.products import pieces
from reliquant.layers.surgery import twins
from reliquant.layers.twins import QuantConv2d, SparedInput, StaticInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

NEAR = 1e-6  # relative to a place on the grid: so near to the border between two codes, float32 cannot tell


def roundings_of(clip):
    """Return what rounds each input of the image tower, without what spares columns of it."""
    found = {name: layer.input for name, layer in twins(clip.model).items()}
    for name, piece in pieces(clip.model).items():
        found |= {f"{name}:{role}": piece.rounding(role) for role in piece.roles}
    own = {name: rounding for name, rounding in found.items() if clip.parts.in_tower(name.partition(":")[0], "image")}
    return {name: part.inner if isinstance(part, SparedInput) else part for name, part in own.items()}


def codes_of(x, rounding):
    """Return the simulation's codes of an input, as floating numbers, and how far each lies from the next code's."""
    with torch.no_grad():
        value = rounding(torch.from_numpy(x)).numpy().astype(np.float64)
    places = np.float64(x) / rounding.scale
    nearest = np.clip(np.rint(rounding.zero), rounding.grid.low, rounding.grid.high)
    apart = rounding.zero - nearest  # of a learned offset
    codes = np.rint(value / rounding.scale + apart + nearest)
    places = places + rounding.zero
    return codes, np.abs(places - np.floor(places) - 0.5)


@pytest.fixture(scope="session")
def session(written):
    """What opens the file of a case in a runtime, once for all tests of it."""
    return functools.cache(lambda runtime: opened(written[1], runtime, threads=1))


def coded(clip):
    """Return the layers of the image tower whose weights are codes."""
    found = {name: layer for name, layer in twins(clip.model).items() if clip.parts.in_tower(name, "image")}
    return {name: layer for name, layer in found.items() if layer.codes is not None}


def last_of(path, places):
    """Name the last node that makes the weight of each place."""
    found = {}
    for node in onnx.load(path).graph.node:
        for place in places:
            if node.name.startswith(f"{place}.weight."):
                found[place] = node
    return found


def is_flat(path, place):
    """Whether a weight's codes are laid out as (o, d), and turned or reshaped after they are numbers."""
    return last_of(path, [place])[place].op_type != "DequantizeLinear"


def placed(name):
    return name.rpartition(".input.")[0]


def test_each_quantize_linear_gives_the_simulations_codes_but_for_ties(written, inputs, seen_by_reference):
    clip, path = written
    known = roundings_of(clip)
    _, seen = seen_by_reference(path, inputs(clip, "image"))
    static = {name for name, r in known.items() if isinstance(r, StaticInput) and r.grid.bits <= 8}
    assert {placed(name) for name in seen} == static
    for name, (x, codes) in seen.items():
        rounding = known[placed(name)]
        if rounding.grid.is_float:
            with torch.no_grad():
                want = rounding(torch.from_numpy(x)).numpy()
            np.testing.assert_array_equal(codes.astype(np.float32) * np.float32(rounding.scale), want)
            continue
        want, from_border = codes_of(x - np.float32(offset(rounding)), rounding)
        flips = codes.astype(np.float64) != want
        assert (from_border[flips] <= NEAR * 2**rounding.grid.bits).all(), name
        assert flips.sum() <= 2, name


def test_the_tower_gives_the_simulations_embeddings(written, inputs, simulated, seen_by_reference):
    clip, path = written
    batch = inputs(clip, "image")
    given, handles = {}, []
    for name, layer in twins(clip.model).items():
        handles.append(layer.input.register_forward_pre_hook(lambda _, x, name=name: given.setdefault(name, x[0])))
    want = simulated(clip, "image", batch)
    for handle in handles:
        handle.remove()
    got, seen = seen_by_reference(path, batch)
    if np.abs(got - want).max() < 2e-6:
        return
    for name, (x, codes) in seen.items():  # a code has flipped: the first that did must lie on a border
        rounding = roundings_of(clip)[placed(name)]
        if placed(name) not in given or rounding.grid.is_float:
            continue
        mine = given[placed(name)].numpy().reshape(x.shape)
        codes_of_mine, from_border = codes_of(mine, rounding)
        flips = codes.astype(np.float64) != codes_of_mine
        if flips.any():
            assert from_border[flips].max() < 1e-3, name
            return
    raise AssertionError("no code has flipped, and yet the embeddings differ")


def test_the_file_is_valid_and_takes_any_batch(written, inputs, session):
    clip, path = written
    onnx.checker.check_model(str(path), full_check=True)
    run = session("onnxruntime").run
    batch = inputs(clip, "image", 17)
    whole = run(batch)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), np.ones(17), rtol=1e-5)
    grids = [rounding.grid for rounding in roundings_of(clip).values() if hasattr(rounding, "grid")]
    if any(grid.dynamic and grid.granularity == "tensor" for grid in grids):
        return  # what an image gets depends on what stands beside it
    for count in (1, 3):
        assert (run(batch[:count]) * whole[:count]).sum(1).min() > 0.999


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_agree_with_the_simulation(written, inputs, simulated, session, runtime):
    clip, _ = written
    batch = inputs(clip, "image", 16)
    got, want = session(runtime).run(batch), simulated(clip, "image", batch)
    assert (got * want).sum(1).min() > 0.9995


def test_what_onnx_cannot_say_is_told_by_layer_and_reason(unsayable):
    clip, fault, reason = unsayable
    found = problems(clip, "image")
    assert found[fault]
    assert all(reason in told for told in found[fault].values())
    assert set(found[fault]) <= set(roundings_of(clip))


def test_weights_that_onnx_cannot_say_are_floats_where_that_is_asked_for(towers, inputs, simulated, tmp_path):
    clip = towers.variant("wide", {"quantizer": "rtn"}, "wmxfp4a16", "image")
    path = towers.write(tmp_path / "image.onnx", clip, float_weights=True)
    model = onnx.load(path)
    assert not [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    batch = inputs(clip, "image")
    got, want = opened(path, "onnxruntime").run(batch), simulated(clip, "image", batch)
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_nothing_of_marks_and_unused_numbers_is_left(written):
    _, path = written
    graph = onnx.load(path).graph
    assert DOMAIN not in {node.domain for node in graph.node}
    assert not [value.name for value in graph.initializer if value.name.endswith(".mark")]
    read = {name for node in graph.node for name in node.input}
    assert {value.name for value in graph.initializer} <= read


def test_nothing_of_this_machine_stands_in_a_file(written):
    _, path = written
    data = path.read_bytes()
    assert not re.search(rb"/(home|root|tmp|usr|work|site-packages)|\.py\b|python3|torch/nn|File \"", data)
    model = onnx.load(path)
    assert not [node for node in model.graph.node if node.metadata_props or node.doc_string]


def test_what_a_file_multiplies_by_is_the_simulations_weight_to_the_bit(written, inputs, seen_by_reference):
    clip, path = written
    layers = coded(clip)
    assert layers
    nodes = last_of(path, layers)
    assert set(nodes) == set(layers)
    kinds = {node.op_type for node in nodes.values()}
    _, seen = seen_by_reference(path, inputs(clip, "image", 1), kinds=kinds)
    for name, layer in layers.items():
        want = layer.weight.detach().numpy()
        if isinstance(layer.input, SparedInput):
            want = want.copy()
            want[:, layer.input.columns.numpy()] = seen[nodes[name].name][1].T[:, layer.input.columns.numpy()]
        want = want if isinstance(layer, QuantConv2d) else want.T
        np.testing.assert_array_equal(seen[nodes[name].name][1], want, err_msg=name)


def test_codes_and_scales_in_the_file_are_the_variants_read_back(written):
    clip, path = written
    arrays = {value.name: value for value in onnx.load(path).graph.initializer}
    for name, layer in coded(clip).items():
        codes = numpy_helper.to_array(arrays[f"{name}.codes"])
        scale = numpy_helper.to_array(arrays[f"{name}.scale"]).astype(np.float32)
        own = layer.codes.numpy()
        if layer.weight_grid.is_float:
            codes = codes.view(np.uint8)
        codes = codes.astype(np.int32)
        if not isinstance(layer, QuantConv2d) and not is_flat(path, name):
            codes = codes.T
        want = own.reshape(codes.shape).astype(np.int32)
        if isinstance(layer.input, SparedInput):
            want = want.copy()
            want[:, layer.input.columns.numpy()] = 0
        halves = layer.weight_zero.numpy() % 1
        factor = 2 if layer.weight_grid.scales_as != "fp16" and halves.any() and not (halves * 2 % 1).any() else 1
        if factor == 2:
            want = 2 * want - int(2 * layer.weight_zero.flatten()[0])
        np.testing.assert_array_equal(codes, want, err_msg=name)
        np.testing.assert_array_equal(
            np.sort(scale * factor, axis=None), np.sort(layer.weight_scale.numpy(), axis=None)
        )


def test_the_template_stays_as_it_was_traced(towers, tmp_path):
    clip = towers.variant("vit", {"quantizer": "rtn"}, "w8a8")
    template = towers.template(clip, "image")
    before = ir.to_proto(template).SerializeToString(deterministic=True)
    filled(template, clip, "image")
    assert ir.to_proto(template).SerializeToString(deterministic=True) == before


def test_a_variant_that_lacks_what_the_template_reads_is_refused_by_name(towers):
    template = towers.template(towers.variant("wide", {"quantizer": "quarot"}, "w4a8"), "image")
    with pytest.raises(ValueError, match=r"the variant has no '.*', which the traced tower reads"):
        filled(template, towers.variant("wide", {"quantizer": "rtn"}, "w8a8"), "image")


def test_no_constant_is_read_both_plain_and_transposed(towers, tmp_path):
    graph = onnx.load(towers.write(tmp_path / "x.onnx", towers.variant("wide", {"quantizer": "quarot"}, "w4a8"))).graph
    constant = {value.name for value in graph.initializer}
    assert not [node.name for node in graph.node if node.op_type == "Transpose" and node.input[0] in constant]


def test_bytes_that_are_no_codes_are_no_initializers(towers, tmp_path):
    """OpenVINO takes any constant of int8 for codes, and the signs of a rotation for other ones."""
    clip = towers.variant("wide", {"quantizer": "quarot"}, "w4a8")
    graph = onnx.load(towers.write(tmp_path / "x.onnx", clip)).graph
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    names = [value.name for value in graph.initializer if value.data_type in kinds]
    assert names
    assert {name.rpartition(".")[2] for name in names} <= {"codes", "zero"}


def test_text_towers_take_their_own_context(towers, inputs, simulated, seen_by_reference, tmp_path):
    clip = towers.variant("vit", {"quantizer": "rtn"}, "w8a8")
    path = towers.write(tmp_path / "text.onnx", clip, "text")
    onnx.checker.check_model(str(path), full_check=True)
    tokens = inputs(clip, "text")
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value == tokens.shape[1] == 16
    got, seen = seen_by_reference(path, tokens)
    assert len(seen) == len([name for name in twins(clip.model) if clip.parts.in_tower(name, "text")]) > 0
    np.testing.assert_allclose(got, simulated(clip, "text", tokens), atol=2e-6)
    for runtime in ("onnxruntime", "openvino"):
        session = opened(path, runtime, threads=1)
        for count in (1, 17):
            batch = inputs(clip, "text", count)
            assert (session.run(batch) * simulated(clip, "text", batch)).sum(1).min() > 0.9995


@pytest.mark.parametrize("kind", ["vit", "convnext"])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_fp32_towers_give_torchs_embeddings(towers, inputs, simulated, tmp_path, kind, tower):
    clip = towers.variant(kind, {}, None)
    path = towers.write(tmp_path / "fp32.onnx", clip, tower)
    batch = inputs(clip, tower)
    for runtime in ("onnxruntime", "openvino"):
        session = opened(path, runtime)
        assert set(session.facts["layers"]) == {"float32"}
        np.testing.assert_allclose(session.run(batch), simulated(clip, tower, batch), atol=2e-6)


@pytest.mark.parametrize(
    ("entry", "precision"),
    [
        ({"quantizer": "lsq_plus", "iterations": 2, "batch": 16}, "w8a8"),
        ({"quantizer": "llm_int8", "threshold": 1.0}, "w8a8"),
    ],
)
def test_a_block_that_a_tower_runs_twice_is_written_twice(
    towers, new_clip, proxy, inputs, simulated, tmp_path, entry, precision
):
    clip = replace(new_clip("vit"))  # which finds its own blocks
    blocks = clip.model.visual.transformer.resblocks
    blocks[1] = blocks[0]
    quantize(clip, scheme_entry(entry, precision), "image", proxy, Checkpoints())
    towers.write(tmp_path / "image.onnx", clip)
    onnx.checker.check_model(tmp_path / "image.onnx")
    batch = inputs(clip, "image")
    found = opened(tmp_path / "image.onnx", "onnxruntime", threads=1, explained=False).run(batch)
    assert (found * simulated(clip, "image", batch)).sum(1).min() > 0.9999
    names = [node.name for node in onnx.load(tmp_path / "image.onnx").graph.node]
    assert len(names) == len(set(names))
