import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from forked_programs import OF_STEPS, programs

from reliquant import plugins

SCRIPT = plugins.PACKAGE.parents[1] / "benchmarks" / "gpu.py"
NOT_ON_A_CPU = "_scaled_mm"  # products of FP8 numbers


WORDS = ["--tiny", "--device", "cpu"]


@pytest.fixture(scope="module")
def gpu():
    """The program, imported, as its own imports take seconds; the children that repeat a method are forked, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        import gpu

        assert gpu.gpu_agreement.CHILD == gpu.gpu_work.CHILD  # which starts as for everybody where it embeds
        patch.setattr(gpu.gpu_agreement, "CHILD", Path(__file__).with_name("forked_child.py"))
        patch.setenv("FORKED_FROM", programs(*OF_STEPS).place)
        yield gpu


@pytest.fixture(scope="module")
def run(gpu):
    """What runs it with some words in this process, and returns the last line of its output."""

    def run(*words):
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as output:
            patch.setattr(sys, "argv", [str(SCRIPT), *WORDS, *map(str, words)])
            gpu.main()
        return json.loads(output.getvalue().splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    """The last line, the figures and the page of a run of all sections in tiny shapes."""
    folder = tmp_path_factory.mktemp("gpu")
    last = run("--output", folder / "gpu.md", "--json", folder / "gpu.json")
    return last, json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()


def loop_to_bare_forward(tables):
    """Images a second of the loop over images, to those of the bare forward, of the first type and backend."""
    table = next(table for table in tables if table["title"] == "Evaluation, ViT-B/32 W8A8")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    bare, loop = rows[:2]
    assert (bare["images/s of"], loop["images/s of"]) == ("bare forward", "the loop over images")
    assert (bare["type"], bare["backend"]) == (loop["type"], loop["backend"]) == ("float32", "simulate")
    return loop["images/s"] / bare["images/s"]


def test_every_section_runs_on_a_cpu_in_tiny_shapes(report):
    last, sections, page = report
    assert (last["name"], last["target"], last["better"]) == ("gpu", 0.95, "higher")
    assert last["ratio"] == pytest.approx(loop_to_bare_forward(sections["evaluation"]["tables"]))
    assert list(last["medians"]) == list(sections)
    failed = [error for section in sections.values() for error in section["errors"] if NOT_ON_A_CPU not in error]
    assert failed == []
    for section in sections.values():
        assert all(table["rows"] for table in section["tables"])
    assert page.count("\n## ") == len(sections)


def test_a_cpu_agrees_with_itself(report):
    sections = report[1]
    methods, devices = (sections[name]["tables"][0] for name in ("methods", "devices"))
    assert {row[methods["columns"].index("equal codes %")] for row in methods["rows"]} == {100.0}
    same = [row for row in devices["rows"] if "bf16" not in row[1]]
    assert {row[devices["columns"].index("largest")] for row in same} == {0.0}
    for row in sections["determinism"]["tables"][0]["rows"]:
        assert row[2] == row[3] > 0


def test_a_section_that_fails_is_told_and_the_next_one_runs(gpu, run, tmp_path, monkeypatch):
    def breaks(section, setting):
        """Break."""
        raise ValueError("it broke")

    monkeypatch.setitem(gpu.SECTIONS, "towers", breaks)
    last = run("--only", "towers", "card", "--output", tmp_path / "gpu.md")
    assert (last["failed"], last["ratio"]) == (["towers"], None)
    page = (tmp_path / "gpu.md").read_text()
    assert "Failed: towers: ValueError: it broke (" in page
    assert "| torch |" in page


def test_a_page_shows_the_figures_of_an_earlier_run_too(run, tmp_path):
    run("--only", "card", "--output", tmp_path / "one.md", "--json", tmp_path / "one.json")
    words = ["--only", "rounding", "--output", tmp_path / "two.md", "--json", tmp_path / "two.json"]
    run(*words, "--add", tmp_path / "one.json")
    assert list(json.loads((tmp_path / "two.json").read_text())) == ["card", "rounding"]
    assert "| torch |" in (tmp_path / "two.md").read_text()


def test_no_section_begins_after_the_budget_of_the_program(tmp_path):
    command = [sys.executable, SCRIPT, *WORDS, "--only", "card", "--budget", "-1", "--output", tmp_path / "gpu.md"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "FAILED card: left out" in lines[-2]
