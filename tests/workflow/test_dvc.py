"""The study under real DVC, in a throw-away clone: reproduce, nothing to do, clone and pull, nothing to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")


def run(*command, cwd):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of this tree whose lab is one small model, reproduced and pushed to a folder."""
    folder = tmp_path_factory.mktemp("dvc")
    repo = folder / "repo"
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, repo / name)
    config = {**yaml.safe_load(TINY.read_text()), "study": "lab"}
    del config["models"]["convnext"], config["schemes"]["lsq"], config["suites"]["noise"]
    config["shards"]["most"].remove("noise")
    (repo / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    run("git", "init", "-q", cwd=repo)
    run("git", "config", "user.email", "tests@example.org", cwd=repo)
    run("git", "config", "user.name", "tests", cwd=repo)
    run("dvc", "remote", "add", "-d", "store", str(folder / "store"), cwd=repo)
    run("dvc", "repro", "-q", cwd=repo)
    run("git", "add", "-A", cwd=repo)
    run("git", "commit", "-qm", "a study", cwd=repo)
    run("dvc", "push", "-q", cwd=repo)
    return repo


def test_after_a_run_both_tools_have_nothing_to_do(clone):
    assert "up to date" in run("dvc", "status", cwd=clone)
    assert "didn't change, skipping" in run("dvc", "repro", cwd=clone)
    assert "Nothing to be done" in run("snakemake", cwd=clone)


def test_metrics_and_plots_show_something(clone):
    assert "reports/lab/summary.json" in run("dvc", "metrics", "show", cwd=clone)
    assert "file://" in run("dvc", "plots", "show", cwd=clone)


def test_a_fresh_clone_pulls_and_has_nothing_to_do(clone, tmp_path):
    run("git", "clone", "-q", str(clone), str(tmp_path / "fresh"), cwd=tmp_path)
    run("dvc", "pull", "-q", cwd=tmp_path / "fresh")
    assert (tmp_path / "fresh" / "reports" / "lab" / "report.html").is_file()
    assert "up to date" in run("dvc", "status", cwd=tmp_path / "fresh")
    assert "Nothing to be done" in run("snakemake", cwd=tmp_path / "fresh")
