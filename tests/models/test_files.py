import numpy as np
import pytest
import torch

from reliquant.artifacts import DamagedFile, read_header, save_tensors
from reliquant.models.files import load_model, save_model
from reliquant.models.towers.small import tower

ENTRY = {"tower": "small", "architecture": "small_vit", "seed": 5}


def test_a_model_comes_back_with_its_weights_and_the_facts_of_its_making(tmp_path):
    clip = tower(None, architecture="small_vit", seed=3)
    save_model(tmp_path / "vit.safetensors", clip, ENTRY, recipe={"steps": 7})
    again, header = load_model(tmp_path / "vit.safetensors")
    assert (header["kind"], header["tower"], header["recipe"]) == ("model", ENTRY, {"steps": 7})
    assert header["form"] == clip.form == again.form
    assert header["parameters"] == sum(p.numel() for p in clip.model.parameters())
    state = again.model.state_dict()
    assert state.keys() == clip.model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in clip.model.state_dict().items())
    assert not again.model.training


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, tower(None, architecture="small_vit", seed=3), ENTRY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "versions" in read_header(tmp_path / "a")


def test_what_is_no_model_is_named(tmp_path):
    save_tensors(tmp_path / "v.safetensors", {"a": np.zeros(2, np.float32)}, {"kind": "variant"})
    with pytest.raises(DamagedFile, match=r"v\.safetensors: is a variant, not a model"):
        load_model(tmp_path / "v.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        load_model(tmp_path / "none.safetensors")
