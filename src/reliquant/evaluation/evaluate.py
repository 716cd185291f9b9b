"""Records of every image of a list of cells: what a variant predicts, how confidently, and its OOD scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import Score, class_columns, samples_of
from reliquant.evaluation.scales import at_scale, at_sigmoid, at_temperature
from reliquant.evaluation.templates import right_by_template, spread_over
from reliquant.evaluation.zero_shot import (
    Dtype,
    features_with_local,
    image_features,
    logit_scale_and_bias,
    text_head,
    text_heads,
)
from reliquant.files.artifacts import open_array
from reliquant.files.digests import AGAIN, DamagedFile, SealedArray
from reliquant.images.dataset import require_labels, subset
from reliquant.images.meta import Meta
from reliquant.images.prepare import load
from reliquant.measures.resampling import PHOTOGRAPH
from reliquant.models.clip import Clip
from reliquant.models.preprocess import require_form
from reliquant.study import paths

if TYPE_CHECKING:  # the shape of a cell alone: an evaluation runs nothing of the study
    from reliquant.study.cells import PlacedCell

Scores = Mapping[str, Score]
Floats = NDArray[np.float32]
SCORED = ("clean", "shift", "ood")  # suites whose images have OOD scores
PatchScores = dict[tuple[str, str, str], NDArray[np.float64]]  # by folder of the images, folder of the head, score


def evaluate(
    clip: Clip,
    cells: Sequence[PlacedCell],
    scores: Scores,
    /,
    *,
    batch: int,
    device: str,
    dtype: Dtype,
    scales: Mapping[str, float] | None = None,
    needs: Mapping[str, str] | None = None,
    negatives: list[str] | None = None,
    templates_alone: int = 0,
) -> pl.DataFrame:
    """Return the records of all cells (see `Study.cells`), with OOD scores in the clean, shift and ood suites.

    `needs` says which scores want `train`, `patches` or `negatives` (the words given); a score that wants training
    features is null in a cell that names no set to `fit` on. For each of the other logit `scales`, by word, records
    also hold what confidence, nll and brier would be with it, as `<name>_<word>`, and in the clean suite those at a
    cross-fitted temperature (see `scales.py`), and what so many of the templates, each alone, tell right.
    Raises ValueError naming the dataset when its images do not fit the model, its features are not finite, or, in other
    suites than ood, an image has no class.
    """
    job = _Job(clip, batch, device, dtype, negatives or [], templates_alone)
    _require_labels(job, cells)
    asked = _Asked(scores, {} if needs is None else needs)
    patch_scores = _score_patches(job, cells, asked.on_patches())
    parts = [part for cell in cells for part in _of_cell(job, cell, asked, patch_scores, scales or {})]
    return pl.concat(parts, how="diagonal")


@dataclass
class _Opened:
    """Hold a prepared folder that was opened once: labels and keys (n,), what is known, and features (n, d) of images.

    The images are mapped until they are embedded and then let go: pages of mapped files count as a job's memory.
    """

    labels: NDArray[np.int64]
    photographs: NDArray[np.uint64]
    meta: Meta
    images: NDArray[np.uint8] | None
    features: Floats | None = None


@dataclass
class _Job:
    """Open each folder once, and embed its images, classes or words once, whatever the number of cells that use it."""

    clip: Clip
    batch: int
    device: str
    dtype: Dtype
    words: list[str]  # negative words
    templates_alone: int = 0
    folders: dict[str, _Opened] = field(default_factory=dict)
    heads: dict[str, Floats] = field(default_factory=dict)  # classes (c, d) by folder
    alone: dict[str, dict[str, Floats]] = field(default_factory=dict)  # classes (c, d) by folder and single template
    negatives: dict[str, Floats] = field(default_factory=dict)  # negative words (m, d) by prompt

    def opened(self, folder: str) -> _Opened:
        """Return a prepared folder, whose classes may serve as a head whatever the form of its images."""
        if folder not in self.folders:
            prepared = load(Path(folder))
            self.folders[folder] = _Opened(prepared.labels, prepared.photographs, prepared.meta, prepared.images)
        return self.folders[folder]

    def of_images(self, folder: str) -> _Opened:
        """Return a prepared folder whose images the model can take."""
        require_form(self.clip, Path(folder).name, folder)
        return self.opened(folder)

    def forward_words(self, name: str) -> dict[str, Any]:
        """Return the keyword arguments of a forward over the images of a dataset of that name."""
        return {"batch": self.batch, "device": self.device, "dtype": self.dtype, "label": name}

    def embed(self, images: NDArray[np.uint8], name: str) -> Floats:
        return _finite(image_features(self.clip, images, **self.forward_words(name)), name)

    def features(self, folder: str, name: str) -> Floats:
        """Return the features (n, d) of all images of a folder."""
        dataset = self.of_images(folder)
        if dataset.features is None:
            dataset.features = self.embed(dataset.images, name)
            dataset.images = None
        return dataset.features

    def head(self, folder: str) -> Floats:
        """Return the embeddings (c, d) of a dataset's classes; negative words get the first of its templates."""
        if folder not in self.heads:
            meta = self.opened(folder).meta
            places = spread_over(len(meta["templates"]), self.templates_alone)
            texts = (meta["classes"], meta["templates"])
            self.heads[folder], alone = text_heads(self.clip, *texts, places, device=self.device)
            self.alone[folder] = {meta["templates"][i]: one for i, one in zip(places, alone, strict=True)}
            prompt = meta["templates"][0]  # one per word: there may be 70,000 words
            if self.words and prompt not in self.negatives:
                self.negatives[prompt] = text_head(self.clip, self.words, [prompt], device=self.device)
        return self.heads[folder]

    def beside(self, head: str, image: Floats, labels: NDArray[np.int64], patches: Floats | None = None) -> Features:
        """Put image features beside the classes (and negative words) of a dataset."""
        text = self.head(head)
        negatives = self.negatives.get(self.opened(head).meta["templates"][0])
        scale, bias = logit_scale_and_bias(self.clip)
        return Features(image, text, labels, scale, bias, patches=patches, negatives=negatives)

    def training(self, folder: str, head: str) -> Features:
        """Return the features that scores fit on; raise ValueError unless their classes are those of the head."""
        if self.of_images(folder).meta["classes"] != self.opened(head).meta["classes"]:
            raise ValueError(f"fits: the classes of {folder} are not those of {head}")
        image = self.features(folder, Path(folder).parent.name)
        return self.beside(head, image, self.opened(folder).labels)


