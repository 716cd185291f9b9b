import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from reliquant import plugins
from reliquant.grid import Grid
from reliquant.layers.coverage import coverage
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.transforms import Compensation, attach
from reliquant.layers.variant import export, restore
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.quantize import prepare, quantize
from reliquant.quantization.unchanged import TOLERANCE, Unchanged

TEXT = {"context_length": 16, "vocab_size": 128, "width": 32, "heads": 2, "layers": 1}
W8A8 = {"quantizer": "rtn", "weight": {"bits": 8, "granularity": "channel"}, "activation": {"bits": 8}}
FINE = {"quantizer": "rtn", "weight": {"bits": 14, "granularity": "channel"}, "activation": {"bits": 14}}
VIT = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 32, "patch_size": 8}
SWIN = {"depths": (1, 1), "num_heads": (2, 4), "embed_dim": 32}
# small towers of timm's own classes: kind -> name of the model, edge of its images, its words
KINDS = {
    "regnet": ("regnety_002", 64, {"depth": 7}),
    "mobilevit": ("mobilevit_xxs", 64, {}),
    "efficientnet, padded by the size of the input": ("tf_efficientnet_b0", 64, {}),
    "bit, standardised": ("resnetv2_50x1_bit", 64, {"channels": (128, 128, 128, 128), "stem_chs": 32}),
    "nfnet, scaled": ("test_nfnet", 64, {}),
    "beit": ("beit_base_patch16_224", 32, VIT),
    "eva": ("eva02_tiny_patch14_224", 32, VIT),
    "swin2": ("swinv2_tiny_window8_256", 64, {**SWIN, "img_size": 64, "window_size": 4}),
    "swin": ("swin_tiny_patch4_window7_224", 56, {**SWIN, "img_size": 56}),
    "relative positions": ("test_vit_relpos", 64, {"depth": 2, "img_size": 64}),
}
DEPTHS = {"bit, standardised": (1, 1, 2, 1)}


def trunk_of(kind):
    """Make an image tower of timm, with the first blocks of each stage where there are many."""
    name, _, words = KINDS[kind]
    trunk = open_clip.timm_model.timm.create_model(name, num_classes=0, **words)
    for stage, depth in zip(trunk.stages, DEPTHS[kind], strict=True) if kind in DEPTHS else ():
        del stage.blocks[depth:]
    return trunk


def characters(captions):
    rows = [[1, *(2 + ord(c) % 120 for c in text[:14]), 127] for text in captions]
    return torch.tensor([row + [0] * (16 - len(row)) for row in rows])


