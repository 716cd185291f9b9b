import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from reliquant.evaluation.zero_shot import image_features
from reliquant.images.open import open_images
from reliquant.models.openclip import open_clip
from reliquant.models.preprocess import batches, pixel_words
from reliquant.models.towers.openclip import tower, weights

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
WHOLE = {"mean": 0.5, "std": 0.5, "interpolation": "bicubic", "resize_mode": "shortest"}


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


def test_nothing_is_drawn_where_the_weights_are_given(tiny):
    state = tower(None, architecture=tiny).model.state_dict()
    before = torch.get_rng_state()
    found = tower(state, architecture=tiny).model.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    tower(None, architecture=tiny)
    assert not torch.equal(torch.get_rng_state(), before)


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


def made(seed=0, **config):
    """A small model of open_clip's own classes, with weights drawn from a seed."""
    torch.manual_seed(seed)
    given = json.loads(json.dumps({**MODEL, **config}))
    kind = open_clip.CustomTextCLIP if given.pop("custom_text", False) else open_clip.CLIP
    return kind(**given)


def folder(path, *, preprocess=None, weights=("open_clip_model.safetensors",), **config):
    """A folder as open_clip reads it by local-dir: with a config, and weights of other seeds in each file."""
    path.mkdir(exist_ok=True)
    given = {"model_cfg": {**MODEL, **config}, **({} if preprocess is None else {"preprocess_cfg": preprocess})}
    (path / "open_clip_config.json").write_text(json.dumps(given))
    for seed, name in enumerate(weights):
        state = made(seed, **config).state_dict()
        save_file(state, path / name) if name.endswith(".safetensors") else torch.save(state, path / name)
    return f"local-dir:{path}"


CONVERTED = {
    "half": ({}, {}, lambda state: {name: value.half() for name, value in state.items()}),
    "parallel": ({}, {}, lambda state: {f"module.{name}": value for name, value in state.items()}),
    "larger images": ({"vision_cfg": {**VISION, "image_size": 64}}, {}, dict),
    "longer captions": ({"text_cfg": {**TEXT, "context_length": 24}}, {}, dict),
    "a scale of one row": ({}, {}, lambda state: {**state, "logit_scale": state["logit_scale"].reshape(1)}),
    "the text tower at the top": ({}, {"custom_text": True}, dict),
    "no bias": ({}, {"init_logit_bias": -10}, dict),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_weights_of_other_forms_become_what_open_clip_makes_of_them(tmp_path, case, capsys):
    saved, wanted, change = CONVERTED[case]
    (tmp_path / "test-other.json").write_text(json.dumps({**MODEL, **wanted}))
    open_clip.add_model_config(tmp_path)
    torch.save(change(made(**saved).state_dict()), tmp_path / "mine.pt")
    theirs = open_clip.create_model("test-other", pretrained=str(tmp_path / "mine.pt")).state_dict()
    ours = tower(None, architecture="test-other", pretrained=str(tmp_path / "mine.pt"))
    assert ours.model.state_dict().keys() == theirs.keys()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, theirs[name], atol=1e-6, rtol=1e-5)
    told = capsys.readouterr().err
    assert ours.facts["read"][-1] in told
    said = {
        "half": "38 of 38 tensors are float16, read as float32",
        "larger images": "with visual.positional_embedding interpolated from 17 to 5 positions",
        "longer captions": "with positional_embedding interpolated from 24 to 16 positions",
        "no bias": "with a logit_bias of 0, because the file has none",
        "parallel": "without 'module.' before the names of weights",
    }
    assert said.get(case, "nothing is published of it") in told


