import json

import pytest
import torch
from safetensors.torch import save_file

from reliquant.files.artifacts import DamagedFile
from reliquant.models.files import save_model
from reliquant.models.open import open_model, takes_weights, tower_entry
from reliquant.models.openclip import open_clip
from reliquant.models.shipped.weights import load_checkpoint
from reliquant.models.towers.small import tower
from reliquant.plugins import ConfigError

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.mark.parametrize(
    ("word", "entry"),
    [
        ("lab-vit-web", {"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-web"}),
        ("ViT-B-32", {"tower": "openclip", "architecture": "ViT-B-32"}),
        ("ViT-B-32/openai", {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "openai"}),
        ("ViT-B-32/my/file.pt", {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "my/file.pt"}),
        ("hf-hub:owner/name", {"tower": "openclip", "architecture": "hf-hub:owner/name"}),
        ("local-dir:some/folder", {"tower": "openclip", "architecture": "local-dir:some/folder"}),
        ("ViT-B-32/w.safetensors", {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "w.safetensors"}),
        ("reliquant.models.towers.small", {"tower": "reliquant.models.towers.small"}),
        ("no.such.module", {"tower": "openclip", "architecture": "no.such.module"}),
        (
            "{tower: openclip, architecture: ViT-B-32, mean: 0.5, form: native}",
            {"tower": "openclip", "architecture": "ViT-B-32", "mean": 0.5},
        ),
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


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(scale=2.6592):
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL)))
    with torch.no_grad():
        model.logit_scale.fill_(scale)
    return model


@pytest.fixture
def tiny(elsewhere):
    """A small architecture of open_clip, without a published tag."""
    (elsewhere / "test-open.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(elsewhere / "test-open.json")
    return "test-open"


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "folder/w.safetensors", "w"])
def test_a_file_after_an_architecture_is_its_weights_whatever_its_name(tiny, elsewhere, name):
    (elsewhere / "folder").mkdir()
    state = made().state_dict()
    save_file(state, name) if name.endswith(".safetensors") else torch.save(state, name)
    opened = open_model(f"{tiny}/{name}")
    assert all(torch.equal(opened.model.state_dict()[key], value) for key, value in state.items())
    assert takes_weights(f"{tiny}/{name}")


def test_a_file_of_somebody_else_without_an_architecture_is_told_how_to_be_named(elsewhere):
    save_file(made().state_dict(), "w.safetensors")
    with pytest.raises(DamagedFile, match=r"no reliquant header; .* architecture, too: ViT-B-32/w\.safetensors"):
        open_model("w.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        open_model("none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        open_model("ViT-S-32-alt/none.safetensors")


def test_a_word_that_names_nothing_is_told_what_there_is_and_not_that_it_lacks_weights(elsewhere):
    with pytest.raises(ValueError, match=r"architecture 'ViT-B-33' is unknown to open_clip .did you mean 'ViT-B-32'"):
        open_model("ViT-B-33")


def test_a_folder_with_a_checkpoint_in_parts_is_told_so(elsewhere):
    folder = elsewhere / "parts"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    for number in (1, 2):
        save_file({"a": torch.ones(2)}, folder / f"model-0000{number}-of-00002.safetensors")
    with pytest.raises(FileNotFoundError, match=r"model-00001-of-00002\.safetensors is part 1 of 2 of a sharded"):
        open_model("parts")


def test_a_model_without_weights_is_refused_and_random_ones_are_drawn_only_on_request(tiny, capsys):
    assert not takes_weights(tiny)
    with pytest.raises(ValueError, match=r"test-open: no weights: `pretrained` must name a tag .* --random-weights on"):
        open_model(tiny)
    assert capsys.readouterr().err == ""
    one, two = open_model(tiny, random_weights=True), open_model(f"{tiny}/random")
    assert torch.equal(one.model.visual.proj, two.model.visual.proj)
    assert capsys.readouterr().err == "test-open: its weights are random, drawn from seed 0\n" * 2
    for word in ("lab-vit-web", f"{tiny}/random"):
        with pytest.raises(ValueError, match="names weights, and random ones are asked for: leave out one of the two"):
            open_model(word, random_weights=True)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (100.0, r"test-open/w\.pt: logit_scale is 100, which multiplies by exp\(100\); .* Its logarithm is 4\.605"),
        (float("nan"), r"test-open/w\.pt: its weights are not finite \(NaN or inf\): logit_scale"),
    ],
)
def test_a_model_that_cannot_be_right_is_refused_when_it_is_opened(tiny, scale, said):
    torch.save(made(scale).state_dict(), "w.pt")
    with pytest.raises(ValueError, match=said):
        open_model(f"{tiny}/w.pt")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{tower: openclip", "no YAML: while parsing a flow mapping"),
        ("{tower: openclap}", "tower 'openclap' is unknown"),
        ("{tower: openclip, architecture: ViT-B-32, size: 3}", "size: unknown word; openclip takes architecture, "),
        ("{tower: openclip, architecture: ViT-B-32, mean: blue}", "mean"),
    ],
)
def test_an_entry_that_is_none_is_named_with_what_is_wrong(word, said):
    with pytest.raises(ConfigError) as refusal:
        tower_entry(word)
    assert refusal.value.problems[0].startswith(f"{word}: ")
    assert said in refusal.value.problems[0]


def test_a_folder_is_one_of_open_clip_and_a_file_alone_is_told_what_it_lacks(elsewhere, capsys):
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL}))
    torch.save(made().state_dict(), elsewhere / "mine" / "open_clip_pytorch_model.bin")
    for word in ("mine", "./mine", str(elsewhere / "mine")):
        assert tower_entry(word) == {"tower": "openclip", "architecture": f"local-dir:{word}"}
    assert open_model("mine").form == "32-shortest-bicubic"
    for word in ("mine/open_clip_pytorch_model.bin", str(elsewhere / "mine" / "open_clip_pytorch_model.bin")):
        with pytest.raises(ValueError, match=r"is a file; name the architecture of its weights, too, such as ViT-B"):
            open_model(word)
    for word in ("/nowhere.pt", "./nowhere.pt", ""):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            open_model(word)


def test_a_file_of_random_weights_says_so_again(elsewhere, capsys):
    entry = {"tower": "small", "architecture": "small_vit", "pretrained": "random"}
    save_model(elsewhere / "own.safetensors", tower(None, architecture="small_vit"), entry)
    open_model("own.safetensors")
    assert capsys.readouterr().err == "own.safetensors: its weights are random: it was made so on request\n"
