import argparse
import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import polars as pl
import pytest

from reliquant.cli import check as gate
from reliquant.cli import main, recommend
from reliquant.cli.check_text import WIDEST
from reliquant.deploy.folder import FACTS, digest_of_facts, sha256_of
from reliquant.deploy.measured import ROWS
from reliquant.files.artifacts import save_frame, save_json
from reliquant.report.synthetic import Shape, rows

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=()))
GOOD, BAD, OPEN = "accuracy_change >= -0.2", "accuracy_change >= 0.2", "ece_change <= 9"
PLAIN = FRAME.with_columns(pl.when(pl.col("measure") != "ece_change").then(end).alias(end) for end in ("low", "high"))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.parquet"
    save_frame(path, PLAIN, {})
    return path


def check(*words):
    """Run the command; return its exit code."""
    try:
        main.main(["check", *map(str, words)])
    except SystemExit as stop:
        return stop.code
    return 0


RTN = ("--variant", "rtn", "w8a8")


@pytest.mark.parametrize(
    ("wishes", "code", "verdict"),
    [
        ([GOOD], 0, "holds"),
        ([GOOD, BAD], 1, "fails"),
        ([GOOD, OPEN], 2, "cannot tell"),
        ([OPEN, BAD, GOOD], 1, "fails"),
    ],
)
def test_the_exit_code_is_the_verdict(table, capsys, wishes, code, verdict):
    assert check(table, *RTN, "--wish", *wishes) == code
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith(f"{verdict}: of {len(wishes)} wish")
    lines = [line for line in told if re.match("  [a-z_]+ [<>]=", line)]
    assert len(lines) == len(wishes)
    assert max(map(len, told)) <= WIDEST


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{table}", "--wish", "acuracy_change >= 0"], "did you mean accuracy_change"),
        (["{table}", "--wish", "small please"], "must read"),
        (["{table}", "--wish", GOOD, "--scheme", "rnt"], "did you mean rtn"),
        (["{table}", "--wish", GOOD, "--confidence", "95"], "--confidence 95: must be above 0.5"),
        (["{table}", "--wish", GOOD, "--dataset", "shape"], "--dataset shape: no row is of this set; did you mean"),
        (["{table}", "--wish", GOOD, "--against-variant", "rtn"], "--against-variant: names a variant of --against"),
        (["{table}", "--wish", "accuracy >= 0", "--against", "{table}"], "--against: no wish is about a change"),
        (["none.parquet", "--wish", GOOD], "none.parquet: no such file"),
        (["{table}"], "the following arguments are required: --wish"),
        (["{table}", "--wish", GOOD, "--what"], "unrecognized arguments: --what"),
        (["{table}", "--wish", GOOD, "--confidence", "much"], "invalid float value"),
    ],
)
def test_bad_input_is_none_of_the_three_verdicts(table, capsys, words, message):
    assert check(*(word.format(table=table) for word in words)) == 3
    assert message in capsys.readouterr().err


def test_bad_input_ends_with_3_in_a_process_of_its_own_and_with_a_traceback_on_debug(table):
    command = [sys.executable, "-m", "reliquant.cli.main", "check", str(table), "--wish", "x >= 0"]
    for words, lines in (([], 1), (["--debug"], 10)):
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        assert done.returncode == 3
        assert len(done.stderr.splitlines()) == 1 if lines == 1 else len(done.stderr.splitlines()) >= lines


def test_each_variant_has_a_block_and_all_must_hold(table, capsys):
    assert check(table, "--wish", GOOD) == 1  # four bits of one scheme lose more
    told = capsys.readouterr().out
    assert "vit lsq w4a8 image: fails" in told
    assert "vit rtn w8a8 image: holds" in told
    assert told.count(GOOD) == 9
    assert check(table, "--wish", GOOD, "--precision", "w8a8", "w6a8") == 0


def test_json_holds_what_is_shown(table, capsys):
    assert check(table, *RTN, "--wish", GOOD, OPEN, "bytes > 0", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["code"], found["confidence"], found["against"]) == ("cannot tell", 2, 0.95, None)
    (variant,) = found["variants"]
    assert variant["variant"]["scheme"] == "rtn"
    first, second, third = variant["wishes"]
    assert first["low"] < first["value"] < first["high"]
    assert (first["n"], first["sets"], first["how"]) == (20_000, "colours, shapes, textures", "interval")
    assert second["why"] == "ece_change has no interval; wish for squared_ce_change"
    assert (third["verdict"], third["how"], third["low"]) == ("holds", "exact", None)


