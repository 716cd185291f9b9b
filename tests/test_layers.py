"""Who may import whom, read from the code's own imports (docs/design.md)."""

import ast
import subprocess
import sys

import pytest

from reliquant import plugins

FAMILIES = [plugins.folder(f).name for f in plugins.FAMILIES]
TORCH_FREE = ["spectrum", "fourier", "controls", "explained", "behind", "binning"]
TORCH_FREE += ["accuracy", "calibration", "detection", "shift", "stats", "measure", "features", "records", "study"]


def modules():
    for path in sorted(plugins.PACKAGE.rglob("*.py")):
        yield path.relative_to(plugins.PACKAGE).with_suffix("").as_posix().replace("/", "."), path


def test_nothing_imports_the_steps():
    for module, path in modules():
        if not module.startswith("steps"):
            assert not any(name.startswith("reliquant.steps") for name in plugins.imports(path)), module


def test_families_never_import_each_other_nor_themselves():
    for module, path in modules():
        family = module.split(".")[0]
        if family in FAMILIES and not module.endswith("__init__"):
            others = {n.split(".")[1] for n in plugins.imports(path) if len(n.split(".")) > 1} & set(FAMILIES)
            assert not others, f"{module} imports the family {others}"


def test_rules_import_only_the_study_and_the_plugins():
    root = plugins.PACKAGE.parents[1]
    for path in [root / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))]:
        for line in path.read_text().splitlines():
            if "reliquant" in line and line.lstrip().startswith(("import ", "from ")):
                assert line in ("from reliquant import plugins", "from reliquant.study import Study"), f"{path}: {line}"


@pytest.mark.parametrize("module", TORCH_FREE)
def test_measures_and_config_need_no_torch(module):
    script = f"import sys, reliquant.{module}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


@pytest.mark.parametrize("family", ["score", "corruption", "figure", "table"])
def test_torch_free_families_are_torch_free(family):
    for name in plugins.names(family):
        for path in plugins._closure(frozenset({plugins.source(family, name)})):
            tree = ast.parse(path.read_text())
            names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
            names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
            roots = {n.split(".")[0] for n in names}
            assert not roots & {"torch", "open_clip", "timm"}, f"{name} reaches torch in {path}"


def test_no_pickle_and_no_eval():
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), module
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                assert not any(n.split(".")[0] in ("pickle", "dill", "joblib", "shelve") for n in names), module


def test_every_step_has_the_name_of_its_rule():
    root = plugins.PACKAGE.parents[1]
    rules = {
        line.split()[1].rstrip(":")
        for path in (root / "workflow" / "rules").glob("*.smk")
        for line in path.read_text().splitlines()
        if line.startswith("rule ")
    }
    steps = {p.stem for p in (plugins.PACKAGE / "steps").glob("*.py")} - {"__init__"}
    assert rules == steps
