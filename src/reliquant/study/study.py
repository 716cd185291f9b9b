"""A study: its grid expanded into variants and jobs; free of torch, so that Snakemake plans its jobs quickly."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.study import paths
from reliquant.study.cells import Cell, ExplainCell, PlacedCell, cells_of
from reliquant.study.config import FP32_SCHEME, SUITES, Config, Entry, Suite, own_words, snapshots_of, with_grids
from reliquant.study.form import NATIVE
from reliquant.study.mixed import methods_of
from reliquant.study.model_entries import known_form
from reliquant.study.scheme import variant_words
from reliquant.study.variants import Variant, is_named, variants_of, words_of_axis

DEFAULT_FORM = "224-shortest-bicubic"  # of a model whose entry names none, where its own is not known either


class Study:
    """A config expanded: its variants, and what each rule hands to its step. `check.read_study` makes it."""

    SNAPSHOTS = "snapshots"  # the shard of the states that variants have on their way through training

    def __init__(self, config: Config, /) -> None:
        self.config = config
        self.name = config.study
        self.schemes = {"fp32": FP32_SCHEME, **config.schemes}
        self.shards: dict[str, list[str]] = config.shards or {s: [s] for s in self.suites}
        self._forms: dict[str, str] = {}
        self._records: dict[str, list[str]] = {}

    # -- the grid

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """Every variant of the study by its path, FP32 ones first."""
        return {str(variant): variant for variant in variants_of(self.config)}

    @cached_property
    def evaluations(self) -> list[tuple[str, str]]:
        """Every evaluation job: a variant's path and a shard; those with snapshots have the shard `snapshots` too."""
        jobs = []
        for path, variant in self.variants.items():
            jobs += [(path, shard) for shard in self.shards]
            if self.snapshots(variant):
                jobs.append((path, self.SNAPSHOTS))
        return jobs

    @property
    def suites(self) -> list[str]:
        """The suites of this study, in a fixed order."""
        return [suite for suite in SUITES if getattr(self.config.suites, suite)]

    def scheme_entry(self, variant: Variant, /) -> Entry:
        """Return the quantizer entry of a variant: the scheme's words and the grids of its precision."""
        scheme = self.schemes[variant.scheme]
        entry = variant_words(scheme)
        snapshots = self.snapshots(variant)
        if snapshots:
            entry["snapshots"] = snapshots
        return entry if variant.scheme == "fp32" else with_grids(entry, variant.precision)

    def snapshots(self, variant: Variant, /) -> list[int]:
        """Return the iterations after which a variant is kept while it is trained; mostly none."""
        return snapshots_of(self.schemes[variant.scheme], variant.precision, variant.scope)

    def tuned_on(self, variant: Variant, /) -> dict[str, Entry]:
        """Return the proxies on which FP32's logit scale is tuned: all that its variants are tuned on, by name.

        Each has the folder and the entry of its prepared images, how many pairs, and which share of them is held out.
        """
        if variant.scheme != "fp32" or self.config.tuning == "none":
            return {}
        used = {name for entry in self.config.schemes.values() for name in words_of_axis(self.config, entry, "proxies")}
        return {name: self.proxy(name, variant.model) for name in sorted(used)}

    def proxy(self, name: str, model: str, /) -> Entry:
        """Return folder and entry of a proxy's images in a model's form, how many pairs, and the share held out."""
        proxy = self.config.proxies[name]
        words = {"entry": self.dataset_entry(proxy.of), "pairs": proxy.pairs, "held_out": proxy.held_out}
        return {"folder": self.prepared(proxy.of, model), **words}

    def tower_entry(self, model: str, /) -> Entry:
        """Return the tower entry of a model; a model to pre-train from scratch loses its `pretrained` word."""
        entry = own_words("models", self.config.models[model])
        if self.trains(model):
            return {word: value for word, value in entry.items() if word != "pretrained"}
        return self._rooted(entry)

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
        datasets = (d for d in self.config.datasets if self.root(d) == f"{paths.RAW}/{folder}")
        return "dataset", self.dataset_entry(next(datasets))

    def prepared(self, dataset: str, model: str, /) -> str:
        """Return the folder of decoded images that fits a model."""
        native = self.config.datasets[dataset].get("native", False)
        return paths.prepared(dataset, NATIVE if native else self.form(model))

    def form(self, model: str, /) -> str:
        """Return the form of images that are prepared for a model: the config's, else the model's own where known."""
        if model not in self._forms:
            known = self.config.models[model].get("form") or known_form(self.tower_entry(model))
            self._forms[model] = known or DEFAULT_FORM
        return self._forms[model]

    def cells(self, model: str, shard: str, /) -> list[PlacedCell]:
        """List what one evaluation job forwards: the cells of a shard's suites, with the folders that fit a model."""
        placed = []
        for word in self.suites_in(shard):
            suite = word.partition("/")[0]
            if suite not in self.suites:
                continue
            for cell in self.suite_cells(suite):
                if self._word(suite, cell) == word:
                    placed.append(self._placed(cell, model))
        return placed

    def _placed(self, cell: Cell, model: str) -> PlacedCell:
        return {
            **cell,
            "folder": self.prepared(cell["dataset"], model),
            "head": self.prepared(cell["reference"], model),
            "fit": self._fit(cell, model),
        }

    def inputs(self, model: str, shard: str, /) -> list[str]:
        """List the files that one evaluation job reads besides the model and the variant."""
        files: list[str] = []
        for cell in self.cells(model, shard):
            if cell["corruption"]:
                files.append(paths.corrupted(cell["folder"], cell["corruption"]))
            else:
                files.append(paths.images(cell["folder"]))
            files += [paths.meta(cell["folder"]), paths.meta(cell["head"])]
            if cell["fit"]:
                files += [paths.images(cell["fit"]), paths.meta(cell["fit"])]
        files += self.fetched_lexicon()
        word_list = (self.config.negatives or {}).get("file")
        if word_list:
            files.append(word_list)
        return list(dict.fromkeys(files))

    def suites_in(self, shard: str, /) -> list[str]:
        """List the suites of a shard."""
        return list(self.config.snapshot_suites) if shard == self.SNAPSHOTS else self.shards[shard]

    @cached_property
    def explained(self) -> list[str]:
        """The paths of the variants to explain: FP32 and the part of the grid that `explain` names; none without it."""
        asked = self.config.explain
        if asked is None:
            return []
        return [path for path, v in self.variants.items() if v.scheme == "fp32" or is_named(v, asked)]

    def explain_cells(self, model: str, /) -> list[ExplainCell]:
        """List the datasets that explaining a variant of a model forwards, with their folders."""
        datasets = self.config.explain.datasets if self.config.explain else []
        return [self._explain_cell("clean", dataset, model) for dataset in datasets]

    def explain_record_cells(self, model: str, /) -> list[ExplainCell]:
        """List the datasets whose records of all images explaining reads: those, and the spurious ones."""
        spurious = [self._explain_cell("spurious", dataset, model) for dataset in self.config.suites.spurious]
        return self.explain_cells(model) + spurious

    def _explain_cell(self, suite: Suite, dataset: str, model: str) -> ExplainCell:
        return {"suite": suite, "dataset": dataset, "folder": self.prepared(dataset, model)}

    def shard_of(self, suite: str, /) -> str:
        """Name the shard that holds a suite."""
        return next(shard for shard, suites in self.shards.items() if suite in suites)

    def records(self, shard: str, /) -> list[str]:
        """Name the shards whose records a shard's measures need: itself first, then others.

        OOD sets are told from the clean images of their reference and from shifted ones; under shift and noise the
        prediction sets are calibrated on clean images.
        """
        if shard in self._records:
            return self._records[shard]
        model = next(iter(self.config.models))
        cells = self.cells(model, shard)
        clean = {cell["reference"] for cell in cells if cell["suite"] in ("ood", "shift", "noise")}
        shifted = {cell["reference"] for cell in cells if cell["suite"] == "ood"}
        needed = [shard]
        for other in self.shards:
            for cell in self.cells(model, other):
                suite, reference = cell["suite"], cell["reference"]
                if (suite == "clean" and reference in clean) or (suite == "shift" and reference in shifted):
                    needed.append(other)
        self._records[shard] = list(dict.fromkeys(needed))
        return self._records[shard]

    def _word(self, suite: str, cell: Cell) -> str:
        """Return the word of `shards` that a cell belongs to: `suite/reference`, `suite/dataset`, else the suite."""
        for role in ("reference", "dataset"):
            word = f"{suite}/{cell[role]}"
            if word in self._placed_apart:
                return word
        return suite

    @cached_property
    def _placed_apart(self) -> set[str]:
        """Name the `suite/dataset` that have a shard of their own."""
        apart: set[str] = set()
        for words in self.shards.values():
            apart |= {word for word in words if "/" in word}
        return apart

    def _fit(self, cell: Cell, model: str) -> str | None:
        """Return the folder that the scores of a cell are fitted on, where one asks for training images; else None."""
        fits, scored = self.config.fits, cell["suite"] in ("clean", "shift", "ood")
        if not scored or cell["reference"] not in fits or not self.scores_that_need("train"):
            return None
        return self.prepared(fits[cell["reference"]], model)

    def scores_that_need(self, what: str, /) -> list[str]:
        """List the scores of the study whose plugin says that it needs `train`, `patches` or `negatives`."""
        known, names = plugins.names("score"), []
        for name, entry in self.config.scores.items():
            score = str(entry.get("score"))
            if (score in known or "." in score) and plugins.needs("score", score) == what:
                names.append(name)
        return names

    def suite_cells(self, suite: str, /) -> list[Cell]:
        """List a suite's cells without the folders of a model."""
        return list(cells_of(suite, self.config.suites))

    def _folder(self, entry: Entry, family: str) -> str:
        return str(Path(self.config.data_root or paths.RAW, str(entry.get("folder", entry[family]))))

    def is_published(self, dataset: str, /) -> bool:
        """Whether a dataset's plugin knows where to download it."""
        return plugins.published("dataset", self.dataset_entry(dataset)["dataset"])

    def losses(self, variant: Variant, /) -> list[str]:
        """Name the losses that a variant is trained with: its scheme's, else its quantizer's own."""
        entry = self.scheme_entry(variant)
        words = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
        own = words["losses"][1] if "losses" in words else []
        losses: Any = entry.get("losses", own)
        return [each["loss"] for each in losses]

    def quantizers(self, variant: Variant, /) -> list[str]:
        """Name the quantizers that make a variant."""
        return methods_of(self.scheme_entry(variant))

    def _rooted(self, entry: Entry) -> Entry:
        """Put the folder of the data into the words that name `{data_root}`."""
        root = self.config.data_root or paths.RAW
        return {k: v.replace("{data_root}", root) if isinstance(v, str) else v for k, v in entry.items()}
