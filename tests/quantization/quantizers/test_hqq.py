import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import fake_quantize, weight_affine
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.quantization.quantizers import hqq
from reliquant.quantization.quantizers.hqq import _rows, optimise, quantizer


def slow(w, bits, p=0.7, beta=10.0, kappa=1.01, iterations=20):
    """Transcribe the reference's solver for one matrix of groups (rows), float64, by its own convention w * s + z."""
    top = 2**bits - 1
    low, high = w.min(1, keepdims=True), w.max(1, keepdims=True)
    s = np.minimum(top / (high - low), 2e4)
    z = -low * s
    if bits == 4:
        z = np.round(z)
    least, best = np.inf, z
    for _ in range(iterations):
        q = np.clip(np.round(w * s + z), 0, top)
        r = (q - z) / s
        if np.abs(w - r).mean() >= least:
            break
        least, best = np.abs(w - r).mean(), z
        size = np.abs(w - r).clip(1e-300)
        e = np.sign(w - r) * np.maximum(size - size ** (p - 1) / beta, 0)
        z = np.mean(q - (w - e) * s, axis=1, keepdims=True)
        beta *= kappa
    return 1 / s, best


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_scale_and_zero_equal_a_slow_transcription(bits):
    w = np.random.default_rng(bits).standard_t(4, size=(40, 64)) * 0.05
    grid = Grid(bits=bits, granularity="group", group=64, symmetric=False, signed=False, scale_type="fp32")
    scale, zero = optimise(torch.tensor(w), grid, 0.7, 10.0, 1.01, 20)
    expected_scale, expected_zero = slow(w, bits)
    np.testing.assert_allclose(scale, expected_scale)
    np.testing.assert_allclose(zero, expected_zero, rtol=1e-6)


@pytest.mark.parametrize("granularity", ["group", "channel"])
def test_weights_in_many_parts_get_the_same_numbers(granularity, monkeypatch):
    rows = torch.distributions.StudentT(4.0).sample((70, 64)) * 0.05
    grid = Grid(bits=3, granularity=granularity, group=64, symmetric=False, signed=False)
    whole = optimise(rows, grid, 0.7, 10.0, 1.01, 20)
    monkeypatch.setattr(hqq, "CHUNK", 1000)
    for one, other in zip(optimise(rows, grid, 0.7, 10.0, 1.01, 20), whole, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_mean_absolute_error_is_below_that_of_covering_the_range(bits):
    w = torch.distributions.StudentT(4.0).sample((64, 256)) * 0.05
    grid = Grid(bits=bits, granularity="group", group=64, symmetric=False, signed=False)
    errors = [
        (fake_quantize(w, *pair, grid) - w).abs().mean()
        for pair in (optimise(_rows(w, grid), grid, 0.7, 10.0, 1.01, 20), weight_affine(w, grid))
    ]
    assert errors[0] < errors[1]


def test_a_group_that_does_not_divide_the_width_is_padded_with_the_last_weight():
    grid = Grid(bits=4, granularity="group", group=4, symmetric=False, signed=False)
    assert _rows(torch.tensor([[5.0, 6, 7, 8, 9]]), grid).tolist() == [[5, 6, 7, 8], [9, 9, 9, 9]]


def test_only_the_bits_of_the_weight_grid_count(convnext, proxy):
    unpack_attention(convnext.model)
    names = targets(convnext, "image")
    grids = {"weight": Grid(bits=3, granularity="channel"), "activation": Grid(bits=16)}
    quantizer(convnext, names, proxy, Checkpoints(), **grids, group=32)
    for layer in twins(convnext.model).values():
        assert layer.weight_grid == Grid(bits=3, granularity="group", group=32, symmetric=False, signed=False)
        columns = layer.weight[0].numel()
        assert layer.weight_scale.shape == (len(layer.weight) * -(-columns // 32), 1)


@pytest.mark.parametrize(("granularity", "group", "bits"), [("group", 16, 4 + 32 / 16), ("channel", 64, None)])
def test_the_schemes_grid_takes_the_place_of_hqqs_own(granularity, group, bits, vit, proxy):
    words = {"granularity": granularity, "symmetric": False, "group": group}
    entry = {"quantizer": "hqq", "grid": "scheme", "weight": {"bits": 4, **words}, "activation": {"bits": 16}}
    _, facts = quantize(vit, entry, "image", proxy, Checkpoints())
    for layer in twins(vit.model).values():
        width = layer.weight[0].numel()
        assert layer.weight_scale.numel() == len(layer.weight) * (-(-width // group) if granularity == "group" else 1)
    if bits:
        assert facts["measures"]["stored_bits"] == pytest.approx(bits, rel=0.01)


@pytest.mark.parametrize("words", [{"granularity": "channel"}, {"granularity": "tensor", "symmetric": False}])
def test_a_scheme_whose_grid_has_no_zero_point_of_its_own_is_refused(words, vit, proxy):
    entry = {"quantizer": "hqq", "grid": "scheme", "weight": {"bits": 4, **words}, "activation": {"bits": 16}}
    with pytest.raises(ValueError, match="hqq optimises a zero point of each channel or group: grid: scheme needs"):
        quantize(vit, entry, "image", proxy, Checkpoints())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("value", [5.0, -5.0, 3.4, -900.0, 1e4])
def test_a_row_as_good_as_constant_is_kept_as_fp16_tells_numbers(bits, value):
    grid = Grid(bits=bits, granularity="group", group=8, symmetric=False, signed=False)
    w = torch.full((2, 8), value)
    w[1] += torch.linspace(-1e-4, 1e-4, 8) * value  # its zero point is beyond FP16, too
    scale, zero = optimise(w, grid, 0.7, 10.0, 1.01, 20)
    torch.testing.assert_close(fake_quantize(w, scale, zero, grid), w, rtol=1e-3, atol=0)


def test_a_constant_row_of_a_model_leaves_its_embeddings_what_they_are(vit, proxy):
    layer = vit.model.visual.transformer.resblocks[1].mlp.c_fc
    with torch.no_grad():
        layer.weight[0] = 5.0
    entry = {"quantizer": "hqq", "weight": {"bits": 4, "granularity": "channel"}, "activation": {"bits": 16}}
    quantize(vit, entry, "image", proxy, Checkpoints())
    weight = vit.model.visual.transformer.resblocks[1].mlp.c_fc.weight
    torch.testing.assert_close(weight[0], torch.full_like(weight[0], 5.0), rtol=1e-3, atol=0)
    assert torch.isfinite(vit.model.encode_image(torch.randn(2, 3, 32, 32))).all()


def test_a_constant_row_beyond_the_largest_scale_is_an_error_with_the_layer(vit, proxy):
    with torch.no_grad():
        vit.model.visual.transformer.resblocks[1].mlp.c_fc.weight[0] = 1e7
    entry = {"quantizer": "hqq", "weight": {"bits": 4, "granularity": "channel"}, "activation": {"bits": 16}}
    with pytest.raises(ValueError, match=r"1\.mlp\.c_fc: 1 scales of its weight are larger than fp16 has"):
        quantize(vit, entry, "image", proxy, Checkpoints())
