"""One layer, or one block, quantized and all others as they are: what it does to embeddings, answers and OOD scores."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from reliquant import fingerprint, plugins
from reliquant.evaluation.embed import embed_images
from reliquant.evaluation.features import Features
from reliquant.evaluation.kept_rows import KeptRows
from reliquant.evaluation.measure import placed
from reliquant.evaluation.records import samples_of
from reliquant.evaluation.zero_shot import image_features, text_head
from reliquant.files.artifacts import ROW_SCHEMA, sha256_of_tensors
from reliquant.images.prepare import Prepared
from reliquant.layers.surgery import unpack
from reliquant.measures.rows import rows
from reliquant.measures.stats import normal_test, variance_of_mean
from reliquant.models.clip import Clip
from reliquant.models.parts import Scope
from reliquant.progress import progress
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.held_out import Pairs
from reliquant.quantization.identity import run_identity
from reliquant.quantization.moments import stages
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.proxy_loss import ProxyLoss
from reliquant.quantization.quantize import apply, prepare
from reliquant.quantization.single_layers import Tower, tower_of
from reliquant.quantization.where import Chosen, chosen
from reliquant.study.sensitivity import alone_problem

By = Literal["layer", "block"]
SCORE = "mcm"
CHANGES = ("accuracy_change", "ece_change", "squared_ce_change", "nll_change", "auroc_change")
ALONE = "alone_"  # before the name of a measure: of one layer or block by itself


@dataclass(frozen=True)
class Sets:
    """Hold labelled images and images out of distribution by name, and prompts in place of the datasets' own.

    `against` names, for each set of others, the labelled ones that it is out of distribution for; None: all of them.
    """

    labelled: Mapping[str, Prepared]
    others: Mapping[str, Prepared]
    templates: Sequence[str] | None = None
    batch: int = 256
    device: str = "cpu"
    against: Mapping[str, Collection[str]] | None = None

    def features(self, clip: Clip, exact: Features | None, towers: Sequence[Tower], name: str, /) -> Features:
        """Return features of a labelled set; what the named towers do not change is taken from the exact ones."""
        images = self.labelled[name]
        if exact is None:
            words = {"templates": self.templates, "batch": self.batch, "device": self.device}
            return embed_images(clip, images, **words)
        image, text = exact.image, exact.text
        if "image" in towers:
            image = self._embedded(clip, images, name)
        if "text" in towers:
            templates = images.meta["templates"] if self.templates is None else list(self.templates)
            text = text_head(clip, images.meta["classes"], templates, device=self.device)
        return replace(exact, image=image, text=text)

    def records(
        self, clip: Clip, exact: Exact | None, towers: Sequence[Tower], /
    ) -> tuple[dict[str, Features], dict[str, np.ndarray], pl.DataFrame]:
        """Return features of all sets and their records: each set of others against each labelled one."""
        known = {n: self.features(clip, exact.labelled[n] if exact else None, towers, n) for n in self.labelled}
        others = dict(exact.others) if exact else {}
        if exact is None or "image" in towers:
            others = {name: self._embedded(clip, images, name) for name, images in self.others.items()}
        score = {SCORE: plugins.load("score", {"score": SCORE})}
        parts = []
        for name, features in known.items():
            parts.append(placed(samples_of(features, score), "clean", name, name))
            for other, image in others.items():
                if self.against is not None and name not in self.against[other]:
                    continue
                keys = self.others[other].photographs
                beside = replace(features, image=image, label=np.full(len(image), -1), photographs=keys)
                found = samples_of(beside, score).with_columns(label=pl.lit(-1, pl.Int32))
                parts.append(placed(found, "ood", other, name))
        return known, others, pl.concat(parts, how="diagonal")

    def _embedded(self, clip: Clip, images: Prepared, name: str) -> np.ndarray:
        return image_features(clip, images.images, batch=self.batch, device=self.device, label=name)


@dataclass(frozen=True)
class Exact:
    """Hold what FP32 makes of the sets: features of labelled images, of others, and records of both."""

    labelled: dict[str, Features]
    others: dict[str, np.ndarray]
    records: pl.DataFrame


def one_at_a_time(
    clip: Clip,
    entry: Mapping[str, Any],
    scope: Scope,
    proxy: Proxy,
    sets: Sets,
    /,
    *,
    by: By = "layer",
    resamples: int = 1000,
    batch: int = 64,
    kept: KeptRows | None = None,
) -> pl.DataFrame:
    """Quantize each layer (or block) of a scheme alone, and return rows of what that changes, with 95 % intervals.

    The method runs anew for each, on a copy of the model in which every other layer is in floating point, so that two
    models are in memory. Columns: `group` (the layer or block), dataset, reference, score, measure, value, low, high, p
    and n. `alone_output_error` is |e_q - e|^2 of the unit embeddings of the proxy's pairs, mean over pairs, of the
    tower that the layer is in; the others are changes from FP32 on the same images, paired. Only the tower that holds
    the layer is run again. Rows that are `kept` from an interrupted run are taken, and new ones kept as they come.
    Raises ValueError for a scheme that has no such layers (`study.sensitivity.alone_problem`).
    """
    if problem := alone_problem(entry):
        raise ValueError(problem)
    clip = clip.with_model(copy.deepcopy(clip.model))
    exact = Exact(*sets.records(clip, None, ("image", "text")))
    loss = ProxyLoss(clip, proxy, "output_error", pairs=len(proxy.captions), batch=batch)
    unpack(clip)
    where = chosen(clip, scope, entry.get("layers", {}))
    groups = stages(where.names, clip.parts) if by == "block" else {name: [name] for name in where.names}
    parts = kept.of(groups) if kept else {}
    left = {name: layers for name, layers in groups.items() if name not in parts}
    for name, layers in progress(left.items(), label=f"one {by} at a time", total=len(left)):
        variant = clip.with_model(copy.deepcopy(clip.model))
        alone = {**entry, "layers": _only(where, layers, entry)}
        apply(variant, alone, prepare(variant, alone, scope, proxy).names, proxy, Checkpoints())
        variant.model.requires_grad_(False)
        towers = [tower_of(clip, layers[0])]
        _, _, records = sets.records(variant, exact, towers)
        found = rows(records, exact.records, resamples=resamples).filter(pl.col("measure").is_in(CHANGES))
        found = found.filter(pl.col("score").is_in(["", SCORE])).drop("replicates")
        found = pl.concat([pl.DataFrame(list(_output_error(loss, variant, towers)), schema=found.schema), found])
        parts[name] = found.with_columns(measure=ALONE + pl.col("measure"), group=pl.lit(name))
        if kept:
            kept.keep(name, parts[name])
    return pl.concat(parts[name] for name in groups)


def identity(
    clip: Clip, entry: Mapping[str, Any], scope: Scope, pairs: Pairs, sets: Sets, /, *, by: By, resamples: int
) -> dict[str, Any]:
    """Return all that the rows of `one_at_a_time` depend on, so that only a run that would make the same goes on."""
    state = {name: value.detach().cpu().numpy() for name, value in clip.model.state_dict().items()}
    known = {name: _images_identity(images) for name, images in sets.labelled.items()}
    others = {name: _images_identity(images) for name, images in sets.others.items()}
    against = sets.against and {name: sorted(names) for name, names in sets.against.items()}
    facts = {"scope": scope, "seed": pairs.proxy.seed, "pairs": pairs.identity, "by": by, "resamples": resamples}
    facts |= {"labelled": known, "others": others, "against": against, "templates": sets.templates}
    facts |= {"batch": sets.batch, "model_sha256": sha256_of_tensors(state)}
    measured = fingerprint.code("reliquant.evaluation.one_layer", score=[SCORE])
    return run_identity(clip, sets.device, entry, None, **facts, measured=measured)


def _images_identity(images: Prepared) -> dict[str, Any]:
    """Return what tells images, their labels and their prompts from others."""
    return {word: images.meta[word] for word in ("sha256", "classes", "templates", "entry")}


def as_rows(found: pl.DataFrame, labels: Mapping[str, Any], /) -> pl.DataFrame:
    """Return what `one_at_a_time` found as rows of a study's suite `explain`, which `figures/sensitivity.py` draws."""
    words = {"study": "", "source": "", "family": "", "proxy": "", **labels}
    columns = {name: pl.lit(word) for name, word in words.items()}
    nothing = {"iteration": pl.lit(None), "replicates": pl.lit(None)}
    rows_found = found.with_columns(**columns, **nothing, suite=pl.lit("explain"), scale=pl.lit("native"))
    return rows_found.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))


