"""Attention with rounded factors, against an independent one in numpy that rounds each factor by itself."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from reliquant.grid import Grid
from reliquant.layers.attention import NormedAttention, SelfAttention
from reliquant.layers.products import (
    FIRST,
    ROLES,
    SCORES,
    SECOND,
    AttentionProducts,
    LogSqrt2,
    attach,
    pieces,
    watched_products,
)
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.models.openclip import open_clip

# isort: split
from timm.models.vision_transformer import Attention as TimmAttention

LENGTH, WIDTH, HEADS = 5, 8, 2
UNSIGNED = {"symmetric": False, "signed": False}
STEPS = {"q": 0.75, "k": 0.75, "v": 1.5, "probabilities": 0.04}  # no sum of the whole numbers below is a tie of them
ENDS = {"q": (-8, 7), "k": (-8, 7), "v": (-4, 3), "probabilities": (0, 15)}
CAUSAL = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)


def piece(*roles):
    made = {
        "q": StaticInput(Grid(bits=4), STEPS["q"]),
        "k": StaticInput(Grid(bits=4), STEPS["k"]),
        "v": StaticInput(Grid(bits=3), STEPS["v"]),
        "probabilities": StaticInput(Grid(bits=4, **UNSIGNED), STEPS["probabilities"]),
    }
    return AttentionProducts({role: made[role] for role in roles or ROLES})


def beside(attention, made):
    holder = nn.ModuleDict({"attn": attention}).eval()
    attach(holder, "attn", made)
    made.active = True
    return holder


def on_grid(x, role, roles):
    low, high = ENDS[role]
    return np.clip(np.rint(x / STEPS[role]), low, high) * STEPS[role] if role in roles else x


def expected(attention, x, mask=None, roles=ROLES, *, scaled_queries=False):
    """Attention in float64, head by head and image by image; each factor goes through its own rounding.

    Scores are scaled, or queries are, before they are rounded.
    """
    x, weight, proj = (t.detach().double().numpy() for t in (x, attention.qkv.weight, attention.proj.weight))
    bias = attention.proj.bias.detach().double().numpy()
    size, out = WIDTH // HEADS, np.zeros(x.shape)
    for image, of_image in zip(x, out, strict=True):
        for head in range(HEADS):
            rows = slice(head * size, (head + 1) * size)
            q, k, v = (image @ weight[part * WIDTH : (part + 1) * WIDTH][rows].T for part in range(3))
            q = q / size**0.5 if scaled_queries else q
            q, k, v = on_grid(q, "q", roles), on_grid(k, "k", roles), on_grid(v, "v", roles)
            scores = q @ k.T / (1 if scaled_queries else size**0.5) + (0 if mask is None else mask.double().numpy())
            weights = np.exp(scores - scores.max(1, keepdims=True))
            weights = on_grid(weights / weights.sum(1, keepdims=True), "probabilities", roles)
            of_image[:, rows] = weights @ v
    return torch.from_numpy(out @ proj.T + bias).float()


def whole_numbers(attention):
    """Give an attention weights of whole numbers, of whose sums none is a tie; no bias but in its projection."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.from_numpy(rng.integers(-1, 2, (3 * WIDTH, WIDTH))))
        attention.proj.weight.copy_(torch.from_numpy(rng.integers(-1, 2, (WIDTH, WIDTH))))
        if attention.qkv.bias is not None:
            attention.qkv.bias.zero_()
    return attention


