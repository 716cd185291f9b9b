"""Explain one variant: its features, layers, feature maps and sensitivity beside FP32's, as rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from reliquant.evaluation import explain_rows
from reliquant.evaluation.explain_rows import Row
from reliquant.evaluation.features import Features
from reliquant.evaluation.layer_noise import OutputNoise, layers, maps_of, opened, weight_facts, with_weight_noise
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.images.dataset import subset
from reliquant.images.prepare import load
from reliquant.measures.fourier import frequencies, with_wave
from reliquant.measures.pairing import matched
from reliquant.models.clip import Clip
from reliquant.models.preprocess import batches, pixel_words

SUITE = "explain"
WEIGHTS = "noise in FP32 weights"


@dataclass(frozen=True)
class Seen:
    """Hold what one model says of some images: un-normalised embeddings (n, d), feature maps or None, and features."""

    raw: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    features: Features


def explain(
    exact: Clip,
    variant: Clip | None,
    cells: Sequence[Mapping[str, Any]],
    /,
    *,
    images: int,
    waves: int,
    wave_images: int,
    batch: int = 256,
    device: str = "cpu",
    seed: int = 0,
) -> pl.DataFrame:
    """Return the rows of all datasets (`Study.explain_cells`): of a variant beside FP32, or of FP32 alone (None).

    Layers, feature maps and Fourier sensitivity (a grid of `waves` steps, 0 for none) are taken on the first dataset.
    Raises ValueError naming the dataset whose features are not finite.
    """
    exact = opened(exact)
    rng = np.random.default_rng(seed)
    watch = None if variant is None else OutputNoise(exact.model, variant.model, layers(variant.model))
    weights = {} if variant is None else weight_facts(exact.model, variant.model)
    noised = None if variant is None else with_weight_noise(exact, weights, torch.Generator().manual_seed(seed))
    rows: list[Row] = []
    for i, cell in enumerate(cells):
        prepared = load(Path(cell["folder"]))
        chosen = subset(len(prepared.labels), images)
        picked, label = np.asarray(prepared.images[chosen]), prepared.labels[chosen]
        words = {"batch": batch, "device": device}
        fp32, own = _both(exact, variant, watch if i == 0 else None, picked, label, prepared.meta, words)
        if not all(np.isfinite(x.raw).all() for x in (fp32, own) if x is not None):
            raise ValueError(f"{cell['dataset']}: the image features hold NaN or infinite values")
        found = _of_dataset(fp32, own, rng)
        if noised is not None:
            found += explain_rows.of_control(
                WEIGHTS, _see(noised, picked, label, prepared.meta, words).features, fp32.features
            )
        if i == 0:
            found += _of_layers(watch, weights, len(label)) if watch is not None else []
            asked, truth = exact if variant is None else variant, (fp32 if own is None else own).features
            found += _sensitivity(asked, picked[:wave_images], truth, waves, words, rng)
        rows += [{"dataset": cell["dataset"], **r} for r in found]
    return framed(rows)


def of_samples(
    samples: pl.DataFrame, baseline: pl.DataFrame | None, cells: Sequence[Mapping[str, Any]], /
) -> pl.DataFrame:
    """Return the rows that records of all images of the cells' datasets give; baseline is None for FP32."""
    rows: list[Row] = []
    for cell in cells:
        where = (pl.col("suite") == cell["suite"]) & (pl.col("dataset") == cell["dataset"])
        own = samples.filter(where).sort("group", "index")
        fp32 = None if baseline is None else matched(own, baseline.filter(where)).sort("group", "index")
        classes = json.loads(Path(cell["folder"], "meta.json").read_text())["classes"]
        rows += [{"dataset": cell["dataset"], **r} for r in explain_rows.of_records(own, fp32, classes)]
    return framed(rows)


def framed(rows: Sequence[Row], /) -> pl.DataFrame:
    """Return rows as a frame with the suite's constant columns."""
    numbers = dict.fromkeys(["value", "low", "high", "p"], pl.Float64)
    schema = dict.fromkeys(["dataset", "group", "scale", "measure"], pl.String) | numbers | {"n": pl.Int64}
    frame = pl.DataFrame([{"scale": "native", **r} for r in rows], schema=schema, infer_schema_length=None)
    return frame.with_columns(
        suite=pl.lit(SUITE), reference="dataset", corruption=pl.lit(""), score=pl.lit(""), severity=pl.lit(0, pl.Int64)
    )


