"""Bind a config entry to its function.

`{quantizer: rtn, momentum: 0.1}` calls `reliquant/quantization/quantizers/rtn.py: quantizer(..., momentum=0.1)`. The
folder is the registry and the signature, read from the source without importing it, is the schema. So a config is
checked before any job, in milliseconds, without torch, and even where a plugin's own dependencies are not installed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache, partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model

from reliquant.grid import Bits, Grid, share_problems
from reliquant.names import module_problem, visible

PACKAGE = Path(__file__).parent
FAMILIES = {  # family -> the package of its plugins
    "tower": "models.towers",
    "quantizer": "quantization.quantizers",
    "dataset": "images.datasets",
    "lexicon": "evaluation.lexicons",
    "corruption": "images.corruptions",
    "score": "evaluation.scores",
    "index": "measures.indexes",
    "loss": "models.losses",
    "figure": "report.figures",
    "table": "report.tables",
}
Entry = Mapping[str, Any]
Words = dict[str, tuple[Any, Any]]  # name -> (annotation, default, or `...` where the word must be given)
_tree = cache(ast.parse)  # of a text: a check of a study asks for the same few files a hundred times


class ConfigError(ValueError):
    """A config is wrong; `problems` lists everything that is, each with key, what is wrong and what is allowed."""

    def __init__(self, problems: Iterable[str], /) -> None:
        self.problems = [re.sub(r"(\S{300})\S+", r"\1...", visible(problem)) for problem in problems]
        super().__init__("\n".join(self.problems))


@cache
def folder(family: str, /) -> Path:
    """Return the folder whose files are the plugins of a family."""
    return PACKAGE.joinpath(*FAMILIES[family].split("."))


def names(family: str, /) -> list[str]:
    """List the plugins of a family."""
    return list(_names(folder(family)))


def source(family: str, name: str, /) -> Path:
    """Find the file of a plugin: a name in the family's folder, or a dotted path to a module elsewhere.

    Raises ConfigError with the allowed names.
    """
    if isinstance(name, str) and name in names(family):
        return folder(family) / f"{name}.py"
    if isinstance(name, str) and not module_problem(name):
        if path := file_of(name):
            return path
        raise ConfigError([f"{family} {name!r}: there is no such Python module"])
    raise ConfigError([f"{unknown(family, name, names(family))}, or a module of your own, my_package.my_module"])


def unknown(kind: str, word: object, allowed: Iterable[str], /) -> str:
    """Say that a word is unknown, what is allowed, and what was perhaps meant."""
    allowed = sorted(allowed)
    near = get_close_matches(str(word), allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{kind} {word!r} is unknown{hint}; there are {', '.join(allowed)}"


@cache
def words(path: Path, function: str, /) -> Words:
    """Read the words that a function in a source file takes: name -> (annotation, default or `...`).

    These are its keyword-only parameters and, if it ends in `**name: Unpack[SomeWords]`, the keys of that TypedDict. A
    shared word that the function names itself, too, has the annotation and the default that the function gives it.
    """
    for node in _parsed(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            own = _keyword_only(node.args)
            shared = _unpacked(path, node.args.kwarg)
            return {word: said for word, said in own.items() if word not in shared} | shared | own
    raise ConfigError([f"{path} has no function {function!r}"])


@cache
def _parsed(path: Path, /) -> ast.Module:
    """Parse a source file; raise ConfigError naming the line that is no Python."""
    try:
        return _tree(path.read_text())
    except SyntaxError as error:
        raise ConfigError([f"{path}: line {error.lineno} is no Python: {error.msg}"]) from error


def _keyword_only(arguments: ast.arguments) -> Words:
    own: Words = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else "Any"
        own[argument.arg] = (annotation, ... if default is None else ast.literal_eval(default))
    return own


def _unpacked(path: Path, argument: ast.arg | None) -> Words:
    """Read the words of `**name: Unpack[SomeWords]`; any other `**name` takes no words of a config."""
    annotation = argument.annotation if argument else None
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).rpartition(".")[2] == "Unpack":
        return _typed_dict(path, ast.unparse(annotation.slice))
    return {}


@cache
def _typed_dict(path: Path, name: str, /) -> Words:
    """Read the keys of a TypedDict that a file defines, or imports by `from ... import ...`, without importing it.

    Their defaults stand in the literal beside it: `DEFAULTS: SomeWords = {...}`, whatever its name. A key without one
    must be given.
    """
    keys: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _typed_dict(_imported_file(path, node), alias.name)
        elif isinstance(node, ast.ClassDef) and node.name == name and "TypedDict" in map(ast.unparse, node.bases):
            lines = [line for line in node.body if isinstance(line, ast.AnnAssign)]
            keys = {ast.unparse(line.target): ast.unparse(line.annotation) for line in lines}
        elif isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.annotation) == name:
            defaults = ast.literal_eval(node.value)
    if not keys:
        raise ConfigError([f"{path}: {name} is no class of TypedDict in that file, nor imported by `from ... import`"])
    return {key: (annotation, defaults.get(key, ...)) for key, annotation in keys.items()}


def _imported_file(path: Path, node: ast.ImportFrom) -> Path:
    """Find the file of the module in `from module import ...`; each leading dot is one folder up from the file."""
    module = node.module or ""
    if node.level:
        file = path.parents[node.level - 1].joinpath(*module.split(".")).with_suffix(".py")
    else:
        file = file_of(module) or Path()
    if not file.is_file():
        raise ConfigError([f"{path} imports from {'.' * node.level}{module}: there is no such Python module"])
    return file


def check_words(path: Path, function: str, given: Entry, /) -> list[str]:
    """Validate words against the function's signature; return the problems."""
    fields = words(path, function)
    wrong = [f"{w}: unknown word; {path.stem} takes {', '.join(fields) or 'none'}" for w in given if w not in fields]
    try:
        _schema(path, function).validate_python({w: v for w, v in given.items() if w in fields})
    except ValidationError as error:
        for e in error.errors():
            where = ".".join(str(part) for part in e["loc"])
            if e["type"] == "missing":
                wrong.append(f"{where}: missing; {path.stem} needs it ({fields[where][0]})")
            else:
                wrong.append(f"{where}: {e['msg'].removeprefix('Value error, ')}, got {e['input']!r}")
    return wrong


