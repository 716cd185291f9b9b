"""tools/bench.py: benchmarks run in processes of their own; table and status tell what they gave, or why nothing."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "bench.py"


@pytest.fixture(scope="module")
def bench(imported_tool):
    return imported_tool("bench")


@pytest.fixture
def page(tmp_path, bench):
    path = tmp_path / "speed.md"
    path.write_text(f"# Speed\n\n{bench.BEGIN}\nold\n{bench.END}\n\nA line by hand.\n")
    return path


def ran(*words):
    return subprocess.run([sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, timeout=600)


def line(ratio, better="higher", **more):
    return {"name": "x", "ratio": ratio, "target": 1.0, "better": better, **more}


def test_real_benchmarks_run_and_the_page_keeps_what_stands_around_the_table(page):
    done = ran("--tiny", "--only", "retrieval", "integer", "dag", "--page", page)
    text = page.read_text()
    faiss = importlib.util.find_spec("faiss") is not None
    assert done.returncode in ((0, 1) if faiss else (1, 3)), done.stdout + done.stderr
    assert text.startswith("# Speed\n")
    assert text.endswith("A line by hand.\n")
    assert "old" not in text
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| `")}
    assert list(rows) == ["`retrieval`", "`integer`", "`dag`"]
    assert ("absent: faiss" in rows["`retrieval`"]) != faiss
    assert f"torch {importlib.metadata.version('torch')}" in text
    assert "failed" not in text
    assert done.stdout.rstrip().endswith(text.partition("from here -->")[2].partition("<!--")[0].strip())


def test_lines_of_other_benchmarks_stay_if_they_are_of_this_machine_and_these_versions(bench, page):
    old = bench.row(["`dag`", "x", "1", "1 to 1", "1", "≤ 1", "met", "2026-01-01, quiet (0.1)"])
    bench.write(page, bench.table([old]))
    assert bench.lines_of_others(page, ["integer"]) == {"dag": old}
    assert bench.lines_of_others(page, ["integer", "dag"]) == {}
    for word, other in ((bench.machine(), "Z80"), (bench.versions(), "torch 0.1")):
        text = page.read_text()
        page.write_text(text.replace(word, other))
        with pytest.raises(SystemExit, match="its table is not of"):
            bench.lines_of_others(page, ["integer"])
        assert bench.lines_of_others(page, ["dag"]) == {}
        page.write_text(text)


def test_a_page_without_marks_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "page.md").write_text("# Speed\n")
    done = ran("--tiny", "--only", "integer", "--page", tmp_path / "page.md")
    assert done.returncode == 1
    assert "page.md: needs one line `<!-- make bench writes from here -->`" in done.stderr
    assert "run 1" not in done.stdout


def test_an_unknown_name_is_refused():
    done = ran("--only", "nothing")
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr


def test_every_file_of_benchmarks_is_run_or_left_out_for_a_reason_or_is_a_part_of_one(bench):
    files = {p.stem for p in (ROOT / "benchmarks").glob("*.py") if "\nif __name__ ==" in p.read_text()}
    named = {each.name for each in bench.BENCHMARKS} | set(", ".join(bench.APART).split(", "))
    children = {"gpu_child"}  # run by gpu.py
    assert files - children == named


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ([line(1.2), line(0.9), line(1.1)], "MET"),
        ([line(0.8), line(0.9), line(1.1)], "MISSED"),
        ([line(0.9, "lower")], "MET"),
        ([line(float("nan"), "lower")], "MISSED"),
        ([line(1.049, "lower")], "MISSED"),
        ([line(None, absent=["faiss"])], "ABSENT"),
        ([line(1.2, absent=["nncf"])], "ABSENT"),
        ([line(0.5, absent=["nncf"])], "MISSED"),
    ],
)
def test_the_median_decides(bench, lines, verdict):
    found = bench.Found(bench.BENCHMARKS[0], lines)
    assert found.verdict == getattr(bench, verdict)


def test_a_benchmark_that_fails_is_told_once_with_its_last_line(bench, tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "broken.py").write_text("raise SystemExit('no memory | left')\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    found = bench.run(bench.Benchmark("broken", "a / b", 3, 1), 3, False)
    assert capsys.readouterr().out.count("no memory") == 1
    assert found.verdict == bench.FAILED
    assert found.cells()[-2] == "failed: no memory / left"


def test_a_run_that_misses_its_target_shows_all_that_it_printed(bench, tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmarks").mkdir()
    file = tmp_path / "benchmarks" / "slow.py"
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    for ratio, shown in ((0.9, 1), (1.1, 0)):
        file.write_text(f"print('rtn took long')\nprint({json.dumps(line(ratio))!r})\n")
        bench.run(bench.Benchmark("slow", "a / b", 1, 1), 1, False)
        assert capsys.readouterr().out.count("rtn took long") == shown


def test_peers_that_are_absent_are_named_and_the_status_is_3(tmp_path):
    code = "from peers import require; require('x', 'json', 'no_such_peer')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert done.returncode == 3
    assert json.loads(done.stdout.splitlines()[-1]) == {"name": "x", "ratio": None, "absent": ["no_such_peer"]}
    assert "pip install 'reliquant[benchmarks]'" in done.stdout
