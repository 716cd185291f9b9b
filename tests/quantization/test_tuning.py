import copy

import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.images.prepare import Prepared
from reliquant.models.open import open_model
from reliquant.quantization.logit_scale import tune_logit_scale
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize_model import quantize_model
from reliquant.quantization.tuning import embedded, tune


@pytest.fixture
def pairs():
    images = np.random.default_rng(1).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    return Proxy(images, [f"words {i % 20}" for i in range(30)])


def test_fp32_and_a_variant_are_tuned_on_the_same_pairs_by_the_same_objective(vit, pairs):
    exact = embedded(vit, pairs)
    other = copy.deepcopy(vit)
    with torch.no_grad():
        for parameter in other.model.visual.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    ids = pairs.caption_ids.numpy()
    assert tune(vit, pairs, "contrastive")["scale"] == pytest.approx(tune_logit_scale(*exact[:2], ids, exact[2]))
    found = tune(other, pairs, "match_fp32", fp32=exact)
    own = embedded(other, pairs)
    expected = tune_logit_scale(*own[:2], ids, own[2], objective="match_fp32", fp32=exact)
    assert found["scale"] == pytest.approx(expected)
    assert (found["pairs"], found["captions"], found["objective"]) == (30, 20, "match_fp32")


def test_fp32_matched_with_itself_keeps_its_scale(vit, pairs):
    found = tune(vit, pairs, "match_fp32")
    assert found["scale"] == pytest.approx(found["native"], rel=1e-4)


def test_a_scale_at_the_end_of_its_range_is_said(vit, pairs, capfd):
    images, _, scale = embedded(vit, pairs)
    captions = Proxy(pairs.images, [str(i) for i in range(30)])
    swapped = copy.deepcopy(vit)
    swapped.model.encode_text = lambda tokens, normalize: torch.from_numpy(images[: len(tokens)])
    found = tune(swapped, captions, "contrastive")  # each image is nearest to its own caption: the sharper, the better
    assert found["scale"] == pytest.approx(10 * scale, rel=1e-3)
    assert found["error"] is None
    assert "the tuned logit scale" in capfd.readouterr().err


def lab_pairs(images, seed):
    """Captioned images of the lab, as they are prepared."""
    entry = {"dataset": "lab_captions", "world": "curated", "images": images, "seed": seed}
    data = plugins.load("dataset", entry)(None)
    pixels = np.stack([data.read(i) for i in range(images)])
    meta = {"captions": data.captions, "names": data.names, "entry": {}, "sha256": ""}
    return Prepared(pixels, data.labels, meta)


def test_a_trained_model_is_too_sure_of_its_training_pairs_and_held_out_ones_tell_what_fresh_ones_do():
    entry = {"quantizer": "lsq", "iterations": 60, "lr": 3e-4}
    clip, data = open_model("lab-vit-curated"), lab_pairs(300, 3)
    variant = quantize_model(clip, entry, "w4a8", data, held_out=0.3, number=None)
    others = lab_pairs(900, 4)
    fresh = tune(clip, Proxy(others.images, others.meta["captions"]), "contrastive")
    tuned, among = variant.facts["tuned"], variant.facts["pairs"]["held_out"]["indices"]
    seen = np.setdiff1d(np.arange(300), among)
    trained = tune(clip, Proxy(data.images[seen], [data.meta["captions"][i] for i in seen]), "contrastive")
    assert trained["scale"] > fresh["scale"] + 5 * fresh["error"]
    assert abs(tuned["scale"] - fresh["scale"]) < 2.5 * np.hypot(tuned["error"], fresh["error"])
    assert trained["scale"] > tuned["scale"] + 2.5 * tuned["error"]
