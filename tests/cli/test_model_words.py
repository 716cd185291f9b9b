"""What `--model` takes, on every subcommand that opens one."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from reliquant.cli import main
from reliquant.files.artifacts import read_header
from reliquant.models.openclip import open_clip

ALONE = "{tower: small, architecture: small_vit}"


@pytest.fixture
def data(tmp_path):
    """Eight captioned images of two classes, as a folder and as a parquet file."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(8):
        folder = tmp_path / "tree" / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        records.append({"image": (folder / f"{i}.png").read_bytes(), "caption": f"a photo of a cat {i}"})
    pl.DataFrame(records).write_parquet(tmp_path / "pairs.parquet")
    return tmp_path


def evaluated(capsys, data, *words):
    path = data / "f.safetensors"
    main.main(["evaluate", "--data", str(data / "tree"), "--resamples", "100", "--save", str(path), *map(str, words)])
    return load_file(path)["image"], capsys.readouterr().err


def quantize(data, *words):
    line = ["quantize", "--scheme", "{quantizer: rtn, batch: 4}", "--pairs", data / "pairs.parquet", "--number", 4]
    line += ["--output", data / "q.safetensors"]
    main.main([str(word) for word in (*line, *words)])


def refused(call, *words):
    with pytest.raises(SystemExit) as stop:
        call(*words)
    assert "\n" not in str(stop.value)
    return str(stop.value)


def test_random_weights_are_drawn_only_on_request_are_the_same_each_time_and_are_said(capsys, data):
    said = f"error: {ALONE}: no weights: `pretrained` must name a tag of its architecture or a file"
    assert refused(evaluated, capsys, data, "--model", ALONE).startswith(f"reliquant evaluate: {said}")
    assert refused(quantize, data, "--model", ALONE).startswith(f"reliquant quantize: {said}")
    assert not (data / "q.safetensors").exists()
    one, told = evaluated(capsys, data, "--model", ALONE, "--random-weights")
    two, _ = evaluated(capsys, data, "--model", ALONE, "--random-weights")
    assert np.array_equal(one, two)
    assert "small_vit: its weights are random, drawn from seed 0\n" in told
    quantize(data, "--model", ALONE, "--random-weights")
    assert read_header(data / "q.fp32.safetensors")["tower"]["pretrained"] == "random"
    for model in ("lab-vit-web", data / "q.fp32.safetensors"):
        for call in ((evaluated, capsys, data), (quantize, data)):
            said = refused(*call, "--model", model, "--random-weights")
            assert "weights, and random ones are asked for: leave out one of the two" in said
    variant = ("--model", data / "q.fp32.safetensors", "--variant", data / "q.safetensors", "--random-weights")
    assert "a variant has the weights of its model" in refused(evaluated, capsys, data, *variant)


def test_plan_needs_no_weights_and_says_that_it_took_none(capsys):
    main.main(["plan", "--model", ALONE, "--json"])
    found = capsys.readouterr()
    assert json.loads(found.out)["products"]
    assert found.err == "small_vit: its weights are random, drawn from seed 0\n"


def test_a_folder_with_padding_gives_the_features_that_open_clip_gives(capsys, data):
    vision = {"image_size": [32, 48], "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    preprocess = {"mean": 0.5, "std": [0.2, 0.3, 0.4], "interpolation": "random"}
    preprocess |= {"resize_mode": "longest", "fill_color": 9}
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": preprocess}
    (data / "model").mkdir()
    (data / "model" / "open_clip_config.json").write_text(json.dumps(config))
    name = f"local-dir:{data / 'model'}"
    torch.save(open_clip.create_model(name, load_weights=False).state_dict(), data / "model" / "weights.pth")
    model, _, transform = open_clip.create_model_and_transforms(name)
    files = sorted((data / "tree").rglob("*.png"))
    with torch.no_grad():
        theirs = model.eval().encode_image(torch.stack([transform(Image.open(f)) for f in files]), normalize=True)
    ours, told = evaluated(capsys, data, "--model", name)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    assert "its weights are taken to be weights.pth" in told
    assert "interpolation: random is bicubic here, as when open_clip evaluates" in told


TOWER = """
import torch
from torch.nn.functional import normalize as unit

from reliquant.models.clip import Clip


class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.words = torch.nn.Linear(3, 4), torch.nn.Embedding(256, 4)
        self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))

    def encode_image(self, x, normalize=False):
        return unit(self.image(x.mean(dim=(2, 3))), dim=-1)

    def encode_text(self, tokens, normalize=False):
        return unit(self.words(tokens).mean(dim=1), dim=-1)


def tower(state, /, *, seed: int = 0):
    torch.manual_seed(seed)
    model = Mean()
    if state is not None:
        model.load_state_dict(state)
    return Clip(model, lambda texts: torch.tensor([[len(text)] for text in texts]), 8, (0.5,) * 3, (0.5,) * 3)
"""


def test_a_tower_of_ones_own_is_named_by_its_module_or_in_an_entry(capsys, data, monkeypatch):
    (data / "my_models").mkdir()
    (data / "my_models" / "__init__.py").touch()
    (data / "my_models" / "mean.py").write_text(TOWER)
    monkeypatch.syspath_prepend(str(data))
    one, _ = evaluated(capsys, data, "--model", "my_models.mean")
    two, _ = evaluated(capsys, data, "--model", "{tower: my_models.mean, seed: 0}")
    other, _ = evaluated(capsys, data, "--model", "{tower: my_models.mean, seed: 1}")
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
