"""What holds for every quantizer that trains."""

import copy
import importlib
import math

import pytest
import torch

from reliquant import plugins
from reliquant.grid import Grid, parse_precision
from reliquant.layers.coverage import coverage
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.variant import export, restore
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed

TRAINED = [
    n for n in plugins.names("quantizer") if "losses" in plugins.words(plugins.source("quantizer", n), "quantizer")
]
WORDS = [
    "losses", "iterations", "batch", "lr", "scale_lr", "weight_decay", "clip_norm", "warmup", "schedule", "bf16",
    "snapshots",
]  # fmt: skip


class Dies(Proxy):
    """A proxy whose machine goes down at iteration 3."""

    def chosen(self, iteration, size, /):
        if iteration == 3:
            raise KeyboardInterrupt
        return super().chosen(iteration, size)


def run(name, clip, proxy, saved=None, bits=4, scope="image", **words):
    function = importlib.import_module(f"reliquant.quantization.quantizers.{name}").quantizer
    unpack_attention(clip.model)
    grids = {"weight": Grid(bits=bits, granularity="channel"), "activation": Grid(bits=8)}
    words = {"iterations": 4, "batch": 16, "lr": 1e-3, "scale_lr": 1e-3, **grids, **words}
    function(clip, targets(clip, scope), proxy, saved or Checkpoints(), **words)
    return clip.model


def pixels():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_there_are_as_many_as_were_promised():
    asked = {"ste", "dorefa", "pact", "lsq", "lsq_plus", "statsq", "lsq_mse", "distill", "paretoq", "rot_lsq"}
    assert asked <= set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_all_take_the_same_words_of_training(name):
    words = plugins.words(plugins.source("quantizer", name), "quantizer")
    assert [w for w in words if w in WORDS] == WORDS
    assert not plugins.check("quantizer", {"quantizer": name, "weight": {"bits": 4}, "activation": {"bits": 8}})


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("bits", [2, 4])
def test_the_variant_on_disk_gives_the_evaluated_outputs_to_the_bit(vit, convnext, proxy, name, bits):
    clip = vit if bits == 2 else convnext
    fresh = copy.deepcopy(clip.model)
    model = run(name, clip, proxy, bits=bits, iterations=2)
    arrays, modules = export(clip, "image")
    assert not any(key.endswith(("qkv.weight", "fc1.weight", "c_fc.weight")) for key in arrays)
    assert not any(".weight_rule." in key or ".input." in key for key in arrays)
    restore(fresh, arrays, modules)
    with torch.no_grad():
        assert torch.equal(model.encode_image(pixels()), fresh.encode_image(pixels()))
    assert all(len(layer.codes.unique()) <= 2**bits for layer in twins(fresh).values())


@pytest.mark.parametrize("name", TRAINED)
def test_a_frozen_model_gives_what_the_trained_one_gave(vit, proxy, name, monkeypatch):
    from reliquant.quantization import learn

    before = []
    freeze = learn.freeze

    def watched(layers):
        with torch.no_grad():
            vit.model.requires_grad_(False)
            before.append(vit.model.eval().encode_image(pixels()))
        freeze(layers)

    monkeypatch.setattr(learn, "freeze", watched)
    model = run(name, vit, proxy)
    with torch.no_grad():
        after = model.encode_image(pixels())
    assert (after - before[0]).norm() < 0.02 * after.norm()  # x / s and x * (1 / s) round a few ties apart


@pytest.mark.parametrize("name", TRAINED)
def test_every_product_in_the_blocks_is_quantized(vit, proxy, name):
    run(name, vit, proxy, iterations=1)
    seen = coverage(vit, "image", lambda: embed(vit, *next(proxy.in_order(vit, 2))))
    reasons = {p.reason for p in seen.products if p.module.startswith("visual.")}
    assert reasons <= {"", "attention product", "outside the blocks", "online rotation"}


@pytest.mark.parametrize("name", TRAINED)
def test_a_killed_run_resumes_to_the_same_variant(vit, proxy, name, tmp_path):
    whole, killed = copy.deepcopy(vit), copy.deepcopy(vit)
    run(name, whole, proxy)
    straight, _ = export(whole, "image")
    saved = Checkpoints(tmp_path, 2, {})
    with pytest.raises(KeyboardInterrupt):
        run(name, copy.deepcopy(vit), Dies(proxy.images, proxy.captions), saved)
    run(name, killed, proxy, saved)
    resumed, _ = export(killed, "image")
    assert set(straight) == set(resumed)
    for key, array in straight.items():
        assert (array == resumed[key]).all(), key


