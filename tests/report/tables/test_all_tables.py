import importlib
import shutil
import subprocess

import polars as pl
import pytest

from reliquant import plugins
from reliquant.report import tabling
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows

NAMES = plugins.names("table")


@pytest.fixture(scope="module")
def full():
    found = rows(Shape(seeds=(0,), corruptions=("fog",)))
    first = (pl.col("measure") == "nll") & (pl.int_range(pl.len()).over("measure") == 0)
    return found.with_columns(value=pl.when(~first).then("value"))  # one that is not finite


def module(name):
    return importlib.import_module(f"reliquant.report.tables.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_lines_and_every_form(name, full):
    frame = module(name).table(full)
    assert frame.height
    assert not any(cell.startswith("**") for cell in tabling.to_csv(frame).replace("\n", ",").split(","))
    assert tabling.to_markdown(frame, "title", "note").count("\n|") == frame.height + 2
    assert tabling.to_html(frame).count("<tr>") == frame.height + 1
    assert tabling.to_latex(frame, "title", "note", name).count(r" \\") == frame.height + 2


@pytest.mark.parametrize("name", NAMES)
def test_a_table_without_its_rows_says_what_is_missing(name, full):
    with pytest.raises(NothingToDraw):
        module(name).table(full.clear())


def test_the_best_of_each_set_is_marked_in_the_fp32_table(full):
    frame = module("fp32").table(full).filter(dataset="mean")
    marked = frame.filter(frame["top-1"].str.starts_with("**"))
    assert marked["model"].to_list() == ["cnx-laion"]  # the highest base accuracy of the synthetic models


def test_latex_compiles_with_booktabs(full, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex here")
    body = "".join(tabling.to_latex(module(n).table(full), module(n).TITLE, module(n).READ, n) for n in NAMES)
    head = r"\documentclass{article}\usepackage{booktabs,longtable}\usepackage[landscape]{geometry}\begin{document}"
    (tmp_path / "t.tex").write_text(head + "\n" + body + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
