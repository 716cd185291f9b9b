import os
import shutil
import subprocess
import sys
import time

import pytest

from reliquant.files import scratch

NOW = f"{scratch.host()}+{os.getpid()}+{scratch.started(os.getpid())}+7"
DEAD = 2**22 + 5  # above the largest number of a process


def left(parent, name, age=0.0):
    made = parent / name
    made.mkdir()
    (made / "half").write_text("half")
    for path in (made / "half", made):
        os.utime(path, (time.time() - age,) * 2)
    return made


@pytest.mark.parametrize(
    ("name", "age", "stays"),
    [
        (f".x.npy.{NOW}.part", 0, True),
        (f".x.npy.{NOW}.part", 30 * scratch.DAY, True),  # its owner lives
        (f".x.npy.{scratch.host()}+{DEAD}+1+0.part", 0, False),
        (f".x.npy.{scratch.host()}+{'9' * 30}+1+0.part", 0, False),
        (f".x.npy.{scratch.host()}+{os.getpid()}+1+0.part", 0, False),  # its number is another process's by now
        (f".x.npy.elsewhere-0+{DEAD}+1+0.part", scratch.DAY / 2, True),
        (f".x.npy.elsewhere-0+{DEAD}+1+0.part", 2 * scratch.DAY, False),
        (f".x.npy.{DEAD}.part", 0, True),  # of an earlier version, on whatever host
        (f".x.npy.{DEAD}.part", 2 * scratch.DAY, False),
        (".x.npy.part", 30 * scratch.DAY, True),  # a download, which goes on where it was
        ("x.npy.part", 30 * scratch.DAY, True),
    ],
    ids=range(11),  # names hold this process's number: other workers must know the tests by the same ids
)
def test_only_what_dead_processes_left_is_removed(name, age, stays, tmp_path):
    made = left(tmp_path, name, age)
    with scratch.folder(tmp_path, "other"):
        pass
    assert made.exists() == stays
    assert len(list(tmp_path.iterdir())) == stays


def test_a_part_that_another_host_still_writes_stays(tmp_path):
    made = left(tmp_path, f".x.npy.elsewhere-0+{DEAD}+1+0.part", 2 * scratch.DAY)
    os.utime(made / "half")
    assert scratch.sweep(tmp_path) == []


def test_a_download_that_ends_in_a_number_is_no_part_of_an_earlier_version(tmp_path):
    left(tmp_path, ".images.10.part", 2 * scratch.DAY)
    (tmp_path / ".images.10.part.json").write_text("{}")
    assert scratch.sweep(tmp_path) == []


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / f".x.{scratch.host()}+{DEAD}+1+0.part").symlink_to(tmp_path / "kept")
    scratch.sweep(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


def test_a_process_that_nobody_has_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert scratch.started(child.pid) is None
    child.wait()


def test_a_system_without_proc_is_asked_by_ps(monkeypatch):
    if shutil.which("ps") is None:
        pytest.skip("no ps")
    assert scratch._started_without_proc(os.getpid()).isalnum()
    assert scratch._started_without_proc(DEAD) is None


def test_a_private_folder_is_the_users_alone(tmp_path):
    with scratch.folder(tmp_path, "x", private=True) as made:
        assert made.stat().st_mode & 0o777 == 0o700


def test_folders_of_one_name_do_not_meet_and_are_gone_afterwards(tmp_path):
    with scratch.folder(tmp_path, "x" * 200) as one, scratch.folder(tmp_path, "x" * 200) as other:
        assert one != other
    assert list(tmp_path.iterdir()) == []


EXHAUSTED = """
import os, resource, sys
from pathlib import Path
from reliquant.files import scratch

resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
held = []
try:
    with scratch.folder(Path(sys.argv[1]), "x") as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "half").write_text("half")
        while True:
            held.append(open(os.devnull))
except OSError as error:
    print(error.strerror)
"""


def test_a_folder_is_gone_where_no_file_can_be_opened_any_more(tmp_path):
    run = subprocess.run([sys.executable, "-c", EXHAUSTED, tmp_path], capture_output=True, text=True, check=True)
    assert run.stdout == "Too many open files\n"
    assert list(tmp_path.iterdir()) == []
