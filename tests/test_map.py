"""docs/design.md is the map of the house: every file and function that it names is there."""

import ast
import re

import pytest

from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]
MAP = (ROOT / "docs" / "design.md").read_text()
STATIONS = re.findall(r"`([a-z_]+/[a-z_/]+\.py|[a-z_]+\.py)(?:: ([\w.]+))?`", MAP)


def defined(path):
    """Name the functions, classes and methods of a file."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        names.add(getattr(node, "name", None))
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def test_the_map_has_stations():
    assert sum(bool(function) for _, function in STATIONS) > 20


@pytest.mark.parametrize(("file", "function"), sorted({(f, n) for f, n in STATIONS if "/" in f and f != "tests/"}))
def test_a_station_is_there(file, function):
    path = ROOT / file if file.startswith("tests/") else plugins.PACKAGE / file
    assert path.is_file(), file
    assert not function or function in defined(path), f"{file} has no {function}"


def test_every_room_is_on_the_map_in_its_order():
    rooms = re.findall(r"^\| `([a-z]+)/` \|", MAP, re.M)
    there = {path.name for path in plugins.PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert set(rooms) == there
