"""Read a study from `facts.json`, beside its results, which may be a stranger's: they are data, where a config is code.

So such a study may name the plugins of this package alone. `config_in` is the one place where facts become a config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from reliquant import plugins
from reliquant.files.artifacts import read_sealed_json, require_words
from reliquant.files.bounded import load_yaml
from reliquant.files.digests import AGAIN, DamagedFile
from reliquant.study.check import read_study
from reliquant.study.config import FAMILY_OF
from reliquant.study.study import Study


def config_in(facts: Mapping[str, Any], path: str, /) -> dict[str, Any]:
    """Return the config that facts hold as YAML, unchecked; raise DamagedFile naming `path` where it is none."""
    require_words(facts, {"config": str}, f"{path}:")
    try:
        found = load_yaml(facts["config"]) or {}
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())[:200]
        raise DamagedFile(f"{path}: config is no YAML of keys and values ({told}); {AGAIN}") from error
    if not isinstance(found, dict):
        raise DamagedFile(f"{path}: config is no YAML of keys and values, but {found!r:.40}; {AGAIN}")
    return found


def stored_study(path: Path, /) -> Study:
    """Return the study that a file of facts tells of.

    Raises FileNotFoundError; DamagedFile where it is not as it was written, holds no study, or one that names a module
    which is no plugin of this package.
    """
    config = config_in(read_sealed_json(path), str(path))
    for family, named in _plugins_in(config):
        if isinstance(named, str) and named not in plugins.names(family):
            raise DamagedFile(
                f"{path}: its config names the {family} {named!r:.80}, none of reliquant's own: results are data, for"
                " which no code of others runs; give the path of a config that you trust, not the study's name"
            )
    try:
        return read_study(config)
    except plugins.ConfigError as error:
        raise DamagedFile(f"{path}: its config is no study: {'; '.join(error.problems)[:1000]}; {AGAIN}") from error


def _plugins_in(config: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the family and the name of each plugin that a config names, whatever else is wrong with it."""
    for section, family in FAMILY_OF.items():
        for entry in _values(config.get(section)):
            yield from _plugins_of(family, entry)
    yield from _plugins_of("lexicon", config.get("negatives"))
    suites = config.get("suites")
    for noise in _values(suites.get("noise") if isinstance(suites, Mapping) else None):
        named = noise.get("corruptions") if isinstance(noise, Mapping) else None
        yield from (("corruption", name) for name in (named if isinstance(named, list) else ()))


def _plugins_of(family: str, entry: object) -> Iterator[tuple[str, object]]:
    """Yield the plugin of an entry, and those of the entries in its words."""
    if isinstance(entry, Mapping):
        yield family, entry.get(family)
        for value in entry.values():
            for inner_family, inner in plugins.entries(value):
                yield from _plugins_of(inner_family, inner)


def _values(section: object) -> Iterator[object]:
    yield from section.values() if isinstance(section, Mapping) else ()
