"""`docs/results/studies/`: every contributed table keeps to the rules, and nothing in one is obeyed by the page."""

import hashlib
import re
from pathlib import Path

import polars as pl
import pytest

from reliquant.files.artifacts import provenance, save_frame, save_sealed_json
from reliquant.report.synthetic import Shape, rows

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"vit-wit": {"architecture": "ViT-B-32", "pretrained": "openai"}}


@pytest.fixture
def tool(imported_tool, tmp_path):
    """The tool with a folder of its own for tables."""
    module = imported_tool("results")
    module.STUDIES = tmp_path / "studies"
    module.STUDIES.mkdir()
    return module


@pytest.fixture(scope="module")
def made():
    """The rows of a small study."""
    shape = Shape(models=(("vit-wit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=("fog",), severities=(1,))
    return rows(shape).with_columns(study=pl.lit("small"))


@pytest.fixture
def table(tool, tmp_path, made):
    """The table of the small study, written by the tool."""
    save_frame(tmp_path / "rows.parquet", made, {})
    save_sealed_json(tmp_path / "facts.json", provenance(models=MODELS))
    return tool.add(tmp_path / "rows.parquet")


def test_every_table_of_the_repository_keeps_to_the_rules(tool):
    files = sorted((ROOT / "docs" / "results" / "studies").glob("*.csv"))
    assert files
    assert [f"{file.name}: {problem}" for file in files for problem in tool.problems_of(file)] == []


def test_a_table_has_the_numbers_of_its_rows(tool, table, tmp_path, made):
    assert list(tool.problems_of(table)) == []
    lines = pl.read_csv(table, infer_schema_length=None)
    assert set(lines["rows_sha256"]) == {hashlib.sha256((tmp_path / "rows.parquet").read_bytes()).hexdigest()}
    assert set(lines["architecture"]) == {"ViT-B-32"}
    change = {"scheme": "rtn", "precision": "w4a8", "suite": "clean", "measure": "accuracy_change", "scope": "image"}
    conditions = [pl.col(name) == word for name, word in change.items()]
    found = lines.filter(conditions).row(0, named=True)
    same = [pl.col(name) == found[name] for name in ("proxy", "seed", "dataset")]
    row = made.filter(*conditions, *same, pl.col("scale") == "native", pl.col("iteration").is_null())
    for name in ("value", "low", "high", "p", "n"):
        assert found[name] == pytest.approx(row[name][0], rel=1e-5)


def test_the_readme_has_every_column_and_measure(tool):
    text = (ROOT / "docs" / "results" / "studies" / "README.md").read_text()
    words = set(re.findall(r"`(\w+)`", text))
    assert set(tool.COLUMNS) <= words
    assert {name.removesuffix("_change") for name in tool.MEASURES} <= words


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("value", "7", r"has a value of accuracy that is not from 0 to 1"),
        ("value", "nan", r"has a value of accuracy that is not from 0 to 1"),
        ("value", "", r"has a value of accuracy that is not from 0 to 1"),
        ("value", "high", r"line \d+: value: must be a number, got 'high'"),
        ("low", "0.999", r"has an interval that is none"),
        ("high", "", r"has an interval that is none"),
        ("p", "2", r"has a p that is not from 0 to 1"),
        ("n", "0", r"has no n, the number of images"),
        ("n", "1.5", r"n: must be a number, got '1.5'"),
        ("study", "other", r"study: must be small, as the file is called"),
        ("model", "../up", r"model: must be small letters and digits"),
        ("model", "stranger", r"is of a model without lines of its FP32"),
        ("precision", "w1a8", r"precision: precision 'w1a8': bits must be from 2 to 16"),
        ("suite", "clear", r"suite: must be one of clean, ood"),
        ("measure", "acuracy", r"measure: must be one of accuracy"),
        ("source", "=HYPERLINK(1)", r"source: must not begin like a formula"),
        ("source", "a\u202eb", r"source: must not begin like a formula, nor have signs that no screen shows"),
        ("source", "x" * 121, r"source: must have at most 120 letters"),
        ("version", "new", r"version: must read 0\.1\.0"),
        ("rows_sha256", "0" * 63, r"rows_sha256: must be a sha256 in hex"),
    ],
)
def test_a_wrong_cell_is_told_with_its_line(tool, table, column, value, told):
    lines = pl.read_csv(table, infer_schema=False)
    place = lines.with_row_index("at").filter(pl.col("measure") == "accuracy", pl.col("suite") == "clean")["at"][1]
    cells = lines[column].to_list()
    cells[place] = value
    lines.with_columns(pl.Series(column, cells)).write_csv(table)
    problems = list(tool.problems_of(table))
    assert any(re.search(told, problem) for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_lines_said_twice_columns_left_out_and_what_is_no_table_are_refused(tool, table):
    lines = pl.read_csv(table, infer_schema=False)
    pl.concat([lines, lines[:1]]).write_csv(table)
    assert any("says the same thing twice; so do 1 more" in problem for problem in tool.problems_of(table))
    lines.drop("n").write_csv(table)
    assert next(tool.problems_of(table)).startswith("must have the columns study,model,")
    lines[:0].write_csv(table)
    assert next(tool.problems_of(table)).startswith("has 0 lines")
    table.write_bytes(b"\xff\xfe\x00")
    assert len(list(tool.problems_of(table))) == 1


def test_what_strangers_write_is_shown_and_not_obeyed(tool, table):
    hostile = '<script>alert("x")</script>'
    lines = pl.read_csv(table, infer_schema=False).with_columns(
        source=pl.lit(hostile), pretrained=pl.lit("'\"><img src=x>")
    )
    lines.write_csv(table)
    shown = tool.page()
    assert "alert(&#34;x&#34;)" in shown
    assert hostile not in shown
    assert "<img" not in shown
    assert shown.count("<script>") == 1


def test_the_page_sorts_and_filters_in_a_browser_from_the_disk(tool, table, tmp_path, browser):
    (tmp_path / "index.html").write_text(tool.page())
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.fill("#words", "clean w4a8")
    left = page.locator("tbody tr:visible")
    assert 0 < left.count() < page.locator("tbody tr").count()
    assert all("w4a8" in text for text in left.all_inner_texts())
    head = page.get_by_role("button", name="accuracy_change", exact=True)
    place = head.evaluate("button => button.parentElement.cellIndex")
    for direction in (1, -1):
        head.click()
        cells = page.evaluate(f"[...document.querySelectorAll('tbody tr')].map(r => r.cells[{place}].dataset.value)")
        values = [direction * float(cell) for cell in cells if cell]
        assert values == sorted(values)
        assert len(values) > 2
