import subprocess
import sys

import pytest

from reliquant.plugins import ConfigError
from reliquant.progress import LONGEST, message_of, one_line_errors, progress


def ended(error, **words):
    with pytest.raises(SystemExit) as stop, one_line_errors("reliquant measure", **words):
        raise error
    return stop.value.code


def test_an_error_of_ours_is_its_message():
    assert ended(ValueError("p.npz: has no label")) == "reliquant measure: error: p.npz: has no label"


def test_an_error_that_nobody_foresaw_says_its_type_and_how_to_see_more():
    told = ended(TypeError("unsupported\n  operand"))
    assert told == (
        "reliquant measure: error: TypeError: unsupported operand (--debug, or RELIQUANT_DEBUG=1, shows where)"
    )


def test_a_panic_of_polars_is_told_like_an_error():
    panic = type("PanicException", (BaseException,), {})
    assert "PanicException: index out of bounds" in ended(panic("index out of bounds"))


def test_all_problems_of_a_config_stay_on_lines_of_their_own():
    assert message_of(ConfigError(["a: missing", "b: unknown"])) == "a: missing\nb: unknown"


def test_a_long_message_is_cut_and_says_how_long_it_was():
    told = message_of(ValueError("x" * 30_000))
    assert len(told) < LONGEST + 40
    assert told.endswith("(30000 characters)")


@pytest.mark.parametrize("passing", [KeyboardInterrupt(), SystemExit(2)])
def test_what_is_no_error_passes(passing):
    with pytest.raises(type(passing)), one_line_errors("x"):
        raise passing


def test_debug_lets_the_traceback_through(monkeypatch):
    with pytest.raises(TypeError), one_line_errors("x", debug=True):
        raise TypeError
    monkeypatch.setenv("RELIQUANT_DEBUG", "1")
    with pytest.raises(ValueError, match="why"), one_line_errors("x"):
        raise ValueError("why")


def test_the_console_command_and_the_steps_end_in_one_line(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and nothing else")
    command = [sys.executable, "-m", "reliquant.cli.main", "recommend", tmp_path / "p.parquet", "--wish", "ece <= 1"]
    step = [sys.executable, "-m", "reliquant.steps.collect", "--study", "[]", "--output", tmp_path / "o.parquet"]
    for words, start in ((command, "reliquant recommend: error: "), (step, "error: ")):
        run = subprocess.run(words, capture_output=True, text=True)
        assert run.returncode == 1
        assert run.stderr.startswith(start), run.stderr
        assert run.stderr.count("\n") == 1, run.stderr


def test_long_work_says_in_a_log_how_far_it_is(capsys):
    assert list(progress(range(3), label="images", every=0.0)) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["images: 1/3", "images: 2/3", "images: 3/3"]
    assert list(progress(range(3), label="images", every=60.0)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
