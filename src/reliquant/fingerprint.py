"""Hash the source files that a job really runs, so that an edit reruns exactly what it touches.

They are files of this package, and of somebody else's where a plugin lies in one: found in the sources themselves,
without importing anything.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from reliquant import plugins

INSTALLED = ("site-packages", "dist-packages")
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # of a statement: where the statements in it stand
LARGEST = 2**26  # bytes of a data file that counts as part of a package


def code(module: str, /, *, data: tuple[str, ...] = (), **families: str | Iterable[str]) -> str:
    """Hash the content of a module of this package, of all it imports of the package, and of the named plugins.

    `data` are patterns of package files that the module reads, such as `report/template/*`.

    As a rule's parameter it reruns exactly the jobs whose code changed, whatever the files' times say.
    """
    files: set[Path] = set()
    if path := plugins.file_of(module):
        files.add(path)
    for family, chosen in families.items():
        files |= {plugins.source(family, name) for name in ([chosen] if isinstance(chosen, str) else chosen)}
    read: set[Path] = set()
    for pattern in data:
        read |= {path for path in plugins.PACKAGE.glob(pattern) if path.is_file()}
    return _digest(_closure(frozenset(files)) | frozenset(read))


@cache
def imports(path: Path, /, *, of_types: bool = False) -> set[str]:
    """Name the modules of this package that a source file imports, inside functions too.

    What stands below `if TYPE_CHECKING:` never runs and is left out, unless `of_types` asks for it.
    """
    names: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and not of_types and _is_for_types(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        for part in BLOCKS:
            todo += getattr(node, part, ())
    return {name for name in names if name.split(".")[0] == "reliquant"}


def _is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


@cache
def files_used(path: Path, /) -> list[Path]:
    """List the files of the same author that a source file imports, or names as data beside it.

    These are the modules of its own package, or, where it lies in a folder that is not of installed packages, all that
    lie in that folder, with the `__init__.py` that run with them. What pip has installed beside it is not followed.
    """
    top = _top(path)
    found: list[Path] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _modules(top, path, alias.name)
        elif isinstance(node, ast.ImportFrom):
            found += _imported_from(top, path, node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += _data(path.parent, node.value)
    inits = [folder / "__init__.py" for folder in path.parents if folder != top and folder.is_relative_to(top)]
    return sorted({file for file in [*found, *inits] if file.is_file() and file != path})


@cache
def _digest(files: frozenset[Path], /) -> str:
    digest = hashlib.sha256()
    for path in sorted(files, key=str):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _closure(files: frozenset[Path], /) -> frozenset[Path]:
    seen: set[Path] = set()
    todo = list(files)
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.suffix != ".py":
            continue
        imported = (plugins.file_of(name) for name in imports(path))
        todo += [file for file in imported if file]
        if not path.is_relative_to(plugins.PACKAGE):
            todo += files_used(path)
    return frozenset(seen)


def _top(path: Path) -> Path:
    """Return the folder from which a file is imported: one of sys.path, else the first that is no package."""
    folders = [Path(folder).resolve() for folder in sys.path if folder]
    above = [folder for folder in folders if path.resolve().is_relative_to(folder) and folder.is_dir()]
    if above:
        longest = max(above, key=lambda folder: len(folder.parts))
        return next(parent for parent in path.absolute().parents if parent.resolve() == longest)
    return next(folder for folder in path.parents if not (folder / "__init__.py").is_file())


def _imported_from(top: Path, path: Path, node: ast.ImportFrom) -> Iterator[Path]:
    if node.level:
        base = path.parents[node.level - 1]
        module = base.joinpath(*(node.module or "").split(".")) if node.module else base
        for place in (module, *(module / alias.name for alias in node.names)):
            yield from (place / "__init__.py", place.with_name(f"{place.name}.py"))
        return
    for alias in node.names:
        yield from _modules(top, path, f"{node.module}.{alias.name}")


def _modules(top: Path, path: Path, name: str) -> Iterator[Path]:
    """Yield where a module and the packages above it lie, if they are of the same author."""
    parts = name.split(".")
    if parts[0] == "reliquant":
        return
    own = path.absolute().relative_to(top).parts[0].removesuffix(".py")
    if top.name in INSTALLED and parts[0] != own:
        return
    for end in range(1, len(parts) + 1):
        place = top.joinpath(*parts[:end])
        yield from (place / "__init__.py", place.with_name(f"{place.name}.py"))


def _data(folder: Path, word: str) -> Iterator[Path]:
    """Yield the file beside a source file that a text in it names."""
    if "." not in word or len(word) > 200 or "\0" in word or "\n" in word:
        return
    place = folder / word
    if place.is_file() and place.stat().st_size <= LARGEST:
        yield place