def _require_labels(job: _Job, cells: Sequence[PlacedCell]) -> None:
    """Raise ValueError, before anything is embedded, where an image has no class that needs one; ood sets need none."""
    for cell in cells:
        needed = {cell["head"]: job.opened(cell["head"])}
        for folder in (cell.get("fit"), None if cell["suite"] == "ood" else cell["folder"]):
            if folder:
                needed[folder] = job.of_images(folder)
        for folder, opened in needed.items():
            name = Path(folder).parent.name
            require_labels(opened.meta["classes"], opened.labels, opened.meta.get("label_problem"), name)


@dataclass(frozen=True)
class _Asked:
    """Hold the scores that are asked for and what they need beside the features of images and classes."""

    scores: Scores
    needs: Mapping[str, str]

    def on_patches(self) -> Scores:
        return {name: score for name, score in self.scores.items() if self.needs.get(name) == "patches"}

    def fitted(self) -> Scores:
        return {name: score for name, score in self.scores.items() if self.needs.get(name) == "train"}

    def on_images(self, *, fitted: bool) -> Scores:
        """Return the scores of whole images, with or without those that fit on training features."""
        left_out = {*self.on_patches(), *(() if fitted else self.fitted())}
        return {name: score for name, score in self.scores.items() if name not in left_out}


def _of_cell(
    job: _Job, cell: PlacedCell, asked: _Asked, patch_scores: PatchScores, scales: Mapping[str, float]
) -> Iterator[pl.DataFrame]:
    """Yield the records of a cell, a frame for each severity."""
    dataset, reference = job.of_images(cell["folder"]), job.opened(cell["head"])
    if cell["suite"] == "shift" and dataset.meta["classes"] != reference.meta["classes"]:
        raise ValueError(f"shift suite, {cell['dataset']}: its classes are not those of {cell['reference']}")
    index = subset(len(dataset.labels), cell["images"])
    labels = np.full(len(index), -1) if cell["suite"] == "ood" else dataset.labels[index]
    for severity, image in _embedded(job, cell, index):
        features = job.beside(cell["head"], image, labels)
        records = _records(job, features, cell, asked, patch_scores)
        if cell["suite"] != "ood":
            sizes, top = cell["suite"] != "spurious", not cell["corruption"]
            records = records.with_columns(class_columns(features, sizes=sizes, top=top))
        if cell["suite"] in ("clean", "shift"):
            records = records.with_columns(at_sigmoid(features))
        for word, scale in scales.items():
            records = records.with_columns(at_scale(features, scale, word))
        if cell["suite"] == "clean":
            records = records.with_columns(at_temperature(features, dataset.photographs[index]))
            records = records.with_columns(right_by_template(image, labels, job.alone[cell["head"]]))
        yield records.with_columns(**_place(cell, severity, index, dataset))


