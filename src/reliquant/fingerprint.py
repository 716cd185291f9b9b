"""Hash the source files that a job really runs, so that an edit reruns exactly what it touches."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from reliquant import foreign, plugins


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
        if isinstance(node, ast.If) and not of_types and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        todo += ast.iter_child_nodes(node)
    return {name for name in names if name.split(".")[0] == "reliquant"}


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
            todo += foreign.files_used(path)
    return frozenset(seen)
