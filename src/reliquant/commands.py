"""What the subcommands of `reliquant` do; each returns its finding as JSON-like data and as text for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from reliquant import plugins
from reliquant.features import Features
from reliquant.measure import of_features, of_probabilities
from reliquant.records import DamagedFile, provenance, save_tensors

if TYPE_CHECKING:  # torch takes seconds to import
    from reliquant.backend import Backend
    from reliquant.quantize import Tuning

Found = tuple[Any, str]
SCORES = ("mcm", "msp", "max_logit", "energy")


def measure(*, features: Path, ood: list[Path], resamples: int) -> Found:
    """Measure stored features (image, label, text, logit_scale) or probabilities (probabilities, label)."""
    arrays = _arrays(features)
    if "probabilities" in arrays:
        _need(features, arrays, "label")
        if ood:
            raise ValueError(f"{features}: probabilities give no OOD scores; give image and text features")
        found = {features.stem: of_probabilities(arrays["probabilities"], arrays["label"], resamples=resamples)}
        return found, as_text(found)
    _need(features, arrays, "image", "label", "text", "logit_scale")
    test = _features(features, arrays, arrays, arrays["label"])
    others = {}
    for path in ood:
        other = _arrays(path)
        _need(path, other, "image")
        others[str(path.with_suffix(""))] = _features(path, other, arrays, np.full(len(other["image"]), -1))
    return _measured(features.stem, test, others, resamples)


def plan(*, config: Path | None, model: str | None, scheme: str, precision: str, scope: str) -> Found:
    """Say what a study expands to, or layer by layer what a scheme quantizes in a model."""
    if (config is None) == (model is None):
        raise ValueError("give a study config or --model, one of them")
    if config:
        return _plan_study(config)
    from reliquant.opening import open_model, scheme_entry  # torch and open_clip are slow to import
    from reliquant.planning import plan_model

    found = plan_model(open_model(model), scheme_entry(scheme, precision), scope)
    lines = [f"{'module':58} {'weight':22} {'activation':18} {'MMAC':>9}  stays FP32 because"]
    for p in found["products"]:
        module = p["module"] or "(the model itself)"
        lines.append(f"{module:58} {p['weight']:22} {p['activation']:18} {p['macs'] / 1e6:9.2f}  {p['reason']}")
    lines += [f"{name}: {share:.1%}" for name, share in found["shares"].items()]
    if found["from_data"]:
        lines.append("the method decides part of this by its data, which here were random images")
    return found, "\n".join(lines)


def quantize(
    *,
    model: str,
    scheme: str,
    precision: str,
    scope: str,
    pairs: str,
    number: int,
    seed: int,
    tuning: Tuning,
    every: int,
    device: str,
    output: Path,
) -> Found:
    """Quantize a model on image-caption pairs; write the variant, and beside it the FP32 model if it is no file yet."""
    from reliquant import opening
    from reliquant.device import choose
    from reliquant.models import load_model, save_model
    from reliquant.quantize import make_proxy
    from reliquant.quantize import quantize as quantize_model
    from reliquant.resume import Checkpoints

    entry = opening.scheme_entry(scheme, precision)
    path = Path(model)
    if path.suffix != ".safetensors":
        path = output.with_suffix(".fp32.safetensors")
        save_model(path, opening.open_model(model), opening.tower_entry(model))
    clip, facts = load_model(path)
    device = choose(device)
    clip.model.to(device)
    proxy, which = make_proxy(opening.open_images(pairs, clip.form), number, seed, device)
    of = {"entry": entry, "labels": {"scope": scope, "seed": seed}, "model_sha256": facts["sha256"]}
    saved = Checkpoints(output.with_suffix(".checkpoints"), every, of)
    arrays, found = quantize_model(clip, entry, scope, proxy, saved, tuning=tuning)
    save_tensors(output, arrays, provenance(kind="variant", **of, **found, pairs=which))
    saved.clear()
    told = {"variant": str(output), "model": str(path), **found["measures"]}
    return told, "\n".join(f"{k}: {v}" for k, v in told.items())


def evaluate(
    *,
    model: str,
    variant: Path | None,
    data: str,
    ood: list[str],
    templates: list[str],
    batch: int,
    resamples: int,
    device: str,
    backend: Backend,
    scale: str,
    save: Path | None,
) -> Found:
    """Embed labelled images with a model, or with a variant of it, and measure, at its own logit scale or the tuned."""
    from reliquant.backend import use_backend
    from reliquant.device import choose
    from reliquant.models import load_variant
    from reliquant.opening import open_images, open_model
    from reliquant.zero_shot import image_features, logit_scale_and_bias, text_head

    clip, header = load_variant(Path(model), variant) if variant else (open_model(model), {})
    if scale == "tuned" and header.get("logit_scale_tuned") is None:
        raise ValueError(f"{variant or model}: has no tuned logit scale; `reliquant quantize --tuning` makes one")
    device = choose(device)
    clip.model.to(device)
    if variant:
        use_backend(clip.model, backend, str(variant))
    images = open_images(data, clip.form)
    if not images.meta["classes"]:
        raise ValueError(f"{data}: has no classes to tell apart")
    head = text_head(clip, images.meta["classes"], templates, device=device)
    logit_scale, bias = logit_scale_and_bias(clip)
    logit_scale = header["logit_scale_tuned"] if scale == "tuned" else logit_scale

    def features(array: NDArray[np.uint8], label: NDArray[np.int64]) -> Features:
        return Features(image_features(clip, array, batch=batch, device=device), head, label, logit_scale, bias)

    test = features(images.images, images.labels)
    if save:
        arrays = {"image": test.image, "label": test.label, "text": head, "logit_scale": np.float32([logit_scale])}
        save_file(arrays | {"logit_bias": np.float32([bias])}, save)
    others = {}
    for word in ood:
        other = open_images(word, clip.form)
        others[word] = features(other.images, np.full(len(other.images), -1))
    return _measured(Path(data).stem, test, others, resamples)


def recommend(*, rows: Path, wish: list[str], cost: str) -> Found:
    """Name the variants of a study that meet every wish and lie on the Pareto front, smallest cost first."""
    from reliquant.recommend import recommend as chosen

    return _table(chosen(_rows(rows), wish, cost=cost), "no variant meets the wish")


def compare(*, rows_a: Path, rows_b: Path, level: float) -> Found:
    """Show what changed significantly from one study's rows to another's."""
    from reliquant.compare import compare as compared

    found = compared(_rows(rows_a), _rows(rows_b), level=level)
    return _table(found.filter(pl.col("significant") | (pl.col("where") != "both")), "nothing changed significantly")


def _rows(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DamagedFile(f"{path}: truncated or not parquet ({error})") from error


def _table(frame: pl.DataFrame, nothing: str) -> Found:
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, fmt_str_lengths=60, tbl_width_chars=200):
        return frame.to_dicts(), nothing if frame.is_empty() else str(frame)


def as_text(found: Mapping[str, Any], /) -> str:
    """Lay out {dataset: {measure: {value, low, high, n}}} as a table for a terminal."""
    lines = [f"{'dataset':24} {'measure':28} {'value':>9}   95 % interval          n"]
    for dataset, measures in found.items():
        for name, m in measures.items():
            low, high = ("" if m[k] is None else f"{m[k]:.4f}" for k in ("low", "high"))
            lines.append(f"{dataset:24} {name:28} {m['value']:9.4f}   {low:>8} .. {high:8} {m['n']:6}")
    return "\n".join(lines)


def _measured(name: str, test: Features, others: Mapping[str, Features], resamples: int) -> Found:
    scores = {score: plugins.load("score", {"score": score}) for score in SCORES}
    found = of_features(test, others, scores, resamples=resamples, name=name)
    return found, as_text(found)


def _plan_study(config: Path) -> Found:
    from reliquant.estimate import as_text as estimate_text
    from reliquant.estimate import estimate
    from reliquant.study import Study

    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such file")
    try:
        given = yaml.safe_load(config.read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        told = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}" if mark else str(error)
        _wrong_config(f"{config}: no YAML: {' '.join(told.split())}")
    if not isinstance(given, dict):
        _wrong_config(f"{config}: must hold keys and values (study, models, ...), not {given!r:.40}")
    try:
        study = Study(given)
    except plugins.ConfigError as error:
        _wrong_config(f"{config}: {error}")
    found = estimate(study, lock=config.with_name("weights.lock.json"))
    return found, estimate_text(found)


def _wrong_config(message: str) -> NoReturn:
    """End with exit code 2, as a config is part of the command line."""
    print(f"reliquant plan: error: {message}", file=sys.stderr)
    sys.exit(2)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFile(f"{path}: truncated or not a safetensors file ({error})") from error


def _need(path: Path, arrays: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path}: has no tensor {name!r}; there are {', '.join(sorted(arrays))}")


def _features(
    path: Path, arrays: Mapping[str, NDArray[Any]], head: Mapping[str, NDArray[Any]], label: NDArray[Any]
) -> Features:
    def unit(name: str, x: NDArray[Any]) -> NDArray[np.float32]:
        if x.ndim != 2:
            raise ValueError(f"{path}: {name} must have two axes, not shape {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"{path}: {name} holds NaN or infinite values")
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    bias = float(head["logit_bias"].item()) if "logit_bias" in head else 0.0
    try:
        return Features(
            unit("image", arrays["image"]),
            unit("text", head["text"]),
            label.astype(np.int64),
            float(head["logit_scale"].item()),
            bias,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}".replace(f"{path}: {path}", str(path))) from error
