"""Which files a plugin of somebody else's package is made of: found in its source, without importing anything."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
LARGEST = 2**26  # bytes of a data file that counts as part of a package


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
