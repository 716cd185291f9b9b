"""Clients and a fork server as real processes, on a copy of the package whose step `prepare` is one for these tests."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ended import gone

from reliquant import plugins

STEP = """
import os, sys, time
from reliquant.steps import run

def main():
    print("told", file=sys.stderr)
    print("runs in", os.getpid(), "of", os.getppid(), *sys.argv[1:], flush=True)
    what = sys.argv[1]
    if what == "wait":
        time.sleep(60)
    if what == "signal":
        os.kill(os.getpid(), 6)
    if what == "fail":
        raise ValueError("a word is wrong")
    if what == "read":
        print(sys.stdin.read(), os.getcwd(), __name__)

if __name__ == "__main__":
    run(main)
"""
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="a fork server needs Linux")


class Place:
    """A copy of the package, an owner for its servers, and what a client there is started with."""

    def __init__(self, folder):
        self.folder = folder
        self.package = folder / "src" / "reliquant"
        shutil.copytree(plugins.PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
        (self.package / "steps" / "prepare.py").write_text(STEP)
        self.imports('IMPORTED = ("json",)')
        self.short = Path(tempfile.mkdtemp(prefix="fork"))  # a socket's path has at most 107 letters
        self.owner = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        self.environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "TMPDIR": str(self.short)}
        self.environment["RELIQUANT_FORK_SERVER"] = str(self.owner.pid)
        self.sockets = self.short / f"reliquant-{os.getuid()}"

    def imports(self, line):
        """Let the server import something else, quickly."""
        path = self.package / "forking" / "server.py"
        lines = [each for each in path.read_text().splitlines() if not each.startswith("IMPORTED")]
        lines.insert(lines.index("PATIENCE = 10  # seconds in which a client must have said what it wants"), line)
        path.write_text("\n".join(lines))

    def start(self, *words, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "reliquant.steps.prepare", *words],
            env={**self.environment, **environment},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words, **environment):
        """Run the step; return the exit code, what it said, the process it ran in and that one's parent."""
        client = self.start(*words, **environment)
        out, err = client.communicate("a line", timeout=60)
        return client.returncode, out, err, *processes(out, client)

    def end_owner(self):
        self.owner.communicate()


def processes(out, client):
    """The process that ran the step, and its server; None where the client ran it."""
    _, _, step, _, parent, *_ = out.split()
    return (int(step), int(parent)) if int(step) != client.pid else (int(step), None)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.end_owner()
    shutil.rmtree(place.short, ignore_errors=True)


def test_steps_run_in_children_of_one_server_on_the_streams_of_their_clients(place):
    code, out, err, first, server = place.run("read", "two words")
    assert server
    assert first != server
    assert (code, err) == (0, "told\n")
    assert out.splitlines() == [f"runs in {first} of {server} read two words", f"a line {place.folder} __main__"]
    assert place.run("read")[-1] == server


@pytest.mark.parametrize("what", ["fail", "signal"])
def test_a_client_ends_as_the_step_would_in_its_own_process(place, what):
    forked, own = place.run(what), place.run(what, RELIQUANT_FORK_SERVER="0")
    assert forked[-1]
    assert not own[-1]
    assert forked[0] == own[0] != 0
    assert forked[2].splitlines()[:2] == own[2].splitlines()[:2]


def test_code_that_changes_is_run_as_it_is_now(place):
    server = place.run("read")[-1]
    step = place.package / "steps" / "prepare.py"
    step.write_text(STEP.replace('"told"', '"told otherwise"'))
    code, _, err, _, again = place.run("read")
    assert (code, err, again) == (0, "told otherwise\n", server)


def test_whoever_inherits_something_else_gets_a_server_of_its_own(place):
    server = place.run("read")[-1]
    other = place.run("read", OMP_NUM_THREADS="2")[-1]
    assert server
    assert other
    assert server != other


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_step(place, number):
    client = place.start("wait")
    child, server = processes(client.stdout.readline(), client)
    client.send_signal(number)
    _, err = client.communicate(timeout=60)
    assert server
    assert client.returncode == 128 + number
    assert err.splitlines()[1].startswith("stopped: ")
    assert gone(child)


def test_a_client_that_is_killed_takes_its_step_along(place):
    client = place.start("wait")
    child, server = processes(client.stdout.readline(), client)
    client.kill()
    client.communicate()
    assert gone(child)
    assert place.run("read")[-1] == server


def test_a_server_that_is_killed_takes_its_steps_along_and_the_next_client_starts_another(place):
    client = place.start("wait")
    child, server = processes(client.stdout.readline(), client)
    os.kill(server, signal.SIGKILL)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 1
    assert err.splitlines()[1] == "error: the fork server was ended, and the step with it: run the same again"
    assert gone(child)
    assert place.run("read")[-1] not in (None, server)


def test_a_server_ends_with_its_owner_and_leaves_nothing(place):
    server = place.run("read")[-1]
    place.end_owner()
    assert gone(server)
    assert list(place.sockets.iterdir()) == []


def test_a_server_ends_its_steps_before_it_follows_its_owner(place):
    client = place.start("wait")
    child, server = processes(client.stdout.readline(), client)
    place.end_owner()
    assert not gone(server, 0.5)
    client.terminate()
    client.communicate(timeout=60)
    assert gone(server)
    assert gone(child)


@pytest.mark.parametrize("imports", ['IMPORTED = ("no_such_package",)', 'IMPORTED = ("polars",)'])
def test_a_server_that_lacks_a_package_or_has_threads_forks_nothing(place, imports):
    place.imports(imports)
    code, _, err, _, server = place.run("read")
    assert (code, err, server) == (0, "told\n", None)
    assert place.run("read")[-1] is None


def test_a_folder_that_others_may_enter_is_not_used(place):
    place.sockets.mkdir(mode=0o755)
    code, _, err, _, server = place.run("read")
    assert (code, err, server) == (0, "told\n", None)
    assert list(place.sockets.iterdir()) == []


def test_sockets_of_owners_that_are_gone_are_deleted(place):
    place.sockets.mkdir(mode=0o700)
    left = place.sockets / "99999999-0123456789abcdef"
    left.touch()
    server = place.run("read")[-1]
    place.end_owner()
    assert gone(server)
    assert not left.exists()


@pytest.mark.parametrize("owner", ["0", "", "no", "99999999"])
def test_a_step_runs_in_its_own_process_without_an_owner(place, owner):
    assert place.run("read", RELIQUANT_FORK_SERVER=owner)[-1] is None
