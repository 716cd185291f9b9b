"""Rows of exported variants that were made by hand: the table, what is told as drift, and their place on the page."""

import json

import polars as pl
import pytest

from reliquant.files.artifacts import ROW_SCHEMA, provenance, save_frame
from reliquant.report import engine_change, page, plotting, what_runs
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows
from reliquant.report.written import write_report

PLACE = {"study": "s", "source": "web", "corruption": "", "severity": 0, "group": "", "scale": "native", "score": ""}
RTN = {"model": "vit", "family": "PTQ", "precision": "w8a8", "scope": "both", "proxy": "p", "seed": 0, "scheme": "rtn"}
FP32 = {**RTN, "family": "FP32", "precision": "fp32", "scope": "none", "proxy": "none", "scheme": "fp32"}
FIXED = {  # of a variant that a runtime does not change
    "engine_agreement": (0.99, 0.985, 0.994),
    "engine_flips_right_to_wrong": (0.004, 0.002, 0.007),
    "engine_flips_wrong_to_right": (0.004, 0.002, 0.007),
    "float64_agreement": (0.992, 0.98, 0.999),
    **{f"{name}_engine_change": (0.0004, -0.004, 0.005) for name in ("accuracy", "squared_ce", "nll", "brier")},
    **{f"{name}_float64_change": (0.0005, -0.004, 0.005) for name in ("accuracy", "squared_ce", "nll", "brier")},
}


def deployed(*changed, variants=(FP32, RTN), runtimes=("onnxruntime", "openvino")):
    """Rows of variants in runtimes; `changed` are scheme, runtime and the measures that are other than FIXED."""
    lines = []
    for of in variants:
        for runtime in runtimes:
            measures = dict(FIXED)
            for scheme, where, given in changed:
                measures |= given if (scheme, where) == (of["scheme"], runtime) else {}
            words = {**PLACE, **of, "scheme": f"{of['scheme']}@{runtime}", "dataset": "d", "reference": "d"}
            for measure, (value, low, high) in measures.items():
                numbers = {"value": value, "low": low, "high": high, "n": 1000}
                lines.append({**words, "suite": "clean", "measure": measure, **numbers})
            numbers = {"value": 0.01, "low": -0.01, "high": 0.03, "n": 1000}
            lines.append({**words, "suite": "ood", "measure": "auroc_engine_change", "score": "mcm", **numbers})
            for kind, count in (("int8", 16.0), ("float32", 2.0)):
                own = {"suite": "", "dataset": "", "reference": "", "group": "image", "score": kind}
                lines.append({**words, **own, "measure": "engine_layers", "value": count, "n": 18})
    return pl.DataFrame(lines, schema=ROW_SCHEMA)


LOST = {"accuracy_engine_change": (-0.03, -0.04, -0.02)}


def test_the_table_shows_what_each_runtime_changed_and_what_it_really_ran():
    found = what_runs.table(deployed(("rtn", "openvino", LOST)))
    assert found.select("scheme", "runtime").rows() == [
        (scheme, runtime) for scheme in ("fp32", "rtn") for runtime in ("onnxruntime", "openvino")
    ]
    line = found.row(3, named=True)
    assert line["agree"] == "99.0 [98.5, 99.4]"
    assert line["broke"] == line["mended"] == "0.4 [0.2, 0.7]"
    assert line["accuracy"] == "-3.0 [-4.0, -2.0]***"
    assert line["AUROC"] == "+1.0 [-1.0, +3.0]"
    assert line["in float64"] == "99.2 [98.0, 99.9]"
    assert line["layers"] == "image: 16 int8, 2 float32"
    assert "proxy" not in found.columns  # one alone is no column
    assert what_runs.where("accuracy", line) == {
        **{"model": "vit", "scheme": "rtn@openvino", "precision": "w8a8"},
        **{"suite": "clean", "measure": "accuracy_engine_change"},
    }