class Eager(nn.Module):
    """Multiply as older code does: images and heads are one axis, and scores begin as a scaled product."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, attn_mask=None):
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2)
        start = torch.zeros(len(q), LENGTH, LENGTH) if attn_mask is None else attn_mask.expand(len(q), -1, -1)
        scores = torch.baddbmm(start, q, k.transpose(1, 2), alpha=(WIDTH // HEADS) ** -0.5)
        out = torch.bmm(functional.softmax(scores, dim=-1), v)
        return self.proj(out.unflatten(0, (-1, HEADS)).transpose(1, 2).flatten(2))


def of_torch():
    return SelfAttention(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))


def of_open_clip():
    return NormedAttention(open_clip.transformer.Attention(WIDTH, HEADS, scaled_cosine=False))


def of_timm(*, fused):
    attention = TimmAttention(WIDTH, num_heads=HEADS, qkv_bias=False)
    attention.fused_attn = fused
    return attention


KINDS = {
    "torch": (of_torch, lambda module, x, mask: module(x, x, x, attn_mask=mask, need_weights=False)[0]),
    "torch, weights asked for": (of_torch, lambda module, x, mask: module(x, x, x, attn_mask=mask)[0]),
    "open_clip": (of_open_clip, lambda module, x, mask: module(x, attn_mask=mask)),
    "timm, fused": (lambda: of_timm(fused=True), lambda module, x, mask: module(x, attn_mask=mask)),
    "timm, eager": (lambda: of_timm(fused=False), lambda module, x, mask: module(x, attn_mask=mask)),
    "eager": (Eager, lambda module, x, mask: module(x, attn_mask=mask)),
}


def images():
    return torch.from_numpy(np.random.default_rng(1).integers(-2, 3, (3, LENGTH, WIDTH))).float()


@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["no mask", "causal"])
@pytest.mark.parametrize("roles", [ROLES, ("q", "k"), ("v",), ("probabilities",)], ids="-".join)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_each_factor_that_is_named_is_rounded_and_no_other(kind, roles, mask):
    make, call = KINDS[kind]
    torch.manual_seed(0)
    attention = whole_numbers(make())
    plain = call(attention.eval(), images(), mask)
    holder = beside(attention, piece(*roles))
    found = call(holder["attn"], images(), mask)
    reference = expected(attention, images(), mask, roles, scaled_queries=kind == "timm, eager")
    torch.testing.assert_close(found, reference, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-2)
    holder["attn"].rounded_products.active = False
    assert torch.equal(call(holder["attn"], images(), mask), plain)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_products_are_told_with_their_multiply_accumulates(kind):
    make, call = KINDS[kind]
    holder = beside(whole_numbers(make()), piece())
    with watched_products(holder) as told:
        call(holder["attn"], images(), None)
    macs = 3 * HEADS * LENGTH * LENGTH * (WIDTH // HEADS)
    assert [(product.what, product.macs) for product in told["attn"]] == [(FIRST, macs), (SECOND, macs)]
    assert [product.summed for product in told["attn"]] == [WIDTH // HEADS, LENGTH]
    assert pieces(holder)["attn"].log is None


class Called(nn.Module):
    """Hand words on to torch's function."""

    def forward(self, q, k, v, **words):
        return functional.scaled_dot_product_attention(q, k, v, **words)


def factors(heads=4, of_keys=4, queries=5, keys=6):
    draw = torch.Generator().manual_seed(0)
    shapes = (heads, queries), (of_keys, keys), (of_keys, keys)
    return [torch.randn(3, n, length, 8, generator=draw) for n, length in shapes]


def untouched():
    return AttentionProducts({role: nn.Identity() for role in ROLES})


MASK = torch.rand(5, 6, generator=torch.Generator().manual_seed(2)) > 0.4
MASK[2] = False  # a query without keys


