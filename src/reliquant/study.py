"""Read a study's config and expand its grid; the only place that knows the config's shape. Torch-free, so DAGs are quick."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from reliquant import plugins
from reliquant.grid import FLOAT_BITS, parse_precision
from reliquant.plugins import ConfigError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$")]
Entry = dict[str, Any]
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


class Config(_Part):
    """The shape of a study config; names in it are checked by `Study`."""

    study: Name
    title: str
    note: str = ""
    data_root: str | None = None
    from_scratch: bool = False
    unreadable: Literal["stop", "skip"] = "stop"
    resamples: int = Field(10_000, ge=100)
    batch: int = Field(256, ge=1)
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    models: dict[Name, Entry] = Field(min_length=1)
    schemes: dict[Name, Entry] = {}
    precisions: list[str] = ["w8a8"]
    scopes: list[Literal["image", "both"]] = ["image"]
    proxies: dict[Name, Proxy] = {}
    seeds: list[Annotated[int, Field(ge=0)]] = [0]
    datasets: dict[Name, Entry] = Field(min_length=1)
    suites: Suites
    shards: dict[Name, list[Literal["clean", "ood", "shift", "noise", "spurious"]]] = {}
    scores: dict[Name, Entry] = {}


FP32_SCHEME: Entry = {"quantizer": "none", "family": "FP32"}
SCHEME_KEYS = {"family": str, "precisions": list[str], "scopes": list[str], "proxies": list[str], "seeds": list[int]}
MODEL_KEYS = {"source": str, "form": str, "pretrain": dict[str, Any]}
DATASET_KEYS = {"folder": str, "native": bool}


@dataclass(frozen=True)
class Variant:
    """One point of the grid: a model quantized by a scheme at a precision, in a scope, with a proxy and a seed."""

    model: str
    scheme: str
    precision: str
    scope: str
    proxy: str
    seed: int

    def __str__(self) -> str:
        return f"{self.model}/{self.scheme}/{self.precision}-{self.scope}-{self.proxy}-{self.seed}"

    @property
    def baseline(self) -> Variant:
        """The FP32 variant of the same model."""
        return Variant(self.model, "fp32", "fp32", "none", "none", 0)


class Study:
    """A checked config: its variants, and the entries that each rule hands to its step."""

    def __init__(self, config: Mapping[str, Any], /) -> None:
        try:
            self.config = Config.model_validate(dict(config))
        except ValidationError as error:
            raise ConfigError(_read(error)) from None
        self.name = self.config.study
        self.schemes = {"fp32": FP32_SCHEME, **self.config.schemes}
        self.shards: dict[str, list[str]] = self.config.shards or {s: [s] for s in self.suites}
        if problems := list(dict.fromkeys(self._problems())):
            raise ConfigError(problems)

    # -- the grid

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """Every variant of the study by its path, FP32 ones first."""
        found = [Variant(m, "fp32", "fp32", "none", "none", 0) for m in self.config.models]
        for scheme, entry in self.config.schemes.items():
            axes = (self._axis(entry, a) for a in ("precisions", "scopes", "proxies", "seeds"))
            found += [Variant(m, scheme, *rest) for m, *rest in product(self.config.models, *axes)]
        return {str(v): v for v in found}

    @property
    def suites(self) -> list[str]:
        """The suites that this study asks, in a fixed order."""
        return [s for s in ("clean", "ood", "shift", "noise", "spurious") if getattr(self.config.suites, s)]

    def scheme_entry(self, variant: Variant, /) -> Entry:
        """Return the quantizer entry of a variant: the scheme's words and the grids of its precision."""
        entry = self._words("scheme", self.schemes[variant.scheme])
        return entry if variant.scheme == "fp32" else with_grids(entry, variant.precision)

    def tower_entry(self, model: str, /) -> Entry:
        """Return the tower entry of a model; a model to pre-train from scratch loses its `pretrained` word."""
        entry = self._words("model", self.config.models[model])
        return {k: v for k, v in entry.items() if k != "pretrained"} if self.trains(model) else self._rooted(entry)

    def trains(self, model: str, /) -> bool:
        """Whether the workflow itself pre-trains a model (else it is fetched, or read from a file)."""
        entry = self.config.models[model]
        return "pretrain" in entry and (self.config.from_scratch or "pretrained" not in entry)

    def pretrain_words(self, model: str, /) -> tuple[str, Entry]:
        """Return the captioned dataset and the training words of a model that the workflow pre-trains."""
        recipe = dict(self.config.models[model]["pretrain"])
        return recipe.pop("pairs"), recipe

    def row_labels(self, variant: Variant, /) -> Entry:
        """Return the row columns that a variant fixes."""
        entry = self.schemes[variant.scheme]
        source = self.config.models[variant.model].get("source", "")
        return {"study": self.name, "source": source, "family": entry.get("family", variant.scheme), **asdict(variant)}

    # -- the data

    def dataset_entry(self, dataset: str, /) -> Entry:
        """Return the plugin entry of a dataset."""
        return self._words("dataset", self.config.datasets[dataset])

    def root(self, dataset: str, /) -> str:
        """Return the folder that holds a dataset as published: the user's (`data_root`) or `data/raw`."""
        entry = self.config.datasets[dataset]
        return str(Path(self.config.data_root or "data/raw") / entry.get("folder", entry["dataset"]))

    def is_fetched(self, dataset: str, /) -> bool:
        """Whether the workflow downloads this dataset."""
        return not self.config.data_root and plugins.defines("dataset", self.dataset_entry(dataset)["dataset"], "SOURCES")

    def prepared(self, dataset: str, model: str, /) -> str:
        """Return the folder of decoded images that fits a model."""
        native = self.config.datasets[dataset].get("native", False)
        form = "native" if native else self.config.models[model].get("form", "224-shortest-bicubic")
        return f"data/prepared/{dataset}/{form}"

    def cells(self, model: str, shard: str, /) -> list[Entry]:
        """List what one evaluation job forwards: one entry a (suite, dataset, reference, corruption)."""
        return [
            {**cell, "folder": self.prepared(cell["dataset"], model), "head": self.prepared(cell["reference"], model)}
            for suite in self.shards[shard]
            if suite in self.suites
            for cell in self._cells(suite)
        ]

    def inputs(self, model: str, shard: str, /) -> list[str]:
        """List the files that one evaluation job reads besides the model and the variant."""
        found: list[str] = []
        for cell in self.cells(model, shard):
            images = f"corrupt/{cell['corruption']}.npy" if cell["corruption"] else "images.npy"
            found += [f"{cell['folder']}/{images}", f"{cell['folder']}/meta.json", f"{cell['head']}/meta.json"]
        return list(dict.fromkeys(found))

    def shard_of(self, suite: str, /) -> str:
        """Name the shard that holds a suite."""
        return next(shard for shard, suites in self.shards.items() if suite in suites)

    def _cells(self, suite: str, /) -> Iterator[Entry]:
        def cell(dataset: str, reference: str, **rest: Any) -> Entry:
            empty = {"group": "", "corruption": "", "severities": [0], "images": None}
            return {"suite": suite, "dataset": dataset, "reference": reference, **empty, **rest}

        part = getattr(self.config.suites, suite)
        if suite in ("clean", "spurious"):
            yield from (cell(d, d) for d in part)
        elif suite == "shift":
            yield from (cell(d, reference) for reference, sets in part.items() for d in sets)
        elif suite == "ood":
            for reference, groups in part.items():
                yield from (cell(d, reference, group=g) for g, sets in groups.items() for d in sets)
        else:
            for d, noise in part.items():
                rest = {"severities": noise.severities, "images": noise.images}
                yield from (cell(d, d, corruption=c, **rest) for c in noise.corruptions)

    # -- what is wrong

    def _problems(self) -> Iterator[str]:
        c = self.config
        families = (("model", "tower", c.models), ("scheme", "quantizer", c.schemes))
        for kind, family, entries in (*families, ("dataset", "dataset", c.datasets), ("score", "score", c.scores)):
            for name, entry in entries.items():
                yield from (f"{kind} {name}: {p}" for p in self._entry_problems(kind, family, entry))
        for name, entry in c.models.items():
            yield from (f"model {name}: {p}" for p in self._pretrain_problems(entry))
        if "fp32" in c.schemes:
            yield "scheme fp32: is built in as the baseline; leave it out"
        for name, proxy in c.proxies.items():
            yield from self._known(f"proxy {name}", "dataset", proxy.of)
        if c.schemes and not c.proxies:
            yield "proxies: missing; schemes need image-caption pairs, such as {captions: {of: <dataset>, pairs: 1000}}"
        for where, words in (("precisions", c.precisions), *((f"scheme {n}", e.get("precisions", [])) for n, e in c.schemes.items())):
            for precision in words:
                yield from (f"{where}: {p}" for p in _precision_problems(precision))
        for suite in self.suites:
            for cell in self._cells(suite):
                yield from self._known(f"suite {suite}", "dataset", cell["dataset"], cell["reference"])
                if cell["corruption"]:
                    corruption = {"corruption": cell["corruption"], "severity": 1}
                    yield from (f"suite {suite}: {p}" for p in plugins.check("corruption", corruption))
                if suite != "clean" and cell["reference"] not in c.suites.clean and suite != "spurious":
                    yield f"suite {suite}: reference {cell['reference']!r} must be in the clean suite; there are {', '.join(c.suites.clean)}"
        if c.suites.ood and not c.scores:
            yield "scores: missing; the ood suite needs at least one, such as {mcm: {score: mcm}}"
        placed = [suite for suites in self.shards.values() for suite in suites]
        for suite in self.suites:
            if placed.count(suite) != 1:
                yield f"shards: suite {suite!r} must be in exactly one shard, not {placed.count(suite)}"
        if c.data_root:
            roots = {self.root(d) for d, e in c.datasets.items() if _has_sources(e)}
            yield from (f"data_root: {r}: no such folder" for r in sorted(roots) if not Path(r).is_dir())

    def _entry_problems(self, kind: str, family: str, entry: Entry) -> Iterator[str]:
        keys = {"scheme": SCHEME_KEYS, "model": MODEL_KEYS, "dataset": DATASET_KEYS}.get(kind, {})
        for key, annotation in keys.items():
            if key in entry:
                try:
                    TypeAdapter(annotation).validate_python(entry[key], strict=True)
                except ValidationError as error:
                    yield from (f"{key}: {e['msg']}, got {entry[key]!r}" for e in error.errors()[:1])
        words = self._words(kind, entry)
        if kind == "scheme":
            yield from (p for axis in ("scopes", "proxies", "seeds") for p in self._axis_problems(entry, axis))
            for grid in ("weight", "activation"):
                if not isinstance(words.get(grid, {}), Mapping):
                    yield f"{grid}: must be a mapping of grid words, got {words[grid]!r}"
                    return
            words = with_grids(words, "w8a8")
        if kind == "model" and "form" in entry and not re.match(FORM, str(entry["form"])):
            yield f"form: must read <size>-<shortest|squash>-<bicubic|bilinear>, got {entry['form']!r}"
        yield from plugins.check(family, words)

    def _axis_problems(self, entry: Entry, axis: str) -> Iterator[str]:
        allowed = {"scopes": ["image", "both"], "proxies": list(self.config.proxies)}.get(axis)
        for word in entry.get(axis, []) if allowed else []:
            if word not in allowed:
                yield plugins.unknown(axis, word, allowed)

    def _pretrain_problems(self, entry: Entry) -> Iterator[str]:
        recipe = entry.get("pretrain")
        if not isinstance(recipe, Mapping):
            return
        if "pairs" not in recipe:
            yield "pretrain: pairs: missing; name a captioned dataset"
        else:
            yield from self._known("pretrain", "dataset", recipe["pairs"])
        words = {k: v for k, v in recipe.items() if k != "pairs"}
        yield from (f"pretrain: {p}" for p in plugins.check_words(plugins.PACKAGE / "pretrain.py", "pretrain", words))

    def _known(self, where: str, kind: str, *names: str) -> Iterator[str]:
        for name in names:
            if name not in self.config.datasets:
                yield f"{where}: {plugins.unknown(kind, name, self.config.datasets)}"

    def _axis(self, entry: Entry, axis: str) -> list[Any]:
        return entry.get(axis, list(getattr(self.config, axis)))

    def _words(self, kind: str, entry: Entry) -> Entry:
        reserved = {"scheme": SCHEME_KEYS, "model": MODEL_KEYS, "dataset": DATASET_KEYS}.get(kind, {})
        return {k: v for k, v in entry.items() if k not in reserved}

    def _rooted(self, entry: Entry) -> Entry:
        root = self.config.data_root or "data/raw"
        return {k: v.replace("{data_root}", root) if isinstance(v, str) else v for k, v in entry.items()}


def with_grids(entry: Mapping[str, Any], precision: str, /) -> Entry:
    """Add the bits of a precision to an entry's grids; weights default to a scale a channel, activations to a tensor."""
    weight, activation = parse_precision(precision)
    return {
        **entry,
        "weight": {"granularity": "channel", **entry.get("weight", {}), "bits": weight},
        "activation": {"granularity": "tensor", **entry.get("activation", {}), "bits": activation},
    }


def _has_sources(entry: Entry) -> bool:
    name = entry.get("dataset")
    return name in plugins.names("dataset") and plugins.defines("dataset", name, "SOURCES")


def _precision_problems(precision: str) -> Iterator[str]:
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