def test_a_change_is_drift_where_its_interval_leaves_out_0_and_float64_moves_less():
    assert what_runs.findings(deployed()) == []
    (told,) = what_runs.findings(deployed(("rtn", "openvino", LOST)))
    assert told == "vit rtn w8a8 both in openvino: accuracy -0.0300 [-0.0400, -0.0200]; in float64 +0.0005."
    as_much = {**LOST, "accuracy_float64_change": (0.031, 0.02, 0.04)}
    assert what_runs.findings(deployed(("rtn", "openvino", as_much))) == []
    unsure = {"accuracy_engine_change": (-0.03, -0.07, 0.01)}
    assert what_runs.findings(deployed(("rtn", "openvino", unsure))) == []


def test_one_of_many_changes_that_is_barely_told_is_no_drift():
    barely = {"accuracy_engine_change": (-0.01, -0.0199, -0.0001)}
    alone = deployed(("rtn", "openvino", barely), variants=[RTN], runtimes=["openvino"])
    kept = alone.filter(~pl.col("measure").str.contains("squared_ce|nll|brier"))
    assert len(what_runs.findings(kept)) == 1
    assert what_runs.findings(deployed(("rtn", "openvino", barely))) == []


def test_answers_that_differ_more_often_than_in_float64_are_drift():
    fewer = {"engine_agreement": (0.95, 0.93, 0.97)}
    (told,) = what_runs.findings(deployed(("rtn", "onnxruntime", fewer)))
    assert told.endswith("the simulation's answer on 95.0 % [93.0, 97.0] of images; in float64 99.2 %.")


def test_a_variant_without_a_yardstick_is_told_nothing_of():
    frame = deployed(("rtn", "openvino", LOST))
    assert what_runs.findings(frame.filter(~pl.col("measure").str.contains("float64"))) == []


def test_the_figure_draws_each_variant_and_runtime_in_both_widths():
    for columns, inches in plotting.WIDTHS.items():
        figure = engine_change.figure(deployed(("rtn", "openvino", LOST)), columns=columns)
        assert figure.get_size_inches()[0] == inches
        labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        assert labels == ["vit fp32", "vit rtn w8a8 both"]
        places = sorted(
            x for line in figure.axes[0].lines for x in map(float, line.get_xdata()) if line.get_marker() == "s"
        )
        assert places == pytest.approx([-3.0, 0.04])
    none = rows(Shape(seeds=(0,))).clear()
    for draw in (engine_change.figure, what_runs.table):
        with pytest.raises(NothingToDraw, match="no exported variant was run"):
            draw(none)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The reports of a study without exported variants and with them, and of the latter's rows alone."""
    folder = tmp_path_factory.mktemp("reports")
    runs = {"threads": 2, "runtime": "openvino", "version": "9.1", "provider": "CPU", "layers": {}, "nodes": {}}
    facts = provenance(runs={"vit/rtn/x": {"openvino": {"runs": {"image": runs}}}})
    few = rows(Shape(seeds=(0,))).filter(scheme="fp32", measure="accuracy", suite="clean")  # most figures have none
    save_frame(folder / "rows.parquet", few, provenance())
    save_frame(folder / "deployed.parquet", deployed(("rtn", "openvino", LOST)), facts)
    write_report(folder / "rows.parquet", None, folder / "without")
    write_report(folder / "rows.parquet", None, folder / "with", deployed=folder / "deployed.parquet")
    write_report(folder / "deployed.parquet", None, folder / "alone")
    return folder


def test_the_page_has_the_section_where_there_are_deployed_rows_and_nothing_of_it_elsewhere(written):
    pages = {name: (written / name / "report.html").read_text() for name in ("without", "with", "alone")}
    for name in ("with", "alone"):
        assert "What really runs?" in pages[name]
        assert "openvino 9.1 (CPU, 2 threads)" in pages[name]
        assert "vit rtn w8a8 both in openvino: accuracy -0.0300" in pages[name]
        assert (written / name / "figures" / "engine_change.pdf").is_file()
        assert (written / name / "tables" / "what_runs.csv").is_file()
        listed = json.loads((written / name / "digests.json").read_text())
        assert {"tables/what_runs.csv", "figures/engine_change.png"} <= set(listed["files"])
    assert "deployed" in json.loads((written / "with" / "digests.json").read_text())["made_of"]
    for word in ("What really runs", "engine", "Engine drift"):
        assert word not in pages["without"]
    assert list(page.asked(False)) == list(page.QUESTIONS)
    assert [q for q in page.asked(True) if q not in page.QUESTIONS] == ["runs"]
