"""The types and defaults of a study config, from the model that checks it (`reliquant.study.config`)."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from markup import code, docstring, prose, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reliquant.study import config

ALIASES = {"Name": config.Name, "Device": config.Device, "Place": config.Place, "Entry": config.Entry}
SPOKEN = {"Name": "name", "Device": "device", "Place": "path", "Entry": "entry"}
PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    type(None): "`null`",
    Any: "anything",
}
BOUNDS = {
    Ge: ("ge", "at least"),
    Gt: ("gt", "above"),
    Le: ("le", "at most"),
    Lt: ("lt", "below"),
    MinLen: ("min_length", "at least this many:"),
}


def parts() -> str:
    """Write a table for the config, for each of its parts, and for the keys of entries that no plugin takes."""
    models = [config.Config, *_inner(config.Config)]
    for keys in config.STUDY_KEYS.values():
        for kind in keys.values():
            for part in _models(kind):
                models += [part, *_inner(part)]
    sections = [_part(model) for model in dict.fromkeys(models)]
    return "\n\n".join([*sections, _study_keys()])


def _inner(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Find the parts inside a part, in the order of their keys."""
    found: list[type[BaseModel]] = []
    for field in model.model_fields.values():
        for part in _models(field.annotation):
            found += [part, *_inner(part)]
    return list(dict.fromkeys(found))


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for inner in get_args(kind) for model in _models(inner)]


def _part(model: type[BaseModel]) -> str:
    title = "The config itself" if model is config.Config else f"`{model.__name__.lower()}`"
    lines = [[code(name), _told(field), _default(field)] for name, field in model.model_fields.items()]
    body = table(["key", "takes", "default"], lines)
    return f"({_anchor(model)})=\n### {title}\n\n{docstring(model.__doc__ or '')}\n\n{body}"


def _anchor(model: type[BaseModel]) -> str:
    return f"config-{model.__name__.lower()}"


def _told(field: FieldInfo) -> str:
    return spoken(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "" if default is None else prose(f"`{_yaml(default)}`")


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return '""' if value == "" else str(value)


def spoken(kind: Any, /) -> str:
    """Say in words what a key takes; Markdown."""
    for name, alias in ALIASES.items():
        if kind == alias:
            return SPOKEN[name]
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and origin is None and issubclass(kind, BaseModel):
        return f"[{kind.__name__.lower()}](#{_anchor(kind)})"
    if origin is Annotated:
        return " ".join([spoken(inner[0]), *_bounds(inner[1:])])
    if origin is Literal:
        return ", ".join(code(str(word)) for word in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(spoken(one) for one in inner if one is not type(None))
    if origin is list:
        return f"list of: {spoken(inner[0])}"
    if origin is dict:
        return f"mapping of {spoken(inner[0])} to: {spoken(inner[1])}"
    return PLAIN.get(kind) or code(str(kind))


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    said = []
    for one in metadata:
        for bound in getattr(one, "metadata", [one]):  # pydantic's Field gathers several
            for kind, (attribute, words) in BOUNDS.items():
                if isinstance(bound, kind):
                    said.append(f"{words} {getattr(bound, attribute)}")
    return [f"({', '.join(said)})"] if said else []


def _study_keys() -> str:
    lines = []
    for section, keys in config.STUDY_KEYS.items():
        for key, kind in keys.items():
            family = config.FAMILY_OF.get(section, "lexicon")
            lines.append(
                [
                    code(f"{section}.<name>.{key}" if section in config.FAMILY_OF else f"{section}.{key}"),
                    spoken(kind),
                    family,
                ]
            )
    told = "Keys of entries that the study itself reads; all other words of an entry go to the plugin that it names."
    return f"### Keys of entries\n\n{told}\n\n" + table(["key", "takes", "beside the words of a"], lines)
