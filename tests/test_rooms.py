"""Who may import whom, read from the code's own imports (docs/design.md)."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest

from reliquant import fingerprint, plugins

ORDER = [  # a room imports what stands before it, and nothing else of the package
    "root",
    "forking",
    "files",
    "download",
    "measures",
    "study",
    "images",
    "models",
    "report",
    "layers",
    "quantization",
    "evaluation",
    "stored",
    "deploy",
    "cli",
    "steps",
]
AT_THE_ROOT = {"__init__", "plugins", "grid", "progress", "device", "names", "fingerprint"}
NEVER_IMPORTED = ("cli", "steps")
TORCH_FREE_ROOMS = ("files", "download", "measures", "study", "report", "stored")
TORCH_FREE = ["plugins", "fingerprint", "grid", "names", "progress", "evaluation.features", "evaluation.records"]
TORCH_FREE += ["evaluation.measure", "evaluation.explain_rows", "evaluation.scoring", "cli.main", "cli.plan"]
FAMILIES = [f"reliquant.{package}" for package in plugins.FAMILIES.values()]
ALLOWED_IN_RULES = {
    "from reliquant import fingerprint, plugins",
    "from reliquant.study import deployment, made_of, paths, placed, retrieval, sensitivity",
    "from reliquant.study.check import read_study",
    "from reliquant.study.slices import sliced",
}


@cache
def modules():
    paths = sorted(plugins.PACKAGE.rglob("*.py"))
    return [(p.relative_to(plugins.PACKAGE).with_suffix("").as_posix().replace("/", "."), p) for p in paths]


def room(module):
    """Name the room of a dotted name below the package: its first folder, or the root."""
    first = module.split(".")[0]
    return first if (plugins.PACKAGE / first).is_dir() else "root"


@cache
def imported(path):
    """Name the modules of the package that a file imports, without the folders that they lie in."""
    if path == plugins.PACKAGE / "__init__.py":
        return set()  # it names the whole API, and imports none of it before it is used
    names = {name.removeprefix("reliquant").lstrip(".") for name in fingerprint.imports(path, of_types=True)}
    return {name for name in names if name and plugins.file_of(f"reliquant.{name}") and not is_folder(name)}


def is_folder(module):
    return plugins.PACKAGE.joinpath(*module.split(".")).is_dir()


def test_every_room_has_its_place_in_the_order():
    rooms = {path.name for path in plugins.PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms - set(ORDER) == set()


def test_only_what_everything_may_use_lies_at_the_root():
    assert {path.stem for path in plugins.PACKAGE.glob("*.py")} <= AT_THE_ROOT
    others = {path.name for path in plugins.PACKAGE.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others <= {"py.typed"}


@pytest.mark.parametrize("name", ORDER)
def test_a_room_imports_only_rooms_before_it(name):
    for module, path in modules():
        if room(module) == name:
            for other in imported(path):
                place = ORDER.index(room(other))
                assert room(other) == name or place < ORDER.index(name), f"{module} imports {other}"


def test_no_module_imports_itself_through_others():
    arrows = {module: imported(path) for module, path in modules()}
    done, on_the_way = set(), []

    def visit(module):
        assert module not in on_the_way, f"a circle: {on_the_way[on_the_way.index(module) :]}"
        if module not in done:
            on_the_way.append(module)
            for other in arrows.get(module, ()):
                visit(other)
            done.add(on_the_way.pop())

    for module in arrows:
        visit(module)


def test_nobody_imports_the_command_line_or_the_steps():
    for module, path in modules():
        for other in imported(path):
            assert room(other) not in NEVER_IMPORTED or room(other) == room(module), f"{module} imports {other}"


def test_rooms_hold_nothing_but_a_docstring_of_their_own():
    for module, path in modules():
        if path.stem == "__init__" and module not in ("__init__", "steps.__init__"):
            body = ast.parse(path.read_text()).body
            assert len(body) == 1, module
            assert isinstance(body[0].value.value, str), module


def test_families_never_import_each_other_nor_themselves():
    for module, path in modules():
        package = f"reliquant.{module}".rpartition(".")[0]
        if package in FAMILIES and path.stem != "__init__":
            others = {other for other in imported(path) if f"reliquant.{other}".rpartition(".")[0] in FAMILIES}
            assert not others, f"{module} imports {others}"


def test_rules_import_only_the_study_and_the_plugins():
    root = plugins.PACKAGE.parents[1]
    for path in [root / "workflow" / "Snakefile", *sorted((root / "workflow" / "rules").glob("*.smk"))]:
        for line in path.read_text().splitlines():
            if "reliquant" in line and line.lstrip().startswith(("import ", "from ")):
                assert line in ALLOWED_IN_RULES, f"{path}: {line}"


def test_measures_reports_and_config_need_no_torch():
    named = [module for module, path in modules() if room(module) in TORCH_FREE_ROOMS and path.stem != "__init__"]
    script = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"reliquant.{name}")
    assert "torch" not in sys.modules, name
"""
    run = subprocess.run([sys.executable, "-c", script, *TORCH_FREE, *named], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@cache
def packages(path):
    """Name the packages that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("family", ["score", "corruption", "figure", "table"])
def test_torch_free_families_are_torch_free(family):
    for name in plugins.names(family):
        for path in fingerprint._closure(frozenset({plugins.source(family, name)})):
            assert not packages(path) & {"torch", "open_clip", "timm"}, f"{name} reaches torch in {path}"


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


def covered_elsewhere():
    """Read the table of tests/README.md: patterns of modules, and the test file of each."""
    page = (plugins.PACKAGE.parents[1] / "tests" / "README.md").read_text()
    table = page.partition("## Modules without a test file")[2]
    lines = re.findall(r"^\| (`[^|]+) \| `([^`]+)` \|$", table, re.M)
    patterns = {}
    for modules_named, file in lines:
        for named in re.findall(r"`([^`]+)`", modules_named):
            start, brace, names = named.partition("{")
            for name in names.rstrip("}").split(",") if brace else [""]:
                patterns[start + name] = file
    return patterns


def test_every_module_has_a_test_of_its_name_or_a_line_that_says_which_covers_it():
    root, patterns = plugins.PACKAGE.parents[1], covered_elsewhere()
    assert len(patterns) > 30
    used = set()
    for module, path in modules():
        place = path.relative_to(plugins.PACKAGE)
        if path.stem == "__init__" or (root / "tests" / place.parent / f"test_{path.stem}.py").is_file():
            continue
        name = place.with_suffix("").as_posix()
        exact = name if name in patterns else f"{place.parent.as_posix()}/*"
        assert exact in patterns, f"{module} has no test file of its name; add one, or a line to tests/README.md"
        used.add(exact)
    assert set(patterns) == used, "lines of tests/README.md that no module needs"


@pytest.mark.parametrize("file", sorted(set(covered_elsewhere().values())))
def test_a_file_that_covers_other_modules_is_there(file):
    assert "\ndef test_" in (plugins.PACKAGE.parents[1] / file).read_text()
