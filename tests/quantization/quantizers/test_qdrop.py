import copy

import pytest
import torch

from reliquant.grid import Grid, parse_precision
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.variant import export, restore
from reliquant.quantization import reconstruction
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers.mse import quantizer as mse
from reliquant.quantization.quantizers.qdrop import quantizer

GRIDS = {"weight": Grid(bits=3, granularity="channel"), "activation": Grid(bits=4, symmetric=False)}


def images(clip, proxy):
    with torch.no_grad():
        return embed(clip, *next(proxy.in_order(clip, 40))).image


def run(clip, proxy, saved=None, scope="image", **words):
    unpack_attention(clip.model)
    words = {"steps": 60, "lr": 5e-2, "batch": 8, **GRIDS, **words}
    quantizer(clip, targets(clip, scope), proxy, saved or Checkpoints(), **words)
    return twins(clip.model)


@pytest.mark.parametrize("bits", [(3, 4), (2, 16), (16, 4)])
def test_a_tower_is_nearer_to_fp32_than_by_rounding_to_nearest_on_the_same_ranges(clip, proxy, bits):
    unpack_attention(clip.model)
    plain, other = copy.deepcopy(clip), copy.deepcopy(clip)
    grids = {"weight": Grid(bits=bits[0], granularity="channel"), "activation": Grid(bits=bits[1], symmetric=False)}
    layers = run(clip, proxy, lr=1e-2, **grids)  # five times faster steps leave the outcome to the last digits
    mse(other, targets(other, "image"), proxy, Checkpoints(), **grids)
    fp32, ours, theirs = (images(c, proxy) for c in (plain, clip, other))
    assert (ours - fp32).norm() < (1.1 if bits[0] == 16 else 0.95) * (theirs - fp32).norm()
    assert all((layer.codes is None) == (bits[0] == 16) for layer in layers.values())
    assert not any(layer.dead_channels for layer in layers.values())


def test_without_steps_it_is_rounding_to_nearest_on_ranges_of_least_error(vit, proxy):
    other = copy.deepcopy(vit)
    layers = run(vit, proxy, steps=0)
    unpack_attention(other.model)
    mse(other, targets(other, "image"), proxy, Checkpoints(), **GRIDS, batch=8)
    for name, layer in twins(other.model).items():
        assert (layers[name].codes == layer.codes).float().mean() > 0.999  # but for ties
        assert torch.equal(layers[name].weight_scale, layer.weight_scale)
        assert layers[name].input.scale == pytest.approx(layer.input.scale)


def test_the_error_of_every_block_falls(vit, proxy):
    unpack_attention(vit.model)
    exact, errors = copy.deepcopy(vit), {}
    for steps in (0, 100):
        clip = copy.deepcopy(vit)
        run(clip, proxy, steps=steps)
        for block in ("visual.transformer.resblocks.0", "visual.transformer.resblocks.1"):
            ours, its = (reconstruction.calls_of(c, block, proxy, batch=40, pairs=40).outputs[0] for c in (clip, exact))
            errors.setdefault(block, []).append((ours - its).norm().item())
    assert all(after < 0.9 * before for before, after in errors.values())


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_after_its_last_block_to_the_same_variant(vit, proxy, tmp_path, monkeypatch):
    whole, again = copy.deepcopy(vit), copy.deepcopy(vit)
    run(whole, proxy, scope="both", steps=5)
    saved, done = Checkpoints(tmp_path / "kept", 2, {}), []
    real = reconstruction.reconstruct

    def dies(clip, name, *rest, **words):
        if len(done) == 3:
            raise Killed
        done.append(name)
        real(clip, name, *rest, **words)

    monkeypatch.setattr("reliquant.quantization.quantizers.qdrop.reconstruct", dies)
    with pytest.raises(Killed):
        run(vit, proxy, saved, scope="both", steps=5)
    assert saved.kept() > 0
    done.clear()
    run(again, proxy, saved, scope="both", steps=5)
    assert len(done) == 1  # three of the four blocks were kept
    straight, resumed = export(whole, "both")[0], export(again, "both")[0]
    assert set(straight) == set(resumed)
    assert all((array == resumed[key]).all() for key, array in straight.items())


def test_one_model_is_the_quantized_and_the_fp32_one_until_all_blocks_are_done(vit, proxy, monkeypatch):
    unpack_attention(vit.model)
    exact, stages = copy.deepcopy(vit.model), []
    real = reconstruction.reconstruct

    def looks(clip, name, *rest, **words):
        stages.append(name)
        real(clip, name, *rest, **words)
        for layer_name, layer in twins(clip.model).items():
            assert torch.equal(layer.weight, exact.get_submodule(layer_name).weight)
            decided = layer_name.startswith(tuple(stages))
            assert (layer.weight_rule is not None) == decided
            assert not decided or not torch.equal(layer.weight_rule(layer.weight), layer.weight)

    monkeypatch.setattr("reliquant.quantization.quantizers.qdrop.reconstruct", looks)
    layers = run(vit, proxy, steps=3)
    assert len(stages) == 2
    assert all(layer.weight_rule is None and layer.codes is not None for layer in layers.values())


@pytest.mark.parametrize("precision", ["mxfp4", "nvfp4", "wfp4afp8", "w4a8"])
def test_formats_and_dynamic_inputs_are_learned_and_stored_as_they_were(vit, proxy, precision):
    weight, activation = parse_precision(precision)
    token = {"granularity": "token", "dynamic": True} if precision == "w4a8" else {}
    fresh = copy.deepcopy(vit.model)
    run(
        vit, proxy, steps=3, weight=Grid(**{"granularity": "channel", **weight}), activation=Grid(**activation, **token)
    )
    restore(fresh, *export(vit, "image"))
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(vit.model.encode_image(x), fresh.encode_image(x))


def test_a_layer_outside_the_blocks_is_reconstructed_by_itself(vit, proxy):
    unpack_attention(vit.model)
    names = [*targets(vit, "image"), "visual.conv1"]
    quantizer(vit, names, proxy, Checkpoints(), **GRIDS, steps=3, batch=8)
    assert twins(vit.model)["visual.conv1"].codes is not None


def test_a_mixed_call_takes_half_of_its_first_tensor_from_fp32():
    x, y, mask = torch.zeros(1000), torch.ones(1000), torch.ones(3)
    rng = torch.Generator().manual_seed(0)
    (found, same), words = reconstruction.mixed(((x, mask), {}), ((y, mask), {}), 0.5, rng)
    assert same is mask
    assert words == {}
    assert 0.4 < found.mean() < 0.6
    by_name = reconstruction.mixed(((), {"x": x, "mask": mask}), ((), {"x": y, "mask": mask}), 0.5, rng)
    assert 0.4 < by_name[1]["x"].mean() < 0.6


@pytest.mark.parametrize("words", [{"steps": -1}, {"drop": 1.0}, {"warmup": 1.0}])
def test_words_that_make_no_sense_are_refused(vit, proxy, words):
    with pytest.raises(ValueError, match="qdrop: needs steps >= 0"):
        run(vit, proxy, **words)


def test_a_loss_that_is_no_number_names_the_block(vit, proxy):
    with pytest.raises(ArithmeticError, match="the loss of the block with visual"):
        run(vit, proxy, lr=float("inf"))


def test_weights_that_stay_between_two_codes_are_told(vit, proxy, capsys):
    run(vit, proxy, decision=0.0, steps=5)
    assert "of the weights of visual.transformer.resblocks.0 lie between two codes" in capsys.readouterr().err
