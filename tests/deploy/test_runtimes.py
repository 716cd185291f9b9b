import numpy as np
import onnx
import onnx_ir as ir
import pytest

from reliquant.deploy.filling import filled
from reliquant.deploy.runtimes import RUNTIMES, opened
from reliquant.deploy.tracing import traced
from reliquant.layers.surgery import twins
from reliquant.models.open import open_model
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

RTN = ("wide", {"quantizer": "rtn"})


@pytest.fixture(scope="module")
def file(towers, tmp_path_factory):
    clip = towers.variant(*RTN, "w8a8")
    return clip, towers.write(tmp_path_factory.mktemp("tower") / "image.onnx", clip)


@pytest.fixture(scope="module")
def weight_only(tmp_path_factory):
    """A lab model with weights of four bits in groups, wide enough for runtimes to take liberties with its inputs."""
    clip = open_model("lab-vit-curated")
    images = np.random.default_rng(0).integers(0, 256, (64, *clip.shape, 3), dtype=np.uint8)
    entry = {"quantizer": "rtn", "weight": {"granularity": "group", "group": 32}}
    proxy = Proxy(images, [f"a photo of {i}" for i in range(64)])
    quantize(clip, scheme_entry(entry, "w4a16"), "image", proxy, Checkpoints())
    path = tmp_path_factory.mktemp("tower") / "image.onnx"
    ir.save(filled(traced(clip, "image"), clip, "image"), path)
    return clip, path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_quantized_layers_run_in_int8_and_the_others_in_float32(file, runtime):
    clip, path = file
    layers = opened(path, runtime, threads=1).facts["layers"]
    quantized = [name for name in twins(clip.model) if name.startswith("visual.")]
    assert layers["int8"] == len(quantized)
    assert set(layers) == {"int8", "float32"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_alone_in_codes_leave_inputs_as_they_are(weight_only, inputs, simulated, runtime):
    """What runtimes do unasked, int8 inputs of weight-only layers and bfloat16, is switched off: it is no float32."""
    clip, path = weight_only
    session = opened(path, runtime, threads=1)
    assert not {"int8", "bfloat16", "float16"} & set(session.facts["layers"])
    batch = inputs(clip, "image", 16)
    np.testing.assert_allclose(session.run(batch), simulated(clip, "image", batch), atol=3e-6)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_says_what_it_is(file, runtime):
    import importlib.metadata

    facts = opened(file[1], runtime, threads=1).facts
    assert (facts["runtime"], facts["threads"]) == (runtime, 1)
    assert facts["version"] == importlib.metadata.version(runtime)
    assert sum(facts["layers"].values()) == sum(len(names) for names in facts["nodes"].values())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_answer_stays_what_it_was_when_the_next_is_asked_for(file, inputs, runtime):
    clip, path = file
    run = opened(path, runtime).run
    first = run(inputs(clip, "image", 2))
    kept = first.copy()
    run(inputs(clip, "image", 2, seed=9))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_files_that_are_cut_or_no_models_are_refused_by_name(file, tmp_path, runtime):
    data = file[1].read_bytes()
    for name, content in (("cut.onnx", data[: len(data) // 2]), ("text.onnx", b"no model"), ("empty.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}.*: {runtime} refuses it: "):
            opened(tmp_path / name, runtime)
    with pytest.raises(ValueError, match="nowhere"):
        opened(tmp_path / "nowhere.onnx", runtime)


def test_openvinos_files_are_not_for_onnx_runtime(tmp_path):
    (tmp_path / "image.xml").touch()
    with pytest.raises(ValueError, match=r"image\.xml: is OpenVINO's; ONNX Runtime reads \.onnx"):
        opened(tmp_path / "image.xml", "onnxruntime")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_that_is_missing_is_told_as_one(file, monkeypatch, runtime):
    import sys

    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(ValueError, match=rf"{runtime} is not installed: pip install"):
        opened(file[1], runtime)


def test_a_file_of_unknown_nodes_is_refused(file, tmp_path):
    model = onnx.load(file[1])
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ValueError, match=r"x\.onnx: onnxruntime refuses it: .*Nonsense"):
        opened(tmp_path / "x.onnx", "onnxruntime")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_codes_of_four_bits_are_multiplied_as_integers_where_each_has_a_byte(towers, inputs, tmp_path, runtime):
    clip = towers.variant(*RTN, "w4a8")
    packed, wide = (towers.write(tmp_path / f"{bits}.onnx", clip, code_bits=bits) for bits in (4, 8))
    quantized = [name for name in twins(clip.model) if name.startswith("visual.")]
    for name in quantized:
        kinds = {path: onnx.load(path).graph.initializer for path in (packed, wide)}
        four, eight = ({each.name: each for each in kinds[path]}[f"{name}.codes"] for path in (packed, wide))
        assert (four.data_type, eight.data_type) == (onnx.TensorProto.INT4, onnx.TensorProto.INT8)
        codes = [onnx.numpy_helper.to_array(each).astype(int) for each in (four, eight)]
        np.testing.assert_array_equal(*codes)
    sessions = [opened(path, runtime, threads=1) for path in (packed, wide)]
    assert ["int8" in session.facts["layers"] for session in sessions] == [False, True]
    assert sessions[1].facts["layers"]["int8"] == len(quantized)
    batch = inputs(clip, "image", 4)
    by_floats, by_integers = (session.run(batch) for session in sessions)
    np.testing.assert_allclose((by_floats * by_integers).sum(1), 1, atol=1e-4)
