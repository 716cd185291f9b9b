"""A model that a job made and that somebody changed by hand is noticed before anything runs, by real Snakemake."""

import os
import shutil
from pathlib import Path

import pytest
from dry_run import job_counts
from forked_programs import forked_path, run_snakemake

from reliquant.files.artifacts import load_tensors, save_tensors

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "chaos" / "tiny.yaml"
MODEL, RECORD = "data/models/vit.safetensors", "data/models/vit.made.json"


def snakemake(folder, *words):
    command = ["--snakefile", ROOT / "workflow/Snakefile", "--cores", "2", "--nocolor"]
    command += ["--profile", ROOT / "profiles" / "default", "--configfile", TINY, *words]
    env = {**os.environ, "PATH": forked_path()}
    done = run_snakemake(*command, cwd=folder, env=env)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    code, told = snakemake(folder, "--until", "pretrain")
    assert code == 0, told[-4000:]
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A copy whose files have other times: that is no change."""
    shutil.copytree(made, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (1, 1))
    code, told = snakemake(tmp_path / "copy", "-n", "--until", "pretrain")
    assert (code, job_counts(told)) == (0, {}), told[-2000:]
    return tmp_path / "copy"


def another(copy):
    """A whole file of other weights, as somebody's own training may write it."""
    arrays, header = load_tensors(copy / MODEL)
    save_tensors(copy / MODEL, {name: array + 1 for name, array in arrays.items()}, header)


def flipped(copy):
    """One bit, with the size and the time as before."""
    content, times = bytearray((copy / MODEL).read_bytes()), (copy / MODEL).stat()
    content[-5] ^= 1
    (copy / MODEL).write_bytes(content)
    os.utime(copy / MODEL, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [another, flipped])
def test_a_model_that_was_changed_by_hand_stops_the_study_until_it_is_deleted(copy, change):
    change(copy)
    code, told = snakemake(copy, "-n")
    assert code != 0
    (line,) = [line for line in told.splitlines() if MODEL in line]
    assert f"{MODEL}: changed since it was made: it is not the file that {RECORD} tells of" in line
    assert "Delete both, and it is made again" in line
    (copy / MODEL).unlink()
    (copy / RECORD).unlink()
    code, told = snakemake(copy, "-n", "--until", "pretrain")
    assert (code, "rule pretrain" in told) == (0, True), told[-2000:]


def test_a_record_that_is_damaged_is_named_and_one_that_is_gone_asks_for_nothing(copy):
    (copy / RECORD).write_text("{}")
    code, told = snakemake(copy, "-n")
    assert (code != 0, f"{RECORD}: has no digest" in told) == (True, True), told[-2000:]
    (copy / RECORD).unlink()
    assert snakemake(copy, "-n")[0] == 0