@pytest.mark.parametrize("name", TRAINED)
def test_weights_alone_or_inputs_alone_can_be_quantized(vit, proxy, name):
    for grids in ({"weight": Grid(bits=16)}, {"activation": Grid(bits=16)}):
        model = run(name, copy.deepcopy(vit), proxy, iterations=1, **grids)
        with torch.no_grad():
            assert torch.isfinite(model.encode_image(pixels())).all()
        assert all((layer.codes is None) == ("weight" in grids) for layer in twins(model).values())


@pytest.mark.parametrize("name", TRAINED)
def test_eight_bits_stay_near_fp32_before_any_training(vit, proxy, name):
    with torch.no_grad():
        exact = vit.model.encode_image(pixels(), normalize=True)
        words = {"weights": "absmax"} if name == "lsq" else {}
        found = run(name, vit, proxy, bits=8, iterations=0, **words).encode_image(pixels(), normalize=True)
    cosine = (exact * found).sum(1).min().item()
    assert math.isfinite(cosine)
    assert cosine > (0.9 if name in ("statsq", "dorefa") else 0.995)  # statsq clips at 2 mean|w|; dorefa bends by tanh


@pytest.mark.parametrize("name", TRAINED)
def test_odd_layers_are_trained(vit, proxy, name):
    block = vit.model.visual.transformer.resblocks[0]
    block.mlp.c_fc, block.mlp.c_proj = torch.nn.Linear(48, 1), torch.nn.Linear(1, 48)  # one output, one input channel
    with torch.no_grad():
        block.ln_1.weight.zero_()  # inputs all equal in every token
        vit.model.visual.transformer.resblocks[1].mlp.c_proj.weight.zero_()  # a layer with zero range
    model = run(name, vit, proxy, iterations=2)
    with torch.no_grad():
        assert torch.isfinite(model.encode_image(pixels())).all()


@pytest.mark.parametrize("name", TRAINED)
def test_nan_in_calibration_and_too_few_pairs_are_named(vit, proxy, name):
    with pytest.raises(ValueError, match="batch 16 is larger than the 3 pairs of the proxy"):
        run(name, copy.deepcopy(vit), Proxy(proxy.images[:3], proxy.captions[:3]))
    vit.model.visual.conv1.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"calibration: the input of visual\.\S+ holds NaN"):
        run(name, vit, proxy)


@pytest.mark.parametrize("name", TRAINED)
def test_no_channel_dies_of_a_large_learning_rate(vit, proxy, name):
    run(name, vit, proxy, bits=8, iterations=8, scale_lr=0.1, warmup=0.0, schedule="constant")
    assert {name: layer.dead_channels for name, layer in twins(vit.model).items() if layer.dead_channels} == {}


@pytest.mark.parametrize("name", ["lsq", "lsq_plus", "paretoq", "statsq", "dorefa", "ste"])
@pytest.mark.parametrize("bits", [2, 4])
def test_scales_of_groups_are_those_that_are_stored(vit, proxy, name, bits):
    more = {"weights": "learned"} if name == "lsq" else {}
    grid = Grid(bits=bits, granularity="group", group=16)
    fresh = copy.deepcopy(vit.model)
    model = run(name, vit, proxy, iterations=3, scale_lr=1e-2, weight=grid, **more)
    restore(fresh, *export(vit, "image"))
    with torch.no_grad():
        assert torch.equal(model.encode_image(pixels()), fresh.encode_image(pixels()))


WITH_FORMATS = [n for n in TRAINED if plugins.literal("quantizer", n, "FORMATS")]


@pytest.mark.parametrize("name", WITH_FORMATS)
@pytest.mark.parametrize("precision", ["fp8", "mxfp4", "nvfp4", "wmxfp4afp8", "wfp4a8"])
def test_formats_train_and_store_what_they_gave(vit, proxy, name, precision):
    weight, activation = parse_precision(precision)
    grids = {"weight": Grid(**{"granularity": "channel", **weight}), "activation": Grid(**activation)}
    fresh, start = copy.deepcopy(vit.model), copy.deepcopy(vit.model)
    model = run(name, vit, proxy, iterations=3, **grids)
    assert not torch.equal(start.visual.conv1.weight, model.visual.conv1.weight)
    restore(fresh, *export(vit, "image"))
    with torch.no_grad():
        assert torch.equal(model.encode_image(pixels()), fresh.encode_image(pixels()))
    for layer in twins(model).values():
        assert layer.weight_grid.element == weight["element"]
        assert (layer.weight_grid.tensor_scale is None) == (weight.get("scale_type") != "e4m3")
        assert (layer.activation_grid.tensor_scale is None) == (activation.get("scale_type") != "e4m3")
