"""Explaining a variant of a tiny CLIP: what the rows must say of noise that was put in by hand."""

import copy

import numpy as np
import polars as pl
import pytest
import torch

from reliquant import plugins
from reliquant.evaluation.explain import explain, of_samples
from reliquant.evaluation.layer_noise import layers
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.layers.surgery import targets, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints

WORDS = {"images": 24, "waves": 2, "wave_images": 4}


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A prepared set of thirty images in three classes."""
    folder = tmp_path_factory.mktemp("data") / "inside" / "native"
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    names, labels = [str(i) for i in range(30)], np.arange(30) % 3
    prepare(
        Dataset(["cat", "dog", "cow"], ["a {}"], labels, images.__getitem__, names), folder, form="native", entry={}
    )
    return {"suite": "clean", "dataset": "inside", "folder": str(folder)}


def quantized(clip, proxy, method="rtn", bits=4, **words):
    made = copy.deepcopy(clip)
    unpack_attention(made.model)
    entry = {
        "quantizer": method,
        "weight": {"bits": bits, "granularity": "channel"},
        "activation": {"bits": 8},
        **words,
    }
    plugins.load("quantizer", entry)(made, targets(made, "image"), proxy, Checkpoints())
    return made


def value(frame, measure, column="value", **where):
    return frame.filter(measure=measure, **{"group": "", **where})[column].item()


def test_a_variant_is_explained_beside_fp32(clip, proxy, cell):
    found = explain(clip, quantized(clip, proxy), [cell], **WORDS)
    assert found.filter(pl.col("value").is_null()).is_empty()
    assert found.select("dataset", "measure", "group", "scale").is_duplicated().sum() == 0
    assert value(found, "sqnr", "low") < value(found, "sqnr") < value(found, "sqnr", "high")
    assert {"accuracy_rank_0_3_change", "accuracy_rank_12_end_fp32_basis_change"} <= set(found["measure"])
    controls = found.filter(measure="accuracy_change")["group"].to_list()
    assert {"", "gaussian noise", "FP32 truncated", "noise in FP32 weights"} <= set(controls)
    outputs = found.filter(measure="output_sqnr")
    assert outputs["group"].to_list() == layers(quantized(clip, proxy))
    assert found.filter(measure="fourier_error")["group"].to_list() == ["0,16", "16,0", "16,16"]


def test_more_bits_mean_less_noise_everywhere(vit, proxy, cell):
    few, many = (explain(vit, quantized(vit, proxy, bits=b), [cell], **WORDS) for b in (4, 8))
    for measure in ("output_sqnr", "weight_sqnr"):
        a, b = (f.filter(measure=measure)["value"].to_numpy() for f in (few, many))
        assert (b > a + 3).all()
    assert value(many, "sqnr") > value(few, "sqnr") + 3


def test_fp32_alone_has_values_and_no_changes(vit, cell):
    found = explain(vit, None, [cell], **WORDS)
    assert not found["measure"].str.contains("change|sqnr").any()
    assert {"effective_rank", "accuracy_rank_0_3", "radial_energy", "fourier_error", "margin"} <= set(found["measure"])
    assert found.filter(measure="radial_energy")["value"].sum() == pytest.approx(1)


def records(seed, right, confidence):
    n = 30
    frame = pl.DataFrame({"index": np.arange(n, dtype=np.int32), "label": (np.arange(n) % 3).astype(np.int32)})
    wrong = pl.Series(np.random.default_rng(seed).permutation(n) >= right).cast(pl.Int32)
    where = {"suite": "clean", "dataset": "inside", "reference": "inside", "group": "", "corruption": ""}
    return frame.with_columns(
        prediction=(pl.col("label") + wrong) % 3,
        confidence=pl.Series(confidence, dtype=pl.Float32),
        confidence_tuned=pl.Series(np.full(n, 0.65), dtype=pl.Float32),
        severity=pl.lit(0, pl.Int8),
        **{k: pl.lit(v) for k, v in where.items()},
    )


def test_trajectories_follow_the_images_of_fp32s_bins(cell):
    before = records(0, 30, np.repeat([0.35, 0.85], 15))
    after = records(0, 20, np.repeat([0.75, 0.95], 15))
    found = of_samples(after, before, [cell])
    moved = found.filter(measure="trajectory_confidence", scale="native").select("group", "value", "n").rows()
    assert [(g, round(v, 4), n) for g, v, n in moved] == [("bin 3", 0.75, 15), ("bin 8", 0.95, 15)]
    own = found.filter(measure="reliability_confidence", scale="native")["group"].to_list()
    assert own == ["bin 7", "bin 9"]
    assert found.filter(measure="trajectory_confidence", scale="tuned")["value"].to_list() == pytest.approx([0.65] * 2)
    right = (after["prediction"] == after["label"]).to_numpy()
    shares = found.filter(measure="trajectory_accuracy", scale="native")["value"].to_list()
    assert shares == pytest.approx([right[:15].mean(), right[15:].mean()])
    by_class = dict(found.filter(measure="class_accuracy_change").select("group", "value").iter_rows())
    assert by_class["dog"] == pytest.approx(right[1::3].mean() - 1)


def test_features_that_are_not_finite_name_the_dataset(vit, cell):
    broken = copy.deepcopy(vit)
    with torch.no_grad():
        broken.model.visual.proj.fill_(float("nan"))
    with pytest.raises(ValueError, match="inside: the image features hold NaN or infinite values"):
        explain(broken, None, [cell], **WORDS)
