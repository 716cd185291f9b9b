import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.cli.main import main
from reliquant.files.artifacts import DamagedFile, load_tensors, read_header, save_tensors
from reliquant.layers.variant import load_variant
from reliquant.models.files import load_model, save_model, trusted_entry
from reliquant.models.open import open_model, open_shapes
from reliquant.models.towers.small import MODELS, tower

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


MARK = "from pathlib import Path\nPath('ran').touch()\n"
EVIL = MARK + "def tower(state, /, *, architecture='x', seed=0): raise ValueError\n"


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Lie in a folder with a package that leaves a mark when it, or its module, is imported, and a file naming it."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(MARK)
    (tmp_path / "evil" / "mine.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    clip = tower(None, architecture="small_vit", seed=3)
    save_model(tmp_path / "m.safetensors", clip, {**ENTRY, "tower": "evil.mine"})
    yield tmp_path / "m.safetensors"
    for name in [name for name in sys.modules if name.split(".")[0] == "evil"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "read",
    [
        load_model,
        lambda path: load_variant(path, path),
        lambda path: open_model(str(path)),
        lambda p: open_shapes(str(p)),
    ],
    ids=["load_model", "load_variant", "open_model", "open_shapes"],
)
def test_a_file_alone_imports_nobodys_code(stranger, read):
    with pytest.raises(ValueError, match=r"m\.safetensors: the tower that its header names, 'evil\.mine', is none of"):
        read(stranger)
    assert not Path("ran").exists()


@pytest.mark.parametrize("words", [["evaluate", "--data", "."], ["plan"]], ids=["evaluate", "plan"])
def test_nor_does_a_command(stranger, words):
    Path("c").mkdir()
    with pytest.raises(SystemExit, match="if you trust it, name it yourself: --tower"):
        main([*words, "--model", "m.safetensors"])
    assert not Path("ran").exists()


def test_the_users_own_word_imports_it_and_no_other(stranger):
    with pytest.raises(ValueError, match=r"names the tower 'evil\.mine', not other\.one"):
        load_model(stranger, tower="other.one")
    assert not Path("ran").exists()
    with pytest.raises(DamagedFile):  # what it makes is no model
        load_model(stranger, tower="evil.mine")
    assert Path("ran").exists()


@pytest.mark.parametrize(
    "name", ["evil", "../evil", ["evil.mine"], None, "reliquant.models.towers.small", "small.", ""]
)
def test_a_header_may_name_the_packages_towers_in_plain_words_only(tmp_path, name):
    path = tmp_path / "m.safetensors"
    save_model(path, tower(None, architecture="small_vit", seed=3), {**ENTRY, "tower": name})
    with pytest.raises(ValueError, match=r"m\.safetensors: the tower that its header names"):
        load_model(path)


def test_a_header_names_no_folder_for_downloads(tmp_path):
    header = {"tower": {**ENTRY, "cache": str(tmp_path / "anywhere")}}
    assert "cache" not in trusted_entry(tmp_path, header, None)
    (tmp_path / "anywhere" / "models--a--b").mkdir(parents=True)
    assert trusted_entry(tmp_path, header, None)["cache"] == str(tmp_path / "anywhere")


@pytest.fixture
def described(tmp_path):
    """Return a function that writes a model of an architecture's JSON and of a list of words, with the JSON changed."""
    words = (MODELS / "vocabulary.txt").read_text()
    config = json.loads((MODELS / "architectures" / "small_vit.json").read_text())
    entry = {"tower": "small", "architecture": str(tmp_path / "own.json"), "vocabulary": str(tmp_path / "words.txt")}

    def written(name, swapped=False, **changes):
        first, second, *others = words.splitlines()
        first, second = (second, first) if swapped else (first, second)
        (tmp_path / "words.txt").write_text("\n".join([first, second, *others]))
        model = {**config.get("model_cfg", config), **changes.pop("model", {})}
        (tmp_path / "own.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": changes}))
        if name:
            save_model(tmp_path / name, plugins.load("tower", entry)(None), entry)
        return tmp_path / (name or "")

    return written


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": {"quick_gelu": True}}, "architecture"),
        ({"mean": 0.1}, "architecture"),
        ({"swapped": True}, "vocabulary"),
    ],
)
def test_what_a_model_is_built_from_beside_tensors_is_in_its_sha256_and_checked(described, change, named):
    first = described("a.safetensors")
    other = read_header(described("b.safetensors", **change))
    assert other["sha256"] != read_header(first)["sha256"]
    with pytest.raises(DamagedFile, match=rf"a\.safetensors: was built from other files: {named} \(.*\) changed since"):
        load_model(first)
    described("")
    assert load_model(first)[1]["sha256"] == read_header(first)["sha256"]


def test_a_header_that_says_another_thing_of_what_the_model_is_built_from_is_found(described):
    path = described("a.safetensors")
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header)
    assert read_header(path) == header
    changed = {**header["built_from"], "mean": [0.1, 0.1, 0.1]}
    save_tensors(path, tensors, {**header, "built_from": changed})
    assert read_header(path)["sha256"] != header["sha256"]
    with pytest.raises(ValueError, match="was written for images of the mean"):
        load_model(path)
