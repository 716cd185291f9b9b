"""Write `config/schema/config.schema.yaml`, a JSON Schema of study configs: editors complete and explain keys by it.

`python tools/config_schema.py` writes it; a test keeps it equal to what this gives. It is made of the model of a
config (`study/config.py`), of the plugins' signatures and docstrings, and of the table in `config/README.md`, whose
rows become what an editor shows of a key. A plugin of one's own, `my_package.my_module`, may take any words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from reliquant import names, plugins
from reliquant.files.artifacts import whole
from reliquant.grid import FORMATS, SHARES
from reliquant.study import form, pieces
from reliquant.study.config import FAMILY_OF, NOT_OF_SCHEMES, STUDY_KEYS, Config

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "config" / "schema" / "config.schema.yaml"
Schema = dict[str, Any]
MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"  # a plugin outside the package
SECTIONS = {**FAMILY_OF, "negatives": "lexicon"}
INNER = {"losses": "loss"}  # words of plugins that are lists of other plugins' entries


def main() -> None:
    """Write the schema."""
    SCHEMA.parent.mkdir(exist_ok=True)
    with whole(SCHEMA) as part:
        part.write_text(text())


def text() -> str:
    """Return the schema as YAML."""
    head = "# Made by tools/config_schema.py of study/config.py, the plugins and config/README.md: do not edit.\n"
    return head + yaml.safe_dump(schema(), sort_keys=False, width=120, allow_unicode=True)


def schema() -> Schema:
    """Return the JSON Schema of a study config."""
    made = Config.model_json_schema()
    definitions = made.pop("$defs")
    definitions |= {"name": _whole(names.NAME) | {"maxLength": names.LONGEST_NAME}, "precision": _precision()}
    definitions |= {role: _grid(role, allowed) for role, allowed in SHARES.items()}
    for section, family in SECTIONS.items():
        definitions |= _definitions(section, family)
    definitions |= _definitions("index", "index") | _definitions("loss", "loss")
    sections = made["properties"]
    for section, family in FAMILY_OF.items():
        sections[section] |= {"additionalProperties": _of(family), "propertyNames": _reference("name")}
    sections["schemes"]["properties"] = {"fp32": False}  # is built in as the baseline
    sections["negatives"] = {"anyOf": [_of("lexicon"), {"type": "null"}], "default": None}
    definitions["Retrieval"]["properties"]["indexes"]["additionalProperties"] = _of("index")
    definitions["Noise"]["properties"]["corruptions"]["items"] = _choice("corruption")
    sections["precisions"]["items"] = _reference("precision")
    known = {kind: {"type": "array", "items": {"enum": plugins.names(family)}} for kind, family in pieces.KINDS.items()}
    sections["report"] |= {"description": "what the report shows of figures and tables", "properties": known, **CLOSED}
    sections["study"] |= _reference("name")
    for key, said in _meanings():
        _describe(made, definitions, key, said)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_plain(made), "$defs": _plain(definitions)}


def _definitions(section: str, family: str) -> Schema:
    """Return what an entry of a family may say: `entry.<family>`, and `<family>.<plugin>` for each plugin."""
    found: Schema = {}
    branches = []
    for plugin in plugins.names(family):
        found[f"{family}.{plugin}"] = _plugin(section, family, plugin, found)
        chosen = {"properties": {family: {"const": plugin}}, "required": [family]}
        branches.append({"if": chosen, "then": _of(plugin, family)})
    entry = {"type": "object", "required": [family], "properties": {family: _choice(family)}, "allOf": branches}
    return {**found, f"entry.{family}": entry}


def _plugin(section: str, family: str, plugin: str, definitions: Schema) -> Schema:
    """Return the words of a plugin, with the keys that the study reads, as the entry of it may have them."""
    made = plugins.json_schema(plugins.source(family, plugin), family)
    made.pop("$defs", None)  # grids alone, which are told by their role
    words = made.get("properties", {})
    required = [family, *(word for word in made.get("required", []) if word not in SHARES)]
    for role in SHARES:
        if role in words:
            words[role] = _reference(role)
    for word, inner in INNER.items():
        if word in words:
            words[word] |= {"items": _of(inner)}
    for key, kind in STUDY_KEYS.get(section, {}).items():
        own = TypeAdapter(kind).json_schema(ref_template="#/$defs/{model}")
        definitions |= own.pop("$defs", {})
        words[key] = own if "properties" not in own else _kept(definitions, key, own)
    _study_words(section, words)
    words = {family: {"const": plugin}, **words}
    told = " ".join(plugins.described(family, plugin).partition("\n\n")[0].split())
    return {"description": told, "type": "object", "properties": words, "required": required, **CLOSED}


CLOSED = {"additionalProperties": False}


def _study_words(section: str, words: Schema) -> None:
    """Say more of the keys that the study reads than their types do."""
    if section == "schemes":
        words["precisions"]["items"] = _reference("precision")
        words["scopes"]["items"] = {"enum": ["image", "both"]}
    if section == "models":
        words["form"] = {"description": form.READS, "anyOf": [{"const": form.NATIVE}, _whole(form.NAME)]}
        recipe = plugins.json_schema(plugins.PACKAGE / "models" / "pretrain.py", "pretrain")
        recipe["properties"] = {"pairs": {"type": "string"}, **recipe["properties"]}
        words["pretrain"] = {**recipe, "required": ["pairs", *recipe["required"]], "type": "object", **CLOSED}


def _kept(definitions: Schema, name: str, own: Schema) -> Schema:
    """Keep a schema of a key once among the definitions."""
    definitions[name] = own
    return _reference(name)


def _grid(role: str, allowed: tuple[str, ...]) -> Schema:
    """Return the words of a grid that a scheme says, without those that a precision says."""
    made = plugins.json_schema(plugins.source("quantizer", "rtn"), "quantizer")["$defs"]["Grid"]
    words = {word: said for word, said in made["properties"].items() if word not in NOT_OF_SCHEMES}
    words["granularity"] = {"enum": list(allowed), "default": "channel" if role == "weight" else "tensor"}
    return {"type": "object", "properties": words, **CLOSED}


def _choice(family: str) -> Schema:
    """Return the names of a family's plugins, each with what it does, or of a module of one's own."""
    known = []
    for plugin in plugins.names(family):
        known.append({"const": plugin, "description": plugins.described(family, plugin).partition("\n")[0]})
    return {"anyOf": [*known, {"type": "string", "pattern": MODULE, "description": "a module of your own"}]}


def _precision() -> Schema:
    """Return what a precision reads: `w4a8`, `w4afp8`, or a format."""
    bits = "|".join(["[2-9]", "1[0-6]", *FORMATS])
    return {"anyOf": [{"enum": list(FORMATS)}, {"type": "string", "pattern": f"^w({bits})a({bits})$"}]}


def _whole(pattern: re.Pattern[str]) -> Schema:
    """Return a text that a pattern matches whole, in the regular expressions of JSON Schema."""
    return {"type": "string", "pattern": "^" + re.sub(r"\?P<\w+>", "", pattern.pattern) + "$"}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _of(name: str, family: str = "entry") -> Schema:
    return _reference(f"{family}.{name}")


def _meanings() -> Iterator[tuple[str, str]]:
    """Read the keys of `config/README.md` and what is said of each, without the marks of a table."""
    for line in (ROOT / "config" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`"):
            keys = re.findall(r"`([^`]+)`", cells[0])
            above = keys[0].rpartition(".")[0]
            for key in keys:
                told = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", cells[1])
                yield (key if "." in key or not above else f"{above}.{key}"), told


def _describe(made: Schema, definitions: Schema, key: str, said: str) -> None:
    """Write what is said of a key beside its schema; a part in angle brackets is any name."""
    place = made
    *above, last = [part for part in key.split(".") if not part.startswith("<")]
    for part in above:
        place = place["properties"][part]
        kinds = [place, *place.get("anyOf", []), place.get("additionalProperties") or {}]
        references = [kind["$ref"] for kind in kinds if "$ref" in kind]
        if references:
            place = definitions[references[0].rpartition("/")[2]]
    place["properties"][last]["description"] = said


def _plain(value: Any) -> Any:
    """Leave out the titles and docstrings that pydantic makes of Python's names, and share no part, for YAML."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _plain(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}


if __name__ == "__main__":
    main()
