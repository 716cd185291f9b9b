"""Every kind of tower that the paper quantizes: small, with random weights, through the same functions as a study."""

import copy
import json

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reliquant import plugins
from reliquant.evaluation.zero_shot import logit_scale_and_bias
from reliquant.files.artifacts import provenance, read_header, save_tensors
from reliquant.layers.products import FACTORS
from reliquant.layers.surgery import targets, twins, unpack
from reliquant.layers.variant import load_variant
from reliquant.models.clip import Clip
from reliquant.models.files import save_model
from reliquant.models.openclip import open_clip
from reliquant.models.shapes import shapes_only
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.quantize import quantize

# isort: split
from timm.models import create_model, register_model

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}
OWN = dict.fromkeys(["qk_norm", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"], True)
TIMM = {"timm_model_pretrained": False, "image_size": 32}
CONVNEXT = {**TIMM, "timm_model_name": "shallow_convnext", "timm_pool": "avg", "timm_proj": "linear"}
SIGMOID = {**TIMM, "timm_model_name": "shallow_vit", "timm_pool": "map", "timm_proj": "none"}
SIGMOID_TEXT = {**TEXT, "context_length": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
COCA = {**VIT, "attentional_pool": True, "attn_pooler_heads": 3, "attn_pooler_queries": 4, "output_tokens": True}
COCA_TEXT = {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True}
CONFIGS = {
    "vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "quickgelu": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "own-attention": {"embed_dim": 24, "vision_cfg": {**VIT, **OWN}, "text_cfg": TEXT},
    "convnext": {"embed_dim": 24, "vision_cfg": CONVNEXT, "text_cfg": TEXT},
    "sigmoid": {
        "embed_dim": 64, "init_logit_bias": -10, "custom_text": True, "vision_cfg": SIGMOID, "text_cfg": SIGMOID_TEXT,
    },
    "coca": {
        "embed_dim": 24, "custom_text": True, "vision_cfg": COCA, "text_cfg": COCA_TEXT,
        "multimodal_cfg": {**TEXT, "context_length": 76},
    },
    "resnet": {
        "embed_dim": 24, "text_cfg": TEXT,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 16},
    },
}  # fmt: skip
BOTH = {"vit": 12, "quickgelu": 12, "own-attention": 12, "sigmoid": 12, "coca": 12, "resnet": 20, "align": 21}
GRIDS = {"weight": {"bits": 4, "granularity": "channel"}, "activation": {"bits": 8}}
METHODS = {
    "rtn": {}, "smoothquant": {}, "gptq": {"pairs": 8},
    "lsq": {"iterations": 1, "batch": 8, "losses": [{"loss": "sigmoid"}]},
}  # fmt: skip
ALLOWED = {"image": {"", "attention product", "outside the blocks", "outside the scope"}}
ALLOWED["both"] = ALLOWED["image"] - {"outside the scope"}


@register_model
def shallow_vit(pretrained=False, **words):
    """Make timm's `test_vit` with two of its six blocks."""
    return create_model("test_vit", depth=2, **words)


@register_model
def shallow_convnext(pretrained=False, **words):
    """Make timm's `test_convnext` with five of its nine blocks."""
    return create_model("test_convnext", depths=(1, 1, 2, 1), **words)


@pytest.fixture(params=[*CONFIGS, "align"])
def entry(request, tmp_path_factory):
    """The tower entry of each small model."""
    if request.param == "align":
        return request.getfixturevalue("align")
    name = f"test-{request.param}"
    if name not in open_clip.list_models():
        folder = tmp_path_factory.mktemp("architecture")
        (folder / f"{name}.json").write_text(json.dumps(CONFIGS[request.param]))
        open_clip.add_model_config(folder)
    return {"tower": "openclip", "architecture": name}


@pytest.fixture(scope="module")
def made():
    """The models that were made already, by architecture."""
    return {}


@pytest.fixture
def clip(entry, made):
    """A copy of the model, with no bias at zero and no norm at one: else no test would see one lost."""
    found = made.get(entry["architecture"])
    if found is None:
        torch.manual_seed(0)
        found = made[entry["architecture"]] = plugins.load("tower", entry)(None)
        with torch.no_grad():
            for parameter in found.model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    return copied(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def model(entry, clip, made, folder):
    """The model as a file, written once."""
    path = folder / f"{kind(entry)}.safetensors"
    if not path.exists():
        save_model(path, made[entry["architecture"]], entry)
    return path


def copied(clip):
    return clip.with_model(copy.deepcopy(clip.model))


@pytest.fixture(scope="module")
def pairs():
    """Twelve random images with captions."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    return Proxy(images, [f"a {('red', 'blue')[i % 2]} {('star', 'circle')[i % 3 % 2]} {i}" for i in range(12)])


@pytest.fixture(scope="module")
def embedded():
    """What models embed of the pairs in FP32, by architecture."""
    return {}


@pytest.fixture
def exact(clip, entry, embedded, pairs):
    """What the model embeds of the pairs in FP32, computed once for all tests of it."""
    if entry["architecture"] not in embedded:
        embedded[entry["architecture"]] = outputs(copied(clip), pairs)
    return embedded[entry["architecture"]]


def outputs(clip, pairs):
    with torch.no_grad():
        found = embed(clip, *pairs.take(clip, np.arange(4)))
    return found.image, found.text


def kind(entry):
    return "align" if entry["tower"] == "huggingface" else entry["architecture"].removeprefix("test-")


def test_unpacking_keeps_the_outputs(clip, exact, pairs):
    unpack(clip)
    for a, b in zip(outputs(clip, pairs), exact, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert not any(hasattr(m, "in_proj_weight") for n, m in clip.model.named_modules() if "text_decoder" not in n)


class _Products(TorchDispatchMode):
    """Count matrix products and convolutions as torch dispatches them, whoever asks for them."""

    def __init__(self):
        super().__init__()
        self.of_weights, self.of_attention = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.of_weights += name in ("mm", "addmm", "convolution")
        self.of_attention += name in ("bmm", "baddbmm")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scope", ["image", "both"])
def test_every_product_inside_a_block_is_a_target_or_attention(clip, entry, pairs, scope):
    unpack(clip)
    names = set(targets(clip, scope))
    if scope == "both" and kind(entry) in BOTH:
        assert len(names) == BOTH[kind(entry)]
    blocks = {clip.parts.block_of(n) for n in names}
    counts = {name: _Products() for name in blocks}
    for name, counter in counts.items():
        block = clip.model.get_submodule(name)
        block.register_forward_pre_hook(lambda *_, c=counter: c.__enter__() and None)
        block.register_forward_hook(lambda *_, c=counter: c.__exit__(None, None, None))
    outputs(clip, pairs)
    targeted = {b: sum(n.startswith(f"{b}.") for n in names) for b in blocks}
    assert {b: c.of_weights for b, c in counts.items()} == targeted
    assert {c.of_attention for c in counts.values()} <= {0, 2}  # fused, or query x key and attention x value


def stored_and_loaded(model, variant, arrays, facts):
    save_tensors(variant, arrays, provenance(kind="variant", model_sha256=read_header(model)["sha256"], **facts))
    return load_variant(model, variant)[0]


@pytest.mark.parametrize(
    ("method", "scope"),
    [("rtn", "image"), ("lsq", "image"), *((m, "both") for m in METHODS)],
)
def test_a_stored_variant_is_covered_and_gives_the_same_outputs_to_the_bit(
    clip, exact, model, pairs, tmp_path, method, scope
):
    variant = tmp_path / "variant.safetensors"
    words = {"quantizer": method, **GRIDS, **METHODS[method]}
    arrays, facts = quantize(clip, words, scope, pairs, Checkpoints())
    quantized = [p for p in facts["coverage"] if not p["reason"]]
    assert {p["reason"] for p in facts["coverage"]} <= ALLOWED[scope]
    assert {p["module"] for p in quantized} == set(twins(clip.model)) == set(facts["modules"])
    assert {p["weight_bits"] for p in quantized} == {4}
    again = stored_and_loaded(model, variant, arrays, facts)
    after = outputs(clip, pairs)
    for a, b in zip(after, outputs(again, pairs), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(after[0], exact[0])
    kept = torch.allclose(after[1], exact[1], atol=1e-5)  # unpacking rounds a little differently
    assert kept == (scope == "image")


@pytest.mark.parametrize("method", sorted(set(plugins.names("quantizer")) - {"none", *METHODS}))
def test_every_other_quantizer_runs_on_it(clip, exact, model, pairs, tmp_path, method):
    variant = tmp_path / "variant.safetensors"
    known = plugins.words(plugins.source("quantizer", method), "quantizer")
    words = {"iterations": 1, "batch": 8, "losses": [{"loss": "sigmoid"}]} if "losses" in known else {}
    words |= {"steps": 1} if "steps" in known else {}
    grids = {"weight": {"bits": 8, "granularity": "channel"}, "activation": {"bits": 8}}
    arrays, facts = quantize(clip, {"quantizer": method, **grids, **words}, "both", pairs, Checkpoints())
    assert {p["reason"] for p in facts["coverage"]} <= ALLOWED["both"] | {"online rotation", "outlier columns"}
    again = stored_and_loaded(model, variant, arrays, facts)
    for after, loaded, before in zip(outputs(clip, pairs), outputs(again, pairs), exact, strict=True):
        assert torch.equal(after, loaded)
        assert torch.nn.functional.cosine_similarity(after, before).min() > 0.8
        assert not torch.equal(after, before)


def test_contexts_logit_scale_and_bias_are_the_models_own(clip, entry):
    context = {"sigmoid": 64, "coca": 76, "align": 12}.get(kind(entry), 16)
    assert clip.tokenizer(["a red star", "a circle"]).shape == (2, context)
    scale, bias = logit_scale_and_bias(clip)
    assert scale == pytest.approx(1.0 if kind(entry) == "align" else 1 / 0.07)
    assert bias == (-10 if kind(entry) == "sigmoid" else 0)


@pytest.mark.parametrize(
    ("name", "bias", "context", "tower"),
    [
        ("ViT-B-32", None, 77, "VisionTransformer"),
        ("ViT-B-32-quickgelu", None, 77, "VisionTransformer"),
        ("convnext_base_w", None, 77, "TimmModel"),
        ("ViT-B-16-SigLIP", -10, 64, "TimmModel"),
        ("coca_ViT-B-32", None, 76, "VisionTransformer"),
        ("RN50", None, 77, "ModifiedResNet"),
    ],
)
def test_the_papers_architectures_have_every_block_matrix_among_the_targets(name, bias, context, tower):
    config = open_clip.get_model_config(name)
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    kind = kind if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"), shapes_only():  # no memory, no weights
        model = kind(**config)
    assert (type(model.visual).__name__, model.context_length) == (tower, context)
    assert (None if model.logit_bias is None else config["init_logit_bias"]) == bias
    tokens = torch.ones(1, model.context_length, dtype=torch.long)
    clip = Clip(model.eval(), lambda texts: tokens, model.visual.image_size, (0.5,) * 3, (0.5,) * 3)
    unpack(clip)
    names = targets(clip, "both")
    parameters = [n for n, p in model.named_parameters() if p.ndim >= 2]
    matrices = {n.removesuffix(".weight") for n in parameters if clip.parts.block_of(n)}
    assert set(names) == matrices
    weights = sum(model.get_submodule(n).weight.numel() for n in names if n.startswith("visual."))
    matrices = sum(p.numel() for p in model.visual.parameters() if p.ndim >= 2)
    assert weights > (0.6 if name == "RN50" else 0.84) * matrices  # a third of a ResNet-50 is its attention pooling


def test_every_product_of_attention_is_rounded_where_a_scheme_says_so_or_the_attention_is_named(clip, entry, pairs):
    words = {"quantizer": "rtn", "layers": {"attention": "all"}, **GRIDS}
    if kind(entry) == "resnet":  # torch computes its pooling in one function
        with pytest.raises(ValueError, match=r"attention: visual.attnpool .*AttentionPool2d.*: 0 of .* are seen"):
            quantize(clip, words, "both", pairs, Checkpoints())
        return
    products = quantize(clip, words, "both", pairs, Checkpoints())[1]["coverage"]
    attention = [p for p in products if p["operator"] in FACTORS]
    assert "attention product" not in {p["reason"] for p in products}
    assert {(p["weight_bits"], p["activation_bits"], p["reason"]) for p in attention} == {(8, 8, "")}
    towers = {p["module"].split(".")[0] for p in attention}
    assert len(towers) == (1 if kind(entry) in ("convnext", "align") else 2)
