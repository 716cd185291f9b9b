"""A study: its grid expanded into variants and jobs. Free of torch, so that the DAG is built quickly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.study import paths
from reliquant.study.cells import Cell, ExplainCell, PlacedCell, cells_of
from reliquant.study.config import (
    FP32_SCHEME,
    SUITES,
    Config,
    Entry,
    Suite,
    own_words,
    snapshots_of,
    with_grids,
)


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
    """A config expanded: its variants, and what each rule hands to its step. `check.read_study` makes it."""

    SNAPSHOTS = "snapshots"  # the shard of what is evaluated on its way

    def __init__(self, config: Config, /) -> None:
        self.config = config
        self.name = config.study
        self.schemes = {"fp32": FP32_SCHEME, **config.schemes}
        self.shards: dict[str, list[str]] = config.shards or {s: [s] for s in self.suites}

    # -- the grid

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """Every variant of the study by its path, FP32 ones first."""
        found = [Variant(m, "fp32", "fp32", "none", "none", 0) for m in self.config.models]
        for scheme, entry in self.config.schemes.items():
            axes = (self.axis(entry, a) for a in ("precisions", "scopes", "proxies", "seeds"))
            found += [Variant(m, scheme, *rest) for m, *rest in product(self.config.models, *axes)]
        return {str(v): v for v in found}

    @cached_property
    def evaluations(self) -> list[tuple[str, str]]:
        """Every evaluation job: a variant's path and a shard; those with snapshots have the shard `snapshots` too."""
        shards = {
            path: [*self.shards, self.SNAPSHOTS] if self.snapshots(v) else self.shards
            for path, v in self.variants.items()
        }
        return [(path, shard) for path, found in shards.items() for shard in found]

    @property
    def suites(self) -> list[str]:
        """The suites that this study asks, in a fixed order."""
        return [s for s in SUITES if getattr(self.config.suites, s)]

    def scheme_entry(self, variant: Variant, /) -> Entry:
        """Return the quantizer entry of a variant: the scheme's words and the grids of its precision."""
        entry = own_words("schemes", self.schemes[variant.scheme])
        if snapshots := self.snapshots(variant):
            entry["snapshots"] = snapshots
        return entry if variant.scheme == "fp32" else with_grids(entry, variant.precision)

    def snapshots(self, variant: Variant, /) -> list[int]:
        """Return the iterations after which a variant is kept while it is trained; mostly none."""
        return snapshots_of(self.schemes[variant.scheme], variant.precision, variant.scope)

    def tower_entry(self, model: str, /) -> Entry:
        """Return the tower entry of a model; a model to pre-train from scratch loses its `pretrained` word."""
        entry = own_words("models", self.config.models[model])
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
        return own_words("datasets", self.config.datasets[dataset])

    def root(self, dataset: str, /) -> str:
        """Return the folder that holds a dataset as published: the user's (`data_root`) or `data/raw`."""
        return self._folder(self.config.datasets[dataset], "dataset")

    def is_fetched(self, dataset: str, /) -> bool:
        """Whether the workflow downloads this dataset."""
        return not self.config.data_root and self.is_published(dataset)

    def negatives(self) -> tuple[Entry, str]:
        """Return the lexicon entry of the negative words, empty without one, and the folder of its files."""
        entry = self.config.negatives or {}
        return own_words("negatives", entry), self._folder(entry, "lexicon") if entry else ""

    def fetched_lexicon(self) -> list[str]:
        """List what the workflow downloads for the negative words: the record of the download, or nothing."""
        entry, folder = self.negatives()
        needed = entry and not self.config.data_root and plugins.published("lexicon", entry["lexicon"])
        return [paths.fetched(folder)] if needed else []

    def published_in(self, folder: str, /) -> tuple[str, Entry]:
        """Return the family and the entry of the plugin whose published files a folder of `data/raw` holds."""
        if paths.fetched(f"{paths.RAW}/{folder}") in self.fetched_lexicon():
            return "lexicon", self.negatives()[0]
        found = (self.dataset_entry(d) for d in self.config.datasets if self.root(d) == f"{paths.RAW}/{folder}")
        return "dataset", next(found)

    def prepared(self, dataset: str, model: str, /) -> str:
        """Return the folder of decoded images that fits a model."""
        native = self.config.datasets[dataset].get("native", False)
        form = "native" if native else self.config.models[model].get("form", "224-shortest-bicubic")
        return paths.prepared(dataset, form)

    def cells(self, model: str, shard: str, /) -> list[PlacedCell]:
        """List what one evaluation job forwards: the cells of a shard's suites, with the folders that fit a model."""
        found = []
        for word in self.suites_in(shard):
            suite = word.partition("/")[0]
            if suite not in self.suites:
                continue
            for cell in self.suite_cells(suite):
                if self._word(suite, cell) == word:
                    found.append(self._placed(cell, model))
        return found

    def _placed(self, cell: Cell, model: str) -> PlacedCell:
        return {
            **cell,
            "folder": self.prepared(cell["dataset"], model),
            "head": self.prepared(cell["reference"], model),
            "fit": self._fit(cell, model),
        }

    def inputs(self, model: str, shard: str, /) -> list[str]:
        """List the files that one evaluation job reads besides the model and the variant."""
        found: list[str] = []
        for cell in self.cells(model, shard):
            corrupted = paths.corrupted(cell["folder"], cell["corruption"])
            found.append(corrupted if cell["corruption"] else paths.images(cell["folder"]))
            found += [paths.meta(cell["folder"]), paths.meta(cell["head"])]
            if cell["fit"]:
                found += [paths.images(cell["fit"]), paths.meta(cell["fit"])]
        words = self.config.negatives or {}
        found += [*self.fetched_lexicon(), *([words["file"]] if words.get("file") else [])]
        return list(dict.fromkeys(found))

    def suites_in(self, shard: str, /) -> list[str]:
        """List the suites of a shard."""
        return list(self.config.snapshot_suites) if shard == self.SNAPSHOTS else self.shards[shard]

    @cached_property
    def explained(self) -> list[str]:
        """The paths of the variants to explain: FP32 and the part of the grid that `explain` names; none without it."""
        asked = self.config.explain
        if asked is None:
            return []
        axes = {"scheme": asked.schemes, "precision": asked.precisions, "scope": asked.scopes, "seed": asked.seeds}
        axes = {a: words for a, words in axes.items() if words is not None}
        return [
            path
            for path, v in self.variants.items()
            if v.scheme == "fp32" or all(getattr(v, axis) in words for axis, words in axes.items())
        ]

    def explain_cells(self, model: str, /) -> list[ExplainCell]:
        """List the datasets that explaining a variant of a model forwards, with their folders."""
        return [
            {"suite": "clean", "dataset": d, "folder": self.prepared(d, model)} for d in self.config.explain.datasets
        ]

    def explain_record_cells(self, model: str, /) -> list[ExplainCell]:
        """List the datasets whose records of all images explaining reads: those, and the spurious ones."""
        spurious = [
            {"suite": "spurious", "dataset": d, "folder": self.prepared(d, model)} for d in self.config.suites.spurious
        ]
        return self.explain_cells(model) + spurious

    def shard_of(self, suite: str, /) -> str:
        """Name the shard that holds a suite."""
        return next(shard for shard, suites in self.shards.items() if suite in suites)

    def records(self, shard: str, /) -> list[str]:
        """Name the shards whose records a shard's measures need: itself, and where its OOD sets' references are."""
        model = next(iter(self.config.models))
        needed = {c["reference"] for c in self.cells(model, shard) if c["suite"] == "ood"}
        held = {s: {c["dataset"] for c in self.cells(model, s) if c["suite"] == "clean"} for s in self.shards}
        return list(dict.fromkeys([shard, *(s for s, sets in held.items() if sets & needed)]))

    def _word(self, suite: str, cell: Cell) -> str:
        """Return the word of `shards` that a cell of a suite belongs to: of its reference, its dataset or the suite."""
        words = (f"{suite}/{cell[role]}" for role in ("reference", "dataset"))
        return next((word for word in words if word in self._apart), suite)

    @cached_property
    def _apart(self) -> set[str]:
        """Name the `suite/dataset` that have a shard of their own."""
        return {word for words in self.shards.values() for word in words if "/" in word}

    def _fit(self, cell: Cell, model: str) -> str | None:
        """Return the folder that the scores of a cell fit on: of its reference, where a score asks for one."""
        asks = cell["suite"] in ("clean", "ood") and self.scores_that_need("train")
        return (
            self.prepared(self.config.fits[cell["reference"]], model)
            if asks and cell["reference"] in self.config.fits
            else None
        )

    def scores_that_need(self, what: str, /) -> list[str]:
        """List the scores of the study whose plugin says that it needs `train`, `patches` or `negatives`."""
        known = plugins.names("score")
        scores = {n: e.get("score") for n, e in self.config.scores.items()}
        return [n for n, s in scores.items() if (s in known or "." in str(s)) and plugins.needs("score", s) == what]

    def suite_cells(self, suite: Suite, /) -> list[Cell]:
        """List a suite's cells without the folders of a model."""
        return list(cells_of(suite, self.config.suites))

    def _folder(self, entry: Entry, family: str) -> str:
        return str(Path(self.config.data_root or paths.RAW) / entry.get("folder", entry[family]))

    def is_published(self, dataset: str, /) -> bool:
        """Whether a dataset's plugin knows where to download it."""
        return plugins.published("dataset", self.dataset_entry(dataset)["dataset"])

    def losses(self, variant: Variant, /) -> list[str]:
        """Name the losses that a variant is trained with: its scheme's, else its quantizer's own."""
        entry = self.scheme_entry(variant)
        words = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
        own = words["losses"][1] if "losses" in words else []
        return [each["loss"] for each in entry.get("losses", own)]

    def axis(self, entry: Entry, axis: str, /) -> list[Any]:
        """Return the words of a grid axis for a scheme: its own, else the study's."""
        return entry.get(axis, list(getattr(self.config, axis)))

    def _rooted(self, entry: Entry) -> Entry:
        root = self.config.data_root or paths.RAW
        return {k: v.replace("{data_root}", root) if isinstance(v, str) else v for k, v in entry.items()}
