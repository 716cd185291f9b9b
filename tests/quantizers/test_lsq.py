import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.quantizers.lsq import LearnedStep, quantizer
from reliquant.resume import Checkpoints
from reliquant.surgery import targets, twins, unpack_attention
from reliquant.train import Diverged

GRIDS = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}


def test_gradients_of_the_learned_step_by_hand():
    # s = 0.5, codes -2..1: x/s = -6 (below), -0.6, 0.4, 5 (above)
    x = torch.tensor([-3.0, -0.3, 0.2, 2.5], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    out = LearnedStep.apply(x, scale, -2, 1)
    assert out.tolist() == [-1.0, -0.5, 0.0, 0.5]
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [0, 10, 100, 0]
    expected = (1 * -2 + 10 * (-1 + 0.6) + 100 * (0 - 0.4) + 1000 * 1) / (4 * 1) ** 0.5
    assert scale.grad.item() == pytest.approx(expected)


def test_the_scale_gradient_is_the_true_slope_outside_the_range():
    x = torch.tensor([40.0, -40.0, 33.0], dtype=torch.float64)
    scale = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    LearnedStep.apply(x, scale, -8, 7).sum().backward()
    eps = 1e-4
    above, below = (LearnedStep.apply(x, s, -8, 7).sum() for s in (scale + eps, scale - eps))
    slope = (above - below) / (2 * eps)
    assert scale.grad.item() * (3 * 7) ** 0.5 == pytest.approx(slope.item(), rel=1e-6)


def test_the_inside_gradient_agrees_with_torch_where_both_rules_do():
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)  # far from the ends of the range
    ours, theirs = torch.tensor([0.02], requires_grad=True), torch.tensor([0.02], requires_grad=True)
    LearnedStep.apply(x, ours, -128, 127).square().sum().backward()
    zero = torch.zeros(1)
    torch._fake_quantize_learnable_per_tensor_affine(x, theirs, zero, -128, 127, 1.0).square().sum().backward()
    assert (ours.grad * (500 * 127) ** 0.5).item() == pytest.approx(theirs.grad.item(), rel=1e-3)


def run(clip, proxy, folder=None, iterations=6, scope="image", **words):
    unpack_attention(clip.model)
    names = targets(clip.model, scope)
    quantizer(clip, names, proxy, Checkpoints(folder, 2, {}), **GRIDS, iterations=iterations, batch=16, **words)
    return clip.model.state_dict()


def test_training_moves_the_image_tower_only(clip, proxy):
    before = copy.deepcopy(clip.model.state_dict())
    after = run(clip, proxy, lr=1e-3)
    moved = {k for k, v in after.items() if k in before and not torch.equal(v, before[k])}
    assert moved
    assert all(name.startswith("visual.") for name in moved)
    assert all(twin.codes is not None for twin in twins(clip.model).values())


def test_a_killed_run_resumes_to_the_same_weights(vit, proxy, tmp_path):
    straight = run(copy.deepcopy(vit), proxy)
    killed = copy.deepcopy(vit)
    original = proxy.shuffled

    def die_at_five(clip, iteration, size):
        if iteration == 5:
            raise KeyboardInterrupt
        return original(clip, iteration, size)

    dying = copy.copy(proxy)
    object.__setattr__(dying, "shuffled", die_at_five)
    with pytest.raises(KeyboardInterrupt):
        run(killed, dying, tmp_path)
    resumed = run(copy.deepcopy(vit), proxy, tmp_path)
    assert set(straight) == set(resumed)
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


def test_a_diverging_run_stops_at_once_and_says_where(vit, proxy):
    with pytest.raises(Diverged, match=r"iteration [0-5];"):
        run(vit, proxy, lr=1e30, clip_norm=1e30)


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path):
    Checkpoints(tmp_path, 1, {"entry": 1}).save(3, {"x": torch.ones(1)})
    assert Checkpoints(tmp_path, 1, {"entry": 1}).latest()[0] == 3
    assert Checkpoints(tmp_path, 1, {"entry": 2}).latest() == (0, {})


def test_training_lowers_the_loss_at_low_bits(vit, proxy):
    from reliquant.losses.contrastive import loss
    from reliquant.proxy import embed

    def value(clip):
        with torch.no_grad():
            return loss(embed(clip, *next(proxy.in_order(clip, 40))), None).item()

    short, long = copy.deepcopy(vit), copy.deepcopy(vit)
    run(short, proxy, scope="both", iterations=1, lr=1e-9, scale_lr=1e-9)
    run(long, proxy, scope="both", iterations=60, lr=1e-3)
    assert value(long) < value(short) - 0.1


def test_a_dynamic_activation_grid_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="lsq learns one symmetric scale"):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=8), activation=Grid(bits=8, dynamic=True))