def filled(model):
    """Move what starts at 0 or 1, or no test would see it lost."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def new_tower(request):
    """A small CLIP with an image tower of timm's own classes."""
    name, size, _ = KINDS[request.param]
    vision = {"timm_model_name": name, "image_size": size, "timm_pool": "", "timm_proj": "linear"}
    torch.manual_seed(0)
    made = open_clip.CLIP(embed_dim=24, vision_cfg={**vision, "timm_model_pretrained": False}, text_cfg=TEXT)
    trunk = made.visual.trunk = trunk_of(request.param)
    made.visual.head = nn.Sequential(nn.Linear(trunk.num_features, 24, bias=False))
    return Clip(filled(made), characters, size, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def tower(new_tower):
    """A copy of it."""
    return new_tower.with_model(copy.deepcopy(new_tower.model))


def pairs_for(clip, count=18):
    images = np.random.default_rng(0).integers(0, 256, (count, *clip.shape, 3), dtype=np.uint8)
    return Proxy(images, [f"{i} things" for i in range(count)])


def outputs(clip, proxy):
    with torch.no_grad():
        found = embed(clip, *proxy.take(clip, np.arange(4)))
    return found.image, found.text


def test_every_kind_is_quantized_whole_stays_near_fp32_and_comes_back_to_the_bit(tower):
    proxy, fresh = pairs_for(tower), copy.deepcopy(tower.model)
    exact = outputs(tower, proxy)
    arrays, facts = quantize(tower, FINE, "both", proxy, Checkpoints(), tuning="none")
    seen = coverage(tower, "both", lambda: outputs(tower, proxy))
    assert seen.block_share > 0.98  # tables of relative positions are no layers
    assert {p["reason"] for p in facts["coverage"]} <= {"", "attention product", "outside the blocks"}
    quantized = {p["module"] for p in facts["coverage"] if not p["reason"]}
    assert quantized == set(twins(tower.model))
    after = outputs(tower, proxy)
    for found, before in zip(after, exact, strict=True):
        assert nn.functional.cosine_similarity(found, before).min() > 0.995
        assert not torch.equal(found, before)
    restore(fresh, arrays, facts["modules"])
    for found, again in zip(after, outputs(tower.with_model(fresh), proxy), strict=True):
        assert torch.equal(found, again)


@pytest.mark.parametrize("kind", ["beit", "eva", "swin2"])
def test_qkv_with_biases_of_its_own_is_called_as_a_layer(kind):
    size = KINDS[kind][1]
    torch.manual_seed(0)
    trunk = filled(trunk_of(kind))
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        exact = trunk(x)
    called = []
    unpack_attention(trunk)
    for path, module in trunk.named_modules():
        if path.endswith("attn.qkv"):
            module.register_forward_hook(lambda *_: called.append(1))
    with torch.no_grad():
        torch.testing.assert_close(trunk(x), exact, rtol=1e-5, atol=1e-5)
    assert len(called) == sum(path.endswith("attn.qkv") for path, _ in trunk.named_modules()) > 0


@pytest.mark.parametrize("method", [name for name in plugins.names("quantizer") if name != "none"])
def test_what_every_method_changes_in_floating_point_changes_no_embedding(clip, proxy, method):
    words = plugins.words(plugins.source("quantizer", method), "quantizer")
    few = {"iterations": 1, "batch": 8, "losses": [{"loss": "sigmoid"}]} if "losses" in words else {}
    few |= {"steps": 1} if "steps" in words else {}
    called, proxy = [], Proxy(proxy.images[:16], proxy.captions[:16])

    class Watched(Unchanged):
        def require_method(self, method):
            called.append(method)
            super().require_method(method)

    unchanged = Watched(clip, proxy)
    names = prepare(clip, {"quantizer": method}, "both", proxy).names
    unchanged.watch(method)
    plugins.load("quantizer", {**W8A8, **few, "quantizer": method})(clip, names, proxy, Checkpoints())
    assert called == [method]


class Shifted(nn.Module):
    """Attention whose projection is used past the layer."""

    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, width, bias=False)
        self.shift = nn.Parameter(torch.ones(width))

    def forward(self, x, attn_mask=None, **words):
        return nn.functional.linear(x, self.qkv.weight, self.shift)


def test_a_weight_that_is_used_past_its_layer_is_named_with_who_uses_it(vit, proxy):
    for block in vit.model.visual.transformer.resblocks:
        block.attention = Shifted(48).forward
        block.attn = Shifted(48)
        block.forward = lambda x, attn_mask=None, b=block: x + b.mlp(b.attn(x))
    first = r"visual\.transformer\.resblocks\.0\.attn"
    told = rf"{first}\.qkv: its weight is used past the layer, by \S*Shifted \({first}\).*2 layers are like it"
    with pytest.raises(ValueError, match=told):
        quantize(vit, W8A8, "image", proxy, Checkpoints())


def test_a_twin_that_is_not_the_layer_is_refused_with_the_first_that_differs(vit, proxy):
    second = vit.model.visual.transformer.resblocks[1].mlp
    second.c_proj.register_forward_hook(lambda module, given, output: 2 * output)  # a twin does not take it over
    second.c_fc.register_forward_hook(lambda module, given, output: None)
    name = r"visual\.transformer\.resblocks\.1\.mlp\.c_proj"
    told = rf"the twins give other image embeddings than FP32 .*the first layer whose output differs is {name} \("
    with pytest.raises(ValueError, match=told):
        quantize(vit, W8A8, "both", proxy, Checkpoints())
    assert all(layer.codes is None for layer in twins(vit.model).values())  # nothing was calibrated or rounded


