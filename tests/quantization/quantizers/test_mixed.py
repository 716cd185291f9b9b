"""`mixed`: the quantizer, and the search of `quantization/mixed_bits.py`."""

import copy
import itertools

import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.variant import restore
from reliquant.plugins import ConfigError
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.mixed_bits import Search
from reliquant.quantization.proxy import Proxy, embed_all
from reliquant.quantization.proxy_loss import ProxyLoss
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry


def quantized(clip, proxy, words, precision="w3a8", scope="image"):
    return quantize(clip, scheme_entry({"quantizer": "mixed", **words}, precision), scope, proxy, Checkpoints())


def bits_of(facts):
    return {name: module["weight"]["bits"] for name, module in facts["modules"].items()}


@pytest.fixture
def one_that_matters(vit):
    """A model that feels one layer alone: the others' outputs are tiny, or their weights on every grid."""
    blocks = vit.model.visual.transformer.resblocks
    with torch.no_grad():
        for i, block in enumerate(blocks):
            for layer in (block.attn.out_proj, block.mlp.c_proj):
                layer.weight.mul_(0.01 if (i, layer) != (1, blocks[1].mlp.c_proj) else 5)
        blocks[1].mlp.c_fc.weight.copy_(blocks[1].mlp.c_fc.weight.sign() * 0.1)
    return vit, "visual.transformer.resblocks.1.mlp.c_proj"


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_the_layer_that_matters_gets_the_most_bits_and_the_loss_falls(one_that_matters, proxy, method):
    clip, layer = one_that_matters
    _, facts = quantized(clip, proxy, {"method": method, "samples": 40})
    bits = bits_of(facts)
    assert bits[layer] == 8
    assert max(b for name, b in bits.items() if name != layer) < 8
    assert facts["measures"]["proxy_loss"] < 0.5 * facts["measures"]["proxy_loss_uniform"]


@pytest.mark.parametrize("weight", [{}, {"granularity": "group", "group": 32}, {"symmetric": False}])
@pytest.mark.parametrize("method", ["rtn", "gptq", "mse", "percentile", "hqq"])
def test_no_more_bits_are_stored_than_uniform_bits_take(vit, proxy, method, weight):
    proxy = Proxy(proxy.images[:8], proxy.captions[:8])
    _, uniform = quantize(
        copy.deepcopy(vit), scheme_entry({"quantizer": method, "weight": weight}, "w4a8"), "image", proxy, Checkpoints()
    )
    _, found = quantized(vit, proxy, {"method": method, "weight": weight, "samples": 8}, "w4a8")
    assert found["measures"]["stored_bits"] <= uniform["measures"]["stored_bits"]
    assert found["measures"]["stored_bits"] > uniform["measures"]["stored_bits"] - 0.5
    assert set(bits_of(found).values()) <= {2, 3, 4, 8}


def test_the_allocation_is_the_best_of_all_by_the_sum_of_what_single_layers_lose(vit, proxy):
    unpack_attention(vit.model)
    names, entry = targets(vit, "image")[:4], scheme_entry("rtn", "w3a8")
    words = plugins.load("quantizer", entry).keywords
    search = Search(vit, names, proxy, "rtn", {}, words["weight"], words["activation"])
    options = {choice: search._words(choice) for choice in (2, 3, 4)}
    tried = search._tried(options, ProxyLoss(vit, proxy, "output_error", pairs=16, batch=16))
    budget = sum(tried.uniform_bits.values())
    rows, sums = np.arange(4), {}
    for picked in itertools.product(range(3), repeat=4):
        if tried.costs[rows, list(picked)].sum() <= budget:
            sums[picked] = tried.losses[rows, list(picked)].sum()
    chosen = search._allocated([0, 1, 2], tried, budget)
    assert sums[tuple(chosen)] == pytest.approx(min(sums.values()))
    assert len(set(np.round(list(sums.values()), 9))) > 5


def test_a_layer_alone_is_tried_with_the_weight_that_the_method_makes_of_it(vit, proxy):
    unpack_attention(vit.model)
    name, entry = "visual.transformer.resblocks.0.mlp.c_fc", scheme_entry("rtn", "w2a16")
    exact = embed_all(vit, proxy).image
    by_hand = copy.deepcopy(vit.model)
    weight = by_hand.get_submodule(name).weight
    with torch.no_grad():
        scale = weight.abs().amax(1, keepdim=True)  # the largest of the levels -2 .. 1 is 1
        weight.copy_((weight / scale).round().clamp(-2, 1) * scale)
    expected = (embed_all(vit.with_model(by_hand), proxy).image - exact).square().sum().item() / 40
    words = plugins.load("quantizer", entry).keywords
    search = Search(vit, targets(vit, "image"), proxy, "rtn", {}, words["weight"], words["activation"])
    tried = search._tried({2: search._words(2)}, ProxyLoss(vit, proxy, "output_error", pairs=40, batch=16))
    assert tried.losses[search.free.index(name), 0] == pytest.approx(expected, rel=1e-3)


def test_the_loss_that_is_told_is_that_of_the_variant_as_it_is_read_back(vit, proxy):
    plain = copy.deepcopy(vit)
    loss = ProxyLoss(plain, proxy, "nll", pairs=24, batch=8)
    arrays, facts = quantized(vit, proxy, {"measure": "nll", "samples": 24}, "w2a8", "both")
    read = copy.deepcopy(plain)
    restore(read.model, arrays, facts["modules"])
    assert loss.of(read)[0] == pytest.approx(facts["measures"]["proxy_loss"], rel=1e-5)
    uniform = copy.deepcopy(plain)
    quantize(uniform, scheme_entry("rtn", "w2a8"), "both", proxy, Checkpoints())
    assert loss.of(uniform)[0] == pytest.approx(facts["measures"]["proxy_loss_uniform"], rel=1e-5)


