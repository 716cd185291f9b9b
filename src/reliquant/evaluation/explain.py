"""Explain one variant: its features, layers, feature maps and sensitivity beside FP32's, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from reliquant.evaluation import explain_rows
from reliquant.evaluation.explain_row import Resamples, Row, resamples_of, row
from reliquant.evaluation.features import Features
from reliquant.evaluation.layer_noise import OutputNoise, layers, maps_of, opened, weight_facts, with_weight_noise
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.files.artifacts import KEPT
from reliquant.images.dataset import require_labels, subset
from reliquant.images.meta import Meta, read_meta
from reliquant.images.prepare import load
from reliquant.measures.fourier import frequencies, with_wave
from reliquant.measures.pairing import matched
from reliquant.measures.row import as_column
from reliquant.models.clip import Clip
from reliquant.models.preprocess import batches, pixel_words

if TYPE_CHECKING:  # the shape of a cell alone: explaining runs nothing of the study
    from reliquant.study.cells import ExplainCell

SUITE = "explain"
WEIGHTS = "noise in FP32 weights"


class Forward(TypedDict):
    """Say how images go through a model: how many at a time, and on which device."""

    batch: int
    device: str


@dataclass(frozen=True)
class Shown:
    """Hold the images that the models are shown: pixels (n, h, w, 3), labels (n,), the dataset, and their resamples."""

    pixels: NDArray[np.uint8]
    label: NDArray[np.int64]
    meta: Meta
    resamples: Resamples


@dataclass(frozen=True)
class Embedded:
    """Hold what an image tower gives: un-normalised embeddings (n, d), and its last feature maps (n, c, h, w) or None.

    The maps are None where the tower has none of at least 4 x 4.
    """

    raw: NDArray[np.float32]
    maps: NDArray[np.float32] | None


@dataclass(frozen=True)
class Seen(Embedded):
    """Hold what one model says of some images: its embeddings and maps, and unit features beside the classes."""

    features: Features


@dataclass(frozen=True)
class Comparison:
    """Hold what is made once to compare a variant with FP32, whatever the number of datasets.

    `outputs` adds up the noise in the outputs of layers, `weights` says by layer what is known of the weights, and
    `noised` is FP32 with that much noise in its weights (None where the noise of a layer is not known).
    """

    variant: Clip
    outputs: OutputNoise
    weights: Mapping[str, Mapping[str, float]]
    noised: Clip | None


def explain(
    exact: Clip,
    variant: Clip | None,
    cells: Sequence[ExplainCell],
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
    forward: Forward = {"batch": batch, "device": device}
    comparison = None if variant is None else _comparison(exact, variant, seed)
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        shown, first = _shown(cell, images), number == 0
        if comparison is None:
            model, seen = exact, _see(exact, shown, forward)
            _require_finite(cell, seen)
            of_cell = _of_fp32(seen, rng, shown.resamples)
        else:
            model = comparison.variant
            fp32, seen = _see_both(exact, comparison, shown, forward, watched=first)
            _require_finite(cell, fp32, seen)
            of_cell = _of_variant(fp32, seen, rng, shown.resamples)
            if comparison.noised is not None:
                noised = _see(comparison.noised, shown, forward)
                of_cell += explain_rows.of_control(WEIGHTS, noised.features, fp32.features)
            if first:
                of_cell += _of_layers(comparison, len(shown.label))
        if first:
            of_cell += _sensitivity(model, shown.pixels[:wave_images], seen.features, waves, forward, rng)
        rows += [{"dataset": cell["dataset"], **line} for line in of_cell]
    return framed(rows)


def of_samples(samples: pl.DataFrame, baseline: pl.DataFrame | None, cells: Sequence[ExplainCell], /) -> pl.DataFrame:
    """Return the rows that records of all images of the cells' datasets give; baseline is None for FP32."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        where = (pl.col("suite") == cell["suite"]) & (pl.col("dataset") == cell["dataset"])
        own = samples.filter(where).sort("group", "index")
        fp32 = None if baseline is None else matched(own, baseline.filter(where)).sort("group", "index")
        classes = read_meta(Path(cell["folder"]))["classes"]
        rows += [{"dataset": cell["dataset"], **line} for line in explain_rows.of_records(own, fp32, classes)]
    return framed(rows)


def framed(rows: Sequence[Mapping[str, Any]], /) -> pl.DataFrame:
    """Return rows, each a `Row` with its dataset, as a frame with the suite's constant columns."""
    numbers = dict.fromkeys(["value", "low", "high", "p"], pl.Float64)
    schema = dict.fromkeys(["dataset", "group", "scale", "measure"], pl.String) | numbers | {"n": pl.Int64}
    plain = [{name: line[name] for name in schema} for line in rows]
    known = np.array([line["replicates"] is not None for line in rows], bool)
    table = np.full((len(rows), KEPT), np.nan, np.float32)
    for number in np.flatnonzero(known):
        table[number] = rows[number]["replicates"]
    return pl.DataFrame(plain, schema=schema, infer_schema_length=None).with_columns(
        suite=pl.lit(SUITE),
        reference="dataset",
        corruption=pl.lit(""),
        score=pl.lit(""),
        severity=pl.lit(0, pl.Int64),
        replicates=as_column(table, known),
    )


def _comparison(exact: Clip, variant: Clip, seed: int) -> Comparison:
    weights = weight_facts(exact, variant)
    outputs = OutputNoise(exact.model, variant.model, layers(variant))
    return Comparison(variant, outputs, weights, with_weight_noise(exact, weights, torch.Generator().manual_seed(seed)))


