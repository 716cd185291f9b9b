import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention
from reliquant.layers.twins import StaticInput
from reliquant.models.embedded import Embedded
from reliquant.models.losses.contrastive import loss as contrastive
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import freeze, install
from reliquant.quantization.proxy import Proxy, embed, embed_all
from reliquant.quantization.quantizers.lsq import quantizer
from reliquant.quantization.rules import AbsMaxWeight, LearnedInput
from reliquant.quantization.train import Diverged, Training, train

GRIDS = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}


class Dies(Proxy):
    """A proxy whose machine goes down at iteration 5."""

    def chosen(self, iteration, size, /):
        if iteration == 5:
            raise KeyboardInterrupt
        return super().chosen(iteration, size)


def run(clip, proxy, saved=None, scope="image", iterations=6, **words):
    unpack_attention(clip.model)
    names = targets(clip, scope)
    quantizer(clip, names, proxy, saved or Checkpoints(), **GRIDS, iterations=iterations, batch=16, **words)
    return clip.model.state_dict()


def test_training_moves_the_image_tower_only(clip, proxy):
    before = copy.deepcopy(clip.model.state_dict())
    after = run(clip, proxy, lr=1e-3)
    moved = {k for k, v in after.items() if k in before and not torch.equal(v, before[k])}
    assert moved
    assert all(name.startswith("visual.") for name in moved)
    assert all(twin.codes is not None for twin in twins(clip.model).values())


def test_training_moves_both_towers_but_not_the_logit_scale(vit, proxy):
    before = copy.deepcopy(vit.model.state_dict())
    after = run(vit, proxy, scope="both", lr=1e-3)
    moved = {k for k, v in after.items() if k in before and not torch.equal(v, before[k])}
    assert {name.startswith("visual.") for name in moved} == {True, False}
    assert "logit_scale" not in moved
    assert "text_projection" in moved


@pytest.mark.parametrize("scope", ["image", "both"])
def test_a_killed_run_resumes_to_the_same_weights(vit, proxy, tmp_path, scope):
    straight = run(copy.deepcopy(vit), proxy, scope=scope)
    saved = Checkpoints(tmp_path, 2, {})
    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(vit), Dies(proxy.images, proxy.captions), saved, scope=scope)
    assert saved.latest()[0] == 4
    resumed = run(copy.deepcopy(vit), proxy, saved, scope=scope)
    assert set(straight) == set(resumed)
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


def test_a_diverging_run_stops_at_once_says_where_and_keeps_the_last_good_checkpoint(vit, proxy, tmp_path):
    def spoil(iteration, model):
        torch.nn.init.constant_(vit.model.visual.proj, float("nan"))

    saved = Checkpoints(tmp_path, 1, {}, snapshot=spoil)
    with pytest.raises(Diverged, match=r"nan at iteration 3; the last good checkpoint is kept in"):
        run(vit, proxy, saved, snapshots=[3])
    iteration, state = saved.latest()
    assert iteration == 2
    assert all(torch.isfinite(value).all() for value in state.values())


def test_a_run_that_diverges_before_its_first_checkpoint_claims_none(vit, proxy, tmp_path):
    with pytest.raises(Diverged, match=r"iteration [1-5]$"):
        run(vit, proxy, Checkpoints(tmp_path, 100, {}), lr=1e30, clip_norm=1e30, warmup=0)


def test_a_model_that_is_already_broken_is_told_at_its_first_iteration(vit, proxy):
    torch.nn.init.constant_(vit.model.visual.proj, float("nan"))
    with pytest.raises(Diverged, match=r"the loss became nan at iteration 0$"):
        run(vit, proxy)


def test_training_lowers_the_loss_at_low_bits(vit, proxy):
    def value(clip):
        with torch.no_grad():
            return contrastive(embed(clip, *next(proxy.in_order(clip, 40))), None).item()

    short, long = copy.deepcopy(vit), copy.deepcopy(vit)
    run(short, proxy, iterations=1, lr=1e-9, scale_lr=1e-9)
    run(long, proxy, iterations=60, lr=3e-3)
    assert value(long) < value(short) - 0.3


def test_a_snapshot_is_the_model_that_training_for_so_long_gives(vit, proxy):
    kept = {}
    saved = Checkpoints(snapshot=lambda iteration, model: kept.update({iteration: model.state_dict()}))
    words = {"schedule": "constant", "warmup": 0.0, "lr": 1e-3}
    final = run(copy.deepcopy(vit), proxy, saved, iterations=4, snapshots=[0, 2, 4], **words)
    half = run(copy.deepcopy(vit), proxy, iterations=2, **words)
    assert sorted(kept) == [0, 2, 4]
    for name, value in half.items():
        assert torch.equal(value, kept[2][name]), name
    for name, value in final.items():
        assert torch.equal(value, kept[4][name]), name