def test_layers_with_words_of_their_own_keep_them_and_count_in_the_budget(vit, proxy):
    layers = {"keep": ["*.0.mlp.c_proj"], "other": {"*.1.mlp.c_proj": "w8a8"}}
    weights = {name: layer.weight.numel() for name, layer in vit.model.named_modules() if name.endswith("c_proj")}
    arrays, facts = quantized(vit, proxy, {"layers": layers, "budget": 5, "samples": 8})
    bits = bits_of(facts)
    assert "visual.transformer.resblocks.0.mlp.c_proj" not in bits
    assert bits["visual.transformer.resblocks.1.mlp.c_proj"] == 8
    rounded = sum(layer.weight.numel() for layer in twins(vit.model).values())
    taken = 8 * sum(a.nbytes for n, a in arrays.items() if n.endswith((".codes", ".scale", ".zero")))
    assert 4.3 < taken / rounded <= 5
    kept = weights["visual.transformer.resblocks.0.mlp.c_proj"]
    assert facts["measures"]["stored_bits"] == pytest.approx((taken + 32 * kept) / (rounded + kept))


def test_a_budget_of_bytes_holds(vit, proxy):
    arrays, _ = quantized(vit, proxy, {"budget_bytes": 30_000, "samples": 8})
    taken = sum(a.nbytes for n, a in arrays.items() if n.endswith((".codes", ".scale", ".zero")))
    assert 27_000 < taken <= 30_000


def test_choices_may_be_formats(vit, proxy):
    words = {"choices": ["nvfp4", "fp8", 3], "budget": 5.5, "samples": 8}
    _, facts = quantized(vit, proxy, words, "w8a16")
    assert {m["weight"]["element"] for m in facts["modules"].values()} >= {"e2m1"}
    assert facts["measures"]["stored_bits"] <= 5.5


def test_the_same_search_finds_the_same(vit, proxy):
    found = [quantized(copy.deepcopy(vit), proxy, {"samples": 8})[0] for _ in range(2)]
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_it_is_said_where_uniform_bits_are_better(vit, proxy, capsys, monkeypatch):
    later = itertools.count(0, -1)
    monkeypatch.setattr(ProxyLoss, "added", lambda self, clip, towers: float(next(later)))  # what is tried last is best
    told = "uniform bits are better there"
    for budget, expected in ((None, True), (5, False)):  # five bits are fewer than uniform ones take
        _, facts = quantized(copy.deepcopy(vit), proxy, {"samples": 40, "budget": budget}, "w8a8")
        assert facts["measures"]["proxy_loss"] > facts["measures"]["proxy_loss_uniform"]
        assert (told in capsys.readouterr().err) == expected


def test_a_search_that_finds_all_choices_alike_is_refused(vit, proxy, monkeypatch):
    monkeypatch.setattr(ProxyLoss, "added", lambda self, clip, towers: 0.0)
    with pytest.raises(ValueError, match="mixed: no option loses more than another in any layer on the proxy's pairs"):
        quantized(vit, proxy, {"samples": 8})


@pytest.mark.parametrize("words", [{"budget": 2.1}, {"budget_bytes": 100}])
def test_a_budget_that_scales_alone_exceed_is_refused_before_anything_is_rounded(vit, proxy, words, monkeypatch):
    monkeypatch.setattr(Search, "_rounded", None)
    with pytest.raises(ValueError, match=r"mixed: budget: the layers take at least 2\.\d+ stored bits a weight"):
        quantized(vit, proxy, words)


def test_an_embedding_that_is_not_finite_names_the_layer_and_the_choice(vit, proxy, monkeypatch):
    def broken(self, clip, towers):
        raise ValueError("the embeddings of the proxy's pairs are not finite")

    monkeypatch.setattr(ProxyLoss, "added", broken)
    with pytest.raises(ValueError, match=r"mixed: visual\S+ at w3 by itself: the embeddings .* not finite"):
        quantized(vit, proxy, {"samples": 8})


def test_an_unknown_method_is_refused_before_a_model_is_read():
    with pytest.raises(ConfigError, match="method: quantizer 'gtpq' is unknown"):
        scheme_entry({"quantizer": "mixed", "method": "gtpq"}, "w4a8")


@pytest.mark.parametrize("method", [m for m in plugins.names("quantizer") if plugins.literal("quantizer", m, "LOCAL")])
def test_a_method_that_says_it_is_local_changes_no_parameter_in_place(vit, proxy, method):
    unpack_attention(vit.model)
    words = plugins.load("quantizer", scheme_entry("rtn", "w2a8")).keywords
    search = Search(vit, targets(vit, "both"), proxy, method, {}, words["weight"], words["activation"])
    before = {name: value.clone() for name, value in vit.model.named_parameters()}
    rounded = search._rounded({}).model
    for model in (vit.model, rounded):  # the copy holds codes in place of weights, and nothing else of its own
        assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    layers = twins(rounded).items()
    changed = {name for name, layer in layers if not torch.equal(layer.weight_rule(layer.weight), layer.weight)}
    assert changed == set(search.names)
