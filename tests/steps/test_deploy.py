"""From a lab model and its quantized variant to rows of what runtimes ran, through the steps' own command lines."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from reliquant import plugins
from reliquant.cli import file_checks
from reliquant.deploy.folder import read_export, variant_of
from reliquant.evaluation.ran import LAYERS
from reliquant.files.artifacts import ROW_SCHEMA, DamagedFile, read_facts, read_header
from reliquant.files.stored_frames import read_rows
from reliquant.images.prepare import prepare
from reliquant.models.files import save_model
from reliquant.steps import evaluate, export, measure, measure_exported, quantize, run_exported, time_exported
from reliquant.study.scheme import scheme_entry

pytestmark = pytest.mark.usefixtures("one_trace_of_each_structure")
SHAPES = {"dataset": "lab", "task": "shape", "images": 120}
PAIRS = {"dataset": "lab_captions", "world": "curated", "images": 64}
MODEL = {"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-curated"}
COMMON = {"study": "s", "source": "curated", "model": "vit"}
FP32 = {**COMMON, "scheme": "fp32", "family": "FP32", "precision": "fp32", "scope": "none", "proxy": "none", "seed": 0}
RTN = {**COMMON, "scheme": "rtn", "family": "PTQ", "precision": "w8a8", "scope": "both", "proxy": "p", "seed": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A lab model, pairs to calibrate it on and a hundred and twenty images."""
    folder = tmp_path_factory.mktemp("deploy")
    save_model(folder / "vit.safetensors", plugins.load("tower", MODEL)(None), MODEL)
    for name, entry in (("shapes", SHAPES), ("pairs", PAIRS)):
        prepare(plugins.load("dataset", entry)(folder), folder / name / "native", form="native", entry=entry)
    return folder


def cells(place):
    folder = str(place / "shapes" / "native")
    cell = {"suite": "clean", "dataset": "shapes", "reference": "shapes", "group": "", "corruption": ""}
    return json.dumps([{**cell, "severities": [0], "images": None, "folder": folder, "head": folder}])


@pytest.fixture
def measured(run, place):
    """The words of `measure_exported` of the variant in ONNX Runtime, whose rows are made once."""
    model, scores = place / "vit.safetensors", json.dumps({"mcm": {"score": "mcm"}})
    for name, labels in (("fp32", FP32), ("rtn", RTN)):
        variant, samples = place / f"{name}.safetensors", place / f"{name}.parquet"
        if samples.exists():
            continue
        words = {"proxy": place / "pairs" / "native", "proxy-entry": PAIRS} if name == "rtn" else {}
        entry = scheme_entry("rtn", "w8a8") if name == "rtn" else {"quantizer": "none"}
        run(quantize, model=model, entry=entry, labels=labels, device="cpu", output=variant, **words)
        run(evaluate, model=model, variant=variant, cells=cells(place), scores=scores, device="cpu", output=samples)
    words = {"model": model, "variant": place / "rtn.safetensors"}
    if not (place / "ran.parquet").exists():
        own = {"classes": place / "shapes" / "native", "dataset": "shapes", "dataset-entry": SHAPES, "images": 50}
        told = {"towers": ["image", "text"], "doubled": place / "doubled.parquet", "output": place / "exported"}
        run(export, **words, **own, **told, device="cpu")
        told = {"exported": place / "exported", "runtime": "onnxruntime", "output": place / "ran.parquet"}
        run(run_exported, **words, **told, cells=cells(place), scores=scores)
    files = {"samples": place / "ran.parquet", "simulated": place / "rtn.parquet", "baseline": place / "fp32.parquet"}
    files |= {"doubled": place / "doubled.parquet", "variant": place / "rtn.safetensors"}
    labels = {"of": RTN, "labels": {**RTN, "scheme": "rtn@onnxruntime"}, "runtime": "onnxruntime", "suites": "clean"}
    return {**files, **labels, "resamples": 200, "output": place / "rows.parquet"}


def value(rows, measure, **where):
    (found,) = rows.filter(measure=measure, scale="native", **where)["value"]
    return found


def test_rows_hold_values_changes_to_fp32_and_to_the_simulation_and_what_ran(run, place, measured):
    run(measure_exported, **measured)
    rows = read_rows(measured["output"])
    assert rows.schema == ROW_SCHEMA
    assert set(rows["scheme"]) == {"rtn@onnxruntime"}
    ran, simulated, fp32 = (pl.read_parquet(place / f"{name}.parquet") for name in ("ran", "rtn", "fp32"))
    right = {
        n: float((s["prediction"] == s["label"]).mean()) for n, s in zip("rsf", (ran, simulated, fp32), strict=True)
    }
    assert value(rows, "accuracy") == pytest.approx(right["r"])
    assert value(rows, "accuracy_change") == pytest.approx(right["r"] - right["f"])
    assert value(rows, "accuracy_engine_change") == pytest.approx(right["r"] - right["s"])
    assert value(rows, "engine_agreement") == pytest.approx((ran["prediction"] == simulated["prediction"]).mean())
    assert value(rows, "engine_agreement") > 0.97
    assert 0 < value(rows, "engine_kl") < 0.01
    (yardstick,) = rows.filter(measure="float64_agreement").select("value", "n").rows()
    assert yardstick[0] > 0.9
    assert yardstick[1] == 50
    bytes_of_towers = sum((place / "exported" / f"{tower}.onnx").stat().st_size for tower in ("image", "text"))
    assert value(rows, "bytes") == bytes_of_towers
    layers = rows.filter(measure=LAYERS).select("group", "score", "value", "n")
    assert layers.filter(group="image", score="int8")["value"].to_list() == [16.0]
    assert layers.group_by("group").agg(pl.col("value").sum() == pl.col("n").first())["value"].all()


