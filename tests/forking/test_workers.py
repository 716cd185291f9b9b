import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
from ended import gone

from reliquant.forking.workers import workers

PROGRAM = """
import os, time
from reliquant.forking.workers import workers

if __name__ == "__main__":
    with workers(2) as pool:
        waiting = [pool.submit(time.sleep, 60) for _ in range(2)]
        print(*pool._processes, flush=True)
        time.sleep(60)
"""
held = []


def hold(*words):
    held.append(words)


def of_worker(word):
    return word, held, os.getppid(), signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_workers_are_prepared_once_and_leave_ctrl_c_to_their_parent():
    with workers(1, hold, "a", 2) as pool:
        found = list(pool.map(of_worker, "xyz"))
    assert found == [(word, [("a", 2)], os.getpid(), True) for word in "xyz"]
    assert held == []


def test_work_that_fails_is_told_and_nobody_works_on():
    with pytest.raises(ValueError, match="invalid literal"), workers(2) as pool:
        list(pool.map(int, ["1", "two", *"3456789"]))
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="workers end with a killed parent on Linux alone")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(gone(pid, 0.1) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert all(gone(pid, 60) for pid in pids)
