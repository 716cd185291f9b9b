"""The shape of a study config, and all that can be wrong with it; every problem is told at once."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from reliquant import plugins
from reliquant.grid import FLOAT_BITS, parse_precision

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$")]
Entry = dict[str, Any]
Suite = Literal["clean", "ood", "shift", "noise", "spurious"]
SUITES: tuple[Suite, ...] = get_args(Suite)
FORM = r"^(\d+-(shortest|squash)-(bicubic|bilinear)|native)$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Proxy(_Part):
    """Image-caption pairs for calibration, QAT and logit-scale tuning: how many of which captioned dataset."""

    of: Name
    pairs: int = Field(1000, ge=1)


class Noise(_Part):
    """Corruptions laid over a dataset: which, how strong, and over how many of its images (None: all)."""

    corruptions: list[Name]
    severities: list[Annotated[int, Field(ge=1, le=5)]] = [1, 2, 3, 4, 5]
    images: int | None = Field(None, ge=1)


class Suites(_Part):
    """What is asked of every variant; see config/README.md."""

    clean: list[Name]
    ood: dict[Name, dict[Literal["near", "far"], list[Name]]] = {}
    shift: dict[Name, list[Name]] = {}
    noise: dict[Name, Noise] = {}
    spurious: list[Name] = []


class Explain(_Part):
    """What is asked of why: the clean sets and how many of their images, and the part of the grid to explain."""

    datasets: list[Name] = Field(min_length=1)
    images: int = Field(500, ge=20)
    waves: int = Field(5, ge=0)
    wave_images: int = Field(50, ge=1)
    schemes: list[Name] | None = None
    precisions: list[str] | None = None
    scopes: list[Literal["image", "both"]] | None = None
    seeds: list[int] | None = None


class Config(_Part):
    """The shape of a study config; names in it are checked by `Study`."""

    study: Name
    title: str
    note: str = ""
    data_root: str | None = None
    from_scratch: bool = False
    unreadable: Literal["stop", "skip"] = "stop"
    resamples: int = Field(10_000, ge=100)
    checkpoint_every: int = Field(100, ge=1)
    tuning: Literal["none", "contrastive", "match_fp32"] = "contrastive"
    batch: int = Field(256, ge=1)
    device: str = "auto"
    deterministic: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    backend: Literal["auto", "simulate", "integer"] = "auto"
    models: dict[Name, Entry] = Field(min_length=1)
    schemes: dict[Name, Entry] = {}
    precisions: list[str] = ["w8a8"]
    scopes: list[Literal["image", "both"]] = ["image"]
    proxies: dict[Name, Proxy] = {}
    seeds: list[Annotated[int, Field(ge=0)]] = [0]
    datasets: dict[Name, Entry] = Field(min_length=1)
    suites: Suites
    snapshot_suites: list[Suite] = ["clean"]
    shards: dict[Name, list[str]] = {}
    scores: dict[Name, Entry] = {}
    fits: dict[Name, Name] = {}
    negatives: Entry | None = None
    explain: Explain | None = None


FP32_SCHEME: Entry = {"quantizer": "none", "family": "FP32"}
SCHEME_KEYS = {
    **dict.fromkeys(["precisions", "scopes", "proxies"], list[str]),
    "family": str,
    "seeds": list[int],
    "snapshots": list[int] | dict[str, list[int]],
}
MODEL_KEYS = {"source": str, "form": str, "pretrain": dict[str, Any]}
DATASET_KEYS = {"folder": str, "native": bool}


KINDS = {"models": "tower", "schemes": "quantizer", "datasets": "dataset", "scores": "score"}
KINDS_OF = {"models": "model", "schemes": "scheme", "proxies": "proxy"}
RESERVED = {"models": MODEL_KEYS, "schemes": SCHEME_KEYS, "datasets": DATASET_KEYS, "scores": {}}
RESERVED["negatives"] = {"folder": str}


def sliced(given: Mapping[str, Any], whole: Mapping[str, Any], /) -> dict[str, Any]:
    """Turn lists of names, as in `--config models=[a,b]`, into the entries that the whole config has under them.

    Raises ConfigError naming what the whole config does not have.
    """
    found, problems = dict(given), []
    for section in KINDS_OF:
        names, entries = given.get(section), whole.get(section)
        if isinstance(names, list) and isinstance(entries, Mapping):
            problems += [plugins.unknown(KINDS_OF[section], n, entries) for n in names if n not in entries]
            found[section] = {n: entries[n] for n in entries if n in names}
            explain = found.get("explain")
            if section == "schemes" and isinstance(explain, Mapping) and isinstance(explain.get("schemes"), list):
                found["explain"] = {**explain, "schemes": [s for s in explain["schemes"] if s in names]}
    if problems:
        raise plugins.ConfigError(problems)
    return found


def check_config(given: Mapping[str, Any], /) -> tuple[Config | None, list[str]]:
    """Validate a config's shape and each of its entries; return it, None if its shape is wrong, and all problems."""
    found: list[str] = []
    config = None
    try:
        config = Config.model_validate(dict(given))
    except ValidationError as error:
        found += _read(error)
    for section, family in KINDS.items():
        entries = given.get(section) or {}
        for name, entry in entries.items() if isinstance(entries, Mapping) else []:
            if isinstance(entry, Mapping) and (section, name) != ("schemes", "fp32"):
                found += (f"{section.rstrip('s')} {name}: {p}" for p in _entry(section, family, entry, given))
    if isinstance(negatives := given.get("negatives"), Mapping):
        found += (f"negatives: {p}" for p in plugins.check("lexicon", own_words("negatives", negatives)))
    return config, found


