import copy

import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.layers.surgery import twins, unpack_attention
from reliquant.layers.variant import export, restore
from reliquant.plugins import ConfigError
from reliquant.quantization import compensation
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.compensation import Compensating, LeastSquares
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.quantize import quantize
from reliquant.quantization.reconstruction import calls_of
from reliquant.study.scheme import scheme_entry

GRIDS = {"weight": {"bits": 3, "granularity": "channel"}, "activation": {"bits": 8}}


def words(method):
    return plugins.words(plugins.source("quantizer", method), "quantizer")


POST = [name for name in plugins.names("quantizer") if "losses" not in words(name) and name not in ("none", "mixed")]


def both_ways(clip, entry, proxy, scope="image"):
    """Quantize a copy without, and the model with compensation; return the copy, and the facts of both."""
    other = copy.deepcopy(clip)
    plain = quantize(other, entry, scope, proxy, Checkpoints())
    mended = quantize(clip, {**entry, "compensation": "qwt"}, scope, proxy, Checkpoints())
    return other, plain, mended


def images(clip, proxy):
    with torch.no_grad():
        return embed(clip, *next(proxy.in_order(clip, 40))).image


def least_squares(inputs, outputs, axis):
    """Find W and b where what is given, one tensor for all, is not 0."""
    sums = LeastSquares(axis)
    for x, y in zip(inputs, outputs, strict=True):
        sums.add(x, y + 3, torch.full_like(y, 3))
    return sums.solved()


@pytest.mark.parametrize("axis", [-1, -3])
def test_weight_and_bias_are_those_of_least_squares(axis):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)) * [1, 1, 50, 1, 0.02] + 3
    y = x @ rng.normal(size=(5, 4)) + rng.normal(size=(300, 4)) + 7
    expected, (residual, *_) = np.linalg.lstsq(np.c_[x, np.ones(300)], y, rcond=None)[:2]

    def batches(v):
        parts = torch.tensor(v).split(100)
        return [part.reshape(5, 4, 5, -1).movedim(-1, axis) for part in parts]

    found = least_squares(batches(x), batches(y), axis)
    np.testing.assert_allclose(found.weight.double(), expected[:-1].T, rtol=2e-3, atol=1e-4)  # FP16
    np.testing.assert_allclose(found.bias.double(), expected[-1], rtol=1e-4)
    error = np.square(y - np.c_[x, np.ones(300)] @ expected).sum()
    assert found.explained == pytest.approx(1 - error / np.square(y).sum(), abs=1e-6)
    assert residual > 0
    out = found.double()(torch.tensor(x[:100]).reshape(5, 4, 5, 5).movedim(-1, axis))
    np.testing.assert_allclose(
        out.movedim(axis, -1).reshape(100, 4), x[:100] @ expected[:-1] + expected[-1], rtol=5e-2, atol=0.2
    )


def test_inputs_that_do_not_vary_get_no_weight():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0
    found = least_squares([x], [x * 2 + 1], -1)
    torch.testing.assert_close(found.weight.float(), torch.diag(torch.tensor([2.0, 0, 2])), atol=1e-3, rtol=1e-3)


def test_each_block_gets_the_least_squares_of_what_it_lacks_on_what_enters_it(vit, proxy):
    unpack_attention(vit.model)
    exact = copy.deepcopy(vit)
    both_ways(vit, {"quantizer": "rtn", **GRIDS}, proxy)
    for i in (0, 1):
        name = f"visual.transformer.resblocks.{i}"
        ours, its = (calls_of(c, name, proxy, batch=40, pairs=40) for c in (vit, exact))
        piece, x = vit.model.get_submodule(name).compensation, ours.inputs[0][0][0]
        without = ours.outputs[0] - piece(x)
        rows = np.c_[x.flatten(0, 1).double().numpy(), np.ones(x[..., 0].numel())]
        lacking = (its.outputs[0] - without).flatten(0, 1).double().numpy()
        expected = np.linalg.lstsq(rows, lacking, rcond=1e-5)[0]  # a LayerNorm's channels have a fixed sum
        np.testing.assert_allclose(piece.weight.double(), expected[:-1].T, rtol=2e-2, atol=2e-3)
        after, before = ((its.outputs[0] - y).square().sum().item() for y in (ours.outputs[0], without))
        assert 1 - after / before == pytest.approx(piece.explained, abs=0.01)
        assert piece.explained > 0.1


