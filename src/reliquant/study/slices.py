"""A slice of a study: lists of names in place of a section's entries, as `--config models=[a,b]` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reliquant import plugins
from reliquant.study.config import RETRIEVAL

ONE_OF = {"models": "model", "schemes": "scheme", "proxies": "proxy"}  # what one entry of a section is called


def sliced(given: Mapping[str, Any], whole: Mapping[str, Any], /) -> dict[str, Any]:
    """Turn lists of names, as in `--config models=[a,b]`, into the entries that the whole config has under them.

    Raises ConfigError naming what the whole config does not have.
    """
    config, problems = dict(given), []
    for section, kind in ONE_OF.items():
        names, entries = given.get(section), whole.get(section)
        if isinstance(names, list) and isinstance(entries, Mapping):
            problems += [plugins.unknown(kind, name, entries) for name in names if name not in entries]
            config[section] = {name: entry for name, entry in entries.items() if name in names}
    if isinstance(given.get("schemes"), list) and isinstance(whole.get("schemes"), Mapping):
        config |= _parts_of(given["schemes"], config)
    if isinstance(given.get("models"), list):
        config |= _models_of(given["models"], config)
    if problems:
        raise plugins.ConfigError(problems)
    return config


def _parts_of(schemes: list[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave in parts of the grid the schemes that are left in a slice; return no key where none names schemes."""
    left: dict[str, Any] = {}
    for word in ("explain", "sensitivity", "deploy"):
        left |= _left({word: config.get(word)}, schemes)
    suites = config.get("suites")
    if isinstance(suites, Mapping) and (found := _left({RETRIEVAL: suites.get(RETRIEVAL)}, schemes)):
        left["suites"] = {**suites, **found}
    return left


def _models_of(models: list[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave in `deploy` the models of a slice; nothing is deployed where it names none of them."""
    deploy = config.get("deploy")
    if not isinstance(deploy, Mapping) or not isinstance(deploy.get("models"), list):
        return {}
    left = [name for name in deploy["models"] if name in models]
    return {"deploy": {**deploy, "models": left} if left else None}


def _left(named: Mapping[str, Any], schemes: list[str]) -> dict[str, Any]:
    """Leave in a part of the grid, by its word, the schemes of a slice; return nothing where it names none."""
    ((word, part),) = named.items()
    if not isinstance(part, Mapping) or not isinstance(part.get("schemes"), list):
        return {}
    return {word: {**part, "schemes": [name for name in part["schemes"] if name in schemes]}}