def _shown(cell: ExplainCell, images: int) -> Shown:
    prepared = load(Path(cell["folder"]))
    meta = prepared.meta
    require_labels(meta["classes"], prepared.labels, meta.get("label_problem"), cell["dataset"])
    index = subset(len(prepared.labels), images)
    label = prepared.labels[index]
    resamples = resamples_of(prepared.photographs[index], label)
    return Shown(np.asarray(prepared.images[index]), label, meta, resamples)


def _require_finite(cell: ExplainCell, *seen: Seen) -> None:
    if not all(np.isfinite(one.raw).all() for one in seen):
        raise ValueError(f"{cell['dataset']}: the image features hold NaN or infinite values")


def _of_fp32(fp32: Seen, rng: np.random.Generator, resamples: Resamples) -> list[Row]:
    raw, features = fp32.raw.astype(np.float64), fp32.features
    texts = {"exact_text": features.text, "noisy_text": None}
    rows = explain_rows.of_spectra(raw, None, rng=rng)
    rows += explain_rows.of_bands(raw, None, features.label, **texts, resamples=resamples)
    rows += explain_rows.of_margins(features, None)
    return rows if fp32.maps is None else rows + explain_rows.of_maps(fp32.maps, None)


def _of_variant(fp32: Seen, own: Seen, rng: np.random.Generator, resamples: Resamples) -> list[Row]:
    exact, noisy = fp32.raw.astype(np.float64), own.raw.astype(np.float64)
    texts = {"exact_text": fp32.features.text, "noisy_text": own.features.text}
    rows = explain_rows.of_spectra(exact, noisy, rng=rng, resamples=resamples)
    rows += explain_rows.of_bands(exact, noisy, fp32.features.label, **texts, resamples=resamples)
    rows += explain_rows.of_controls(exact, noisy, exact_features=fp32.features, noisy_features=own.features, rng=rng)
    rows += explain_rows.of_margins(own.features, fp32.features)
    return rows if own.maps is None else rows + explain_rows.of_maps(own.maps, fp32.maps)


def _of_layers(comparison: Comparison, n: int) -> list[Row]:
    rows = []
    for name, value in comparison.outputs.sqnr().items():
        rows.append(row("output_sqnr", value, None, n, group=name))
    for name, facts in comparison.weights.items():
        for measure, value in facts.items():
            rows.append(row(measure, value, None, n, group=name))
    return rows


def _see(clip: Clip, shown: Shown, forward: Forward) -> Seen:
    return _seen(clip, _embedded(clip, shown.pixels, forward), shown, forward)


def _see_both(
    exact: Clip, comparison: Comparison, shown: Shown, forward: Forward, *, watched: bool
) -> tuple[Seen, Seen]:
    """Show the images to FP32 and to the variant; where `watched`, add up the noise in the outputs of layers."""
    variant = comparison.variant
    if not watched:
        return _see(exact, shown, forward), _see(variant, shown, forward)
    by_exact, by_variant = [], []
    for start in range(0, len(shown.pixels), forward["batch"]):
        part = shown.pixels[start : start + forward["batch"]]
        with comparison.outputs.watching():  # one model, then the other: the outputs of one batch alone are held
            by_exact.append(_embedded(exact, part, forward))
            by_variant.append(_embedded(variant, part, forward))
    fp32 = _seen(exact, _joined(by_exact), shown, forward)
    return fp32, _seen(variant, _joined(by_variant), shown, forward)


@torch.no_grad()
def _embedded(clip: Clip, pixels: NDArray[np.uint8], forward: Forward) -> Embedded:
    parts = []
    with maps_of(clip.model) as maps_by_place:
        for x in batches(pixels, **pixel_words(clip), **forward):
            parts.append(clip.model.encode_image(x, normalize=False).float().cpu())
    maps = None
    if maps_by_place:
        *_, last = maps_by_place.values()
        maps = torch.cat(last).numpy()
    return Embedded(torch.cat(parts).numpy(), maps)


def _joined(parts: Sequence[Embedded]) -> Embedded:
    """Join what one model gave batch by batch."""
    maps = [part.maps for part in parts if part.maps is not None]
    return Embedded(np.concatenate([part.raw for part in parts]), np.concatenate(maps) if maps else None)


def _seen(clip: Clip, embedded: Embedded, shown: Shown, forward: Forward) -> Seen:
    text = text_head(clip, shown.meta["classes"], shown.meta["templates"], device=forward["device"])
    unit = np.nan_to_num(normalize(torch.from_numpy(embedded.raw), dim=1).numpy())
    features = Features(unit, text, shown.label, *logit_scale_and_bias(clip))
    return Seen(embedded.raw, embedded.maps, features)


def _sensitivity(
    clip: Clip, pixels: NDArray[np.uint8], seen: Features, steps: int, forward: Forward, rng: np.random.Generator
) -> list[Row]:
    """Return the error on images with a Fourier wave added, by frequency "u,v" in cycles per side (Yin et al. 2019).

    The waves are those of a grid of so many steps; there are none with 0.
    """
    rows = []
    label = seen.label[: len(pixels)]
    for u, v in frequencies(min(pixels.shape[1:3]), steps) if steps else []:
        noisy = image_features(clip, with_wave(pixels, u, v, rng), **forward, label=f"wave {u},{v}")
        wrong = (noisy @ seen.text.T).argmax(axis=1) != label
        rows.append(explain_rows.share("fourier_error", wrong, group=f"{u},{v}"))
    return rows
