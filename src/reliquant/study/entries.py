"""What is wrong with one entry of a config: with the keys that the study reads and with the plugin's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reliquant import plugins
from reliquant.grid import FLOAT_BITS, bits_of
from reliquant.study.config import (
    FAMILY_OF,
    NOT_OF_SCHEMES,
    STUDY_KEYS,
    at_own_precision,
    correction_problems,
    format_problems,
    grid_problems,
    own_words,
    with_grids,
)
from reliquant.study.form import NATIVE, parse_form
from reliquant.study.layer_words import attention_problems, scope_problems, told
from reliquant.study.mixed import mixed_problems
from reliquant.study.prompts import class_problems, template_problems
from reliquant.study.refusals import refusals_of_other


def entry_problems(section: str, entry: Mapping[str, Any], given: Mapping[str, Any], /) -> Iterator[str]:
    """Say what is wrong with an entry of a section of the config `given`, one line per problem."""
    yield from key_problems(section, entry)
    words = own_words(section, entry)
    if section == "schemes":
        yield from _axis_problems(entry, given)
        yield from grid_problems(words)
        yield from correction_problems(entry)
        if not all(isinstance(words.get(grid, {}), Mapping) for grid in ("weight", "activation")):
            return
        for grid in ("weight", "activation"):
            own = words.get(grid, {})
            words[grid] = {word: value for word, value in own.items() if word not in NOT_OF_SCHEMES}  # told above
        words = with_grids(words, "w8a8")
        iterations = _iterations(entry.get("snapshots", []))
        yield from _snapshot_problems(entry, iterations)
        if iterations:
            words["snapshots"] = iterations
    if section == "models":
        if entry.get("form", NATIVE) != NATIVE:
            try:
                parse_form(entry["form"])
            except ValueError as error:
                yield f"form: {error}"
        if isinstance(entry.get("pretrain"), Mapping):
            yield from _recipe_problems(entry["pretrain"])
    if section == "datasets":
        yield from _prompt_problems(words)
    problems = list(plugins.check(FAMILY_OF[section], words))
    yield from problems
    if section == "schemes" and not problems and not any(key_problems(section, entry)):
        yield from layers_problems(entry)
        yield from scope_problems(entry, _list(entry, "scopes") or _list(given, "scopes") or ["image"])
        for precision in _list(entry, "precisions") or _list(given, "precisions"):
            if not any(precision_problems(precision)):
                yield from format_problems(own_words(section, entry), precision)
                yield from mixed_problems(entry, precision)
                yield from attention_problems(entry, precision)


def layers_problems(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say which precisions of `layers: other` are wrong, or are none that the method takes, or if it takes none."""
    others = entry.get("layers", {}).get("other", {})
    words = own_words("schemes", entry)
    if others:
        yield from (f"layers: other: {problem}" for problem in refusals_of_other(with_grids(words, "w8a8")))
    for precision in others.values():
        problems = list(precision_problems(precision))
        problems = problems or list(format_problems(at_own_precision(words, precision), precision))
        yield from (f"layers: other: {problem}" for problem in problems)


def is_malformed(section: str, entry: Mapping[str, Any], /) -> bool:
    """Whether an entry's keys that a study reads have values of the wrong type: nothing can be built on it."""
    recipe = entry.get("pretrain")
    pairs = recipe.get("pairs") if isinstance(recipe, Mapping) else None
    named = isinstance(entry.get(FAMILY_OF[section]), str) and isinstance(pairs, str | None)
    return not named or any(key_problems(section, entry))


def precision_problems(precision: str) -> Iterator[str]:
    """Say what is wrong with a precision, such as `w1a8`."""
    try:
        if bits_of(precision) == (FLOAT_BITS, FLOAT_BITS):
            yield f"precision {precision!r} quantizes nothing; the fp32 scheme is built in"
    except (ValueError, TypeError) as error:
        yield str(error)