@pytest.mark.parametrize(
    "words",
    [
        {}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": MASK}, {"attn_mask": MASK.expand(3, 4, 5, 6)},
        {"attn_mask": torch.zeros(5, 6).masked_fill(~MASK, -torch.inf)}, {"enable_gqa": True},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_torchs_function_is_told_is_done_where_nothing_is_rounded(words):
    q, k, v = factors(of_keys=2 if "enable_gqa" in words else 4)
    exact = functional.scaled_dot_product_attention(q, k, v, **words)
    torch.testing.assert_close(beside(Called(), untouched())["attn"](q, k, v, **words), exact)


@pytest.mark.parametrize("mask", [None, MASK, MASK.expand(3, 4, 5, 6)], ids=["none", "for all", "for each"])
def test_a_large_batch_is_computed_in_parts_to_the_same_bits(mask, monkeypatch):
    attention, words = beside(Called(), piece())["attn"], {"attn_mask": mask}
    whole = attention(*factors(), **words)
    monkeypatch.setitem(SCORES, True, 130)  # numbers: one image at a time has 120
    assert torch.equal(attention(*factors(), **words), whole)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_precision(kind):
    q, k, v = (x.to(kind) for x in factors())
    found = beside(Called(), piece())["attn"](q, k, v)
    assert found.dtype == kind
    exact = beside(Called(), piece())["attn"](q.float(), k.float(), v.float())
    assert (found.float() - exact).abs().max() < 0.1  # a probability may have tipped over: 0.04 of a value


def test_gradients_pass_through_the_rounding():
    for made in (piece(), AttentionProducts({"probabilities": LogSqrt2(4, 1.0)})):
        q, k, v = (0.5 * x.requires_grad_() for x in factors())
        found = torch.autograd.grad(beside(Called(), made)["attn"](q, k, v).square().sum(), [q, k, v])
        q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
        exact = torch.autograd.grad(Called()(q, k, v).square().sum(), [q, k, v])
        for a, b in zip(found, exact, strict=True):
            assert functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.6


def test_blocks_lie_along_what_the_product_sums_over():
    q, k, v = factors(keys=32)
    rounding = DynamicInput(
        Grid(bits=4, granularity="group", group=32, element="e2m1", scale_type="e8m0", dynamic=True), -2
    )
    found = beside(Called(), AttentionProducts({"v": rounding}))["attn"](q, k, v)
    largest = v.double().abs().amax(2, keepdim=True)  # of the 32 keys, for each image, head and channel
    scale = 2 ** (largest.log2().floor() - 2)
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6]).double()
    near = (v.double().abs() / scale)[..., None].sub(levels).abs().argmin(-1)
    torch.testing.assert_close(found, Called()(q, k, (levels[near] * scale * v.double().sign()).float()))


def test_log_sqrt2_by_hand():
    # half octaves below 0.8: 0.8, 0.566, 0.4, 0.283, and 0 below the middle (of exponents) of the next one, 0.238
    x = torch.tensor([1.0, 0.8, 0.6, 0.5, 0.41, 0.25, 0.237, 0.1, 0.0])
    levels = [0.8, 0.8, 0.8 * 2**-0.5, 0.8 * 2**-0.5, 0.4, 0.8 * 2**-1.5, 0, 0, 0]
    torch.testing.assert_close(LogSqrt2(2, 0.8)(x), torch.tensor(levels), rtol=1e-6, atol=0)
    assert LogSqrt2(2, 0.8)(torch.tensor([float("nan")])).isnan().all()


def test_a_copy_of_a_model_rounds_by_itself_and_an_error_leaves_nothing_behind():
    holder = beside(Called(), piece())
    copied = copy.deepcopy(holder)
    before = holder["attn"](*factors())
    copied["attn"].rounded_products.v.scale *= 2
    assert not torch.equal(copied["attn"](*factors()), before)
    assert torch.equal(holder["attn"](*factors()), before)
    with pytest.raises(RuntimeError, match=r"size|shape"):
        holder["attn"](torch.zeros(3, 4, 5, 8), torch.zeros(3, 4, 5, 7), torch.zeros(3, 4, 5, 8))
    exact = functional.scaled_dot_product_attention(*factors())
    assert torch.equal(Called()(*factors()), exact)
    assert not holder["attn"].rounded_products.running


def test_factors_that_cannot_be_told_are_refused():
    class Transposed(nn.Module):
        def forward(self, q, k, v):
            weights = (q @ k.transpose(-2, -1)).softmax(-1)
            return (v.transpose(-2, -1) @ weights.transpose(-2, -1)).transpose(-2, -1)

    class Unweighted(nn.Module):
        def forward(self, q, k, v):
            return ((q @ k.transpose(-2, -1)).softmax(-1) * 2) @ v

    with pytest.raises(ValueError, match="attn: what its softmax gives is not the left factor"):
        beside(Transposed(), piece())["attn"](*factors())
    holder = beside(Unweighted(), piece())
    with (
        watched_products(holder),
        pytest.raises(ValueError, match="not all lie from 0 to 1; name it in layers: keep, or leave"),
    ):
        holder["attn"](*factors())
    with pytest.raises(ValueError, match="rounds some of q, k, v, probabilities, not w"):
        AttentionProducts({"w": nn.Identity()})