def _embedded(job: _Job, cell: PlacedCell, index: NDArray[np.int64]) -> Iterator[tuple[int, Floats]]:
    """Yield each severity of a cell (0 where nothing corrupts its images) and the features of its images (k, d)."""
    for i, severity in enumerate(cell["severities"]):
        if cell["corruption"]:  # mapped anew for each severity, so that only its images are held
            corrupted = _corrupted(cell, job.opened(cell["folder"]).meta)
            yield severity, job.embed(corrupted.item(i), cell["dataset"])
        else:
            yield severity, job.features(cell["folder"], cell["dataset"])[index]


def _corrupted(cell: PlacedCell, meta: Meta) -> SealedArray:
    """Open the corrupted images of a cell (severities, n, h, w, 3); raise DamagedFile where they are others."""
    path = Path(paths.corrupted(cell["folder"], cell["corruption"]))
    corrupted = open_array(path, np.uint8, 5)
    made_of = {"corruption": cell["corruption"], "severities": list(cell["severities"])}
    if corrupted.seal.about != made_of | {"images": meta["arrays"][paths.IMAGES]}:
        raise DamagedFile(f"{path}: holds another corruption, other severities or other images; {AGAIN}")
    return corrupted


def _place(cell: PlacedCell, severity: int, index: NDArray[np.int64], dataset: _Opened) -> dict[str, Any]:
    """Return the columns that say which cell and image a record is of, and which photograph, corrupted or not.

    The group of a cell (near or far) comes before the groups of the dataset's images.
    """
    groups = dataset.meta.get("groups")
    group = [groups[i] for i in index] if groups and not cell["group"] else [cell["group"]] * len(index)
    return {
        "suite": pl.lit(cell["suite"]),
        "dataset": pl.lit(cell["dataset"]),
        "reference": pl.lit(cell["reference"]),
        "corruption": pl.lit(cell["corruption"]),
        "severity": pl.lit(severity, pl.Int8),
        "index": pl.Series(index.astype(np.int32)),
        "group": pl.Series(group, dtype=pl.String),
        PHOTOGRAPH: pl.Series(dataset.photographs[index], dtype=pl.UInt64),
    }


def _records(job: _Job, features: Features, cell: PlacedCell, asked: _Asked, patch_scores: PatchScores) -> pl.DataFrame:
    """Return the records of the images of a cell, with OOD scores where its suite asks for them."""
    if cell["suite"] not in SCORED:
        return samples_of(features, {})
    train = job.training(cell["fit"], cell["head"]) if asked.fitted() and cell.get("fit") else None
    records = samples_of(features, asked.on_images(fitted=train is not None), train=train)
    columns = [
        pl.Series(f"score:{name}", patch_scores[cell["folder"], cell["head"], name]) for name in asked.on_patches()
    ]
    return records.with_columns(columns)


def _score_patches(job: _Job, cells: Sequence[PlacedCell], scores: Scores) -> PatchScores:
    """Score every dataset against every head that asks, batch by batch, and keep its features for the other measures.

    Local features of a whole dataset would fill memory: 50,000 images of 196 patches are 20 GB.
    """
    if not scores:
        return {}
    heads: dict[str, list[str]] = {}  # by folder of the images
    for cell in cells:
        if cell["suite"] in SCORED and cell["head"] not in heads.setdefault(cell["folder"], []):
            heads[cell["folder"]].append(cell["head"])
    values: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}
    for folder, asking in heads.items():
        name, dataset = Path(folder).parent.name, job.of_images(folder)
        parts = []
        for image, patches in features_with_local(job.clip, dataset.images, **job.forward_words(name)):
            parts.append(_finite(image, name))
            for head in asking:
                features = job.beside(head, image, np.full(len(image), -1), patches)
                for score, function in scores.items():
                    values.setdefault((folder, head, score), []).append(function(features, None))
        dataset.features, dataset.images = np.concatenate(parts), None
    return {key: np.concatenate(batches) for key, batches in values.items()}


def _finite(features: Floats, name: str) -> Floats:
    if bad := int((~np.isfinite(features).all(axis=1)).sum()):
        raise ValueError(f"{name}: {bad} images have NaN or infinite features")
    return features
