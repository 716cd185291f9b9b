"""What a study meets outside of itself: a full disk, a read-only folder, a wrong clock, a remote that is not there."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from dry_run import job_counts
from forked_programs import forked_path, real_path, run_snakemake
from small_disk import mounted

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / ".test" / "config" / "config.yaml"
REAL = {**os.environ, "PATH": real_path(), "DVC_NO_ANALYTICS": "1"}


def forked():
    return {**REAL, "PATH": forked_path()}


def snakemake(folder, *words):
    command = ["--snakefile", ROOT / "workflow/Snakefile", "--profile", ROOT / "profiles" / "default"]
    command += ["--cores", "2", "--directory", folder, "--configfile", TINY, "--nocolor", *words]
    done = run_snakemake(*command, cwd=ROOT, env=forked())
    return done.returncode, done.stdout + done.stderr


def dvc(*words, cwd):
    done = subprocess.run(["dvc", *words], capture_output=True, text=True, env=forked(), cwd=cwd)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, and a function that mounts it anew with other words."""
    with mounted(tmp_path / "disk", "size=1200k") as mount:
        yield tmp_path / "disk", mount


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(disk):
    folder, mount = disk
    code, output = snakemake(folder, "--until", "prepare")
    assert code != 0
    assert "No space left on device" in output, output[-4000:]
    whole = {path: path.read_bytes() for path in (folder / "data").rglob("images.npy")}
    assert whole  # some were finished before
    assert not list(folder.rglob("*.part"))
    mount("size=200m")
    snakemake(folder, "--unlock")
    code, output = snakemake(folder, "--until", "prepare")
    assert code == 0, output[-4000:]
    assert len(list((folder / "data").rglob("images.npy"))) == 8
    assert all(path.read_bytes() == before for path, before in whole.items())


def test_a_read_only_folder_is_named_at_once(disk):
    folder, mount = disk
    mount("size=200m,ro")
    code, output = snakemake(folder, "--until", "prepare")
    assert code != 0
    assert "Read-only file system" in output
    assert str(folder) in output


def test_braces_in_the_name_of_the_codes_folder_are_refused_in_one_line(tmp_path):
    code = tmp_path / "c{x}"
    for part in ("workflow", "src"):
        code.mkdir(exist_ok=True)
        (code / part).symlink_to(ROOT / part)
    words = ["-s", code / "workflow/Snakefile", "--configfile", TINY, "--directory", tmp_path / "run", "-n"]
    done = run_snakemake(*words, cwd=code, env=forked())
    assert done.returncode == 1
    assert f"{code}/src: Snakemake takes what stands in braces for a wildcard: rename" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_clock_set_back_costs_nothing_but_is_named_where_something_is_made(tmp_path):
    code, output = snakemake(tmp_path, "--until", "pretrain")
    assert code == 0, output[-4000:]
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    tomorrow = time.time() + 86_400
    for path in made:
        os.utime(path, (tomorrow, tomorrow))  # made while the clock was a day ahead
    assert job_counts(snakemake(tmp_path, "-n", "--until", "pretrain")[1]) == {}
    model = tmp_path / "data/models/vit.safetensors"
    content = model.read_bytes()
    model.unlink()
    code, output = snakemake(tmp_path, "--until", "pretrain")  # an output older than its inputs
    assert code != 0
    assert "could indicate a clock skew problem" in output
    for path in made:
        if path.exists():
            path.touch()
    code, output = snakemake(tmp_path, "--until", "pretrain")
    assert code == 0, output[-4000:]
    assert output.count("rule pretrain") == 1
    assert model.read_bytes() == content


def test_of_two_runs_on_one_tree_the_second_stops_and_the_first_is_whole(tmp_path):
    command = ["snakemake", "--snakefile", ROOT / "workflow/Snakefile", "--profile", ROOT / "profiles" / "default"]
    command += ["--directory", tmp_path, "--configfile", TINY, "--nocolor", "--until", "pretrain"]
    with open(tmp_path / "first.txt", "w") as told:
        first = subprocess.Popen(command, stdout=told, stderr=told, env=REAL, cwd=ROOT)
        while "Execute" not in (tmp_path / "first.txt").read_text() and first.poll() is None:
            time.sleep(0.1)
        code, output = snakemake(tmp_path, "--until", "pretrain")
        assert first.poll() is None, "the first run was over before the second one began"
        assert code != 0
        assert "Directory cannot be locked" in output
        assert first.wait() == 0
    assert job_counts(snakemake(tmp_path, "-n", "--until", "pretrain")[1]) == {}


@pytest.fixture
def repository(tmp_path):
    """A repository with files that DVC tracks, of some size, so that a push takes its time."""
    folder = tmp_path / "repository"
    (folder / "results").mkdir(parents=True)
    for number in range(300):
        (folder / "results" / f"{number}.bin").write_bytes(os.urandom(50_000))
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
    subprocess.run(["git", "init", "-q", folder], check=True)
    assert dvc("add", "-q", "results", cwd=folder)[0] == 0
    return folder


def test_a_remote_that_is_not_there_is_named(repository):
    dvc("remote", "add", "-d", "store", "/proc/no/such/store", cwd=repository)
    code, output = dvc("push", cwd=repository)
    assert code != 0
    assert "/proc/no" in output


def test_an_interrupted_push_goes_on(repository, tmp_path):
    store = tmp_path / "store"
    dvc("remote", "add", "-d", "store", str(store), cwd=repository)
    push = subprocess.Popen(["dvc", "push", "-q", "-j", "1"], env=REAL, cwd=repository, start_new_session=True)
    while push.poll() is None and len(list(store.rglob("*"))) < 50:
        time.sleep(0.01)
    assert push.poll() is None, "the push was over before it could be killed"
    os.killpg(push.pid, signal.SIGKILL)
    push.wait()
    assert dvc("push", "-q", cwd=repository)[0] == 0
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / "results")
    code, output = dvc("pull", "-q", cwd=repository)
    assert code == 0, output
    assert len(list((repository / "results").iterdir())) == 300
    assert "up to date" in dvc("status", cwd=repository)[1]
