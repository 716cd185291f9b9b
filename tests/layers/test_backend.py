import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from reliquant import plugins
from reliquant.grid import Grid
from reliquant.images.datasets.lab_captions import dataset as lab_captions
from reliquant.layers.backend import use_backend
from reliquant.layers.int8 import takes_unsigned
from reliquant.layers.integer import IntegerTwin
from reliquant.layers.surgery import insert_twins, twins, unpack_attention
from reliquant.layers.twins import StaticInput
from reliquant.layers.variant import restore
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.preprocess import batches, pixel_words
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize

# isort: split
from timm.models.vision_transformer import Block  # after the shim

STATIC = {"bits": 8}
PER_TOKEN = {"bits": 8, "granularity": "token", "dynamic": True}
SCHEMES = {
    "rtn": ({"quantizer": "rtn"}, STATIC),
    "smoothquant": ({"quantizer": "smoothquant"}, STATIC),
    "lsq": ({"quantizer": "lsq", "iterations": 2, "batch": 16}, STATIC),
    "lsq_plus": ({"quantizer": "lsq_plus", "iterations": 2, "batch": 16}, STATIC | {"symmetric": False}),
    "quarot": ({"quantizer": "quarot"}, STATIC),
    "six bits": ({"quantizer": "rtn"}, {"bits": 6}),
    "per token": ({"quantizer": "rtn"}, PER_TOKEN),
    "llm_int8": ({"quantizer": "llm_int8", "threshold": 1.5}, PER_TOKEN),
}


def both(clip: Clip, scheme: str, weight_bits: int, proxy: Proxy, backend: str = "integer"):
    """Return a variant simulated and by a backend, and what the backend says."""
    entry, activation = SCHEMES[scheme]
    grids = {"weight": {"bits": weight_bits, "granularity": "channel"}, "activation": activation}
    models = [copy.deepcopy(clip.model) for _ in range(2)]
    arrays, facts = quantize(clip, {**entry, **grids}, "both", proxy, Checkpoints(), tuning="none")
    for model in models:
        restore(model.requires_grad_(False), arrays, facts["modules"])
    return *models, use_backend(models[1], backend, "a variant")


@pytest.fixture(scope="module")
def lab():
    """1,000 captioned images of the lab."""
    data = lab_captions(Path(), world="curated", images=1000, seed=3)
    return data, np.stack([data.read(i) for i in range(1000)])


@pytest.mark.parametrize("tower", ["lab-vit-curated", "lab-convnext-curated"])
@pytest.mark.parametrize(
    ("scheme", "bits"),
    [("rtn", 8), ("rtn", 6), ("smoothquant", 4), ("lsq", 4), ("per token", 8), ("llm_int8", 4)],
)
def test_integers_and_simulation_agree_on_the_labs_models(lab, tower, scheme, bits):
    architecture = "lab_vit" if "vit" in tower else "lab_convnext"
    clip = plugins.load("tower", {"tower": "small", "architecture": architecture, "pretrained": tower})(None)
    data, images = lab
    simulated, integer, told = both(clip, scheme, bits, Proxy(images[:64], data.captions[:64]))
    assert told["used"] == ("integer" if "vit" in tower else "mixed")
    with torch.no_grad():
        prompts = [template.format(name) for name in data.classes for template in data.templates]
        head = simulated.encode_text(clip.tokenizer(prompts), normalize=True)
        agree(simulated, integer, head, batches(images, **pixel_words(clip), batch=250), 0.999 if bits == 8 else 0.997)


def agree(simulated, integer, head, inputs, share=0.999):
    """Assert the same top-1 of classes on a share of images, and embeddings (n, d) within 1e-2 of each other in all.

    Single images may differ by a little more: one code that rounds the other way moves those of later layers, in the
    simulation of another precision as well (docs/backends.md has the figures).
    """
    found = []
    for pixels in inputs:
        a, b = simulated.encode_image(pixels), integer.encode_image(pixels)
        error = (a - b).norm(dim=1) / a.norm(dim=1)
        found.append(torch.stack([error.square(), ((a @ head.T).argmax(1) == (b @ head.T).argmax(1)).float()]))
    error, same = torch.cat(found, dim=1)
    assert error.mean().sqrt() <= 1e-2
    assert error.median().sqrt() <= 1e-4
    assert same.mean() >= share


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("scheme", "bits"), [("rtn", 8), ("lsq", 4), ("quarot", 8), ("lsq_plus", 4), ("six bits", 8)])
def test_integers_and_simulation_agree_on_random_vits(vit, proxy, quick, scheme, bits):
    if quick:
        for block in vit.model.visual.transformer.resblocks:
            block.mlp.gelu = open_clip.transformer.QuickGELU()
    simulated, integer, told = both(vit, scheme, bits, proxy)
    assert told == {"asked": "integer", "used": "integer", "integer_layers": 16, "simulated_layers": {}}
    with torch.no_grad():
        x = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        a, b = simulated.encode_image(x), integer.encode_image(x)
        assert ((a - b).norm(dim=1) / a.norm(dim=1)).max() <= 1e-2
        texts = torch.full((2, 16), 5)
        torch.testing.assert_close(integer.encode_text(texts), simulated.encode_text(texts), rtol=0.02, atol=0.02)


@pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")
def test_no_product_of_the_blocks_but_attention_stays_in_floating_point(vit, proxy):
    _, integer, _ = both(vit, "rtn", 8, proxy)
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Watch():
        integer.visual.transformer(torch.randn(2, 17, 48))
    assert not {"mm", "addmm", "bmm", "convolution", "linear"} & set(seen)
    assert seen.count("qlinear_pointwise") == 8  # qkv, proj, fc1, fc2 of two blocks


@pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")
def test_the_mlp_hands_on_codes_without_a_float_between(vit, proxy):
    _, integer, _ = both(vit, "rtn", 8, proxy)
    mlp = integer.visual.transformer.resblocks[0].mlp
    assert isinstance(mlp.gelu, nn.Identity)
    with torch.no_grad():
        assert mlp.c_fc(torch.randn(2, 17, 48)).dtype == torch.uint8


class Tower(nn.Module):
    """One block where an image tower has its blocks."""

    def __init__(self, block):
        super().__init__()
        self.visual = nn.Module()
        self.visual.blocks = nn.Sequential(block)


@pytest.mark.skipif(not takes_unsigned(torch.device("cpu")), reason="needs a CPU with VNNI")
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [lambda: open_clip.transformer.ResidualAttentionBlock(32, 4), lambda: Block(32, 4)])
def test_the_last_product_of_a_block_adds_to_what_the_block_has_made(make, kind):
    torch.manual_seed(0)
    tower = Tower(make()).eval().requires_grad_(False).to(kind)
    unpack_attention(tower)
    names = [name for name, module in tower.named_modules() if isinstance(module, nn.Linear)]
    for layer in insert_twins(tower, names, Grid(bits=8, granularity="channel"), Grid(bits=8)).values():
        layer.input = StaticInput(layer.activation_grid, 0.03)
        layer.freeze_absmax()
    simulated, joined = tower.visual.blocks[0], copy.deepcopy(tower)
    use_backend(joined, "integer", "a variant")
    assert type(joined.visual.blocks[0]) is not type(simulated)
    joined = joined.visual.blocks[0]
    x = torch.randn(3, 7, 32).to(kind)
    given = x.clone()
    with torch.no_grad():
        expected, found = simulated(x), joined(x)
    assert found.dtype == kind
    close = {"rtol": 1e-3, "atol": 1e-3} if kind == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(found, expected, **close)
    assert torch.equal(x, given)  # others may still hold what came in


def test_integer_refuses_by_name_what_auto_simulates(vit, proxy):
    _, model, _ = both(vit, "rtn", 8, proxy, "simulate")
    name, layer = next(iter(twins(model).items()))
    layer.weight_grid = Grid(bits=8, granularity="group", group=16)
    message = f"a.safetensors: backend integer cannot compute {name}: weights have one scale per group"
    with pytest.raises(ValueError, match=message):
        use_backend(model, "integer", "a.safetensors")
    assert len(twins(model)) == 16  # nothing half-done
    told = use_backend(model, "auto", "a.safetensors")
    if takes_unsigned(torch.device("cpu")):
        assert told["used"] == "mixed"
        assert told["simulated_layers"] == {"weights have one scale per group": [name]}


def test_auto_simulates_where_integers_are_not_faster(vit, proxy, monkeypatch):
    monkeypatch.setattr("reliquant.layers.integer.fast_on", lambda device: "the CPU has no VNNI")
    *_, told = both(vit, "rtn", 8, proxy, "auto")
    assert (told["used"], list(told["simulated_layers"])) == ("simulate", ["the CPU has no VNNI"])


def test_grouped_convolutions_are_simulated_and_named(convnext, proxy):
    _, model, told = both(convnext, "rtn", 8, proxy)
    assert told["used"] == "mixed"
    ((reason, names),) = told["simulated_layers"].items()
    assert reason == "a grouped convolution has no matrix product"
    assert all(model.get_submodule(name).groups > 1 for name in names)
    assert sum(isinstance(m, IntegerTwin) for m in model.modules()) == told["integer_layers"]


@pytest.mark.parametrize("architecture", ["vit", "convnext"])
@pytest.mark.parametrize("backend", ["auto", "integer"])
def test_a_model_in_bfloat16_is_multiplied_as_it_is_simulated(lab, architecture, backend):
    entry = {"architecture": f"lab_{architecture}", "pretrained": f"lab-{architecture}-curated"}
    clip, (data, images) = plugins.load("tower", {"tower": "small", **entry})(None), lab
    exact, simulated, _ = both(clip, "rtn", 8, Proxy(images[:64], data.captions[:64]), "simulate")
    simulated.to(torch.bfloat16)
    integer = copy.deepcopy(simulated)
    use_backend(integer, backend, "a variant")
    x = next(iter(batches(images[:200], **pixel_words(clip), batch=200)))
    with torch.no_grad():
        expected = exact.encode_image(x)
        found = [model.encode_image(x.to(torch.bfloat16)) for model in (simulated, integer)]
    assert {side.dtype for side in found} == {torch.bfloat16}
    apart = [((side.float() - expected).norm() / expected.norm()).item() for side in found]
    assert apart[1] <= 1.5 * apart[0]


@pytest.mark.parametrize("backend", ["auto", "simulate", "integer"])
def test_fp32_has_no_backend(vit, backend):
    told = use_backend(vit.model, backend, "fp32")
    assert told == {"asked": backend, "used": "fp32", "integer_layers": 0, "simulated_layers": {}}