def test_a_method_that_changes_more_than_rounding_is_refused_by_its_name(vit, proxy, monkeypatch):
    from reliquant.quantization.quantizers import smoothquant

    monkeypatch.setattr(smoothquant, "divide_output", lambda norm, factor, readers: norm.weight.data.mul_(2))
    told = r"the smoothquant give other image embeddings than FP32 \(relative difference"
    with pytest.raises(ValueError, match=told):
        quantize(vit, {**W8A8, "quantizer": "smoothquant"}, "image", proxy, Checkpoints())


def test_differences_below_the_tolerance_pass_and_those_above_do_not(vit, proxy):
    unchanged = Unchanged(vit, proxy)
    for factor, passes in ((1 + TOLERANCE / 100, True), (1 + 100 * TOLERANCE, False)):
        weight = copy.deepcopy(vit.model.visual.proj.data)
        weight[:, 0] *= factor
        changed = Unchanged(vit.with_model(copy.deepcopy(vit.model)), proxy)
        changed.clip.model.visual.proj.data.copy_(weight)
        if passes:
            changed.require_twins()
        else:
            with pytest.raises(ValueError, match="relative difference"):
                changed.require_twins()
    unchanged.require_twins()


def test_embeddings_that_are_not_finite_name_the_first_layer(vit, proxy):
    vit.model.visual.transformer.resblocks[1].ln_2.weight.data.fill_(float("nan"))
    told = r"FP32's own image embeddings of the pairs are not finite; .* is visual\.transformer\.resblocks\.1\.ln_2"
    with pytest.raises(ValueError, match=told):
        quantize(vit, W8A8, "image", proxy, Checkpoints())


def test_watching_ends_with_the_check_and_leaves_no_hooks(vit, proxy):
    quantize(vit, W8A8, "image", proxy, Checkpoints())
    assert all(layer.before_rounding is None for layer in twins(vit.model).values())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vit.model.modules())


def test_a_model_without_anything_to_quantize_is_refused_with_what_was_looked_for_and_found(vit, proxy):
    visual = vit.model.visual
    visual.transformer.resblocks = nn.ModuleList([nn.Identity()])
    visual.transformer.forward = lambda x, attn_mask=None: x
    told = (
        r"nothing to quantize: looked for Linear and Conv2d layers in blocks.*its image tower has no blocks, and in it "
        r"are visual \(VisionTransformer\), visual\.conv1 \(Conv2d\).*Clip\(\.\.\., blocks="
    )
    with pytest.raises(ValueError, match=told):
        quantize(replace(vit), W8A8, "image", proxy, Checkpoints())


def test_a_tower_in_which_nothing_is_quantized_is_said_where_both_are_asked_for(vit, proxy, capsys):
    quantize(copy.deepcopy(vit), W8A8, "both", proxy, Checkpoints())
    assert "tower is quantized" not in capsys.readouterr().err
    visual = vit.model.visual
    visual.transformer.resblocks = nn.ModuleList([nn.Identity()])
    visual.transformer.forward = lambda x, attn_mask=None: x
    quantize(vit, W8A8, "both", proxy, Checkpoints())
    assert "scope both, but nothing in the image tower is quantized" in capsys.readouterr().err


def test_a_scheme_that_rounds_nothing_is_refused_with_the_reasons(vit, proxy):
    floating = {"quantizer": "rtn", "weight": {"bits": 16}, "activation": {"bits": 16}}
    with pytest.raises(ValueError, match=r"rtn: quantized nothing of what ran; .*its grids are floating point"):
        quantize(copy.deepcopy(vit), floating, "image", proxy, Checkpoints())
    with pytest.raises(ValueError, match="none: quantized nothing"):
        quantize(vit, {"quantizer": "none"}, "image", proxy, Checkpoints())