def json_schema(path: Path, function: str, /) -> dict[str, Any]:
    """Return the JSON Schema of the words that a function in a source file takes, for editors."""
    return _schema(path, function).json_schema()


def check(family: str, entry: object, /) -> list[str]:
    """Return what is wrong with an entry of a family, nothing if it can be bound."""
    if not isinstance(entry, Mapping) or family not in entry:
        return [f"{entry!r} must be a mapping with the key {family!r}; there are {', '.join(names(family))}"]
    try:
        path = source(family, entry[family])
        given = {word: value for word, value in entry.items() if word != family}
        problems = check_words(path, family, given) + share_problems(given)
        for word, value in given.items():
            for inner_family, inner in entries(value):
                problems += [f"{word}: {problem}" for problem in check(inner_family, inner)]
        return problems
    except ConfigError as error:
        return error.problems


def entries(value: Any, /) -> list[tuple[str, Entry]]:
    """Find the entries inside a word's value, such as the losses of a quantizer: (family, entry) pairs."""
    pairs = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Mapping):
            pairs += [(family, item) for family in FAMILIES if family in item]
    return pairs


def load(family: str, entry: Entry, /) -> partial[Any]:
    """Import the plugin that an entry names and bind the entry's words; raise ConfigError if it cannot be.

    >>> load("score", {"score": "mcm", "temperature": 2.0}).keywords
    {'temperature': 2.0}
    """
    if problems := check(family, entry):
        raise ConfigError(f"{family} {entry.get(family)!r}: {p}" for p in problems)
    given = {k: v for k, v in entry.items() if k != family}
    values = _schema(source(family, entry[family]), family).validate_python(given)
    bound = {w: getattr(values, w) for w in given}
    return partial(getattr(module(family, entry[family]), family), **bound)


def module(family: str, name: str, /) -> ModuleType:
    """Import a plugin's file: one of the package's, or a module of the user's; ConfigError where that fails."""
    try:
        return importlib.import_module(name if "." in name else f"reliquant.{FAMILIES[family]}.{name}")
    except Exception as error:  # of anybody's code
        raise ConfigError([f"{family} {name!r} cannot be imported: {type(error).__name__}: {error}"]) from error


def bound(function: partial[Any], /) -> Entry:
    """Return the words of what `load` returned, given ones and defaults.

    >>> bound(load("score", {"score": "gen", "gamma": 0.5}))["gamma"]
    0.5
    """
    own = words(Path(inspect.getfile(function.func)), function.func.__name__)
    return {word: default for word, (_, default) in own.items()} | function.keywords


def published(family: str, name: str, /) -> bool:
    """Whether a plugin says where its files are published: it has SOURCES, or a function `sources` of its words."""
    functions = {node.name for node in _parsed(source(family, name)).body if isinstance(node, ast.FunctionDef)}
    return "sources" in functions or _assigned(family, name, "SOURCES") is not None


def needs(family: str, name: str, /) -> str:
    """Read the literal NEEDS of a plugin's file, such as a score's `train`; "" if it has none."""
    return literal(family, name, "NEEDS")


def how(family: str, name: str, /) -> str:
    """Read the literal HOW of a plugin's file, where to get what people place by hand; "" if it has none."""
    return " ".join(literal(family, name, "HOW").split())


def place(family: str, name: str, /) -> str | None:
    """Read the literal PLACE, the folder below its root that people fill by hand, words in braces; None without one."""
    return literal(family, name, "PLACE")


def literal(family: str, name: str, constant: str, /) -> Any:
    """Read a literal that a plugin's file assigns to a constant; "" if it has none."""
    value = _assigned(family, name, constant)
    return "" if value is None else ast.literal_eval(value)


def _assigned(family: str, name: str, constant: str) -> ast.expr | None:
    for node in _parsed(source(family, name)).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == constant for target in targets):
            return node.value
    return None


def described(family: str, name: str, /) -> str:
    """Read the docstring of a plugin's function."""
    nodes = _parsed(source(family, name)).body
    return next(ast.get_docstring(n) or "" for n in nodes if isinstance(n, ast.FunctionDef) and n.name == family)


@cache
def _names(folder: Path, /) -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__"))


@cache
def file_of(module: str, /) -> Path | None:
    """Find a module's file; nothing is imported for it, neither the module nor the packages that it lies in."""
    first, *parts = module.split(".")
    if first == "reliquant":
        base = PACKAGE.joinpath(*parts)
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        return path if path.is_file() else None
    spec = None if first == "__main__" else importlib.util.find_spec(first)
    for part in parts:  # by their last names: whoever asks for `package.part` has the package imported
        places = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(part, list(places)) if places else None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


@cache
def _schema(path: Path, function: str, /) -> TypeAdapter[Any]:
    forbid = ConfigDict(extra="forbid")
    model = create_model("Words", __config__=forbid, **words(path, function))  # type: ignore[call-overload]
    known = {"Grid": Grid, "Bits": Bits, "Literal": Literal, "Any": Any, "Annotated": Annotated, "Field": Field}
    model.model_rebuild(_types_namespace=known)
    return TypeAdapter(model)
