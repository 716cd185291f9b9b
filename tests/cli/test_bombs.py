"""A stranger's config is read within limits before Snakemake reads it without."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["plan", "study"])
def test_a_config_of_mappings_that_repeat_one_another_never_reaches_snakemake(tmp_path, target, at_most):
    lines = ["a0: &a0 {b: 1, c: 1, d: 1}"]
    lines += [f"a{i}: &a{i} {{b: *a{i - 1}, c: *a{i - 1}, d: *a{i - 1}}}" for i in range(1, 40)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "reliquant.cli.main", "plan", tmp_path / "bomb.yaml"]
    if target == "study":
        command = ["make", "--old-file=env", "study", f"CONFIG={tmp_path / 'bomb.yaml'}"]
    with at_most(30):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert "bomb.yaml: no YAML: YAML: 1" in done.stderr
    assert "snakemake" not in done.stdout
