"""The conda environment and the pip environment hold the same versions."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # conda-forge's name -> PyPI's


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", sorted((ROOT / "workflow" / "envs").glob("*.yaml")), ids=lambda p: p.name)
def test_conda_environments_pin_what_constraints_pin(path):
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {canonical(name): version.strip() for name, _, version in lines}
    words = [dependency.split() for dependency in yaml.safe_load(path.read_text())["dependencies"]]
    given = {name: rest[0].lstrip("=") for name, *rest in words if rest and name != "python"}
    found = {canonical(NAMES.get(name, name)): version for name, version in given.items()}
    assert len(found) > 10
    assert found == {name: pinned[name] for name in found}