def _prompt_problems(words: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the templates and class names of a dataset's entry.

    `prompts` are the names of the classes where a plugin takes `classes`, too; ImageNet's takes templates by that word.
    """
    checks = {"templates": template_problems, "classes": class_problems, "prompts": template_problems}
    with suppress(plugins.ConfigError):  # an unknown dataset is told elsewhere
        if "classes" in plugins.words(plugins.source("dataset", words.get("dataset", "")), "dataset"):
            checks["prompts"] = class_problems
    for word, problems in checks.items():
        if isinstance(words.get(word), list):
            yield from (f"{word}: {problem}" for problem in problems(words[word]))


def key_problems(section: str, entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say which of the keys that the study reads have a value of the wrong type."""
    for key in STUDY_KEYS[section]:
        if key in entry:
            try:
                _adapter(section, key).validate_python(entry[key], strict=True)
            except ValidationError as error:
                wrong = told(error) if key == "layers" else error.errors()[0]["msg"]
                yield f"{key}: {wrong}, got {entry[key]!r}"


@cache
def _adapter(section: str, key: str) -> TypeAdapter[Any]:
    return TypeAdapter(STUDY_KEYS[section][key])


def _axis_problems(entry: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Say which words a scheme's own axes of the grid cannot have."""
    proxies = given.get("proxies")
    known = list(proxies) if isinstance(proxies, Mapping) else []  # another type is told elsewhere
    for axis, allowed in (("scopes", ["image", "both"]), ("proxies", known)):
        for word in _list(entry, axis):
            if word not in allowed:
                yield plugins.unknown(axis, word, allowed)
    for word in _list(entry, "precisions"):
        yield from precision_problems(word)


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    """Return an entry's list under a key, empty where there is none (another type is told elsewhere)."""
    words = entry.get(key, [])
    return words if isinstance(words, list) else []


def _snapshot_problems(entry: Mapping[str, Any], iterations: list[int]) -> Iterator[str]:
    """Say which precisions and scopes of a scheme's snapshots are wrong, and which of the iterations come too late."""
    snapshots = entry.get("snapshots", [])
    for key in snapshots if isinstance(snapshots, Mapping) else ():
        precision, _, scope = str(key).partition("-")
        yield from (f"snapshots: {problem}" for problem in precision_problems(precision))
        if scope not in ("", "image", "both"):
            yield f"snapshots: {plugins.unknown('scope', scope, ['image', 'both'])}"
    last = _last_iteration(entry)
    if not isinstance(last, int):
        return
    for iteration in iterations:
        if not 0 <= iteration <= last:
            yield f"snapshots: {iteration} is not within the {last} iterations"


def _iterations(snapshots: object) -> list[int]:
    """List the iterations that `snapshots` names, for whatever precision and scope; other types are told elsewhere."""
    iterations = []
    for part in snapshots.values() if isinstance(snapshots, Mapping) else [snapshots]:
        if isinstance(part, list):
            iterations += [iteration for iteration in part if isinstance(iteration, int)]
    return iterations


def _last_iteration(entry: Mapping[str, Any]) -> object:
    """Return the iterations that a scheme trains for, its own word or its quantizer's default; None without."""
    with suppress(plugins.ConfigError):  # an unknown quantizer is told elsewhere
        words = plugins.words(plugins.source("quantizer", entry.get("quantizer", "")), "quantizer")
        _, default = words.get("iterations", (int, None))
        return entry.get("iterations", default)
    return None


def _recipe_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the words of a model that the workflow pre-trains."""
    if not isinstance(recipe.get("pairs"), str):
        wrong = f"must be a name, got {recipe['pairs']!r}" if "pairs" in recipe else "missing"
        yield f"pretrain: pairs: {wrong}; name a captioned dataset"
    words = {word: value for word, value in recipe.items() if word != "pairs"}
    path = plugins.PACKAGE / "models" / "pretrain.py"
    yield from (f"pretrain: {problem}" for problem in plugins.check_words(path, "pretrain", words))
