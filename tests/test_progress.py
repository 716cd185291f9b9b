import errno
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest

from reliquant.plugins import ConfigError
from reliquant.progress import LONGEST, message_of, one_line_errors, printable, progress, say


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


def test_an_exit_passes():
    with pytest.raises(SystemExit) as stop, one_line_errors("x"):
        sys.exit(2)
    assert stop.value.code == 2


STUCK = """
import sys, time
from pathlib import Path
from reliquant.files.artifacts import whole
from reliquant.progress import one_line_errors
with one_line_errors("reliquant x"), whole(Path(sys.argv[1])) as part:
    part.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("number", "code", "told"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_who_stops_a_command_sees_one_line_and_nothing_stays(number, code, told, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", STUCK, tmp_path / "a" / "file"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout.readline() == "ready\n"
    run.send_signal(number)
    _, said = run.communicate()
    assert run.returncode == code
    assert said == f"reliquant x: stopped: {told}; run the same again: what is done is kept\n"
    assert list((tmp_path / "a").iterdir()) == []


def test_a_library_that_kills_the_process_is_found_by_the_call(tmp_path):
    program = tmp_path / "step.py"
    program.write_text(
        "import os\nfrom reliquant.progress import one_line_errors\n\n"
        "def collect():\n    os.abort()\n\nwith one_line_errors('reliquant x'):\n    collect()\n"
    )
    run = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert run.returncode == -signal.SIGABRT
    assert "Aborted" in run.stderr
    assert f'"{program}", line 5 in collect' in run.stderr


@pytest.mark.parametrize(("last", "code"), [(True, 0), (False, -signal.SIGTERM)])
def test_a_signal_after_the_last_work_makes_no_failure_of_it(last, code):
    program = "import os, signal\nfrom reliquant.progress import one_line_errors\n"
    program += f"with one_line_errors(last={last}):\n    pass\nos.kill(os.getpid(), signal.SIGTERM)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == code


def test_a_signal_after_an_error_of_the_last_work_ends_the_process_at_once():
    program = "import os, signal\nfrom reliquant.progress import one_line_errors\ntry:\n"
    program += "    with one_line_errors(last=True):\n        raise OSError\nfinally:\n"
    program += "    os.kill(os.getpid(), signal.SIGTERM)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGTERM


CHILD = """
import multiprocessing, signal, time
from reliquant.progress import one_line_errors

with one_line_errors("x"):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.2)
    child.terminate()
    child.join(10)
assert child.exitcode == -signal.SIGTERM, child.exitcode
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""


def test_a_child_of_a_stoppable_process_ends_by_the_signal():
    """In a process of its own: the tests' may have threads of other libraries, with which a fork can crash."""
    run = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b.npy"), "a/b.npy: No space left on device; make room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a/b.npy"), "a/b.npy: Disk quota exceeded; make room"),
        (OSError(errno.EROFS, "", "a/b.npy"), "a/b.npy: Read-only file system; nothing can be written there"),
        (OSError(errno.EMFILE, "", "a/b.npy"), "a/b.npy: Too many open files; raise the limit (ulimit -n 4096)"),
        (PermissionError(errno.EACCES, "", "a"), "a: Permission denied; change the rights"),
        (MemoryError(), "not enough memory (no more can be had); use a smaller batch"),
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory (Unable to allocate 9 TiB)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"), "not enough memory (DefaultCPUAllocator"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), "not enough memory (CUDA out of memory)"),
        (BrokenProcessPool("abruptly"), "a worker process was killed, most often because memory ran out"),
    ],
)
def test_what_the_system_lacks_comes_with_advice(error, told):
    line = message_of(error)
    assert line.startswith(told), line
    assert "--debug" not in line


HOSTILE = "a\x1b[2J\x1b]0;t\x07b\x9b1m\u202ec\u2028\x00"


def test_nothing_that_steers_a_terminal_is_printed(capsys):
    assert printable("ä\tß\n日本 é") == "ä\tß\n日本 é"
    assert printable(HOSTILE) == r"a\x1b[2J\x1b]0;t\x07b\x9b1m\u202ec\u2028\x00"
    say(HOSTILE, f"{HOSTILE}\nanother line")
    list(progress(range(2), label=HOSTILE, every=0.0))
    said = capsys.readouterr().err
    assert said.count("\n") == 3
    assert said.replace("\n", "").isprintable()
    assert message_of(ValueError(HOSTILE)).isprintable()


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
