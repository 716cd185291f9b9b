from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.files.artifacts import DamagedFile, read_header
from reliquant.images.datasets.lab import dataset
from reliquant.models.shipped import weights
from reliquant.models.shipped.weights import FOLDER, checkpoint_table, load_checkpoint, weights_folder
from reliquant.models.towers.small import tower

NAMES = sorted(checkpoint_table())


def copied(tmp_path, name):
    return Path(shutil.copy(weights_folder() / f"{name}.safetensors", tmp_path))


def test_the_four_models_are_shipped_each_below_three_megabytes():
    assert NAMES == ["lab-convnext-curated", "lab-convnext-web", "lab-vit-curated", "lab-vit-web"]
    for name in NAMES:
        assert (weights_folder() / f"{name}.safetensors").stat().st_size == checkpoint_table()[name]["bytes"] < 3e6


@pytest.mark.parametrize("name", NAMES)
def test_header_and_table_record_the_same_recipe(name):
    header, row = read_header(weights_folder() / f"{name}.safetensors"), checkpoint_table()[name]
    for key in ("tower", "recipe", "pairs", "versions"):
        assert header[key] == row[key]
    assert header["pairs"]["world"] == name.split("-")[-1]


@pytest.mark.parametrize("name", NAMES)
def test_the_lab_reaches_85_percent_on_the_mean_of_its_sets(name):
    assert checkpoint_table()[name]["fp32"]["mean"]["accuracy"] >= 0.85


@pytest.mark.parametrize("architecture", ["vit", "convnext"])
def test_web_models_lean_more_on_the_background_than_curated_ones(architecture):
    drop = {}
    for world in ("curated", "web"):
        fp32 = checkpoint_table()[f"lab-{architecture}-{world}"]["fp32"]
        drop[world] = fp32["common"]["accuracy"] - fp32["counter"]["accuracy"]
    assert drop["web"] > drop["curated"]


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_classify_as_the_table_says(name):
    row = checkpoint_table()[name]
    clip = tower(None, architecture=row["tower"]["architecture"], pretrained=name)
    data = dataset(FOLDER, task="colour", images=200)
    images = np.stack([data.read(i) for i in range(200)])
    head = text_head(clip, data.classes, data.templates)
    features = Features(image_features(clip, images), head, data.labels, *logit_scale_and_bias(clip))
    accuracy = (features.probabilities.argmax(1) == data.labels).mean()
    assert accuracy == pytest.approx(row["fp32"]["colour"]["accuracy"], abs=0.08)


def test_an_altered_checkpoint_is_refused(tmp_path):
    path = copied(tmp_path, NAMES[0])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"truncated or altered: \d+ bytes, but the table says \d+ bytes, sha256"):
        load_checkpoint(NAMES[0], tmp_path)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = copied(tmp_path, NAMES[0])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DamagedFile, match="truncated or altered: 1000 bytes, but the table says"):
        load_checkpoint(NAMES[0], tmp_path)


def test_an_unknown_or_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="checkpoint 'lab-vitt' is unknown; there are lab-convnext-curated, "):
        load_checkpoint("lab-vitt")
    copied(tmp_path, NAMES[0]).unlink()
    with pytest.raises(FileNotFoundError, match=f"{NAMES[0]}.safetensors: no such file"):
        load_checkpoint(NAMES[0], tmp_path)


def test_weights_that_are_not_installed_are_asked_for_in_one_line(monkeypatch):
    monkeypatch.setattr(weights, "DATA", "reliquant_lab_that_is_not_there")
    with pytest.raises(
        FileNotFoundError, match=r"^the lab's trained models are not installed: pip install 'reliq.*\[lab\]'$"
    ):
        load_checkpoint(NAMES[0])
