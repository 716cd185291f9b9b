import json

import pytest
import torch

from reliquant.models.files import load_model
from reliquant.models.openclip import open_clip
from reliquant.models.shipped.weights import load_checkpoint
from reliquant.steps import fetch_model


def test_a_shipped_model_is_written_with_the_entry_that_loads_it_and_pinned_nowhere(run, tmp_path):
    entry = {"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-curated"}
    run(fetch_model, entry=entry, lock=tmp_path / "weights.lock.json", output=tmp_path / "vit.safetensors")
    clip, header = load_model(tmp_path / "vit.safetensors")
    assert header["tower"] == entry
    weights = load_checkpoint("lab-vit-curated")
    assert all(torch.equal(value, weights[name]) for name, value in clip.model.state_dict().items())
    assert not (tmp_path / "weights.lock.json").exists()


MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def words(tmp_path):
    return {"lock": tmp_path / "weights.lock.json", "output": tmp_path / "tiny.safetensors"}


def folder(path, model):
    """A model's folder as open_clip writes it, with weights in half precision."""
    path.mkdir(exist_ok=True)
    config = {"model_cfg": MODEL, "preprocess_cfg": {"mean": 0.5, "std": 0.5, "interpolation": "bicubic"}}
    (path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(model.half().state_dict(), path / "open_clip_pytorch_model.bin")
    return {"tower": "openclip", "architecture": f"local-dir:{path}"}


def made(scale=2.6592):
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL)))
    with torch.no_grad():
        model.logit_scale.fill_(scale)
    return model


def refused(run, words, **more):
    with pytest.raises(ValueError, match=r"^tiny: ") as refusal:
        run(fetch_model, **words, **more)
    assert not words["output"].exists()
    return str(refusal.value)


def test_a_model_that_names_no_weights_is_refused_and_one_that_asks_for_random_ones_is_written(run, words):
    entry = {"tower": "small", "architecture": "small_vit"}
    assert "no weights: `pretrained` must name a tag" in refused(run, words, entry=entry)
    run(fetch_model, **words, entry={**entry, "pretrained": "random"})
    assert load_model(words["output"])[1]["tower"]["pretrained"] == "random"


def test_what_was_read_and_how_is_in_the_header(run, words, tmp_path, capsys):
    run(fetch_model, **words, entry=folder(tmp_path / "x", made()), form="32-shortest-bicubic")
    header = load_model(words["output"])[1]
    assert (header["form"], header["mean"], header["std"]) == ("32-shortest-bicubic", [0.5] * 3, [0.5] * 3)
    assert header["read"] == [
        "its config says no resize_mode: open_clip's default is used",
        "read open_clip_pytorch_model.bin: 38 of 38 tensors are float16, read as float32",
    ]
    assert all(note in capsys.readouterr().err for note in header["read"][:1])


def test_a_form_of_the_config_that_is_not_the_models_stops_here(run, words, tmp_path):
    told = refused(run, words, entry=folder(tmp_path / "x", made()), form="224-shortest-bicubic")
    said = "wants images as 32-shortest-bicubic, not 224-shortest-bicubic: write `form: 32-shortest-bicubic` in its"
    assert told == f"tiny: {said} entry"


def test_a_model_that_cannot_be_right_stops_here(run, words, tmp_path):
    assert "logit_scale is 100, which multiplies" in refused(run, words, entry=folder(tmp_path / "x", made(100.0)))
    broken = made()
    with torch.no_grad():
        broken.ln_final.weight[3] = float("inf")
    assert "not finite (NaN or inf): ln_final.weight" in refused(run, words, entry=folder(tmp_path / "y", broken))


def test_a_tower_of_ones_own_that_cannot_run_stops_here(run, words, tmp_path, monkeypatch):
    (tmp_path / "half_a_tower.py").write_text(
        "import torch\nfrom reliquant.models.clip import Clip\n\n\n"
        "def tower(state, /, *, width: int = 3):\n"
        "    model = torch.nn.Linear(width, width)\n"
        "    model.logit_scale = torch.tensor(2.0)\n"
        "    tokens = torch.zeros(1, 4, dtype=torch.int64)\n"
        "    return Clip(model, lambda texts: tokens, 8, (0.5,) * 3, (0.5,) * 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "half_towers").mkdir()
    (tmp_path / "half_towers" / "__init__.py").touch()
    (tmp_path / "half_a_tower.py").rename(tmp_path / "half_towers" / "half_a_tower.py")
    told = refused(run, words, entry={"tower": "half_towers.half_a_tower"})
    assert told.startswith("tiny: encode_image(pixels (1, 3, 8, 8), normalize=True) fails: AttributeError: ")
