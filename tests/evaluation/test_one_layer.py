"""One layer at a time, beside quantizing the model with all other layers kept."""

import copy

import numpy as np
import polars as pl
import pytest
import torch

from reliquant import plugins
from reliquant.evaluation.embed import embed_images
from reliquant.evaluation.measure import measure_features
from reliquant.evaluation.one_layer import Sets, one_at_a_time, ranked
from reliquant.images.prepare import Prepared
from reliquant.layers.surgery import targets, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

LAYER = "visual.transformer.resblocks.1.mlp.c_fc"


def prepared(seed, labels=True):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    images[::3] //= 2
    classes = ["one", "two", "three"]
    meta = {"classes": classes, "templates": ["a {}", "the {}"], "entry": {"dataset": "made"}, "captions": []}
    return Prepared(images, rng.integers(0, 3, 60) if labels else np.full(60, -1), meta)


@pytest.fixture
def sets():
    return Sets({"known": prepared(1)}, {"other": prepared(2, labels=False)}, batch=32)


def wanted(clip, proxy, entry, scope="image"):
    """Quantize one layer by keeping all others, and measure it and FP32 by the package's own commands."""
    exact, variant = copy.deepcopy(clip), copy.deepcopy(clip)
    names = copy.deepcopy(clip)
    unpack_attention(names.model)
    layers = {"keep": [name for name in targets(names, scope) if name != LAYER]}
    quantize(variant, {**entry, "layers": layers}, scope, proxy, Checkpoints())
    found = []
    for model in (exact, variant):
        test = embed_images(model, prepared(1))
        other = embed_images(model, prepared(2, labels=False), beside=test)
        score = {"mcm": plugins.load("score", {"score": "mcm"})}
        found.append(measure_features(test, {"other": other}, score, resamples=100, name="known"))
    pixels, *_ = proxy.take(clip, np.arange(40))
    e, q = (m.model.encode_image(pixels, normalize=True).detach().double() for m in (exact, variant))
    return found, (q - e).square().sum(1).numpy()


@pytest.mark.parametrize("scheme", ["rtn", "gptq", "smoothquant"])
def test_a_layer_s_rows_are_those_of_a_variant_that_keeps_all_others(vit, proxy, sets, scheme):
    entry = scheme_entry(scheme, "w3a8")
    found = one_at_a_time(vit, entry, "image", proxy, sets, resamples=200).filter(group=LAYER)
    (exact, variant), errors = wanted(vit, proxy, entry)
    value = dict(found.select("measure", "value").iter_rows())
    for measure, dataset, name in (("accuracy", "known", "accuracy"), ("ece", "known", "ece"),
                                   ("auroc", "other", "mcm_auroc"), ("nll", "known", "nll")):  # fmt: skip
        change = variant[dataset][name]["value"] - exact[dataset][name]["value"]
        assert value[f"alone_{measure}_change"] == pytest.approx(change, abs=2e-5), measure
    error = found.filter(measure="alone_output_error").row(0, named=True)
    half = 1.96 * errors.std(ddof=1) / 40**0.5
    assert error["value"] == pytest.approx(errors.mean(), rel=1e-3)
    assert [error["low"], error["high"]] == pytest.approx([errors.mean() - half, errors.mean() + half], rel=1e-2)
    assert error["value"] > 1e-6


def test_the_layer_that_matters_is_first(vit, proxy, sets):

    blocks = vit.model.visual.transformer.resblocks
    with torch.no_grad():
        for i, block in enumerate(blocks):
            block.attn.out_proj.weight.mul_(0.01)
            block.mlp.c_proj.weight.mul_(5 if i == 1 else 0.01)
        blocks[1].mlp.c_fc.weight.copy_(blocks[1].mlp.c_fc.weight.sign() * 0.1)
    found = one_at_a_time(vit, scheme_entry("rtn", "w3a16"), "image", proxy, sets, resamples=100)
    order = ranked(found, "output_error")
    assert order["group"][0] == "visual.transformer.resblocks.1.mlp.c_proj"
    assert order["value_alone_output_error"][0] > 20 * order["value_alone_output_error"][1]


def test_a_model_is_left_as_it_was_and_a_kept_layer_is_not_tried(vit, proxy, sets):
    before = {name: value.clone() for name, value in vit.model.state_dict().items()}
    entry = {**scheme_entry("rtn", "w4a8"), "layers": {"keep": ["*c_proj"], "other": {"last": "w8a8"}}}
    found = one_at_a_time(vit, entry, "image", proxy, sets, resamples=100)
    assert not found["group"].str.contains("c_proj").any()
    error = dict(found.filter(measure="alone_output_error").select("group", "value").iter_rows())
    first, last = (error[f"visual.transformer.resblocks.{i}.mlp.c_fc"] for i in (0, 1))
    assert last < first / 10  # it has eight bits, as the scheme says
    assert all((value == before[name]).all() for name, value in vit.model.state_dict().items())


def test_a_layer_of_the_text_tower_changes_the_classes_and_not_the_images(vit, proxy, sets, monkeypatch):
    called = []
    own = Sets._embedded
    monkeypatch.setattr(Sets, "_embedded", lambda self, *words: called.append(words[2]) or own(self, *words))
    found = one_at_a_time(vit, scheme_entry("rtn", "w2a8"), "both", proxy, sets, by="block", resamples=100)
    text = found.filter(pl.col("group") == "transformer.resblocks.0")
    assert text.filter(measure="alone_output_error")["value"][0] > 0
    assert text.filter(measure="alone_nll_change")["value"][0] != 0
    assert called == ["other", *["known", "other"] * 2]  # FP32's other images, then each block of the image tower
    assert found["group"].n_unique() == 4


def test_changes_of_several_sets_are_averaged_and_a_fall_comes_first():
    rows = pl.DataFrame(
        [("a", "alone_accuracy_change", -0.1, -0.2, 0.0), ("a", "alone_accuracy_change", -0.3, -0.4, -0.1),
         ("b", "alone_accuracy_change", -0.5, -0.6, None), ("b", "alone_accuracy_change", 0.5, 0.4, 0.6)],
        schema=["group", "measure", "value", "low", "high"], orient="row",
    )  # fmt: skip
    found = ranked(rows, "accuracy")
    assert found["group"].to_list() == ["a", "b"]
    assert list(found.row(0)[1:]) == pytest.approx([-0.2, -0.3, -0.05])
    assert found.row(1)[3] is None