def _only(where: Chosen, layers: Sequence[str], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a scheme that quantize the named layers alone, each at the precision that it would have."""
    kept = [name for name in where.names if name not in layers] + sorted(where.kept)
    other = {name: where.other[name] for name in layers if name in where.other}
    return {**entry.get("layers", {}), "keep": kept, "other": other}


def _output_error(loss: ProxyLoss, variant: Clip, towers: Sequence[Tower]) -> Iterator[dict[str, Any]]:
    """Return the row of the squared error of a tower's embeddings, mean over pairs."""
    found = loss.embedded(variant, towers)
    for tower in towers:
        one, other = getattr(found, tower).double(), getattr(loss.exact, tower).double()
        errors = (one - other).square().sum(1).cpu().numpy()  # (n,)
        if not np.isfinite(errors).all():
            raise ValueError(f"the {tower} embeddings of the proxy's pairs are not finite with this layer quantized")
        low, high, _ = normal_test(errors.mean(), variance_of_mean(errors))
        row = {"suite": "clean", "dataset": "pairs", "reference": "pairs", "score": "", "corruption": "", "group": ""}
        ends = {"low": max(0.0, low), "high": high, "p": None, "n": len(errors)}
        yield {**row, "severity": 0, "measure": "output_error", "value": float(errors.mean()), **ends}


def ranked(found: pl.DataFrame, by: str, /) -> pl.DataFrame:
    """Return one row a layer, most harm first by a measure (mean over sets), with each measure's value and ends.

    `by` is `output_error`, `accuracy`, `ece` or `auroc`. Values of several sets are averaged, and so are their ends, in
    which sets count as if all erred together: an interval that is wide enough.
    """
    means = found.group_by("group", "measure", maintain_order=True).agg(
        *(pl.col(c).mean() if c == "value" else _whole_mean(c) for c in ("value", "low", "high"))
    )
    wide = means.pivot("measure", index="group", values=["value", "low", "high"], maintain_order=True)
    falls = by in ("accuracy", "auroc")  # where a change below 0 is the harm
    column = f"value_{ALONE}output_error" if by == "output_error" else f"value_{ALONE}{by}_change"
    return wide.sort(column, descending=not falls, nulls_last=True, maintain_order=True)


def _whole_mean(column: str) -> pl.Expr:
    """Return the mean of an end, null where one of them is."""
    return pl.when(pl.col(column).is_not_null().all()).then(pl.col(column).mean()).otherwise(None).alias(column)
