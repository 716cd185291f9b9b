"""What the chaos needs: a finished study, copies of it, and a count of what was survived. `make chaos` tries more."""

import fcntl
import json
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from harmed import TINY, Forked, Step, steps_of, tree, without

TALLY = "CHAOS_TALLY"  # an environment variable: the file of what was survived, a line each
KEPT = "CHAOS_KEPT"  # another one: a folder where the studies stay for the next run
OWNER = pytest.StashKey[bool]()


def pytest_configure(config):
    if TALLY not in os.environ:
        os.environ[TALLY] = tempfile.mkstemp(prefix="chaos-tally-")[1]
        config.stash[OWNER] = True


def pytest_unconfigure(config):
    """Print, as the last of all, a line for each kind of harm and one for all."""
    if not config.stash.get(OWNER, False):
        return
    path = Path(os.environ.pop(TALLY))
    counts = defaultdict(Counter)
    for line in path.read_text().splitlines():
        harm, kind, outcome = json.loads(line)
        counts[harm, kind][outcome] += 1
    path.unlink()
    total = defaultdict(Counter)
    for (harm, kind), outcomes in sorted(counts.items()):
        print(f"{harm:10} {kind:24} " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items())))
        total[harm] += outcomes
    if total:
        told = [f"kills survived {total['kill']['survived']} of {total['kill'].total()}"]
        flips = total["flip"]
        told += [f"flips noticed {flips['noticed']}, harmless to the byte {flips['harmless']} of {flips.total()} tried"]
        other = sum((total[harm] for harm in total if harm not in ("kill", "flip")), Counter())
        told += [f"other harm survived {other.total() - other['wrong']} of {other.total()}"]
        wrong = sum(outcomes["wrong"] for outcomes in total.values())
        told += ["rows identical" if not wrong else f"{wrong} cases WRONG"]
        print("chaos: " + "; ".join(told))


@pytest.fixture(scope="session")
def tally():
    """Count a case: what harm, to what, and whether it was survived, noticed, harmless or wrong."""

    def count(harm, kind, outcome):
        with open(os.environ[TALLY], "a") as file:
            file.write(json.dumps([harm, kind, outcome]) + "\n")

    return count


@pytest.fixture(scope="session")
def forked():
    """Runs steps as processes that have their imports."""
    server = Forked()
    yield server
    server.close()


class Study:
    """A finished study: its steps, its folder, the bytes of every file, and how long each step took."""

    def __init__(self, folder, steps, seconds):
        self.folder, self.steps, self.seconds = folder, steps, seconds
        self.tree = tree(folder)

    def files(self, pattern):
        return [name for name in self.tree if re.fullmatch(pattern, name)]

    def step(self, rule, number=-1):
        return [step for step in self.steps if step.rule == rule][number]

    def readers(self, name):
        """The steps that read a file."""
        return [step for step in self.steps if step.reads(name)]

    def copy(self, folder, step):
        """Copy the study to a folder, without what a step makes."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        without(folder, step.outputs)
        return folder

    def mend(self, folder):
        """Put back what was changed in a copy."""
        found = tree(folder)
        for name, content in found.items():
            if content is not None and name not in self.tree:
                (folder / name).unlink()
        for name, content in self.tree.items():
            path = folder / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            elif found.get(name) != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def made(folder, config, forked):
    """Make a study in a folder, unless a worker beside this one has done so; return it."""
    with open(folder.parent / f"{folder.name}.guard", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        facts = folder.parent / f"{folder.name}.json"
        if not facts.exists():
            folder.mkdir()
            (folder.parent / f"{folder.name}.yaml").write_text(yaml.safe_dump(config))
            steps, seconds = steps_of(folder.parent / f"{folder.name}.yaml", folder), []
            shutil.rmtree(folder / ".snakemake")
            for step in steps:
                start = time.monotonic()
                code, told = forked.run(step, folder)
                assert code == 0, told
                seconds.append(time.monotonic() - start)
            shutil.rmtree(folder / "tmp")
            facts.write_text(json.dumps([[vars(step) for step in steps], seconds]))
        steps, seconds = json.loads(facts.read_text())
    steps = [Step(**{k: tuple(v) if isinstance(v, list) else v for k, v in step.items()}) for step in steps]
    return Study(folder, steps, dict(zip(steps, seconds, strict=True)))


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of a run share."""
    if KEPT in os.environ:
        return Path(os.environ[KEPT])
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def study(shared, forked):
    """The finished tiny study; nobody writes into its folder."""
    return made(shared / "chaos-study", yaml.safe_load(TINY.read_text()), forked)


@pytest.fixture(scope="session")
def stranger(shared, forked):
    """Another study of the same shape but fewer figures: other images, another model, other severities."""
    config = yaml.safe_load(TINY.read_text())
    config["study"] = "other"
    config["models"]["vit"]["pretrain"]["seed"] = 1
    for name in ("pairs", "shapes"):
        config["datasets"][name]["seed"] = 7
    config["datasets"]["digits"]["images"] = 19
    config["suites"]["noise"]["shapes"]["severities"] = [2, 4]
    config["report"]["figures"] = ["accuracy_by_bits"]
    return made(shared / "chaos-other", config, forked)


@pytest.fixture
def rng(request):
    """Random numbers of the test's own, the same in every run."""
    return random.Random(request.node.nodeid)


class Stalling(SimpleHTTPRequestHandler):
    """Sends a part of a file and falls silent, as often as the server says."""

    def log_message(self, *args):
        pass

    def copyfile(self, source, target):
        if self.server.stalls > 0:
            self.server.stalls -= 1
            target.write(source.read(100_000))
            target.flush()
            time.sleep(5)
            return
        shutil.copyfileobj(source, target)


@pytest.fixture
def served(tmp_path):
    """A file on a server on loopback, and the step that fetches it."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "datasets" / "some" / "pets" / "resolve" / revision
    place.mkdir(parents=True)
    (place / "0.parquet").write_bytes(os.urandom(1_000_000))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Stalling, directory=tmp_path / "hub"))
    server.stalls, server.daemon_threads = 0, True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    words = {"repo": "some/pets", "revision": revision, "files": ["0.parquet"]}
    entry = json.dumps({"dataset": "huggingface", "hub": f"http://127.0.0.1:{server.server_port}", **words})
    record = "data/raw/pets/fetched.json"
    line = ("--family", "dataset", "--entry", entry, "--lock", "config/data.lock.json", "--output", record)
    yield server, Step("fetch", "fetch", line, (), (record, "data/raw/pets/0.parquet"))
    server.shutdown()
    server.server_close()
