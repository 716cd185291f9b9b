"""The conda environment and the pip environment hold the same versions, and what the towers of every config need."""

import ast
import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from reliquant import plugins

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "python-xxhash": "xxhash"}  # conda-forge's name -> PyPI's


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", sorted((ROOT / "workflow" / "envs").glob("*.yaml")), ids=lambda p: p.name)
def test_conda_environments_pin_what_constraints_pin(path):
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {canonical(name): version.strip() for name, _, version in lines}
    words = [dependency.split() for dependency in yaml.safe_load(path.read_text())["dependencies"]]
    given = {name: "".join(rest).lstrip("=") for name, *rest in words if name not in ("python", "pip")}
    found = {canonical(NAMES.get(name, name)): version for name, version in given.items()}
    assert len(found) > 10
    assert found == {name: pinned[name] for name in found}  # one without a version is "", and pinned to none
    python = next(rest[0].lstrip("=") for name, *rest in words if name == "python")
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert [int(n) for n in python.split(".")] >= [int(n) for n in oldest.split(".")]
    assert f"python:{python}-" in (ROOT / "Containerfile").read_text()


def needed(entry):
    """What the tower's file imports, and transformers if open_clip's architecture has a tokenizer or tower of it."""
    nodes = list(ast.walk(ast.parse(plugins.source("tower", entry["tower"]).read_text())))
    imports = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    found = {name.partition(".")[0] for name in imports} - {"reliquant", *sys.stdlib_module_names}
    folder = Path(importlib.util.find_spec("open_clip").origin).parent / "model_configs"
    architecture = folder / f"{entry.get('architecture')}.json"
    if entry["tower"] == "openclip" and architecture.is_file():
        text = json.loads(architecture.read_text())["text_cfg"]
        found |= {"transformers"} if text.keys() & {"hf_tokenizer_name", "hf_model_name"} else set()
    return found


def test_siglip_and_align_need_transformers():
    assert needed({"tower": "openclip", "architecture": "ViT-B-16-SigLIP"}) == {"torch", "transformers"}
    assert needed({"tower": "huggingface", "architecture": "kakaobrain/align-base"}) == {"torch", "transformers"}
    assert needed({"tower": "openclip", "architecture": "ViT-B-32"}) == {"torch"}


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_both_environments_have_what_the_towers_of_a_config_need(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + project["optional-dependencies"]["huggingface"]
    pip = {canonical(re.match(r"[\w.-]+", dependency)[0]) for dependency in listed}
    words = yaml.safe_load((ROOT / "workflow" / "envs" / "reliquant.yaml").read_text())["dependencies"]
    conda = {canonical(NAMES.get(name, name)) for name in (word.split()[0] for word in words)}
    for model, entry in yaml.safe_load(path.read_text())["models"].items():
        need = {canonical(name) for name in needed(entry)}
        assert need <= conda, f"{model}: workflow/envs/reliquant.yaml lacks {need - conda}"
        assert need <= pip, f"{model}: pyproject.toml lacks {need - pip}"
