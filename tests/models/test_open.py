import pytest
import torch

from reliquant.models.files import save_model
from reliquant.models.open import open_model, tower_entry
from reliquant.models.shipped.weights import load_checkpoint
from reliquant.models.towers.small import tower


@pytest.mark.parametrize(
    ("word", "entry"),
    [
        ("lab-vit-web", {"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-web"}),
        ("ViT-B-32", {"tower": "openclip", "architecture": "ViT-B-32"}),
        ("ViT-B-32/openai", {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "openai"}),
        ("ViT-B-32/my/file.pt", {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "my/file.pt"}),
        ("hf-hub:owner/name", {"tower": "openclip", "architecture": "hf-hub:owner/name"}),
    ],
)
def test_a_word_names_a_model(word, entry):
    named = tower_entry(word)
    assert {key: named.get(key) for key in entry} == entry


def test_a_model_is_opened_from_a_file_of_this_project_or_by_the_name_of_a_shipped_one(tmp_path):
    shipped = open_model("lab-vit-web")
    assert all(torch.equal(shipped.model.state_dict()[k], v) for k, v in load_checkpoint("lab-vit-web").items())
    own = tower(None, architecture="small_vit", seed=4)
    save_model(tmp_path / "own.safetensors", own, {"tower": "small", "architecture": "small_vit"})
    again = open_model(str(tmp_path / "own.safetensors"))
    assert torch.equal(again.model.visual.proj, own.model.visual.proj)
    assert not again.model.training
