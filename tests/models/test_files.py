from dataclasses import replace

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


def test_a_model_whose_tower_now_prepares_images_otherwise_is_named(tmp_path):
    clip = tower(None, architecture="small_vit", seed=3)
    path = tmp_path / "old.safetensors"
    mean = r"mean \[0\.1, 0\.2, 0\.3\], and its tower now says \[0\.5"
    for changed, said in (
        (replace(clip, resize="squash"), "form 32-squash-bicubic, and its tower now says 32-shortest-bicubic"),
        (replace(clip, facts={"mean": (0.1, 0.2, 0.3)}), mean),
    ):
        save_model(path, changed, ENTRY)
        with pytest.raises(ValueError, match=rf"old\.safetensors: was written for images of the {said}.*: make the"):
            load_model(path)


def test_what_was_found_when_weights_were_read_is_in_the_header(tmp_path):
    clip = replace(tower(None, architecture="small_vit", seed=3), facts={"read": ["float16, read as float32"]})
    save_model(tmp_path / "x.safetensors", clip, ENTRY)
    assert read_header(tmp_path / "x.safetensors")["read"] == ["float16, read as float32"]