@pytest.mark.parametrize("precision", [{"weight": Grid(bits=16)}, {"activation": Grid(bits=16)}])
def test_weights_alone_or_inputs_alone_are_no_empty_variant(vit, proxy, precision):
    grids = {"weight": {"bits": 8}, "activation": {"bits": 8}} | {k: {"bits": 16} for k in precision}
    _, facts = quantize(vit, {"quantizer": "smoothquant", **grids}, "image", proxy, Checkpoints())
    assert facts["measures"]["quantized_mac_share"] > 0.8


def test_a_transformer_of_torch_is_quantized_past_its_fused_way(proxy):
    """nn.TransformerEncoder computes a whole layer in one operator where it can: no twin would ever run."""

    class Torch(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(24, 2, 48, batch_first=True, dropout=0.0)
            self.patches, self.words = nn.Conv2d(3, 24, 8, 8), nn.Embedding(128, 24)
            self.image, self.text = (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False) for _ in range(2))
            self.query = nn.Parameter(torch.randn(1, 1, 24))
            self.pool = nn.MultiheadAttention(24, 2, batch_first=True)
            self.logit_scale = nn.Parameter(torch.tensor(2.0))

        def encode_image(self, x, normalize=False):
            x = self.image(self.patches(x).flatten(2).transpose(1, 2))
            return nn.functional.normalize(self.pool(self.query.expand(len(x), -1, -1), x, x)[0][:, 0], dim=-1)

        def encode_text(self, tokens, normalize=False):
            x = self.text(self.words(tokens), src_key_padding_mask=tokens == 0)
            return nn.functional.normalize(x[:, 0], dim=-1)

    torch.manual_seed(0)
    clip = Clip(filled(Torch()), characters, 32, (0.5,) * 3, (0.25,) * 3)
    exact, fresh = outputs(clip, proxy), copy.deepcopy(clip)
    names = [name.replace("out_proj", "proj") for name in targets(fresh, "both")]  # and qkv, which is packed
    arrays, facts = quantize(clip, W8A8, "both", proxy, Checkpoints(), tuning="none")
    assert set(names) < set(twins(clip.model))
    assert len(twins(clip.model)) == 2 * 2 * 4
    assert facts["measures"]["quantized_weight_share"] > 0.5
    for found, before in zip(outputs(clip, proxy), exact, strict=True):
        assert nn.functional.cosine_similarity(found, before).min() > 0.99
    restore(fresh.model, arrays, facts["modules"], fresh.parts.crossed)
    for found, again in zip(outputs(clip, proxy), outputs(fresh, proxy), strict=True):
        assert torch.equal(found, again)
    assert export(clip, "image")[0].keys() < arrays.keys()


def test_compensation_is_given_to_blocks_of_any_kind_or_named_where_it_does_not_fit(tower, capsys):
    proxy = pairs_for(tower, 40)
    entry = {**W8A8, "weight": {"bits": 3, "granularity": "channel"}, "compensation": "qwt"}
    other = copy.deepcopy(tower)
    arrays, facts = quantize(tower, entry, "image", proxy, Checkpoints())
    given = [block for block in tower.parts.blocks if f"{block}.compensation" in facts["modules"]]
    lines = capsys.readouterr().err
    told = [block for block in tower.parts.blocks if f"compensation: {block} gets none" in lines]
    blocks = {block for block in tower.parts.blocks if tower.parts.in_tower(block, "image")}
    assert set(given) | set(told) == blocks
    assert not set(given) & set(told)
    restore(other.model, arrays, facts["modules"])
    for ours, theirs in zip(outputs(tower, proxy), outputs(other, proxy), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_sequential_block_takes_no_piece_that_it_would_run_as_a_layer():
    with pytest.raises(ValueError, match=r"Compensation: a torch\.nn\.Sequential would run it as one of its layers"):
        attach(nn.Sequential(nn.Linear(4, 4)), Compensation(torch.zeros(4, 4), torch.zeros(4), -1, 0.0))