@pytest.mark.parametrize("method", POST)
def test_every_method_that_trains_nothing_takes_the_word_and_comes_nearer(method, vit, proxy):
    fp32 = images(vit, proxy)
    more = {"steps": 3} if method == "qdrop" else {}
    other, plain, mended = both_ways(vit, {"quantizer": method, **GRIDS, **more}, proxy)
    for name, layer in twins(other.model).items():
        assert torch.equal(layer.codes, twins(vit.model)[name].codes)
    assert (images(vit, proxy) - fp32).norm() < (images(other, proxy) - fp32).norm()
    assert mended[1]["measures"]["stored_bits"] > plain[1]["measures"]["stored_bits"]


@pytest.mark.parametrize("method", POST)
def test_the_shared_weights_of_fp32_are_changed_by_no_method(method, vit, proxy, monkeypatch):
    seen = {}
    real = compensation._sharing

    def twice(model):
        seen["shared"], seen["copy"] = real(model), copy.deepcopy(model)
        return seen["shared"]

    monkeypatch.setattr(compensation, "_sharing", twice)
    more = {"steps": 3} if method == "qdrop" else {"threshold": 3.0} if method == "llm_int8" else {}
    entry = {"quantizer": method, **GRIDS, **more, "bias_correction": True, "compensation": "qwt"}
    quantize(vit, entry, "image", proxy, Checkpoints())
    exact, kept = seen["copy"].state_dict(), seen["shared"].state_dict()
    assert exact.keys() == kept.keys()
    assert all(torch.equal(kept[name], value) for name, value in exact.items())
    layers = twins(vit.model).items()
    assert any(not torch.equal(kept[f"{name}.weight"], layer.weight) for name, layer in layers)


@pytest.mark.parametrize("method", ["rtn", "quarot", "smoothquant"])
def test_a_variant_with_compensation_is_restored_to_the_bit(clip, proxy, method):
    fresh = copy.deepcopy(clip.model)
    _, _, (arrays, facts) = both_ways(clip, {"quantizer": method, **GRIDS}, proxy, "both")
    assert any(words.get("kind") == "compensation" for words in facts["modules"].values())
    restore(fresh, arrays, facts["modules"])
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(clip.model.encode_image(x), fresh.encode_image(x))
        assert torch.equal(clip.model.encode_text(torch.full((2, 16), 5)), fresh.encode_text(torch.full((2, 16), 5)))
    assert export(clip, "both")[1] == facts["modules"]


def test_its_numbers_are_counted_and_its_products_stay_in_floating_point(vit, proxy):
    _, (_, plain), (arrays, mended) = both_ways(vit, {"quantizer": "rtn", **GRIDS}, proxy)
    numbers = 2 * (48 * 48 * 16 + 48 * 32)  # of two blocks
    weights = sum(layer.weight.numel() for layer in twins(vit.model).values())
    difference = mended["measures"]["stored_bits"] - plain["measures"]["stored_bits"]
    assert difference == pytest.approx(numbers / weights)
    assert mended["measures"]["bytes"] - plain["measures"]["bytes"] == numbers / 8
    found = [p for p in mended["coverage"] if p["reason"] == "compensation"]
    assert [p["macs"] for p in found] == [2 * 17 * 48 * 48] * 2  # two images of 17 tokens
    assert mended["measures"]["quantized_block_share"] == 1
    assert mended["measures"]["quantized_mac_share"] < plain["measures"]["quantized_mac_share"]
    assert arrays["visual.transformer.resblocks.0.compensation.weight"].dtype == np.float16


def test_biases_and_blocks_may_both_be_mended(vit, proxy):
    entry = {"quantizer": "gptq", **GRIDS, "bias_correction": True, "compensation": "qwt"}
    fp32, other = images(vit, proxy), copy.deepcopy(vit)
    quantize(other, {"quantizer": "gptq", **GRIDS}, "image", proxy, Checkpoints())
    quantize(vit, entry, "image", proxy, Checkpoints())
    assert (images(vit, proxy) - fp32).norm() < (images(other, proxy) - fp32).norm()