def test_a_file_gets_the_preprocessing_of_its_family_and_words_win(tmp_path, capsys, monkeypatch):
    (tmp_path / "test-family.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(tmp_path)
    tag = {"mean": (0.1, 0.2, 0.3), "std": (1.0,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    table = open_clip.pretrained._PRETRAINED
    monkeypatch.setitem(table, "test-family", {"a": {"hf_hub": "a/b/", **tag}, "b": {"hf_hub": "a/c/", **tag}})
    torch.save(made().state_dict(), tmp_path / "mine.pt")
    words = {"architecture": "test-family", "pretrained": str(tmp_path / "mine.pt")}
    clip = tower(None, **words)
    assert (clip.form, clip.mean, clip.std) == ("32-squash-bilinear", (0.1, 0.2, 0.3), (1.0,) * 3)
    assert "preprocessed as its 2 tags published: mean: [0.1, 0.2, 0.3]" in capsys.readouterr().err
    clip = tower(None, **words, mean=0.5, resize_mode="longest", fill_color=7)
    assert (clip.form, clip.mean, clip.std) == ("32-longest-bilinear-fill7", (0.5,) * 3, (1.0,) * 3)
    assert "its preprocessing is that of no published tag; the nearest is a, but mean 0.5" in capsys.readouterr().err
    again = tower(clip.model.state_dict(), **words, mean=0.5, resize_mode="longest", fill_color=7)
    assert (again.form, again.mean) == (clip.form, clip.mean)
    assert capsys.readouterr().err == ""  # what was said when the file was read is not said of its copy


@pytest.mark.parametrize(
    ("there", "read"),
    [
        (["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors"], 0),
        (["model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin"], 1),
        (["pytorch_model.bin", "model.safetensors"], 1),
        (["epoch_9.pt"], 0),
    ],
)
def test_the_weights_of_a_folder_are_those_that_open_clip_reads(tmp_path, there, read, capsys):
    clip = tower(None, architecture=folder(tmp_path / "x", preprocess=WHOLE, weights=there))
    assert torch.equal(clip.model.visual.proj, made(read).visual.proj)
    assert ("its weights are taken to be epoch_9.pt" in capsys.readouterr().err) == (there == ["epoch_9.pt"])


def test_a_folder_that_lacks_something_is_named_with_it(tmp_path):
    def refused(kind, said, **words):
        with pytest.raises(kind, match=said):
            tower(None, architecture=f"local-dir:{tmp_path / 'x'}", **words)

    refused(FileNotFoundError, "x: no such folder")
    (tmp_path / "x").mkdir()
    refused(FileNotFoundError, r"x/open_clip_config\.json: no such file; open_clip needs it beside the weights")
    for text, said in (
        ("{", r"open_clip_config\.json: no JSON: "),
        ("[]", r"open_clip_config\.json: has no model_cfg with embed_dim"),
        ('{"model_cfg": {"embed_dim": 3, "vision_cfg": {}}}', "has no model_cfg with text_cfg; it needs embed_dim"),
        (
            '{"model_cfg": {"embed_dim": 3, "vision_cfg": {}, "text_cfg": {"hf_tokenizer_name": "x/y",'
            ' "tokenizer_kwargs": {"trust_remote_code": true}}}}',
            "text_cfg.tokenizer_kwargs: trust_remote_code and code_revision would run code of others",
        ),
    ):
        (tmp_path / "x" / "open_clip_config.json").write_text(text)
        refused(ValueError, said)
    folder(tmp_path / "x", weights=())
    refused(FileNotFoundError, r"x: holds no weights: no file open_clip_model\.safetensors or open_clip_pytorch_model")
    folder(tmp_path / "x", weights=("a.pt", "b.bin"))
    refused(FileNotFoundError, r"which of a\.pt, b\.bin they are is not known")
    folder(tmp_path / "x", preprocess=[1])
    refused(ValueError, r"preprocess_cfg: must be a mapping, got \[1\]")
    folder(tmp_path / "x", preprocess={"interpolation": "nearest"})
    refused(ValueError, "interpolation: must be bicubic, bilinear or random")
    folder(tmp_path / "x", preprocess=WHOLE, vision_cfg={**VISION, "layers": "many"}, weights=())
    refused(ValueError, "x: open_clip cannot build it: TypeError: ")
    refused(ValueError, "pretrained 'openai': local-dir: brings its own weights", pretrained="openai")


def test_random_weights_are_drawn_from_a_seed_and_said(tiny, capsys):
    state = torch.get_rng_state()
    one, same, other = (tower(None, architecture=tiny, pretrained="random", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.model.visual.proj, same.model.visual.proj)
    assert not torch.equal(one.model.visual.proj, other.model.visual.proj)
    assert "test-tiny: its weights are random, drawn from seed 1\n" in capsys.readouterr().err
    given = tower(other.model.state_dict(), architecture=tiny, pretrained="random")
    assert torch.equal(given.model.visual.proj, other.model.visual.proj)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("preprocess", "size"),
    [
        ({}, 32),
        ({"interpolation": "bilinear", "resize_mode": "squash"}, 32),
        ({"interpolation": "random", "resize_mode": "longest", "fill_color": 9, "mean": 0.4}, 32),
        ({"std": 0.3}, [32, 64]),
        ({"resize_mode": "longest"}, [64, 32]),
    ],
)
def test_images_of_all_shapes_become_the_embeddings_that_open_clip_computes(tmp_path, preprocess, size):
    name = folder(tmp_path / "x", preprocess=preprocess, vision_cfg={**VISION, "image_size": size})
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i, shape in enumerate([(50, 70), (70, 50), (32, 32), (9, 100), (300, 200)]):
        picture = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        (picture.quantize(32) if i % 2 else picture).save(tmp_path / "images" / f"{i}.png")
    model, _, transform = open_clip.create_model_and_transforms(name)
    files = sorted((tmp_path / "images").iterdir())
    with torch.no_grad():
        pixels = torch.stack([transform(Image.open(file)) for file in files])
        theirs = model.eval().encode_image(pixels, normalize=True).numpy()
    clip = tower(None, architecture=name)
    images = open_images(str(tmp_path / "images"), clip.form, role="ood").images
    ours = image_features(clip, images)
    found = torch.cat(list(batches(images, **pixel_words(clip), batch=2)))
    torch.testing.assert_close(found, pixels, atol=1e-5, rtol=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_a_tag_or_file_does_not_say_of_its_activation_is_said(tmp_path, capsys, monkeypatch):
    for name, quick in (("test-pair", False), ("test-pair-quickgelu", True)):
        (tmp_path / f"{name}.json").write_text(json.dumps({**MODEL, "quick_gelu": quick}))
    open_clip.add_model_config(tmp_path)
    torch.save(made().state_dict(), tmp_path / "mine.pt")
    tower(None, architecture="test-pair", pretrained=str(tmp_path / "mine.pt"))
    said = "test-pair: a file does not say its activation: GELU is used; test-pair-quickgelu has the other one"
    assert said in capsys.readouterr().err


def test_a_model_that_takes_images_of_any_shape_is_refused_by_name(tmp_path):
    vision = {"timm_model_name": "naflexvit_base_patch16_gap", "timm_model_pretrained": False, "image_size": 32}
    where = folder(tmp_path, weights=(), vision_cfg={**vision, "timm_pool": "", "timm_proj": "linear"})
    with pytest.raises(ValueError, match=r"local-dir:.*: is a NaFlex model, which takes images of any shape"):
        tower(None, architecture=where, pretrained="random")
