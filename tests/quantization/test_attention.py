"""Schemes that round what attention multiplies: which, over which ranges, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from reliquant.layers.backend import use_backend
from reliquant.layers.products import FACTORS, LogSqrt2, pieces
from reliquant.layers.surgery import twins
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.layers.unrounded import unrounded
from reliquant.layers.variant import restore
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

FIRST, LAST = (f"visual.transformer.resblocks.{i}.attn" for i in (0, 1))
TRAINED = {"iterations": 2, "batch": 8, "lr": 1e-3}


def made(clip, proxy, attention="all", scope="both", precision="w8a8", saved=None, layers=(), **words):
    layers = {"attention": attention, **dict(layers)} if attention else dict(layers)
    entry = scheme_entry({"quantizer": "rtn", **words, "layers": layers}, precision)
    return quantize(clip, entry, scope, proxy, saved or Checkpoints())


def outputs(clip, proxy):
    with torch.no_grad():
        found = embed(clip, *next(proxy.in_order(clip, 8)))
    return found.image, found.text


def products(facts):
    return [p for p in facts["coverage"] if p["operator"] in FACTORS]


SCHEMES = [
    {},
    {"attention": {"image": ["q", "k"], "text": ["probabilities", "v"]}},
    {"attention": {"image": "all", "probabilities": "log_sqrt2"}},
    {"attention": {"image": ["q", "k"], "precision": "nvfp4"}, "scope": "image"},
    {"attention": {"image": "all", "precision": "fp8"}, "precision": "w4a4"},
    {"activation": {"symmetric": False}},
    {"activation": {"granularity": "token", "dynamic": True}},
    {"activation": {"granularity": "group", "group": 8, "dynamic": True}},
    {"quantizer": "quarot"},
    {"quantizer": "smoothquant", "bias_correction": True},
    {"compensation": "qwt"},
    {"quantizer": "lsq", **TRAINED},
]


@pytest.mark.parametrize("words", SCHEMES, ids=str)
def test_a_variant_comes_back_to_the_bit_and_rounds_its_attention(vit, proxy, words):
    fresh, exact = copy.deepcopy(vit), copy.deepcopy(vit)
    arrays, facts = made(vit, proxy, **words)
    restore(fresh.model, arrays, facts["modules"])
    found = outputs(vit, proxy)
    assert all(torch.equal(a, b) for a, b in zip(found, outputs(fresh, proxy), strict=True))
    words = {"attention": "", **{word: value for word, value in words.items() if word != "attention"}}
    arrays, without = made(exact, proxy, **words)
    assert not torch.equal(found[0], outputs(exact, proxy)[0])
    assert facts["measures"]["quantized_mac_share"] > without["measures"]["quantized_mac_share"]
    same = {"stored_bits", "quantized_weight_share", "quantized_block_share", "bytes"}
    assert {facts["measures"][word] == without["measures"][word] for word in same} == {True}
    rest = {name: words for name, words in facts["modules"].items() if words.get("kind") != "attention"}
    seen = {"iterations", "compensation"} & set(words)  # what comes after the rounding of attention, and heeds it
    assert (rest == without["modules"]) == (not seen)


@pytest.mark.parametrize(("precision", "bits"), [("w8a8", 8), ("w4a4", 4)])
def test_coverage_counts_products_whose_factors_are_both_rounded(vit, proxy, precision, bits):
    _, facts = made(vit, proxy, {"image": ["q", "k", "v"], "text": "all"}, precision=precision)
    by_tower = {True: set(), False: set()}
    for p in products(facts):
        by_tower[p["module"].startswith("visual")].add(
            (p["operator"], p["weight_bits"], p["activation_bits"], p["reason"])
        )
    whole = {("query x key", bits, bits, ""), ("probabilities x value", bits, bits, "")}
    assert by_tower[False] == whole
    half = {("query x key", bits, bits, ""), ("probabilities x value", bits, 32, "attention product")}
    assert by_tower[True] == half
    macs = 2 * 3 * 17 * 17 * 16  # images, heads, queries, keys, width of a head
    assert {p["macs"] for p in products(facts) if p["module"] == FIRST} == {macs}
    ran = [p for p in facts["coverage"] if p["reason"] in ("", "attention product", "outside the blocks")]
    share = sum(p["macs"] for p in ran if not p["reason"]) / sum(p["macs"] for p in ran)
    assert facts["measures"]["quantized_mac_share"] == pytest.approx(share)


def test_ranges_are_moving_averages_of_what_the_quantized_model_multiplies(vit, proxy):
    made(vit, proxy, scope="image", batch=10, pairs=30, momentum=0.5, activation={"symmetric": False})
    found = pieces(vit.model)[FIRST]
    seen, layer = [], vit.model.get_submodule(f"{FIRST}.qkv")
    handle = layer.register_forward_hook(lambda _m, _i, out: seen.append(out.unflatten(-1, (3, 3, 16)).transpose(1, 3)))
    with torch.no_grad():
        for pixels, _, _ in [*proxy.in_order(vit, 10)][:3]:
            vit.model.encode_image(pixels)
    handle.remove()
    for place, role in enumerate("qkv"):
        low = high = None
        for out in seen:  # (n, heads, 3, l, 16)
            ends = out[:, :, place].aminmax()
            low, high = ends if low is None else (low.lerp(ends.min, 0.5), high.lerp(ends.max, 0.5))
        rounding, scale = found.rounding(role), (high - low).item() / 255
        assert rounding.scale == pytest.approx(scale, rel=1e-5)
        assert rounding.zero == round(-128 - low.item() / scale)
    assert vars(found.rounding("probabilities"))["zero"] == 0
    assert not found.rounding("probabilities").grid.signed
    assert 0.5 / 17 < 255 * found.rounding("probabilities").scale < 1


def test_the_kinds_of_rounding(vit, proxy):
    made(vit, proxy, {"image": "all", "probabilities": "log_sqrt2", "precision": "a4"}, "image")
    kinds = {role: type(pieces(vit.model)[LAST].rounding(role)) for role in ("q", "k", "v", "probabilities")}
    assert kinds == {"q": StaticInput, "k": StaticInput, "v": StaticInput, "probabilities": LogSqrt2}
    assert pieces(vit.model)[LAST].bits("probabilities") == 4


def test_each_token_of_a_head_has_a_scale_of_its_own(vit, proxy):
    made(vit, proxy, scope="image", activation={"granularity": "token", "dynamic": True})
    rounding = pieces(vit.model)[LAST].rounding("v")
    assert isinstance(rounding, DynamicInput)
    x = torch.randn(2, 3, 17, 16)
    scale = x.abs().amax(-1, keepdim=True) / 127
    torch.testing.assert_close(rounding(x), (x / scale).round() * scale)


def test_attention_that_is_kept_stays_and_that_of_another_precision_has_it(vit, proxy):
    _, facts = made(
        vit, proxy, scope="image", layers={"keep": ["*0.attn"], "other": {"last": "w4a6"}}, precision="w8a8"
    )
    assert list(pieces(vit.model)) == [LAST]
    assert {p["activation_bits"] for p in products(facts)} == {6}
    assert {p["reason"] for p in facts["coverage"] if p["module"] == FIRST} == {"kept by the scheme"}
    assert facts["modules"][f"{FIRST}.qkv"]["weight"]["bits"] == 8  # the pattern names the attention alone


def test_a_precision_of_its_own_is_that_of_all_attention_but_what_is_kept(vit, proxy):
    attention = {"image": "all", "precision": "a4"}
    _, facts = made(vit, proxy, attention, "image", layers={"keep": ["first"], "other": {"last": "w6a6"}})
    assert {(p["module"], p["activation_bits"]) for p in products(facts)} == {(LAST, 4)}


def test_floats_of_attention_leave_the_zero_points_to_the_layers(vit, proxy):
    attention, zero = {"image": "all", "precision": "fp8"}, {"symmetric": False}
    made(vit, proxy, attention, "image", "w4a8", quantizer="repq", weight=zero, activation=zero)
    grids = [pieces(vit.model)[LAST].rounding(role).grid for role in ("q", "k", "v", "probabilities")]
    assert {(grid.element, grid.symmetric) for grid in grids} == {("e4m3", True)}
    assert not any(layer.activation_grid.symmetric for layer in twins(vit.model).values())


def test_nothing_is_rounded_with_rounding_switched_off(vit, proxy):
    made(vit, proxy, scope="image")
    before = outputs(vit, proxy)[0]
    with unrounded(vit.model):
        off = outputs(vit, proxy)[0]
    assert torch.equal(outputs(vit, proxy)[0], before)
    for piece in pieces(vit.model).values():
        piece.active = False
    assert not torch.equal(off, before)
    assert not torch.equal(outputs(vit, proxy)[0], before)


def test_training_sees_the_rounding_of_attention(vit, proxy):
    other = copy.deepcopy(vit)
    arrays, facts = made(vit, proxy, {"image": "all", "precision": "a2"}, "image", quantizer="ste", **TRAINED)
    without, _ = made(other, proxy, "", "image", quantizer="ste", **TRAINED)
    assert any((arrays[name] != without[name]).any() for name in arrays if name.endswith("ln_1.weight"))
    assert products(facts)


def test_a_training_that_was_killed_ends_with_the_same_variant(vit, proxy, tmp_path):
    words = {"quantizer": "lsq", **TRAINED, "iterations": 4}
    start = copy.deepcopy(vit)
    arrays, facts = made(copy.deepcopy(start), proxy, **words)

    class Killed(Exception):
        pass

    def kill(iteration, *_):
        raise Killed

    saved = Checkpoints(tmp_path / "checkpoints", 1, {})
    entry = scheme_entry({**words, "snapshots": [2], "layers": {"attention": "all"}}, "w8a8")
    with pytest.raises(Killed):
        quantize(copy.deepcopy(start), entry, "both", proxy, saved, keep=kill)
    assert saved.kept()
    again, found = made(start, proxy, saved=saved, **words)
    assert all((arrays[name] == again[name]).all() for name in arrays)
    assert found["modules"] == facts["modules"]


@pytest.mark.parametrize("backend", ["integer", "simulate"])
def test_integer_products_leave_attention_to_the_simulation_and_say_so(vit, proxy, backend):
    arrays, facts = made(vit, proxy)
    fresh = vit
    found = outputs(fresh, proxy)
    told = use_backend(fresh.model, backend, "v")
    assert told["used"] == {"integer": "mixed", "simulate": "simulate"}[backend]
    assert [len(n) for reason, n in told["simulated_layers"].items() if "attention" in reason] == [4]
    for a, b in zip(outputs(fresh, proxy), found, strict=True):
        assert nn.functional.cosine_similarity(a, b).min() > 0.999
    assert arrays
    assert facts


def test_a_model_in_bfloat16_rounds_the_same_attention(vit, proxy):
    made(vit, proxy, scope="image")
    exact = outputs(vit, proxy)[0]
    vit.model.bfloat16()
    with torch.no_grad():
        pixels = next(proxy.in_order(vit, 8))[0]
        found = vit.model.encode_image(pixels.bfloat16(), normalize=True)
    assert found.dtype == torch.bfloat16
    assert nn.functional.cosine_similarity(found.float(), exact).min() > 0.99


def test_a_tower_without_attention_is_said_to_have_none(convnext, proxy, capsys):
    _, facts = made(convnext, proxy, scope="image")
    assert not products(facts)
    assert "attention: the image tower runs none" in capsys.readouterr().err


def test_blocks_that_do_not_divide_what_is_summed_are_refused_with_the_attention(vit, proxy):
    told = (
        r"attention: visual.*0.attn \(.*SelfAttention\): blocks of 16 do not divide the 17 numbers that probabilities x"
    )
    with pytest.raises(ValueError, match=told):
        made(copy.deepcopy(vit), proxy, {"image": "all", "precision": "nvfp4"}, "image")
    with pytest.raises(ValueError, match="blocks of 32 do not divide the 16 numbers that query x key sums over"):
        made(vit, proxy, {"image": ["q"], "precision": "mxfp8"}, "image")


class Odd(nn.Module):
    """Attend over what another attention gives, by one more product than there is place for."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, *given, **words):
        out, _ = self.inner(x, *given, **words)
        scores = out @ out.transpose(-2, -1) + torch.einsum("nld,nmd->nlm", out, out)
        return scores.softmax(-1) @ out, None