def test_snapshots_after_the_end_or_with_no_place_are_refused(vit, proxy):
    with pytest.raises(ValueError, match="snapshots: 9 is not within the 6 iterations"):
        run(copy.deepcopy(vit), proxy, snapshots=[9])
    with pytest.raises(ValueError, match="snapshots: there is no place"):
        run(copy.deepcopy(vit), proxy, snapshots=[2])


def test_bf16_trains_to_nearly_the_same_weights(vit, proxy):
    single, half = (run(copy.deepcopy(vit), proxy, lr=1e-3, bf16=b) for b in (False, True))
    moved = [k for k in single if not torch.equal(single[k], half[k])]
    assert moved
    for name in moved:
        assert torch.isfinite(half[name]).all()
        assert half[name].dtype == single[name].dtype
        assert (single[name] - half[name]).norm() < 0.2 * single[name].norm(), name


def words(**given):
    default = {"losses": [{"loss": "contrastive"}], "iterations": 10, "batch": 4, "lr": 1.0, "scale_lr": 1.0}
    rest = {"weight_decay": 0.0, "clip_norm": 1.0, "warmup": 0.2, "schedule": "cosine", "bf16": False, "snapshots": []}
    return {**default, **rest, **given}


def ready(clip):
    """Give the image tower twins that learn one scale an input."""
    unpack_attention(clip.model)
    made = insert_twins(clip.model, targets(clip, "image"), *GRIDS.values())
    for layer in made.values():
        layer.input = StaticInput(GRIDS["activation"], 0.03)
    install(made, LearnedInput, AbsMaxWeight)
    return clip


def adamw(clip, proxy, text, rates, given):
    """Train a ready model by Algorithm 2 of Loshchilov and Hutter (2019), one learning rate a step."""
    named = {k: p for k, p in clip.model.named_parameters() if k.startswith("visual.")}
    first, second = ({k: torch.zeros_like(p) for k, p in named.items()} for _ in range(2))
    for step, rate in enumerate(rates, 1):
        chosen = proxy.chosen(step - 1, given["batch"])
        pixels, _, captions = proxy.take(clip, chosen)
        image = clip.model.encode_image(pixels, normalize=True)
        scale = clip.model.logit_scale.exp().detach()
        value = contrastive(Embedded(image, text[chosen], scale, torch.zeros(()), captions), None)
        gradients = torch.autograd.grad(value, list(named.values()))
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm > given["clip_norm"]
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            gradient = gradient * given["clip_norm"] / norm
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            m, v = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            is_scale = name.endswith("input.scale.log_ratio")
            decay = 0 if is_scale else given["weight_decay"] * parameter.detach()
            eps = 1e-15 if is_scale else 1e-8
            move = rate * given["scale_lr" if is_scale else "lr"] * (m / (v.sqrt() + eps) + decay)
            parameter.data -= move
    return named


def test_steps_are_those_of_adamw_clipped_scheduled_and_without_decay_of_scales(vit, proxy):
    given = {"iterations": 4, "batch": 10, "lr": 1e-3, "scale_lr": 3e-3, "weight_decay": 2.0, "warmup": 0.5}
    given |= {"clip_norm": 1e-4}  # small beside the gradient, and so that Adam's 1e-8 shows it
    text = embed_all(vit, proxy).text
    before, found, by_hand = (ready(copy.deepcopy(vit)) for _ in range(3))
    train(found, proxy, Checkpoints(), Training(**words(**given)), freeze)
    expected = adamw(by_hand, proxy, text, [0.5, 1.0, 1.0, 0.5], given)
    start, end = (dict(clip.model.named_parameters()) for clip in (before, found))
    for name, wanted in expected.items():
        allowed = 0.01 * (wanted - start[name]).norm()
        if name.endswith("log_ratio"):  # a code that falls the other way moves it; no scale has moved three whole steps
            allowed = 0.05 * 3 * given["scale_lr"]
        assert (end[name] - wanted).norm() < allowed, name


def test_losses_are_summed(vit, proxy, tmp_path):
    def gradients(*losses):
        saved = Checkpoints(tmp_path / "-".join(losses), 1, {})
        given = {"iterations": 2, "batch": 10, "clip_norm": 1e9, "lr": 0.0, "scale_lr": 0.0}
        given = words(losses=[{"loss": name} for name in losses], **given)
        train(ready(copy.deepcopy(vit)), proxy, saved, Training(**given), freeze)
        return torch.cat([v.flatten() for k, v in saved.latest()[1].items() if k.endswith(":exp_avg")])  # Adam's

    contrast, mse = gradients("contrastive"), gradients("feature_mse")
    assert mse.norm() > 0.01 * contrast.norm()
    torch.testing.assert_close(gradients("contrastive", "feature_mse"), contrast + mse)
