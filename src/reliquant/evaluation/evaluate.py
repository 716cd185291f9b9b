"""Records of every image of a list of cells: what a variant predicts, how confidently, and its OOD scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import at_scale, samples_of, top_classes
from reliquant.evaluation.zero_shot import Dtype, features_with_local, image_features, logit_scale_and_bias, text_head
from reliquant.images.dataset import subset
from reliquant.images.prepare import Prepared, load
from reliquant.models.clip import Clip

Score = Callable[..., NDArray[np.float64]]
Scores = Mapping[str, Score]
Floats = NDArray[np.float32]


def evaluate(
    clip: Clip,
    cells: Sequence[Mapping[str, Any]],
    scores: Scores,
    /,
    *,
    batch: int,
    device: str,
    dtype: Dtype,
    tuned: float | None = None,
    needs: Mapping[str, str] | None = None,
    negatives: list[str] | None = None,
) -> pl.DataFrame:
    """Return the records of all cells (see `Study.cells`); OOD scores where they are asked: clean and ood cells.

    `needs` says which scores want `train`, `patches` or `negatives` (the words given); a score that wants training
    features is null in a cell that names no set to `fit` on. With a `tuned` logit scale also what confidence, nll and
    brier would be with it: `<name>_tuned`.
    Raises ValueError naming the dataset when its images do not fit the model or its features are not finite.
    """
    tower = _Tower(clip, {"batch": batch, "device": device, "dtype": dtype}, negatives or [])
    needs = {} if needs is None else needs
    tower.local = _local_scores(tower, cells, {n: s for n, s in scores.items() if needs.get(n) == "patches"})
    parts = []
    for cell in cells:
        prepared = tower.prepared(cell["folder"])
        chosen = subset(len(prepared.labels), cell["images"])
        labels = np.full(len(chosen), -1) if cell["suite"] == "ood" else prepared.labels[chosen]
        groups = prepared.meta.get("groups")
        group = [groups[i] for i in chosen] if groups and not cell["group"] else [cell["group"]] * len(chosen)
        for i, severity in enumerate(cell["severities"]):
            if cell["corruption"]:
                images = np.load(Path(cell["folder"], "corrupt", f"{cell['corruption']}.npy"), mmap_mode="r")[i]
                image = tower.embed(images, cell["dataset"])
            else:
                image = tower.features(cell["folder"], cell["dataset"])[chosen]
            if cell["suite"] == "shift" and prepared.meta["classes"] != load(Path(cell["head"])).meta["classes"]:
                raise ValueError(f"shift suite, {cell['dataset']}: its classes are not those of {cell['reference']}")
            features = tower.beside(cell["head"], image, labels)
            where = {k: pl.lit(cell[k]) for k in ("suite", "dataset", "reference", "corruption")}
            where |= {"severity": pl.lit(severity, pl.Int8), "index": pl.Series(chosen.astype(np.int32))}
            found = _records(tower, features, cell, scores if cell["suite"] in ("clean", "ood") else {}, needs)
            if cell["suite"] != "ood" and not cell["corruption"]:
                found = found.with_columns(top_classes(features))
            if tuned:
                found = found.with_columns(at_scale(features, tuned))
            parts.append(found.with_columns(**where, group=pl.Series(group, dtype=pl.String)))
    return pl.concat(parts, how="diagonal")


@dataclass
class _Tower:
    """Embed each dataset and each set of classes or words once, whatever the number of cells that use it."""

    clip: Clip
    forward: dict[str, Any]  # batch, device, dtype
    words: list[str]
    sets: dict[str, Floats] = field(default_factory=dict)
    heads: dict[str, Floats] = field(default_factory=dict)
    negatives: dict[tuple[str, ...], Floats] = field(default_factory=dict)
    local: dict[tuple[str, str, str], NDArray[np.float64]] = field(default_factory=dict)  # (folder, head, score)

    def prepared(self, folder: str) -> Prepared:
        form = Path(folder).name
        if form not in ("native", self.clip.form):
            raise ValueError(f"{folder}: prepared as {form}, but the model wants `form: {self.clip.form}` in its entry")
        return load(Path(folder))

    def embed(self, images: NDArray[np.uint8], name: str) -> Floats:
        return _finite(image_features(self.clip, images, **self.forward, label=name), name)

    def features(self, folder: str, name: str) -> Floats:
        if folder not in self.sets:
            self.sets[folder] = self.embed(self.prepared(folder).images, name)
        return self.sets[folder]

    def head(self, folder: str) -> Floats:
        if folder not in self.heads:
            meta = load(Path(folder)).meta
            embed = partial(text_head, self.clip, device=self.forward["device"])
            self.heads[folder] = embed(meta["classes"], meta["templates"])
            prompt = tuple(meta["templates"][:1])  # one a word: there may be 70,000 words
            if self.words and prompt not in self.negatives:
                self.negatives[prompt] = embed(self.words, list(prompt))
        return self.heads[folder]

    def beside(self, head: str, image: Floats, labels: NDArray[np.int64], **more: Floats) -> Features:
        """Put image features beside the classes (and negative words) of a dataset."""
        text = self.head(head)
        negatives = self.negatives.get(tuple(load(Path(head)).meta["templates"][:1]))
        return Features(image, text, labels, *logit_scale_and_bias(self.clip), negatives=negatives, **more)

    def training(self, folder: str, head: str) -> Features:
        """Return the features that scores fit on; their classes must be those of the head."""
        fit, reference = self.prepared(folder), load(Path(head))
        if fit.meta["classes"] != reference.meta["classes"]:
            raise ValueError(f"fits: the classes of {folder} are not those of {head}")
        return self.beside(head, self.features(folder, Path(folder).parent.name), fit.labels)


def _records(
    tower: _Tower, features: Features, cell: Mapping[str, Any], asked: Scores, needs: Mapping[str, str]
) -> pl.DataFrame:
    fitting = {n for n in asked if needs.get(n) == "train"}
    train = tower.training(cell["fit"], cell["head"]) if fitting and cell.get("fit") else None
    now = {n: s for n, s in asked.items() if needs.get(n) != "patches" and (train is not None or n not in fitting)}
    found = samples_of(features, now, train=train)
    local = {n: tower.local[cell["folder"], cell["head"], n] for n in asked if needs.get(n) == "patches"}
    return found.with_columns(pl.Series(f"score:{name}", values) for name, values in local.items())


def _local_scores(
    tower: _Tower, cells: Sequence[Mapping[str, Any]], scores: Scores
) -> dict[tuple[str, str, str], NDArray[np.float64]]:
    """Score every dataset against every head that asks, batch by batch, and keep its features for the other measures.

    Local features of a whole dataset would fill memory: 50,000 images of 196 patches are 20 GB.
    """
    heads: dict[str, list[str]] = {}
    for cell in cells if scores else []:
        if cell["suite"] in ("clean", "ood") and cell["head"] not in heads.setdefault(cell["folder"], []):
            heads[cell["folder"]].append(cell["head"])
    found: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
    for folder, of in heads.items():
        name = Path(folder).parent.name
        parts = []
        for image, patches in features_with_local(
            tower.clip, tower.prepared(folder).images, **tower.forward, label=name
        ):
            parts.append(_finite(image, name))
            for head in of:
                features = tower.beside(head, image, np.full(len(image), -1), patches=patches)
                for score, function in scores.items():
                    found.setdefault((folder, head, score), []).append(function(features, None))
        tower.sets[folder] = np.concatenate(parts)
    return {key: np.concatenate(values) for key, values in found.items()}


def _finite(found: Floats, name: str) -> Floats:
    if bad := int((~np.isfinite(found).all(axis=1)).sum()):
        raise ValueError(f"{name}: {bad} images have NaN or infinite features")
    return found
