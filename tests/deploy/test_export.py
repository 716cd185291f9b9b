import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from reliquant.deploy import export as module
from reliquant.deploy.export import CannotSay, Exporter
from reliquant.deploy.folder import read_export
from reliquant.deploy.runtimes import opened
from reliquant.evaluation.zero_shot import text_head
from reliquant.layers.surgery import twins
from reliquant.report.synthetic import Shape, rows

FACTS = {"model_sha256": "a" * 64, "variant_sha256": "b" * 64, "entry": {"quantizer": "rtn"}}
PROMPTS = {"classes": ["cat", "dog", "owl"], "templates": ["a photo of a {}", "{}"]}


def own_card(told, *measured):
    return "---\ntags:\n- reliquant\n---\n"


RTN = ("wide", {"quantizer": "rtn"}, "w8a8")
MX = ("wide", {"quantizer": "rtn"}, "wmxfp4a16")


@pytest.fixture(scope="module")
def exporter(towers):
    """An exporter whose towers have been traced before."""
    made = Exporter(to="onnx")
    clip = towers.variant(*RTN)
    for tower in made.towers:
        made.templates[FACTS["model_sha256"], module.structure(clip, tower)] = towers.template(clip, tower)
    return made


@pytest.fixture(scope="module")
def folder(exporter, towers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "rtn"
    exporter.export(towers.variant(*RTN), folder, name="rtn", facts=FACTS, prompts=PROMPTS, card=own_card)
    return folder


def test_a_folder_holds_towers_classes_card_and_facts(folder, towers):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "classes.npy",
        "export.json",
        "image.onnx",
        "text.onnx",
    ]
    facts = read_export(folder)
    assert {word: facts[word] for word in FACTS} == FACTS
    assert facts["towers"]["image"] == {"file": "image.onnx", "input": "pixels", "output": "embedding"}
    assert facts["bytes"] == sum((folder / f"{tower}.onnx").stat().st_size for tower in ("image", "text"))
    assert set(facts["files"]) == {"README.md", "classes.npy", "image.onnx", "text.onnx"}
    head = text_head(towers.variant(*RTN), PROMPTS["classes"], PROMPTS["templates"])
    np.testing.assert_array_equal(np.load(folder / "classes.npy"), head)
    assert facts["prompts"] == PROMPTS


def test_each_file_says_itself_what_it_is(folder):
    for tower in ("image", "text"):
        model = onnx.load(folder / f"{tower}.onnx")
        assert model.producer_name == "reliquant"
        told = json.loads({each.key: each.value for each in model.metadata_props}["reliquant"])
        assert told["tower"] == tower
        facts = read_export(folder)
        kept = ("model_sha256", "variant_sha256", "preprocessing", "tokenizer", "prompts", "logit_scale", "logit_bias")
        assert {word: told[word] for word in kept} == {word: facts[word] for word in kept}


def test_codes_on_disk_are_the_codes_in_the_file(folder, towers):
    stored = {value.name: value for value in onnx.load(folder / "image.onnx").graph.initializer}
    for name, layer in twins(towers.variant(*RTN).model).items():
        if name.startswith("visual."):
            codes = onnx.numpy_helper.to_array(stored[f"{name}.codes"])
            np.testing.assert_array_equal(codes.T, layer.codes.numpy())


def test_equal_runs_write_equal_bytes(folder, exporter, towers, tmp_path):
    exporter.export(towers.variant(*RTN), tmp_path, name="rtn", facts=FACTS, prompts=PROMPTS, card=own_card)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_ten_variants_are_traced_once(exporter, towers, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "traced", lambda *words: pytest.fail("a second trace"))
    for precision in ("w8a8", "w7a7", "w6a6", "w5a8", "w4a8", "w4a6", "w3a8", "w2a8", "w4a16", "fp8"):
        clip = towers.variant("wide", {"quantizer": "rtn"}, precision)
        exporter.export(clip, tmp_path / precision, name=precision, facts=FACTS)
    assert len({(tmp_path / precision / "image.onnx").read_bytes() for precision in os.listdir(tmp_path)}) == 10


def test_the_models_of_two_weights_share_no_trace(exporter):
    assert all(key[0] == FACTS["model_sha256"] for key in exporter.templates)


def test_what_cannot_be_said_is_refused_before_anything_is_traced_or_written(towers, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "traced", lambda *words: pytest.fail("traced"))
    clip = towers.variant(*MX)
    with pytest.raises(CannotSay) as refusal:
        Exporter(to="onnx").export(clip, tmp_path / "mx", name="mx", facts=FACTS)
    layer = next(iter(twins(clip.model)))
    told = f"mx: ONNX cannot say what {layer} and 3 more does: weights are numbers of e2m1"
    assert told in str(refusal.value)
    assert "--float-weights writes them as float32, or export it --to torch" in str(refusal.value)
    assert not (tmp_path / "mx").exists()
    inputs = towers.variant("wide", {"quantizer": "rtn"}, "mxfp8")
    with pytest.raises(CannotSay, match=r"one scale per block of a token.*; no word makes it so; export it --to torch"):
        Exporter(to="openvino", float_weights=True).export(inputs, tmp_path / "mx", name="mx", facts=FACTS)


def test_float_weights_are_told_with_their_layers_and_reason(exporter, towers, inputs, simulated, tmp_path):
    clip = towers.variant(*MX)
    made = Exporter(to="onnx", towers=("image",), float_weights=True)
    made.templates = exporter.templates
    told = made.export(clip, tmp_path, name="mx", facts=FACTS)
    (reason,) = told["float_weights"]
    assert "e2m1" in reason
    assert told["float_weights"][reason] == [name for name in twins(clip.model) if name.startswith("visual.")]
    batch = inputs(clip, "image")
    got = opened(tmp_path / "image.onnx", "onnxruntime").run(batch)
    np.testing.assert_allclose(got, simulated(clip, "image", batch), atol=2e-6)


