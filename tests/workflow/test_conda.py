"""The small study with each rule alone in its declared environment; skipped without a `conda`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from forked_programs import real_path

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("conda") is None, reason="no conda on the path")
def test_every_rule_runs_in_its_environment_alone(tmp_path):
    command = [
        "snakemake",
        "--snakefile",
        ROOT / "workflow/Snakefile",
        "--cores",
        "2",
        "--use-conda",
        "--directory",
        tmp_path,
    ]
    command += ["--profile", ROOT / "profiles" / "default", "--configfile", ROOT / ".test" / "config" / "config.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": real_path()}, cwd=ROOT)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    assert output.count("Activating conda environment") > 50  # every job but `all`
    assert (tmp_path / "reports" / "tiny" / "report.html").is_file()
