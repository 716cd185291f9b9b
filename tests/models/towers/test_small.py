from __future__ import annotations

import json

import pytest
import torch

from reliquant.models.openclip import open_clip
from reliquant.models.towers.small import MODELS, tower

ARCHITECTURES = sorted(file.stem for file in (MODELS / "architectures").glob("*.json"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_is_an_open_clip_model_and_the_labs_stay_below_three_megabytes(architecture):
    clip = tower(None, architecture=architecture)
    assert isinstance(clip.model, open_clip.CLIP | open_clip.CustomTextCLIP)
    if architecture.startswith("lab_"):
        assert 4 * sum(parameter.numel() for parameter in clip.model.parameters()) < 3e6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_state_makes_the_round_trip_and_embeddings_agree(architecture):
    first = tower(None, architecture=architecture, seed=1)
    second = tower(first.model.state_dict(), architecture=architecture, seed=2)
    pixels = torch.randn(2, 3, first.size, first.size, generator=torch.Generator().manual_seed(0))
    tokens = first.tokenizer(["a photo of a red star", "two dogs"])
    with torch.no_grad():
        torch.testing.assert_close(first.model.encode_image(pixels), second.model.encode_image(pixels))
        torch.testing.assert_close(first.model.encode_text(tokens), second.model.encode_text(tokens))


def test_fresh_weights_depend_on_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (tower(None, architecture="small_vit", seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["visual.conv1.weight"], other["visual.conv1.weight"])


def test_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"'small_vitt' is unknown; there are .*small_vit"):
        tower(None, architecture="small_vitt")


def test_weights_of_another_architecture_are_refused():
    state = tower(None, architecture="small_convnext").model.state_dict()
    with pytest.raises(ValueError, match=r"architecture 'small_vit': the weights do not fit: .* missing"):
        tower(state, architecture="small_vit")


def test_an_architecture_and_a_vocabulary_may_be_files_of_the_user(tmp_path):
    cfg = json.loads((MODELS / "architectures" / "small_vit.json").read_text())
    hub = {
        "model_cfg": cfg | {"custom_text": True},
        "preprocess_cfg": {"mean": [0.4, 0.4, 0.4], "resize_mode": "squash"},
    }
    (tmp_path / "mine.json").write_text(json.dumps(hub))
    (tmp_path / "words.txt").write_text("cat\ndog\n")
    clip = tower(None, architecture=str(tmp_path / "mine.json"), vocabulary=str(tmp_path / "words.txt"))
    assert isinstance(clip.model, open_clip.CustomTextCLIP)
    assert (clip.mean, clip.resize, clip.tokenizer.words) == ((0.4, 0.4, 0.4), "squash", ("cat", "dog"))


def test_a_vocabulary_that_outgrows_the_embedding_is_refused(tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(f"w{i}" for i in range(300)))
    with pytest.raises(ValueError, match="room for 256 tokens, but the vocabulary has 304"):
        tower(None, architecture="small_vit", vocabulary=str(tmp_path / "words.txt"))
