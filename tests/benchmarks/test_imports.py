"""Benchmarks are run by hand, far apart: what they import of the package is looked up here."""

import ast
import importlib

import pytest

from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_package_is_there(path):
    missing = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "reliquant":
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name) and not plugins.file_of(f"{node.module}.{name.name}"):
                    missing.append(f"{node.module}.{name.name}")
    assert missing == []
