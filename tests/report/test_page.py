import json
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import polars as pl
import pytest

from reliquant import plugins
from reliquant.report import frames
from reliquant.report.page import QUESTIONS, counts, lean, rounded, summary
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows
from reliquant.report.tables.main import table
from reliquant.report.tabling import number
from reliquant.report.written import write_report

TWO = {"models": (("vit-wit", "wit"), ("cnx-laion", "laion")), "precisions": ("w8a8", "w4a8")}
SMALL = Shape(**TWO, seeds=(0,), clean=("shapes", "colours"), corruptions=("fog",), severities=(1, 5))
FACTS = {
    "study": "synthetic",
    "title": "A study of <shapes> & more",
    "note": "The lab is synthetic.",
    "models": {"vit-wit": {"source": "wit", "architecture": "ViT-B-32", "n_parameters": 1234567}},
    "datasets": {"shapes": {"n": 1000, "classes": 8, "entry": {"dataset": "lab"}}},
    "config": "study: small\n",
    "versions": {"polars": pl.__version__},
    "commit": "",
}
NOT_FINITE = {  # of some measures: a value, and how the table of undefined values writes it
    "ece": (float("nan"), "NaN"),
    "accuracy_change": (float("inf"), "inf"),
    "auroc": (float("-inf"), "-inf"),
    "nll": (None, "null"),
}


def write(folder, frame, *more):
    folder.mkdir()
    frame.write_parquet(folder / "rows.parquet")
    (folder / "facts.json").write_text(json.dumps(FACTS))
    words = ["--rows", folder / "rows.parquet", "--facts", folder / "facts.json", "--output", folder / "out", *more]
    subprocess.run([sys.executable, "-m", "reliquant.steps.report", *map(str, words)], check=True)
    return folder / "out"


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole():
    """The rows of a small study."""
    return rows(SMALL)


@pytest.fixture(scope="module")
def study(whole):
    """These rows, where some measures of one scheme at 8 bits have no finite value."""
    frame = whole
    for measure, (value, _) in NOT_FINITE.items():
        chosen = pl.when(measure=measure, scheme="rtn", precision="w8a8")
        frame = frame.with_columns(value=chosen.then(pl.lit(value, pl.Float64)).otherwise("value"))
    return frame


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "full", study)


def test_the_page_needs_no_other_file_and_no_network(report):
    page = (report / "report.html").read_text()
    for address in re.findall(r'<(?:img|script|link|iframe)[^>]*?(?:src|href)="([^"]*)"', page):
        assert address.startswith("data:")
    assert "A study of &lt;shapes&gt; &amp; more" in page
    assert "The lab is synthetic." in page
    assert "1,234,567" in page


def test_every_link_of_the_page_leads_somewhere(report):
    page = (report / "report.html").read_text()
    page = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    for link in re.findall(r'<a[^>]* href="([^"]+)"', page):
        assert link[1:] in anchors if link.startswith("#") else (report / link).is_file(), link


def test_the_page_follows_the_readers_questions(report):
    page = (report / "report.html").read_text()
    asked = [q for q in QUESTIONS.values() if f"<h2>{q}</h2>".replace("'", "&#39;") in page]
    assert len(asked) >= 9
    assert page.count('id="claim-') == 16


def test_claims_summary_and_plots_are_beside_the_page(study, report):
    assert [c["number"] for c in json.loads((report / "claims.json").read_text())] == list(range(1, 17))
    (beside,) = (report / "tables").glob("claims-rows.*")
    read = pl.read_csv if beside.suffix == ".csv" else pl.read_parquet
    assert {"ece_relative_change", "accuracy_delta", "auroc_change", "vuln_add"} <= set(read(beside)["measure"])
    summary = json.loads((report / "summary.json").read_text())
    assert summary["rows"] == study.height
    assert summary["variants"] == 2 * 3 * 2 * 2
    assert summary["change"]["w4a8"]["accuracy"] == pytest.approx(-0.11, abs=0.02)
    assert {"bits", "accuracy_change"} <= set(pl.read_csv(report / "plots" / "accuracy_by_bits.csv").columns)


def test_a_change_halfway_between_two_figures_is_the_same_on_a_card_and_in_a_table():
    one = (pl.col("measure") == "accuracy_change") & (pl.col("suite") == "clean") & (pl.col("dataset") == "shapes")
    frame = rows(Shape(seeds=(0,))).filter(one, scale="native", precision="w4a8", source="wit").head(1)
    frame = frame.with_columns(value=pl.lit(0.945 - 0.9375), replicates=pl.lit(None, frame.schema["replicates"]))
    told = summary(frame)
    shown = number(told["change"]["w4a8"]["accuracy"], sign=True)
    assert table(frame)["accuracy"][0].split(" ")[0] == shown == "+0.7"
    assert rounded(told)["change"]["w4a8"]["accuracy"] == 0.0075


