from __future__ import annotations

import numpy as np
import pytest
import torch

from reliquant.models.pretrain import augmented, pretrain
from reliquant.models.towers.small import tower

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}


def pairs(n: int) -> tuple[np.ndarray, list[str]]:
    """Flat images of four colours with noise, and captions that say the colour."""
    rng = np.random.default_rng(0)
    names = [list(COLOURS)[i % 4] for i in range(n)]
    flat = np.array([COLOURS[name] for name in names])[:, None, None, :]
    images = np.clip(flat + rng.normal(0, 20, (n, 32, 32, 3)), 0, 255).astype(np.uint8)
    return images, [f"a photo of a {name} shape" for name in names]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_short_training_overfits_64_pairs():
    images, captions = pairs(64)
    clip = tower(None, architecture="small_convnext")
    pretrain(clip, images, captions, steps=30, batch=32, lr=3e-3, seed=0)
    pixels = torch.nn.functional.interpolate(
        augmented(torch.from_numpy(images), torch.Generator(), flip=False, crop=0), 64
    )
    with torch.no_grad():
        image = clip.model.encode_image((pixels / 255 - 0.5) / 0.5, normalize=True)
        text = clip.model.encode_text(
            clip.tokenizer([f"a photo of a {name} shape" for name in COLOURS]), normalize=True
        )
    assert ((image @ text.T).argmax(1) == torch.arange(64) % 4).float().mean() > 0.95


def test_two_runs_of_one_seed_give_the_same_bytes():
    images, captions = pairs(64)
    states = []
    for seed in (0, 0, 1):
        clip = tower(None, architecture="small_vit")
        pretrain(clip, images, captions, steps=3, batch=16, flip=True, crop=2, seed=seed)
        states.append(clip.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["visual.proj"], states[2]["visual.proj"])


def test_the_logit_scale_is_learned_and_never_exceeds_100():
    images, captions = pairs(16)
    clip = tower(None, architecture="small_convnext")
    with torch.no_grad():
        clip.model.logit_scale.fill_(np.log(100) + 1)
    pretrain(clip, images, captions, steps=2, batch=16, warmup=0)
    assert clip.model.logit_scale.exp() <= 100.001


def test_crop_shifts_by_at_most_its_pixels_and_flip_mirrors():
    ramp = torch.arange(32, dtype=torch.uint8)[None, None, :, None].expand(64, 32, 32, 3)
    generator = torch.Generator().manual_seed(0)
    shifted = augmented(ramp, generator, flip=False, crop=3)[:, 0, 16, 16] - 16
    assert set(shifted.int().tolist()) == {-3, -2, -1, 0, 1, 2, 3}
    mirrored = augmented(ramp, generator, flip=True, crop=0)[:, 0, 0, 0]
    assert set(mirrored.tolist()) == {0.0, 31.0}


def test_input_that_does_not_fit_is_refused():
    images, captions = pairs(16)
    clip = tower(None, architecture="small_vit")
    with pytest.raises(ValueError, match="16 images but 15 captions"):
        pretrain(clip, images, captions[1:], steps=1, batch=8)
    with pytest.raises(ValueError, match="a batch of 32 asks for at least as many images; there are 16"):
        pretrain(clip, images, captions, steps=1, batch=32)
    with pytest.raises(ValueError, match="must be uint8"):
        pretrain(clip, images.astype(np.float32), captions, steps=1, batch=8)


def test_muon_steps_are_orthogonal_and_those_of_adamw_are_not():
    images, captions = pairs(64)
    spread = []
    for muon in (None, 3e-3):
        clip = tower(None, architecture="small_vit")
        weight = clip.model.visual.transformer.resblocks[0].mlp.c_fc.weight
        before = weight.detach().clone()
        pretrain(clip, images, captions, steps=1, batch=32, lr=1e-3, weight_decay=0.0, muon=muon)
        values = torch.linalg.svdvals(weight.detach() - before)
        spread.append((values[0] / values[4]).item())  # a gradient of 32 images has few directions
    assert spread[1] < 1.5 < 1.8 < spread[0]


@pytest.mark.parametrize("architecture", ["cifar_vit", "cifar_convnext"])
def test_dropped_patches_and_muon_keep_runs_equal(architecture):
    images, captions = pairs(32)
    states = []
    for _ in range(2):
        clip = tower(None, architecture=architecture)
        torch.rand(3)  # what ran before must not matter
        pretrain(clip, images, captions, steps=2, batch=16, muon=1e-3, bf16=True)
        states.append(clip.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
