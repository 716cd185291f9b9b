import json
import subprocess
import sys

import pytest

from reliquant import plugins

SCRIPT = plugins.PACKAGE.parents[1] / "benchmarks" / "gpu.py"
NOT_ON_A_CPU = "_scaled_mm"  # products of FP8 numbers


def run(*words):
    command = [sys.executable, str(SCRIPT), "--tiny", "--device", "cpu", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The last line, the figures and the page of a run of all sections in tiny shapes."""
    folder = tmp_path_factory.mktemp("gpu")
    lines = run("--output", str(folder / "gpu.md"), "--json", str(folder / "gpu.json"))
    return json.loads(lines[-1]), json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()


def test_every_section_runs_on_a_cpu_in_tiny_shapes(report):
    last, sections, page = report
    assert (last["name"], last["target"], last["better"]) == ("gpu", 0.95, "higher")
    assert 0 < last["ratio"] < 2
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


def test_a_section_that_fails_is_told_and_the_next_one_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu

    def breaks(section, setting):
        """Break."""
        raise ValueError("it broke")

    monkeypatch.setitem(gpu.SECTIONS, "towers", breaks)
    words = ["--only", "towers", "card", "--output", str(tmp_path / "gpu.md")]
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--device", "cpu", *words])
    gpu.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["failed"], last["ratio"]) == (["towers"], None)
    page = (tmp_path / "gpu.md").read_text()
    assert "Failed: towers: ValueError: it broke (" in page
    assert "| torch |" in page


def test_a_page_shows_the_figures_of_an_earlier_run_too(tmp_path):
    run("--only", "card", "--output", str(tmp_path / "one.md"), "--json", str(tmp_path / "one.json"))
    words = ["--only", "rounding", "--output", str(tmp_path / "two.md"), "--json", str(tmp_path / "two.json")]
    run(*words, "--add", str(tmp_path / "one.json"))
    assert list(json.loads((tmp_path / "two.json").read_text())) == ["card", "rounding"]
    assert "| torch |" in (tmp_path / "two.md").read_text()


def test_no_section_begins_after_the_budget(tmp_path):
    lines = run("--only", "card", "--budget", "-1", "--output", str(tmp_path / "gpu.md"))
    assert "FAILED card: left out" in lines[-2]