def test_the_same_rows_give_the_same_bytes(study, report, tmp_path):
    assert files(write(tmp_path / "again", study, "--processes", 2)) == files(report)


def test_a_config_may_ask_for_some_figures_and_tables_alone(study, tmp_path):
    study.write_parquet(tmp_path / "rows.parquet")
    facts = {**FACTS, "config": "report: {figures: [overview], tables: []}\n"}
    made = write_report(tmp_path / "rows.parquet", facts, tmp_path / "out", told=tmp_path / "rows.parquet")
    assert [(piece.kind, piece.name) for piece in made] == [("figure", "overview")]
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.findall(r'<h3 id="(?:figure|table)-([a-z_]+)"', page) == ["overview"]
    assert page.count('id="claim-') == 16  # these are judged, and the numbers that sum it up told, whatever is drawn
    assert "mean FP32 top-1" in page
    told = " ".join(page.partition("What was left out")[2].partition("</p>")[0].split())
    rest = ", ".join(name for name in plugins.names("figure") if name != "overview")
    assert f"Not drawn were the figures {rest}; the tables {', '.join(plugins.names('table'))}." in told
    assert {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")} == {"overview"}


def test_missing_groups_are_said_and_never_crash(tmp_path):
    shape = replace(SMALL, models=(("vit", "wit"),), ood=(), spurious=(), corruptions=(), iterations=(), ranks=())
    rows(shape).write_parquet(tmp_path / "rows.parquet")
    write_report(tmp_path / "rows.parquet", FACTS, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Not shown: the study asks no OOD sets." in page
    assert "Not shown: the study asks no corruptions." in page
    assert "figure-dichotomy" in page


@pytest.fixture(
    scope="module",
    params=[
        {"models": (("vit", "wit"),)},
        {"ood": ()},
        {"shift": ()},
        {"spurious": ()},
        {"corruptions": ()},
        {"iterations": (), "ranks": ()},
        {"schemes": (("rtn", "Simple PTQ"),), "precisions": ("w8a8",), "scopes": ("image",)},
        {"schemes": ()},
        {"scales": ("native",)},
    ],
    ids=str,
)
def few(request, tmp_path_factory):
    """The rows of a study of few parts, as the report holds them."""
    return lean(rows(replace(SMALL, **request.param)), tmp_path_factory.mktemp("few"))


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_a_study_of_few_parts_draws_or_says_why_not(few, kind):
    for name in plugins.names(kind):
        module = plugins.module(kind, name)
        made = None
        with suppress(NothingToDraw):
            made = getattr(module, kind)(few)
        if made is not None:
            assert made.axes if kind == "figure" else made.height, name


def test_values_that_are_not_finite_are_shown_as_such_and_counted(study, report):
    shown = pl.read_csv(report / "tables" / "undefined.csv")
    for measure, (_, said) in NOT_FINITE.items():
        count = study.filter(measure=measure, scheme="rtn", precision="w8a8").height
        found = shown.filter(measure=measure)
        assert (found["rows"].sum(), set(found["value"])) == (count, {said}), measure
    assert f"{shown['rows'].sum():,} values are undefined," in (report / "report.html").read_text()


def test_values_that_are_not_finite_are_counted(whole):
    broken = whole.with_columns(value=pl.when(pl.int_range(pl.len()) < 7).then(float("nan")).otherwise("value"))
    assert counts(broken) == {"rows": whole.height, "rows_without_finite_value": 7}


def test_lean_rows_keep_the_means_of_the_corruptions_and_their_replicates_in_a_file(whole, tmp_path):
    held = lean(whole, tmp_path)
    few = held.lazy().collect()
    assert "replicates" not in few.columns
    read, known = (frames.select(r, "accuracy_change").sort(*frames.VARIANT, "dataset", "scale") for r in (held, whole))
    assert read["replicates"].null_count() == 0
    assert read["replicates"].equals(known["replicates"])
    cells = whole.filter(suite="noise", measure="accuracy_change", corruption="fog", severity=5, precision="w4a8")
    kept = few.filter(pl.col("corruption") == "fog", pl.col("severity") == 5, pl.col("precision") == "w4a8")
    assert kept["value"].to_list() == pytest.approx([cells["value"].mean()])
    assert few.filter(pl.col("suite") == "clean").height == whole.filter(suite="clean").height
