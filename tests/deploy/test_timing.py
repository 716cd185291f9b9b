import numpy as np
import pytest

from reliquant.deploy.export import Exporter
from reliquant.deploy.machine import machine_facts, peak_resident
from reliquant.deploy.timing import by_batch, in_turns, median_interval, named, peak_memory
from reliquant.deploy.timing_rows import labels_of, measures_of, rows_of
from reliquant.deploy.tracing import structure
from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.study.scheme import scheme_entry

LABELS = {"study": "lab", "model": "lab-vit", "source": "curated", "scheme": "rtn", "family": "Simple PTQ"}
LABELS |= {"precision": "w8a8", "scope": "both", "proxy": "captions", "seed": 3}


@pytest.fixture(scope="module")
def exports(towers, tmp_path_factory):
    """Export a tiny model in FP32, its image tower alone, and as W8A8."""
    folder = tmp_path_factory.mktemp("exports")
    fp32 = {"model_sha256": "m", "variant_sha256": "", "entry": {"quantizer": "none"}}
    rtn = {"model_sha256": "m", "variant_sha256": "v", "entry": scheme_entry("rtn", "w8a8"), "labels": LABELS}
    for name, clip, own, facts in (
        ("fp32", towers.variant("vit", {}, None), ["image"], fp32),
        ("rtn", towers.variant("vit", {"quantizer": "rtn"}, "w8a8"), ["image", "text"], rtn),
    ):
        exporter = Exporter(to="onnx", towers=own)
        for tower in own:
            exporter.templates["m", structure(clip, tower)] = towers.template(clip, tower)
        exporter.export(clip, folder / name, name=f"{name}-export", facts=facts)
    return folder


def test_turns_time_each_side_in_each_round_and_say_what_ran(exports):
    sides = [named(exports / name, "image", "onnxruntime") for name in ("fp32", "rtn")]
    fp32, int8 = in_turns(sides, 64, 2, threads=1)
    assert (fp32["seconds"].shape, int8["seconds"].shape) == ((2,), (2,))
    assert (fp32["seconds"] > 0).all()
    assert 0 < fp32["share"] < 1.5
    assert (fp32["processor"] > 0).all()
    assert fp32["session"]["layers"].keys() == {"float32"}
    assert int8["session"]["layers"]["int8"] == 8  # four of each of two blocks


def test_the_interval_of_a_median_is_made_of_values_and_covers_as_often_as_it_says():
    assert median_interval([5.0, 1.0, 3.0]) == (3.0, None, None)
    assert median_interval(np.arange(1.0, 7.0)) == (3.5, 1.0, 6.0)  # 1 - 2 / 2 ** 6 = 96.9 %
    assert median_interval(np.arange(1.0, 16.0)) == (8.0, 4.0, 12.0)  # tables of order statistics: n 15, ranks 4 and 12
    drawn = np.random.default_rng(0).exponential(size=(2000, 15))
    ends = [median_interval(one)[1:] for one in drawn]
    assert 0.95 <= np.mean([low <= np.log(2) <= high for low, high in ends]) <= 0.98


def test_ratios_are_of_the_same_round_so_that_a_slow_round_moves_both_sides():
    seconds = np.array([1.0, 50.0, 1.0, 1.0, 7.0, 1.0])
    sides = [{"seconds": seconds, "processor": seconds / 2, "share": 0.5}]
    sides.append({"seconds": seconds / 4, "processor": seconds / 5, "share": 0.5})
    found = measures_of({1: sides}, 1, 0)
    assert found["latency_batch_1_ratio"] == (0.25, 0.25, 0.25)
    assert found["processor_batch_1_ratio"] == pytest.approx((0.4, 0.4, 0.4))
    assert found["latency_batch_1_ms"] == (250.0, 250.0, 12500.0)
    assert found["throughput_batch_1"][0] == 4.0
    assert found["processor_share_batch_1"] == (0.5, None, None)
    assert "latency_batch_1_ratio" not in measures_of({1: sides}, 0, 0) | measures_of({1: sides}, 1, None)


@pytest.mark.filterwarnings("error")
def test_a_ratio_to_a_time_of_nothing_is_no_number():
    sides = [{"seconds": np.ones(6), "processor": np.array([0.0, *[1.0] * 5]), "share": 0.5}] * 2
    found = measures_of({1: sides}, 1, 0)
    assert np.isnan(found["processor_batch_1_ratio"][0])
    assert found["processor_batch_1_ratio"][1:] == (None, None)
    assert found["latency_batch_1_ratio"][0] == 1


def test_rows_have_the_labels_of_the_variant_and_its_runtime(exports):
    side = named(exports / "rtn", "text", "openvino")
    rows = rows_of(side, measures_of(by_batch([side], [1], 1, threads=1), 0, None), 1, {"source": "mine"})
    assert rows.schema == ROW_SCHEMA
    one = rows.row(0, named=True)
    assert {word: one[word] for word in LABELS} == {**LABELS, "scheme": "rtn@openvino", "source": "mine"}
    assert (one["suite"], one["dataset"], one["group"], one["n"], one["low"]) == ("deploy", "", "text", 1, None)


def test_an_export_of_no_study_has_its_own_name_and_its_grids_as_labels(exports):
    side = named(exports / "rtn", "image", "onnxruntime")
    vars(side)["facts"] = {**side.facts, "labels": {"scope": "both", "seed": 0}}
    found = labels_of(side, {"model": "lab-vit"})
    expected = {"scheme": "rtn-export@onnxruntime", "family": "rtn", "precision": "w8a8", "scope": "both"}
    assert found.items() >= {**expected, "model": "lab-vit"}.items()
    fp32 = labels_of(named(exports / "fp32", "image", "openvino"), {})
    assert (fp32["scheme"], fp32["family"], fp32["scope"]) == ("fp32@openvino", "FP32", "none")


def test_memory_is_that_of_a_process_of_its_own_and_grows_with_the_batch(exports):
    side = named(exports / "rtn", "image", "onnxruntime")
    small, large = (peak_memory(side, batch, threads=1) for batch in (1, 512))
    assert 20e6 < small < large
    assert peak_resident() > 20e6


def test_a_file_that_its_runtime_refuses_is_named_by_the_process_that_opens_it(exports, tmp_path):
    side = named(exports / "rtn", "image", "onnxruntime")
    vars(side)["folder"] = tmp_path
    (tmp_path / "image.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"image\.onnx: onnxruntime refuses it"):
        peak_memory(side, 1, threads=1)


def test_bytes_are_those_of_all_files_of_a_tower(exports):
    side = named(exports / "rtn", "image", "onnxruntime")
    assert side.file_bytes == side.path.stat().st_size < named(exports / "fp32", "image", "openvino").file_bytes / 2


def test_a_program_of_torch_is_no_file_of_a_runtime(towers, tmp_path):
    clip, facts = towers.variant("vit", {}, None), {"model_sha256": "", "variant_sha256": ""}
    Exporter(to="torch", towers=["image"]).export(clip, tmp_path, name="lab", facts=facts)
    with pytest.raises(ValueError, match="is a program of torch"):
        named(tmp_path, "image", "openvino")


def test_the_machine_is_told():
    found = machine_facts()
    assert found["cores"] >= 1
    assert found["cpu"]
    assert set(found["int8_flags"]) <= {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_tile", "amx_int8"} | {
        "asimddp",
        "i8mm",
        "sve",
    }