def own_words(section: str, entry: Mapping[str, Any], /) -> Entry:
    """Return the plugin's words of an entry, without the keys that the study itself reads."""
    return {k: v for k, v in entry.items() if k not in RESERVED[section]}


def with_grids(entry: Mapping[str, Any], precision: str, /) -> Entry:
    """Add a precision's bits to an entry's grids; by default weights have a scale a channel, activations a tensor."""
    weight, activation = parse_precision(precision)
    return {
        **entry,
        "weight": {"granularity": "channel", **entry.get("weight", {}), "bits": weight},
        "activation": {"granularity": "tensor", **entry.get("activation", {}), "bits": activation},
    }


def grid_problems(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say what is wrong with the grids of a scheme's entry before a precision adds the bits."""
    for grid in ("weight", "activation"):
        words = entry.get(grid, {})
        if not isinstance(words, Mapping):
            yield f"{grid}: must be a mapping of grid words, got {words!r}"
        elif "bits" in words:
            yield f"{grid}: bits: come from the precision, such as w4a8; leave bits: {words['bits']} out"


def snapshots_of(entry: Mapping[str, Any], precision: str, scope: str, /) -> list[int]:
    """Return the iterations after which a scheme keeps a variant: for all, or by `w4a8` or `w4a8-image`.

    >>> snapshots_of({"snapshots": {"w4a8": [50, 0]}}, "w4a8", "image")
    [0, 50]
    """
    found = entry.get("snapshots", [])
    if isinstance(found, Mapping):
        found = found.get(f"{precision}-{scope}", found.get(precision, []))
    return sorted(set(found))


def _entry(section: str, family: str, entry: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    for key, annotation in RESERVED[section].items():
        if key in entry:
            try:
                TypeAdapter(annotation).validate_python(entry[key], strict=True)
            except ValidationError as error:
                yield f"{key}: {error.errors()[0]['msg']}, got {entry[key]!r}"
    words = own_words(section, entry)
    if section == "schemes":
        yield from _axes(entry, given)
        yield from grid_problems(words)
        if not all(isinstance(words.get(grid, {}), Mapping) for grid in ("weight", "activation")):
            return
        words = with_grids(words, "w8a8")
        snapshots = yield from _snapshots(entry)
        words |= {"snapshots": snapshots} if snapshots else {}
    if section == "models":
        if "form" in entry and not re.match(FORM, str(entry["form"])):
            yield f"form: must read <size>-<shortest|squash>-<bicubic|bilinear>, got {entry['form']!r}"
        if isinstance(entry.get("pretrain"), Mapping):
            yield from _recipe(entry["pretrain"])
    yield from plugins.check(family, words)


def _axes(entry: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    for axis, allowed in (("scopes", ["image", "both"]), ("proxies", list(given.get("proxies") or {}))):
        words = entry.get(axis, [])
        for word in words if isinstance(words, list) else []:
            if word not in allowed:
                yield plugins.unknown(axis, word, allowed)
    words = entry.get("precisions", [])
    for word in words if isinstance(words, list) else []:
        yield from precision_problems(word)


def _snapshots(entry: Mapping[str, Any]) -> Generator[str, None, list[int]]:
    """Say what is wrong with a scheme's snapshots; return the iterations of all of them."""
    found = entry.get("snapshots", [])
    if isinstance(found, Mapping):
        for key in found:
            precision, _, scope = str(key).partition("-")
            yield from (f"snapshots: {problem}" for problem in precision_problems(precision))
            if scope not in ("", "image", "both"):
                yield f"snapshots: {plugins.unknown('scope', scope, ['image', 'both'])}"
    lists = [found] if isinstance(found, list) else found.values() if isinstance(found, Mapping) else []
    iterations = [i for part in lists if isinstance(part, list) for i in part if isinstance(i, int)]
    with suppress(plugins.ConfigError):  # an unknown quantizer is told elsewhere
        known = plugins.words(plugins.source("quantizer", entry.get("quantizer", "")), "quantizer")
        last = entry.get("iterations", known.get("iterations", (int, None))[1])
        if isinstance(last, int):
            late = [i for i in iterations if not 0 <= i <= last]
            yield from (f"snapshots: {i} is not within the {last} iterations" for i in late)
    return iterations


def _recipe(recipe: Mapping[str, Any]) -> Iterator[str]:
    if "pairs" not in recipe:
        yield "pretrain: pairs: missing; name a captioned dataset"
    words = {k: v for k, v in recipe.items() if k != "pairs"}
    path = plugins.PACKAGE / "models" / "pretrain.py"
    yield from (f"pretrain: {p}" for p in plugins.check_words(path, "pretrain", words))


def precision_problems(precision: str) -> Iterator[str]:
    """Say what is wrong with a precision, such as `w1a8`."""
    try:
        if parse_precision(precision) == (FLOAT_BITS, FLOAT_BITS):
            yield f"precision {precision!r} quantizes nothing; the fp32 scheme is built in"
    except (ValueError, TypeError) as error:
        yield str(error)


def _read(error: ValidationError) -> Iterator[str]:
    for e in error.errors():
        where = ".".join(str(part) for part in e["loc"])
        if e["type"] == "extra_forbidden":
            *above, key = e["loc"]
            yield plugins.unknown("key", ".".join(map(str, [*above, key])), Config.model_fields)
        elif e["type"] == "missing":
            yield f"{where}: missing"
        else:
            yield f"{where}: {e['msg']}, got {e['input']!r}"
