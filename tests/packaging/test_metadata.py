"""What pyproject.toml and the files beside it say of the package, compared with its code and with one another."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import reliquant
from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CALLED = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "open_clip": "open-clip-torch"}  # by pip
CALLED |= {"pydantic_core": "pydantic", "reliquant_lab": "reliquant-lab"}


def named(requirements):
    return {re.match(r"[\w.-]+", each)[0].lower().replace("_", "-") for each in requirements}


def imported(path):
    """Name what a file imports of other packages: what it cannot be imported without, and all."""
    tree = ast.parse(path.read_text())
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    needed, found = set(), set()
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        tops = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"reliquant", "__future__"}
        packages = {CALLED.get(top, top).lower().replace("_", "-") for top in tops}
        found |= packages
        needed |= set() if id(node) in inside else packages
    return needed, found


def test_what_the_package_imports_is_declared():
    core, extras = named(PROJECT["dependencies"]), set().union(*(named(EXTRAS[each]) for each in EXTRAS))
    used = {"itables"}  # whose files the report's page takes
    for path in plugins.PACKAGE.rglob("*.py"):
        needed, found = imported(path)
        own = core | named(EXTRAS["deploy"]) if path.parent.name == "deploy" else core
        assert needed <= own, f"{path}: {needed - own} is imported, and not declared"
        assert found <= core | extras, f"{path}: {found - core - extras} is in no extra"
        used |= found
    assert core <= used, f"nothing imports {core - used}"


def test_all_has_every_extra_that_a_user_may_want():
    (words,) = EXTRAS["all"]
    wanted = set(re.search(r"\[(.+)\]", words)[1].split(","))
    for_developers = {"dev", "clones", "oracles", "docs", "benchmarks", "all"}
    assert wanted == EXTRAS.keys() - for_developers


def test_torch_is_a_range_and_its_pin_is_in_the_constraints_alone():
    torch = [each for each in PROJECT["dependencies"] if each.startswith("torch")]
    assert len(torch) == 2
    assert all(re.fullmatch(r"torch(vision)?>=[\d.]+", each) for each in torch)
    assert {"torch==", "torchvision=="} <= set(re.findall(r"^torch\w*==", (ROOT / "constraints.txt").read_text(), re.M))


def test_what_is_pinned_runs_on_the_oldest_python_that_is_promised():
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    tried = []
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M):
        try:
            found = metadata(name)
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        if found["Version"] == version:
            assert SpecifierSet(found["Requires-Python"] or "").contains(oldest), f"{name} {version} needs a newer one"
            tried.append(name)
    assert len(tried) > 100


def test_the_extra_lab_takes_the_data_of_this_clone():
    lab = tomllib.loads((ROOT / "src" / "reliquant_lab" / "pyproject.toml").read_text())["project"]
    assert lab["name"] == "reliquant-lab"
    assert f"reliquant-lab=={lab['version'].split('.')[0]}.*" in EXTRAS["lab"]
    assert (ROOT / "src" / "reliquant_lab" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_citation_and_code_metadata_tell_the_same_of_software_and_study():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    meta = json.loads((ROOT / "codemeta.json").read_text())
    assert cited["version"] == meta["version"] == reliquant.__version__
    assert str(cited["date-released"]) == meta["dateModified"]
    assert cited["license"] == PROJECT["license"] == meta["license"].rpartition("/")[2]
    assert cited["abstract"] == PROJECT["description"] == meta["description"]
    (study,) = cited["references"]
    assert study["title"] == meta["referencePublication"]["name"]
    assert study["identifiers"][0]["value"] == meta["referencePublication"]["identifier"] == "arXiv:2509.21173"


def test_the_address_of_the_repository_stands_in_one_place():
    address = PROJECT["urls"]["Homepage"].removeprefix("https://")
    found = subprocess.run(["git", "grep", "-lF", address], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert found == ["pyproject.toml"]


@pytest.mark.parametrize("name", ["CITATION.cff", "codemeta.json", "CODE_OF_CONDUCT.md", "SECURITY.md", "LICENSE"])
def test_what_a_host_of_repositories_shows_is_there(name):
    assert (ROOT / name).stat().st_size > 200
