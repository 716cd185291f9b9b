import copy
import itertools

import numpy as np
import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import dequantize
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers import raana
from reliquant.quantization.quantizers.raana import quantizer
from reliquant.quantization.rabitq import allocate_bits, rabitq_codes
from reliquant.quantization.sensitivity import sensitivities


def best_cosine(w, bits):
    """Try every width at which any code changes: the exact optimum of extended RaBitQ."""
    half = 2 ** (bits - 1)
    edges = np.unique([abs(x) / k for x in w for k in range(1, half)])
    widths = np.concatenate([edges * (1 + 1e-9), edges * (1 - 1e-9)])
    q = np.clip(np.floor(w / widths[:, None]), -half, half - 1) + 0.5  # (widths, d)
    return ((q @ w) / np.linalg.norm(q, axis=1)).max() / np.linalg.norm(w)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_codes_are_nearly_as_parallel_as_the_best_there_are(bits):
    w = torch.randn(12, 40, generator=torch.Generator().manual_seed(bits))
    codes, scale, zero = rabitq_codes(w, bits, 64)
    grid = Grid(bits=bits, granularity="channel")
    value = dequantize(codes, scale, zero, grid)
    found = torch.cosine_similarity(value, w).numpy()
    assert (codes >= grid.low).all()
    assert (codes <= grid.high).all()
    exact = 1 - np.array([best_cosine(row, bits) for row in w.double().numpy()])
    assert (1 - found).mean() < 1.1 * exact.mean()
    assert (1 - found < 2 * exact).all()
    torch.testing.assert_close((value * w).sum(1), w.square().sum(1))  # unbiased: <value, w> = <w, w>


def test_a_zero_row_stays_near_zero():
    codes, scale, zero = rabitq_codes(torch.zeros(2, 8), 4, 64)
    assert dequantize(codes, scale, zero, Grid(bits=4, granularity="channel")).abs().max() < 1e-7


@pytest.mark.parametrize("seed", range(5))
def test_bits_equal_an_exhaustive_search(seed):
    rng = np.random.default_rng(seed)
    felt, sizes, choices = rng.lognormal(0, 2, 5), rng.integers(1, 6, 5) * 12, [2, 3, 4, 6]
    feasible = (b for b in itertools.product(choices, repeat=5) if (sizes * b).sum() <= 3.5 * sizes.sum())
    best = min((felt * 2.0 ** -np.array(b)).sum() for b in feasible)
    found = np.array(allocate_bits(felt, sizes, 3.5, choices))
    assert (felt * 2.0**-found).sum() == pytest.approx(best)
    assert (sizes * found).sum() <= 3.5 * sizes.sum()


def test_an_average_below_every_choice_is_refused():
    with pytest.raises(ValueError, match="as small as the average 2"):
        allocate_bits(np.ones(2), np.ones(2, int), 2, [3, 4])


def test_sensitivity_is_the_product_of_three_norms(vit, proxy):
    from reliquant.models.losses.contrastive import loss
    from reliquant.quantization.proxy import embed

    unpack_attention(vit.model)
    name = "visual.transformer.resblocks.1.mlp.c_proj"
    layer = vit.model.get_submodule(name)
    seen = {}

    def look(module, inputs, output):
        output.retain_grad()
        seen.update(x=inputs[0], h=output)

    handle = layer.register_forward_hook(look)
    loss(embed(vit, *next(proxy.in_order(vit, 8))), None).backward()
    handle.remove()
    expected = seen["h"].grad.norm() * seen["x"].norm() * layer.weight.norm() / 192**0.5
    made = insert_twins(vit.model, [name], Grid(bits=4), Grid(bits=8))
    assert sensitivities(vit, made, proxy, 8)[0] == pytest.approx(expected.item(), rel=1e-4)
    assert all(p.requires_grad for p in vit.model.parameters())


def test_the_average_of_the_bits_is_that_of_the_precision(clip, proxy):
    unpack_attention(clip.model)
    names = targets(clip.model, "image")
    quantizer(clip, names, proxy, Checkpoints(), weight=Grid(bits=4, granularity="channel"), activation=Grid(bits=8))
    linears = [layer for layer in twins(clip.model).values() if layer.weight.ndim == 2]
    sizes, bits = [layer.weight.numel() for layer in linears], [layer.weight_grid.bits for layer in linears]
    assert np.average(bits, weights=sizes) <= 4
    assert np.average(bits, weights=sizes) > 3.8
    assert len(set(bits)) > 1


def test_layers_are_what_rotation_sensitivity_and_rabitq_make_of_them(vit, proxy, inputs_of):
    unpack_attention(vit.model)
    plain, names = copy.deepcopy(vit), targets(vit.model, "image")
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    quantizer(vit, names, proxy, Checkpoints(), **grids, choices=[3, 4, 5, 6], samples=2, candidates=7)
    weights = [plain.model.get_submodule(name).weight.detach() for name in names]
    given = inputs_of(plain, names, proxy)
    felt = sensitivities(plain, insert_twins(plain.model, names, *grids.values()), proxy, 2)
    bits = allocate_bits(felt, np.array([w.numel() for w in weights]), 4, [3, 4, 5, 6])
    for name, weight, chosen in zip(names, weights, bits, strict=True):
        layer = twins(vit.model)[name]
        rotate = layer.transform
        assert rotate.facts() == {"kind": "rotation", "width": weight.shape[1], "head_tail": True}
        assert layer.weight_grid.bits == chosen
        codes, scale, _ = rabitq_codes(rotate(weight), chosen, 7)
        assert torch.equal(layer.codes, codes)
        assert torch.equal(layer.weight_scale, scale)
        assert layer.input.scale == pytest.approx(rotate(given[name]).abs().max().item() / 127, rel=1e-5)
    assert len({tuple(layer.transform.signs.tolist()) for layer in twins(vit.model).values()}) == len(names)


def test_bits_do_not_depend_on_how_many_layers_are_felt_together(vit, proxy, monkeypatch):
    unpack_attention(vit.model)
    names = targets(vit.model, "both")
    found = []
    for together in (1, 3, len(names)):
        monkeypatch.setattr(raana, "TOGETHER", together)
        other = copy.deepcopy(vit)
        raana.quantizer(other, names, proxy, Checkpoints(), weight=Grid(bits=4), activation=Grid(bits=8))
        found.append(
            [(name, layer.weight_grid.bits, layer.codes.tolist()) for name, layer in twins(other.model).items()]
        )
    assert found[0] == found[1] == found[2]


def test_a_tower_of_convolutions_alone_is_rounded_to_nearest(proxy):
    tower = {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32, "head_width": 16}
    text = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(64, tower, text).eval()
    unpack_attention(model)
    clip = Clip(model, lambda texts: torch.zeros(len(texts), 16, dtype=torch.long), 32, (0.5,) * 3, (0.25,) * 3)
    weights = {name: model.get_submodule(name).weight.clone() for name in targets(model, "image")}
    quantizer(
        clip, [*weights], proxy, Checkpoints(), weight=Grid(bits=4, granularity="channel"), activation=Grid(bits=8)
    )
    for name, layer in twins(model).items():
        scale = weights[name].abs().amax((1, 2, 3), keepdim=True) / 7
        assert torch.equal(layer.codes, torch.round(weights[name] / scale).to(torch.int8))
