import os
import subprocess
import sys
import tempfile
import time

import pytest
from forked_programs import CLIENT, programs

from reliquant import names

PROGRAM = """
import os, sys
from there import WORD

print(WORD, *sys.argv[1:], os.getcwd(), sorted(set(os.environ) - {"LC_CTYPE"}), "decimal" in sys.modules)
print("told", file=sys.stderr)
if sys.argv[1] == "abort":
    os.abort()
sys.exit(3)
"""


@pytest.fixture
def place(tmp_path):
    """A folder with a program and a module that it imports."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "there.py").write_text("WORD = 'first'")
    return tmp_path


def test_a_program_has_its_own_words_folder_environment_streams_and_exit_code(place):
    done = programs("decimal").run("program", "a b", 1, cwd=place, env={"MINE": "1"})
    assert (done.returncode, done.stdout, done.stderr) == (3, f"first a b 1 {place} ['MINE'] True\n", "told\n")
    assert programs("decimal").run("program", "abort", cwd=place).returncode == -6
    assert programs("decimal") is programs("decimal")


def test_a_program_that_was_changed_runs_as_it_is_now(place):
    programs("decimal").run("program", "x", cwd=place)
    (place / "there.py").write_text("WORD = 'another'")
    assert programs("decimal").run("program", "x", cwd=place).stdout.startswith("another x")


def test_a_program_finds_our_modules_imported_but_where_others_lie_before_them(place):
    told = (
        "import sys\nprint('reliquant.names' in sys.modules)\nimport reliquant.names\nprint(reliquant.names.__file__)"
    )
    (place / "asking.py").write_text(told)
    served = programs("reliquant.names")
    assert served.run("asking", cwd=place).stdout == f"True\n{names.__file__}\n"
    (place / "reliquant").mkdir()
    for name in ("__init__.py", "names.py"):
        (place / "reliquant" / name).touch()
    assert served.run("asking", cwd=place).stdout == f"False\n{place / 'reliquant' / 'names.py'}\n"
    assert served.run("reliquant.names", cwd=place.parent).stderr == ""  # a module that is itself among ours


def test_a_program_finalizes_at_its_end_what_is_its_own_alone(place, monkeypatch):
    finalizer = "import weakref\n\nclass Kept:\n    pass\n\nkept = Kept()\nweakref.finalize(kept, print, __name__)\n"
    for name in ("imported_before", "ending"):
        (place / f"{name}.py").write_text(finalizer)
    monkeypatch.setenv("PYTHONPATH", str(place))
    assert programs("imported_before").run("ending", cwd=place).stdout == "__main__\n"


def test_a_program_that_takes_too_long_is_ended(place):
    (place / "slow.py").write_text("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    with pytest.raises(TimeoutError):
        programs("decimal").run("slow", cwd=place, patience=0.5)
    pid = int((place / "pid").read_text())
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.1)
    raise AssertionError("it goes on")


@pytest.mark.parametrize("words", [["python", "-c", "print(8)"], ["python", "-m", "reliquant.steps.facts", "--help"]])
def test_where_no_server_answers_the_program_starts_in_earnest(tmp_path, words):
    done = subprocess.run([sys.executable, "-IS", CLIENT, tmp_path, *words], capture_output=True, text=True)
    real = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, real.stdout)


@pytest.fixture
def served():
    """A folder whose server of steps is one that has imported next to nothing."""
    with tempfile.TemporaryDirectory(prefix="forked-") as folder:  # a socket's path is short
        os.symlink(programs("decimal").place, f"{folder}/steps")
        yield folder


def test_the_client_ends_with_the_programs_code_and_on_its_streams(place, served):
    for folder in ("", "cli"):
        (place / "reliquant" / folder).mkdir()
        (place / "reliquant" / folder / "__init__.py").touch()
    (place / "reliquant" / "cli" / "main.py").write_text(PROGRAM)
    asked = [sys.executable, "-IS", CLIENT, served, "reliquant", "x"]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(asked, capture_output=True, text=True, cwd=place, env=environment)
    assert (done.returncode, done.stderr) == (3, "told\n")
    assert done.stdout.startswith(f"first x {place}")