def test_an_attention_whose_products_are_not_all_seen_is_refused_by_name(vit, proxy):
    block = vit.model.visual.transformer.resblocks[0]
    block.attn = Odd(block.attn)
    told = r"attention: visual.transformer.resblocks.0.attn \(.*Odd\): its products cannot all be rounded: [0-9]+ of "
    with pytest.raises(ValueError, match=told):
        made(vit, proxy, scope="image")


def test_such_an_attention_can_be_kept(vit, proxy):
    block = vit.model.visual.transformer.resblocks[0]
    block.attn = Odd(block.attn)
    _, facts = made(vit, proxy, scope="image", layers={"keep": ["*.0.attn"]})
    assert {p["module"] for p in products(facts)} == {FIRST + ".inner", LAST}


def test_a_scope_of_which_no_tower_is_named_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="attention: names the text tower alone, which scope image does not quantize"):
        made(vit, proxy, {"text": "all"}, "image")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda words: words["factors"]["q"]["input"].update(scale=float("nan")), "must be numbers"),
        (lambda words: words["factors"].update(w=words["factors"]["q"]), "rounds some of q, k, v, probabilities"),
        (lambda words: words["factors"]["k"]["grid"].update(bits=99), "bits must be from 2 to 16"),
    ],
)
def test_words_of_a_file_that_make_no_rounding_are_refused(vit, proxy, change, told):
    fresh = copy.deepcopy(vit)
    arrays, facts = made(vit, proxy, scope="image")
    change(facts["modules"][f"{FIRST}.rounded_products"])
    with pytest.raises(ValueError, match=told):
        restore(fresh.model, arrays, facts["modules"])
