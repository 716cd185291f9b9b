import json

import pytest
import torch

from reliquant.models.openclip import open_clip
from reliquant.models.towers.openclip import tower, weights

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.fixture
def tiny(tmp_path):
    """The name of a small architecture that open_clip knows."""
    (tmp_path / "test-tiny.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(tmp_path)
    return "test-tiny"


def test_weights_are_the_state_that_is_given(tiny):
    torch.manual_seed(0)
    first = tower(None, architecture=tiny)
    second = tower(first.model.state_dict(), architecture=tiny)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(first.model.encode_image(pixels), second.model.encode_image(pixels))
    assert not second.model.training
    assert second.tokenizer(["a red star"]).shape == (1, 16)
    assert (second.size, second.resize, second.interpolation) == (32, "shortest", "bicubic")


def test_a_checkpoint_may_be_a_file_of_the_user(tiny, tmp_path):
    torch.manual_seed(0)
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL)))
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    clip = tower(None, architecture=tiny, pretrained=str(tmp_path / "mine.pt"))
    assert all(torch.equal(clip.model.state_dict()[name], value) for name, value in model.state_dict().items())
    assert weights(architecture=tiny, pretrained=str(tmp_path / "mine.pt")) is None  # no hub's


def test_a_local_folder_brings_its_own_preprocessing(tmp_path):
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    config = {"model_cfg": MODEL, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL)))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    clip = tower(None, architecture=f"local-dir:{tmp_path}")
    assert (clip.mean, clip.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert clip.form == "32-squash-bilinear"
    assert torch.equal(clip.model.visual.proj, model.visual.proj)


def test_an_unknown_architecture_names_what_there_is():
    with pytest.raises(ValueError, match=r"architecture 'ViT-B-31' is unknown to open_clip .* there are .*ViT-B-32"):
        tower(None, architecture="ViT-B-31")


def test_a_tag_of_another_activation_is_refused_before_anything_is_fetched():
    with pytest.raises(ValueError, match=r"'ViT-B-32': these weights .* with the activation of 'ViT-B-32-quickgelu'"):
        tower(None, architecture="ViT-B-32", pretrained="openai")


def test_an_unknown_tag_is_named():
    said = r"architecture 'ViT-B-32', pretrained 'openaj': neither a tag of open_clip nor a file; .* 'openai'"
    with pytest.raises(ValueError, match=said):
        tower(None, architecture="ViT-B-32", pretrained="openaj")


def test_an_architecture_says_that_it_needs_transformers(monkeypatch):
    monkeypatch.setattr("reliquant.models.towers.openclip.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'ViT-B-16-SigLIP' needs transformers: pip install 'reliquant\[huggingface"):
        weights(architecture="ViT-B-16-SigLIP", pretrained="webli")
