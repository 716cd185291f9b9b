import json
import re

import numpy as np
import polars as pl
import pytest

from reliquant.cli.main import main
from reliquant.deploy.export import Exporter
from reliquant.files.artifacts import read_facts
from reliquant.files.stored_frames import read_rows
from reliquant.models.open import open_model
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

LABELS = {"study": "lab", "model": "lab-vit", "source": "curated", "precision": "fp32", "scope": "none"}
LABELS |= {"scheme": "fp32", "family": "FP32", "proxy": "none", "seed": 0}
RTN = {**LABELS, "scheme": "rtn", "family": "Simple PTQ", "precision": "w8a8", "scope": "image"}


@pytest.fixture(scope="module")
def exports(one_trace_of_each_structure, tmp_path_factory):
    """Export the image tower of a lab model in FP32 and as W8A8."""
    folder, exporter = tmp_path_factory.mktemp("exports"), Exporter(to="onnx", towers=["image"])
    clip = open_model("lab-vit-curated")
    facts = {"model_sha256": "m", "variant_sha256": "", "entry": {"quantizer": "none"}, "labels": LABELS}
    exporter.export(clip, folder / "fp32", name="fp32", facts=facts)
    entry = scheme_entry("rtn", "w8a8")
    images = np.random.default_rng(0).integers(0, 256, (16, *clip.shape, 3), dtype=np.uint8)
    quantize(clip, entry, "image", Proxy(images, [f"a photo of {i}" for i in range(16)]), Checkpoints())
    facts = {"model_sha256": "m", "variant_sha256": "v", "entry": entry, "labels": RTN}
    exporter.export(clip, folder / "rtn", name="rtn", facts=facts)
    exporter.export(clip, folder / "other", name="rtn", facts={**facts, "model_sha256": "another"})
    return folder


@pytest.fixture(scope="module")
def times(exports):
    """Time both in both runtimes."""
    path = exports / "times.parquet"
    words = ["--reference", str(exports / "fp32"), "--batch", "1", "4", "--rounds", "2", "--rows", str(path)]
    main(["time", str(exports / "rtn"), str(exports / "fp32"), *words])
    return path


def test_times_become_rows_of_each_variant_in_each_runtime_with_the_machine_beside_them(times):
    rows = read_rows(times)
    of = rows.group_by("scheme").agg(pl.col("measure").sort())
    assert sorted(of["scheme"]) == ["fp32@onnxruntime", "fp32@openvino", "rtn@onnxruntime", "rtn@openvino"]
    own = {"latency_batch_1_ms", "latency_batch_4_ms", "throughput_batch_4", "peak_memory_mb", "file_bytes"}
    ratios = {"latency_batch_1_ratio", "latency_batch_4_ratio", "processor_batch_1_ratio"}
    for scheme, measures in of.rows():
        assert own <= set(measures)
        assert (ratios <= set(measures)) == scheme.startswith("rtn")
    assert set(rows["suite"]) == {"deploy"}
    facts = read_facts(times)
    assert facts["machine"]["cores"] >= 1
    assert (facts["threads"], len(facts["times"])) == (1, 4)
    int8 = rows.filter(measure="int8_products", scheme="rtn@openvino")["value"].item()
    assert int8 > 10


def test_a_table_and_json_say_the_same(exports, capsys):
    words = [str(exports / "rtn"), "--runtime", "onnxruntime", "--batch", "2", "--rounds", "1"]
    main(["time", *words, "--json"])
    (told,) = json.loads(capsys.readouterr().out)["times"]
    assert told["layers"]["int8"] == told["measures"]["int8_products"]["value"]
    main(["time", *words])
    shown = capsys.readouterr().out
    assert "rtn@onnxruntime" in shown
    assert f"{told['layers']['int8']} of" in shown
    assert "1 of" in shown.splitlines()[-1]  # threads


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rtn", "--reference", "rtn"], "is a variant, rtn, not FP32"),
        (["other", "--reference", "fp32"], "other: was made from another model than --reference"),
        (["rtn", "other"], "are the same variant in rows"),
        (["rtn", "--tower", "text"], "holds no text tower, only image"),
        (["nowhere"], "is no exported folder"),
        (["rtn", "--rows", "."], "is a folder; name a file in it"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(exports, monkeypatch, words, told):
    monkeypatch.chdir(exports)
    with pytest.raises(SystemExit, match=re.escape(told)):
        main(["time", *words, "--rounds", "1"])


def answers(path, schemes):
    """Write rows of an accuracy of variants, as a study has them."""
    labels = {"model": "lab-vit", "source": "curated", "precision": "w8a8", "scope": "image", "proxy": "none"}
    lines = [{**labels, "scheme": scheme, "family": "Simple PTQ", "value": value} for scheme, value in schemes.items()]
    rows = read_rows(path)
    frame = pl.DataFrame(lines).with_columns(
        study=pl.lit("lab"), suite=pl.lit("clean"), dataset=pl.lit("d"), measure=pl.lit("accuracy"), n=pl.lit(100)
    )
    frame = frame.with_columns(low=pl.col("value") - 0.01, high=pl.col("value") + 0.01, seed=0, severity=0)
    words = ("reference", "group", "corruption", "score")
    frame = frame.with_columns(scale=pl.lit("native"), **{word: pl.lit("") for word in words})
    absent = [pl.lit(None).alias(name) for name in rows.columns if name not in frame.columns]
    return frame.with_columns(absent).select(rows.columns).cast(dict(rows.schema))


def test_recommend_takes_latency_as_a_cost_and_refuses_rows_without_it(times, capsys):
    path = times.with_name("rows.parquet")
    answers(times, {"rtn@onnxruntime": 0.8, "rtn@openvino": 0.9, "rtn": 0.9}).write_parquet(path)
    wish = ["recommend", str(path), "--wish", "accuracy >= 0.85", "--cost", "latency"]
    main([*wish, "--times", str(times)])
    found = capsys.readouterr().out
    assert "its own interval is not in how sure this is" in found
    answer, _, rest = found.partition("not recommended")
    assert "rtn@openvino" in answer
    assert "onnxruntime" not in answer
    assert "without accuracy >= 0.85" in rest
    assert "left out" in found  # the simulation has no latency
    told = "no variant says the cost, latency_batch_1_ms of the image tower: rows of `reliquant time` have it"
    with pytest.raises(SystemExit, match=re.escape(told)):
        main(wish)
