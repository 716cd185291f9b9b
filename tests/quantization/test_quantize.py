import copy

import numpy as np
import pytest
import torch

from reliquant.layers.variant import restore
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.logit_scale import tune_logit_scale
from reliquant.quantization.proxy import Proxy, embed_all
from reliquant.quantization.quantize import quantize

RTN = {"quantizer": "rtn", "weight": {"bits": 4}, "activation": {"bits": 8}}
LSQ = {"quantizer": "lsq", "weight": {"bits": 4}, "activation": {"bits": 8}, "iterations": 4, "batch": 16}


@pytest.fixture
def held_out():
    """Thirty other images with other captions than those of the proxy."""
    images = np.random.default_rng(1).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    return Proxy(images, [f"held out {i % 20}" for i in range(30)])


@pytest.mark.parametrize("tuning", ["contrastive", "match_fp32"])
def test_the_tuned_scale_is_that_of_the_quantized_models_own_embeddings_of_held_out_pairs(vit, proxy, held_out, tuning):
    exact = embed_all(copy.deepcopy(vit), held_out)
    _, facts = quantize(vit, RTN, "both", proxy, Checkpoints(), tuning=tuning, held_out=held_out)
    found = embed_all(vit, held_out)
    ids = held_out.caption_ids.numpy()
    arrays = found.image.numpy(), found.text.numpy(), ids, found.logit_scale.item()
    fp32 = exact.image.numpy(), exact.text.numpy(), exact.logit_scale.item()
    assert facts["logit_scale_tuned"] == pytest.approx(tune_logit_scale(*arrays, objective=tuning, fp32=fp32))
    own = tune_logit_scale(*fp32[:2], ids, fp32[2], objective=tuning, fp32=fp32)
    assert facts["logit_scale_tuned_fp32"] == pytest.approx(own)
    assert (facts["tuned"]["pairs"], facts["tuned"]["captions"]) == (30, 20)
    assert facts["tuned"]["native"] == pytest.approx(fp32[2])


def test_held_out_pairs_change_nothing_but_the_tuned_scale(vit, proxy, held_out):
    plain, _ = quantize(copy.deepcopy(vit), LSQ, "both", proxy, Checkpoints())
    tuned, _ = quantize(vit, LSQ, "both", proxy, Checkpoints(), tuning="contrastive", held_out=held_out)
    assert all(np.array_equal(plain[name], tuned[name]) for name in plain)


def test_fp32_and_tuning_none_have_no_tuned_scale(vit, proxy, held_out):
    assert quantize(vit, {"quantizer": "none"}, "image", None, Checkpoints())[1]["logit_scale_tuned"] is None
    words = {"tuning": "none", "held_out": held_out}
    assert quantize(vit, RTN, "image", proxy, Checkpoints(), **words)[1]["logit_scale_tuned"] is None


def test_no_scale_is_tuned_without_held_out_pairs(vit, proxy):
    with pytest.raises(ValueError, match="no pairs are held out; hold some out, or set tuning to none"):
        quantize(vit, RTN, "image", proxy, Checkpoints(), tuning="contrastive")


def test_snapshots_are_whole_variants_of_their_own(vit, proxy):
    fresh, kept = copy.deepcopy(vit.model), {}
    entry = {**LSQ, "snapshots": [0, 2, 4]}
    arrays, facts = quantize(vit, entry, "image", proxy, Checkpoints(), keep=lambda i, *rest: kept.update({i: rest}))
    assert sorted(kept) == [0, 2, 4]
    assert all(facts["measures"] == other["measures"] for _, other in kept.values())
    assert all(np.array_equal(arrays[name], kept[4][0][name]) for name in arrays)
    assert any(not np.array_equal(arrays[name], kept[0][0][name]) for name in arrays)
    restore(fresh, kept[2][0], kept[2][1]["modules"])
    with torch.no_grad():
        assert torch.isfinite(fresh.encode_image(torch.randn(2, 3, 32, 32))).all()


def test_a_share_below_what_the_scheme_means_is_said_on_stderr(vit, proxy, capfd):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(48) + 0.01)

        def forward(self, x):
            return x @ self.weight

    for block in vit.model.visual.transformer.resblocks:
        block.mlp = Scaled()
    _, enough = quantize(copy.deepcopy(vit), RTN, "image", proxy, Checkpoints())
    assert "rtn: warning: 80.0% of the weights in the blocks" not in capfd.readouterr().err
    _, little = quantize(vit, {**RTN, "least_share": 0.9}, "image", proxy, Checkpoints())
    assert "rtn: warning: 80.0% of the weights in the blocks are quantized, less than the 90%" in capfd.readouterr().err
    shares = [facts["measures"]["quantized_block_share"] for facts in (enough, little)]
    assert shares == [pytest.approx(0.8, abs=5e-4)] * 2
    assert [facts["measures"]["least_block_share"] for facts in (enough, little)] == [0.8, 0.9]


def test_a_variant_that_quantizes_nothing_is_refused_with_the_reasons(vit, proxy):
    every_column = {**RTN, "quantizer": "llm_int8", "threshold": 1e-6, "batch": 16, "pairs": 16}
    told = "llm_int8: quantized nothing of what ran; it stayed in floating point because: outside the blocks, outlier"
    with pytest.raises(ValueError, match=told):
        quantize(vit, every_column, "image", proxy, Checkpoints())