def test_the_plain_rows_of_an_exported_variant_are_those_that_measure_makes_of_its_records(run, place, measured):
    run(measure_exported, **measured)
    words = {"samples": place / "ran.parquet", "baseline": place / "fp32.parquet", "variant": place / "rtn.safetensors"}
    run(measure, **words, labels=RTN, suites="clean", resamples=200, output=place / "plain.parquet")
    plain = read_rows(place / "plain.parquet").filter(pl.col("measure") != "bytes").drop("scheme")
    both = read_rows(measured["output"]).drop("scheme")
    keys = [name for name in plain.columns if name != "replicates"]
    assert plain.select(keys).join(both.select(keys), on=keys, how="anti", nulls_equal=True).is_empty()


def test_provenance_says_runtime_version_threads_and_which_layers_run_in_which_type(run, measured):
    run(measure_exported, **measured)
    facts = read_facts(measured["output"])
    image = facts["runs"]["image"]
    assert (image["runtime"], image["provider"], image["threads"]) == ("onnxruntime", "CPUExecutionProvider", 1)
    assert image["version"]
    assert {kind: len(names) for kind, names in image["nodes"].items()} == image["layers"]
    assert facts["export"] == read_export(measured["samples"].parent / "exported")["sha256"]
    assert facts["simulated_by"] in ("integer", "simulate", "mixed")
    assert (facts["left_out"], facts["float_weights"]) == ([], {})


def test_records_of_another_kind_are_refused_in_every_place(run, place, measured):
    for words, told in (
        ({"samples": place / "rtn.parquet"}, "'runtime'"),
        ({"runtime": "openvino"}, "holds records of the runtime 'onnxruntime', not of 'openvino'"),
        ({"simulated": place / "ran.parquet"}, "holds records of the runtime 'onnxruntime', not of the simulation"),
        ({"simulated": place / "fp32.parquet"}, "holds records of another variant"),
        ({"doubled": place / "fp32.parquet"}, "holds records of another variant"),
    ):
        with pytest.raises(DamagedFile, match=told):
            run(measure_exported, **{**measured, **words})


def test_an_export_of_another_variant_or_with_a_changed_file_is_not_run(run, place, measured, tmp_path):
    words = {"model": place / "vit.safetensors", "cells": cells(place), "runtime": "openvino", "output": tmp_path / "x"}
    with pytest.raises(DamagedFile, match="was exported from another model, or from a variant"):
        run(run_exported, **words, variant=place / "fp32.safetensors", exported=place / "exported")
    shutil.copytree(place / "exported", tmp_path / "changed")
    file = tmp_path / "changed" / "image.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(DamagedFile, match=r"image\.onnx: is not the file that was exported"):
        run(run_exported, **words, variant=place / "rtn.safetensors", exported=tmp_path / "changed")
    assert not (tmp_path / "x").exists()


def test_the_classes_that_are_exported_are_the_heads_of_the_variant(place, measured):
    classes = np.load(place / "exported" / "classes.npy")
    facts = read_export(place / "exported")
    assert classes.shape == (len(facts["prompts"]["classes"]), 64)
    np.testing.assert_allclose(np.linalg.norm(classes, axis=1), 1, rtol=1e-5)
    assert facts["labels"] == RTN


def test_exports_of_a_model_are_timed_in_turns_and_the_times_are_of_these_exports(run, place, measured, tmp_path):
    words = {"model": place / "vit.safetensors", "variant": place / "fp32.safetensors", "towers": ["image"]}
    own = {"classes": place / "shapes" / "native", "dataset": "shapes", "dataset-entry": SHAPES, "images": 2}
    run(export, **words, **own, device="cpu", doubled=tmp_path / "d.parquet", output=tmp_path / "fp32")
    folders, times = [tmp_path / "fp32", place / "exported"], tmp_path / "times.parquet"
    words = {"exported": folders, "runtimes": ["openvino"], "towers": ["image"], "batches": [1, 2], "rounds": 2}
    run(time_exported, **words, output=times)
    rows = read_rows(times)
    assert rows.schema == ROW_SCHEMA
    assert set(rows["suite"]) == {"deploy"}
    assert set(rows["scheme"]) == {"fp32@openvino", "rtn@openvino"}
    found = rows.filter(scheme="rtn@openvino", group="image")
    assert {"latency_batch_1_ms", "latency_batch_2_ratio", "peak_memory_mb", "file_bytes"} <= set(found["measure"])
    assert found.filter(measure="file_bytes")["value"].item() == (place / "exported" / "image.onnx").stat().st_size
    file_checks.times(times, list(map(str, folders)))
    with pytest.raises(DamagedFile, match="holds times of other exports"):
        file_checks.times(times, [str(folders[1])])


def test_what_verify_checks_of_exported_files(place, measured):
    variant, other = place / "rtn.safetensors", place / "fp32.safetensors"
    file_checks.exported(place / "exported", variant)
    file_checks.doubled(place / "doubled.parquet", variant, RTN)
    with pytest.raises(DamagedFile, match="was exported from another variant than"):
        file_checks.exported(place / "exported", other)
    with pytest.raises(DamagedFile, match="is of scheme 'fp32'"):
        file_checks.doubled(place / "doubled.parquet", other, RTN)
    assert read_header(variant)["sha256"] == read_export(place / "exported")["variant_sha256"]
    assert variant_of(read_header(other)) == ""  # as `reliquant export` has FP32, which has no codes to be told by
