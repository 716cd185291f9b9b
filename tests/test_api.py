"""`import reliquant` as a notebook uses it, and as the docs show it."""

import ast
import importlib
import re
import subprocess
import sys

import pytest

import reliquant
from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_import_itself_brings_nothing_heavy():
    script = "import sys, reliquant; print([m for m in ('torch', 'numpy', 'polars', 'matplotlib') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(set(reliquant.__all__) - {"__version__"}))
def test_every_name_is_a_documented_function_that_the_page_shows(name):
    assert getattr(reliquant, name).__doc__
    assert f"`{name}(" in PAGE


def test_an_unknown_name_is_refused_with_those_that_are_there():
    with pytest.raises(AttributeError, match=r"no attribute 'open_modle'; there are open_model, "):
        reliquant.open_modle  # noqa: B018


def test_what_type_checkers_see_is_what_the_module_gives():
    seen = {}
    for node in ast.walk(ast.parse((plugins.PACKAGE / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("reliquant."):
            seen |= {alias.name: node.module.removeprefix("reliquant.") for alias in node.names}
    assert seen == reliquant._PLACES
    assert set(reliquant.__all__) == {"__version__", *reliquant._PLACES}
    assert dir(reliquant) == sorted(reliquant.__all__)


def test_the_example_of_the_page_runs(capsys):
    code, _ = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(code, "docs/api.md", "exec"), {})
    fp32, quantized, share = capsys.readouterr().out.splitlines()
    assert fp32.startswith("FP32")
    assert quantized.startswith("W4A8")
    assert fp32[5:] != quantized[5:]
    assert float(share) > 0.5


def test_the_example_of_a_search_runs_and_what_it_finds_got_worse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, code = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    found = {}
    exec(compile(code, "docs/api.md", "exec"), found)
    change = dict(found["change"].select("score", "high").iter_rows())
    assert set(change) == {"", "bits"}
    assert change["bits"] < change[""] < 0


def test_every_module_that_the_page_names_has_the_functions_it_names_with_it():
    named = re.findall(r"`(\w+)\([^`]*\)` of `(reliquant[\w.]+)`", PAGE)
    assert {"read_table", "retrieval_rows", "robustness"} <= {name for name, _ in named}
    for name, module in named:
        assert callable(getattr(importlib.import_module(module), name))