def _of_dataset(fp32: Seen, own: Seen | None, rng: np.random.Generator) -> list[Row]:
    label, heads = fp32.features.label, [x.features.text for x in (fp32, own) if x is not None]
    a, b = fp32.raw.astype(np.float64), None if own is None else own.raw.astype(np.float64)
    rows = explain_rows.of_spectra(a, b, rng=rng) + explain_rows.of_bands(a, b, heads, label)
    if own is not None and b is not None:
        rows += explain_rows.of_controls(a, b, [fp32.features, own.features], rng=rng)
    rows += explain_rows.of_margins((fp32 if own is None else own).features, None if own is None else fp32.features)
    maps = (fp32 if own is None else own).maps
    return rows + ([] if maps is None else explain_rows.of_maps(maps, None if own is None else fp32.maps))


def _of_layers(watch: OutputNoise, weights: Mapping[str, Mapping[str, float]], n: int) -> list[Row]:
    rows = [explain_rows.row("output_sqnr", value, np.nan, n, group=name) for name, value in watch.sqnr().items()]
    return rows + [
        explain_rows.row(measure, value, np.nan, n, group=name)
        for name, facts in weights.items()
        for measure, value in facts.items()
    ]


@torch.no_grad()
def _both(
    exact: Clip, variant: Clip | None, watch: OutputNoise | None, images: Any, label: Any, meta: Any, words: Any
) -> tuple[Seen, Seen | None]:
    if variant is None:
        return _see(exact, images, label, meta, words), None
    if watch is None:
        return tuple(_see(clip, images, label, meta, words) for clip in (exact, variant))  # type: ignore[return-value]
    size = words["batch"]
    parts = []
    for i in range(0, len(images), size):  # through one, then the other: the outputs of a batch are held
        with watch.watching():
            parts.append([_forward(clip, images[i : i + size], words) for clip in (exact, variant)])
    joined = [
        [None if xs[0] is None else np.concatenate(xs) for xs in zip(*who, strict=True)]
        for who in zip(*parts, strict=True)
    ]
    return tuple(_seen(c, *x, label, meta, words) for c, x in zip((exact, variant), joined, strict=True))  # type: ignore[return-value]


def _see(clip: Clip, images: Any, label: Any, meta: Any, words: Any) -> Seen:
    return _seen(clip, *_forward(clip, images, words), label, meta, words)


@torch.no_grad()
def _forward(clip: Clip, images: Any, words: Any) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    with maps_of(clip.model) as kept:
        parts = [
            clip.model.encode_image(x, normalize=False).float().cpu()
            for x in batches(images, **pixel_words(clip), **words)
        ]
    last = list(kept.values())[-1] if kept else None
    return torch.cat(parts).numpy(), None if last is None else torch.cat(last).numpy()


def _seen(clip: Clip, raw: Any, maps: Any, label: Any, meta: Any, words: Any) -> Seen:
    text = text_head(clip, meta["classes"], meta["templates"], device=words["device"])
    unit = normalize(torch.from_numpy(raw), dim=1).numpy()
    return Seen(raw, maps, Features(np.nan_to_num(unit), text, label, *logit_scale_and_bias(clip)))


def _sensitivity(
    clip: Clip, images: Any, seen: Features, cells: int, words: Any, rng: np.random.Generator
) -> list[Row]:
    """Return the error on images with a Fourier wave added, by frequency "u,v" in cycles a side (Yin et al. 2019)."""
    label = seen.label[: len(images)]
    rows = []
    for u, v in frequencies(min(images.shape[1:3]), cells) if cells else []:
        noisy = with_wave(images, u, v, rng)
        wrong = (image_features(clip, noisy, **words, label=f"wave {u},{v}") @ seen.text.T).argmax(axis=1) != label
        rows.append(explain_rows.share("fourier_error", wrong, group=f"{u},{v}"))
    return rows