def test_junit_has_a_suite_for_each_variant_and_never_skips(table, tmp_path, capsys):
    out = tmp_path / "made" / "check.xml"
    assert check(table, *RTN, "--wish", GOOD, BAD, OPEN, "--junit", out) == 1
    top = ElementTree.parse(out).getroot()
    assert {name: top.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    (suite,) = top
    cases = {case.get("name"): [part.tag for part in case] for case in suite}
    assert cases == {GOOD: ["system-out"], BAD: ["failure"], OPEN: ["error"]}
    assert "no interval" in suite[2][0].get("message")
    capsys.readouterr()


def test_junit_of_bad_input_takes_the_place_of_an_older_file(table, tmp_path, capsys):
    out = tmp_path / "check.xml"
    assert check(table, *RTN, "--wish", GOOD, "--junit", out) == 0
    assert check(table, *RTN, "--wish", "x >= 0", "--junit", out) == 3
    top = ElementTree.parse(out).getroot()
    assert (top.get("errors"), top[0][0].get("name")) == ("1", "bad input")
    assert "no rows of x" in top[0][0][0].get("message")
    assert check(table, *RTN, "--wish", GOOD, "--junit", tmp_path) == 3
    assert "is a folder" in capsys.readouterr().err
    assert check(table, *RTN, "--wish", GOOD, "--junit", table) == 3
    assert "would be overwritten" in capsys.readouterr().err
    assert check(table, *RTN, "--wish", GOOD) == 0


def test_names_that_steer_a_terminal_or_break_xml_are_shown_plainly(tmp_path, capsys):
    evil = 'a<b>&"]]>\x1b[2J\uffff\n|'
    hostile = PLAIN.with_columns(
        scheme=pl.col("scheme").replace("rtn", evil), dataset=pl.col("dataset").replace("shapes", evil)
    )
    save_frame(tmp_path / "rows.parquet", hostile, {})
    out = tmp_path / "check.xml"
    assert check(tmp_path / "rows.parquet", "--wish", GOOD, "--precision", "w8a8", "--junit", out) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "a<b>" in told
    names = [suite.get("name") for suite in ElementTree.parse(out).getroot()]
    assert any(r"\x1b[2J\uffff |" in name for name in names)


def test_two_tables_are_compared_by_pairs(table, tmp_path, capsys):
    runtime = pl.col("scheme").replace({"rtn": "rtn@onnxruntime", "lsq": "lsq@onnxruntime"})
    save_frame(tmp_path / "deployed.parquet", PLAIN.with_columns(scheme=runtime), {})
    words = ["--wish", "accuracy_change >= -0.001", "bytes_change <= 0", "accuracy >= 0.1"]
    own = ["--variant", "rtn@onnxruntime", "w8a8"]
    assert check(tmp_path / "deployed.parquet", *own, "--against", table, *words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"vit rtn@onnxruntime w8a8 image less vit rtn w8a8 image of {table}: holds" in told
    assert f"accuracy >= 0.1: of {tmp_path / 'deployed.parquet'} alone" in told
    other = ["--against-variant", "rtn", "w4a8"]
    assert check(tmp_path / "deployed.parquet", *own, "--against", table, *other, *words, "--json") == 1
    found = json.loads(capsys.readouterr().out)["variants"][0]
    assert [line["verdict"] for line in found["wishes"]] == ["holds", "fails", "holds"]
    assert [line["how"] for line in found["wishes"]] == ["paired", "exact", "interval"]
    assert check(tmp_path / "deployed.parquet", *own, "--against", table, "--against-variant", "lsq", *words) == 3
    assert "has no partner of its own" in capsys.readouterr().err


def test_an_exported_folder_is_judged_by_its_rows(tmp_path, capsys):
    save_frame(tmp_path / ROWS, PLAIN, {})
    facts = {"kind": "export", "to": "onnx", "towers": {}, "model_sha256": "", "variant_sha256": ""}
    for files, code in (({ROWS: sha256_of(tmp_path / ROWS)}, 0), ({ROWS: "0" * 64}, 3)):
        told = {**facts, "files": files}
        save_json(tmp_path / FACTS, {**told, "sha256": digest_of_facts(told)})
        assert check(tmp_path, *RTN, "--wish", GOOD) == code
    assert "is not the file that was exported" in capsys.readouterr().err


def test_only_named_sets_count(table, capsys):
    assert check(table, *RTN, "--wish", GOOD, "bytes > 0", "--dataset", "shapes", "--json") == 0
    line = json.loads(capsys.readouterr().out)["variants"][0]["wishes"][0]
    assert line["sets"] == "shapes"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_lines_fit_the_window(table, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    check(table, "--wish", GOOD, OPEN, "squared_ce_change <= 0.0000123")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= max(min(width, WIDEST), 40)  # a wish is not broken


def test_written_bounds_lie_on_the_side_of_the_wish_that_the_verdict_says(table, capsys):
    assert check(table, *RTN, "--wish", GOOD, "--json") == 0
    line = json.loads(capsys.readouterr().out)["variants"][0]["wishes"][0]
    wish = f"accuracy_change >= {line['low'] - 1e-6:.8f}"
    assert check(table, *RTN, "--wish", wish) == 0
    shown = re.search(r"\[(-?[\d.]+), ", capsys.readouterr().out)[1]
    assert float(shown) >= float(wish.split(">=")[1])


@pytest.mark.parametrize("command", [gate, recommend])
def test_wishes_that_are_said_one_by_one_all_count(command):
    parser = argparse.ArgumentParser()
    command.add_words(parser)
    words = ["rows.parquet", "--wish", "accuracy_change >= -0.01", "--wish", "ece_change <= 0", "bytes < 300"]
    assert parser.parse_args(words).wish == ["accuracy_change >= -0.01", "ece_change <= 0", "bytes < 300"]
