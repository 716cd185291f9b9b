"""`tools/released.py`, which `make verify` runs: what differs from a released run is counted, named and judged."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import provenance, save_frame, save_sealed_json, save_tensors
from reliquant.report.synthetic import Shape, rows
from reliquant.study import paths

MODELS = {"vit-wit": {"architecture": "ViT-B-32", "pretrained": "openai"}}
RUN = "vit-wit/rtn/w4a8-image-captions-0"


@pytest.fixture(scope="module")
def frame():
    """The rows of a small study."""
    shape = Shape(models=(("vit-wit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=("fog",), severities=(1,))
    return rows(shape).with_columns(study=pl.lit("small"))


@pytest.fixture
def tool(imported_tool, tmp_path, monkeypatch, frame):
    """The tool in a folder in which the small study has run and is kept."""
    results = imported_tool("results")
    results.STUDIES = tmp_path / "studies"
    results.STUDIES.mkdir()
    monkeypatch.chdir(tmp_path)
    tool = imported_tool("released")
    ran(frame, np.arange(4))
    assert [path.name for path in tool.keep("small")] == ["small.csv", "small.json"]
    return tool


def ran(frame, codes):
    """Write what a run of the small study leaves."""
    save_tensors(Path(paths.model("vit-wit")), {"weight": np.ones(3)}, {})
    save_tensors(Path(paths.variant("small", RUN)), {"codes": codes}, {})
    Path(paths.samples("small", RUN, "all")).parent.mkdir(parents=True, exist_ok=True)
    Path(paths.samples("small", RUN, "all")).write_bytes(codes.tobytes())
    save_frame(Path(paths.rows("small")), frame, {})
    save_sealed_json(Path(paths.facts("small")), provenance(models=MODELS, config="study: small\n"))


def moved(frame, by, measure="accuracy", **of):
    """Return the rows with one variant's values of a measure moved."""
    words = {"scheme": "rtn", "precision": "w4a8", "scope": "image", "measure": measure, **of}
    chosen = pl.all_horizontal(pl.col(name) == word for name, word in words.items())
    assert frame.filter(chosen).height
    return frame.with_columns(value=pl.when(chosen).then(pl.col("value") + by).otherwise(pl.col("value")))


def test_the_same_run_is_the_same(tool, frame):
    ran(frame, np.arange(4))
    told, holds = tool.compare("small")
    assert holds
    assert "here: the same processor, versions, config and code" in told
    assert "holds: all lines are the same" in told
    assert "codes of variants             1        0        0        0" in told


def test_roundings_of_another_processor_hold_and_are_named(tool, frame):
    kept = tool.table_file("small").with_suffix(".json")
    about = json.loads(kept.read_text())
    about["machine"] |= {"cpu": "Zilog Z80", "kernels": "NEON"}
    kept.write_text(json.dumps(about))
    ran(moved(frame, 0.004), np.arange(4) + 1)
    told, holds = tool.compare("small")
    assert holds
    assert "released with Zilog Z80" in told
    assert "released with NEON" in told
    assert "no value differs by more than 0.01, of trained variants 0.03" in told
    assert f"1 variants, whose weights were rounded or trained to other codes: {RUN}" in told
    assert "0.004000 of 0.01, vit-wit rtn w4a8" in told


def test_the_first_other_file_on_the_way_is_the_reason(tool, frame):
    ran(moved(frame, 0.004), np.arange(4))
    assert (
        f"whose answers are the same: what was computed of them differs (code or versions): {RUN}"
        in (tool.compare("small")[0])
    )
    Path(paths.samples("small", RUN, "all")).write_bytes(b"others")
    assert (
        f"whose codes are the same and whose answers differ in some digit (products summed in another order): {RUN}"
        in (tool.compare("small")[0])
    )
    save_tensors(Path(paths.model("vit-wit")), {"weight": np.zeros(3)}, {})
    assert f"whose FP32 model is another: {RUN}" in tool.compare("small")[0]


@pytest.mark.parametrize(("by", "holds"), [(0.0099, True), (0.0101, False), (-0.0101, False)])
def test_a_value_may_move_by_the_tolerance_and_no_further(tool, frame, by, holds):
    ran(moved(frame, by), np.arange(4))
    told, held = tool.compare("small")
    assert held == holds
    assert ("values differ by more than is allowed, 0 lines" in told) == (not holds)


def test_trained_variants_may_move_further(tool, frame):
    trained = frame.filter(pl.col("family").str.starts_with("QAT"))["scheme"][0]
    ran(moved(frame, 0.025, scheme=trained), np.arange(4))
    assert tool.compare("small")[1]
    ran(moved(frame, 0.035, scheme=trained), np.arange(4))
    assert not tool.compare("small")[1]


def test_lines_on_one_side_alone_do_not_hold(tool, frame):
    ran(frame.filter(pl.col("measure") != "ece"), np.arange(4))
    told, holds = tool.compare("small")
    assert not holds
    assert "on one side alone: " in told


def test_a_value_that_is_no_number_is_no_match(tool, frame):
    ran(moved(frame, float("nan")), np.arange(4))
    assert not tool.compare("small")[1]


@pytest.mark.parametrize(
    ("word", "told"), [("compare", "none.csv: no such file"), ("keep", "results/none/rows.parquet")]
)
def test_what_was_never_released_or_never_run_is_said_in_a_line(tool, monkeypatch, word, told):
    monkeypatch.setattr(sys, "argv", ["released.py", word, "none"])
    with pytest.raises(SystemExit, match=told) as ended:
        tool.main()
    assert len(str(ended.value).splitlines()) == 1


def test_the_repository_has_the_labs_release():
    folder = Path(__file__).resolve().parents[1] / "docs" / "results" / "studies"
    about = json.loads((folder / "lab.json").read_text())
    assert about["machine"]["kernels"]
    version = pl.read_csv(folder / "lab.csv", infer_schema_length=0)["version"].unique().to_list()
    assert version == [about["versions"]["reliquant"]]