def test_what_rounded_attention_loses_is_taken_out_too_and_restored_to_the_bit(vit, proxy):
    fresh, other, fp32 = copy.deepcopy(vit.model), copy.deepcopy(vit), images(vit, proxy)
    entry = {
        "quantizer": "rtn",
        **GRIDS,
        "layers": {"attention": {"image": ["q", "k", "probabilities"], "precision": "a4"}},
    }
    quantize(other, entry, "image", proxy, Checkpoints())
    arrays, facts = quantize(vit, {**entry, "compensation": "qwt"}, "image", proxy, Checkpoints())
    assert (images(vit, proxy) - fp32).norm() < (images(other, proxy) - fp32).norm()
    restore(fresh, arrays, facts["modules"])
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(vit.model.encode_image(x), fresh.encode_image(x))


def test_blocks_without_quantized_layers_get_none(vit, proxy):
    entry = {"quantizer": "rtn", **GRIDS, "compensation": "qwt", "layers": {"keep": ["first"]}}
    _, facts = quantize(vit, entry, "image", proxy, Checkpoints())
    kinds = [name for name, words in facts["modules"].items() if words.get("kind") == "compensation"]
    assert kinds == ["visual.transformer.resblocks.1.compensation"]


def test_what_fits_all_pairs_but_not_those_that_check_it_is_doubted():
    rng = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(40, 3, 8, generator=rng, dtype=torch.float64) for _ in range(2))
    checking = torch.arange(40) % 4 == 3

    def doubt_of(lacking, pairs=40):
        sums = LeastSquares(-1)
        for part in torch.arange(pairs).split(16):
            sums.add(x[part], lacking[part], torch.zeros_like(lacking[part]), checking[part])
        return sums.doubt()

    fitted, rest = (np.c_[x[part].flatten(0, 1), np.ones(3 * int(part.sum()))] for part in (~checking, checking))
    w = np.linalg.lstsq(fitted, noise[~checking].flatten(0, 1).numpy(), rcond=None)[0]
    y = noise[checking].flatten(0, 1).numpy()
    ratio = np.square(y - rest @ w).sum() / np.square(y).sum()
    assert ratio > 1
    assert doubt_of(noise) == f"its error on pairs that it is not fitted on would be {ratio:.3g} times as large"
    assert not doubt_of(noise + 3 * x)
    assert not doubt_of(noise + 3 * x, pairs=6)
    assert doubt_of(x, pairs=5) == "15 rows (pairs times places) are fewer than 2 for each of 9 columns"


@pytest.mark.parametrize("pairs", [1, 3, 5, 40])
def test_few_pairs_do_no_harm_to_others_and_it_is_said_which_blocks_get_none(vit, proxy, pairs, capsys):
    few = Proxy(proxy.images[:pairs], proxy.captions[:pairs])
    rng = np.random.default_rng(1)
    others = Proxy(rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), proxy.captions)
    fp32 = images(vit, others)
    other, _, (_, facts) = both_ways(vit, {"quantizer": "rtn", **GRIDS}, few)
    assert (images(vit, others) - fp32).norm() <= (images(other, others) - fp32).norm()
    pieces = [name for name, words in facts["modules"].items() if words.get("kind") == "compensation"]
    assert len(pieces) + capsys.readouterr().err.count(" gets none: ") == 2
    assert len(pieces) == {1: 0, 3: 0, 40: 2}.get(pairs, len(pieces))


def test_in_the_text_tower_a_caption_checks_or_is_fitted_on(clip, proxy):
    few = Proxy(proxy.images, ["a", "b", "c", "d"] * 10)
    unpack_attention(clip.model)
    made = Compensating(clip, few, batch=16, pairs=None)
    of_text, of_image = (made._checking(f"{tower}transformer.resblocks.0") for tower in ("", "visual."))
    assert of_text.tolist() == [caption == "d" for caption in few.captions]
    assert of_image.sum() == 10
    two = Proxy(proxy.images, ["a", "b"] * 20)
    assert not Compensating(clip, two, batch=16, pairs=None)._checking("transformer.resblocks.0").any()


@pytest.mark.parametrize("method", ["lsq", "none"])
def test_methods_that_train_or_round_nothing_are_refused_the_word(method):
    with pytest.raises(ConfigError, match="compensation: qwt is for methods that round and train nothing"):
        scheme_entry({"quantizer": method, "compensation": "qwt"}, "w4a8")


def test_it_is_refused_beside_a_budget_that_it_would_exceed():
    with pytest.raises(ConfigError, match="compensation: qwt stores weights beyond the budget of mixed; leave one"):
        scheme_entry({"quantizer": "mixed", "compensation": "qwt"}, "w4a8")


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="compensation: Input should be 'qwt'"):
        scheme_entry({"quantizer": "rtn", "compensation": "qwtt"}, "w4a8")