def test_an_earlier_export_leaves_nothing_behind(exporter, towers, tmp_path):
    clip = towers.variant(*RTN)
    exporter.export(clip, tmp_path, name="rtn", facts=FACTS, prompts=PROMPTS, card=own_card)
    (tmp_path / "notes.txt").write_text("mine")
    smaller = Exporter(to="onnx", towers=("image",))
    smaller.templates = exporter.templates
    told = smaller.export(clip, tmp_path, name="rtn", facts=FACTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "image.onnx", "notes.txt"]
    assert list(told["files"]) == ["image.onnx"]
    read_export(tmp_path)


@pytest.mark.parametrize("last", ["classes.npy", "image.onnx", "text.onnx", "README.md", "export.json"])
def test_what_was_killed_between_two_files_is_no_export_and_exporting_again_mends_it(
    exporter, towers, folder, tmp_path, monkeypatch, last
):
    words = {"name": "rtn", "facts": FACTS, "prompts": PROMPTS}
    exporter.export(towers.variant(*RTN), tmp_path, **words, card=own_card)

    class Killed(BaseException):
        pass

    replace = os.replace

    def killing(source, target):
        if str(target).endswith(last):
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", killing)
    with pytest.raises(Killed):
        exporter.export(towers.variant(*RTN), tmp_path, **words, card=own_card)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match="is no exported folder"):
        read_export(tmp_path)
    exporter.export(towers.variant(*RTN), tmp_path, **words, card=own_card)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_large_models_keep_their_numbers_in_a_file_beside_them(
    exporter, towers, inputs, simulated, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "LARGEST", 1000)
    clip = towers.variant(*RTN)
    told = exporter.export(clip, tmp_path, name="rtn", facts=FACTS)
    assert {"image.onnx.data", "text.onnx.data"} <= set(told["files"])
    assert sorted(os.listdir(tmp_path)) == sorted([*told["files"], "export.json"])
    batch = inputs(clip, "image")
    got = opened(tmp_path / "image.onnx", "onnxruntime").run(batch)
    assert (got * simulated(clip, "image", batch)).sum(1).min() > 0.9995
    onnx.checker.check_model(str(tmp_path / "image.onnx"))


def test_openvinos_files_give_the_simulations_embeddings_and_are_equal_in_equal_runs(
    exporter, towers, inputs, simulated, tmp_path
):
    made = Exporter(to="openvino", towers=("image",))
    made.templates = exporter.templates
    clip = towers.variant(*RTN)
    for name in ("a", "b"):
        told = made.export(clip, tmp_path / name, name="rtn", facts=FACTS)
    assert list(told["files"]) == ["image.bin", "image.xml"]
    batch = inputs(clip, "image", 17)
    got = opened(tmp_path / "a" / "image.xml", "openvino").run(batch)
    assert (got * simulated(clip, "image", batch)).sum(1).min() > 0.9995
    for file in ("image.bin", "image.xml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert str(tmp_path).encode() not in (tmp_path / "a" / "image.xml").read_bytes()


def test_torchs_programs_take_what_onnx_cannot_say(towers, inputs, simulated, tmp_path):
    clip = towers.variant(*MX)
    told = Exporter(to="torch", towers=("image",)).export(clip, tmp_path, name="mx", facts=FACTS)
    assert told["float_weights"] == {}
    batch = inputs(clip, "image")
    with torch.no_grad():
        got = torch.export.load(tmp_path / "image.pt2").module()(torch.from_numpy(batch)).numpy()
    np.testing.assert_array_equal(got, simulated(clip, "image", batch))


def test_measured_figures_stand_in_the_facts_the_file_and_the_rows(exporter, towers, tmp_path):
    shape = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())
    frame = rows(shape)
    frame = frame.filter((frame["scheme"] == "fp32") | ((frame["scheme"] == "rtn") & (frame["precision"] == "w8a8")))
    told = exporter.export(towers.variant(*RTN), tmp_path, name="rtn", facts=FACTS, rows=(frame, {"assumed": ["so"]}))
    assert told["measured"]
    metadata = {each.key: each.value for each in onnx.load(tmp_path / "image.onnx").metadata_props}
    assert json.loads(metadata["reliquant"])["measured"] == told["measured"]
    accuracy = next(line for line in told["measured"] if line["measure"] == "accuracy")
    same = frame.filter(measure="accuracy", dataset=accuracy["set"], scheme="rtn", suite="clean", scale="native")
    assert accuracy["value"] in same["value"].to_list()
    assert "rows.parquet" in told["files"]


def test_a_missing_package_is_told_as_one(monkeypatch, tmp_path, towers, exporter):
    monkeypatch.setitem(sys.modules, "openvino", None)
    made = Exporter(to="openvino", towers=("image",))
    made.templates = exporter.templates
    with pytest.raises(ValueError, match=r"openvino is not installed: pip install 'reliquant\[deploy\]'"):
        made.export(towers.variant(*RTN), tmp_path, name="rtn", facts=FACTS)


def test_a_file_needs_neither_reliquant_nor_torch(folder):
    code = f"""
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession({str(folder / "image.onnx")!r})
print(session.run(None, {{"pixels": numpy.zeros((2, 3, 32, 32), numpy.float32)}})[0].shape)
assert not {{"torch", "reliquant", "onnx"}} & set(sys.modules)
"""
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 24)\n"
