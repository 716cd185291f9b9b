"""`search`: stored embeddings of images and captions, alone and beside FP32; what it prints, keeps and refuses."""

import json

import numpy as np
import pytest

from reliquant.cli.main import main
from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.files.stored_frames import read_rows


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command beside two tables of 60 images with three captions each, of which one model is noisier."""
    rng = np.random.default_rng(0)
    image, image_of = rng.normal(size=(60, 32)), np.repeat(np.arange(60), 3)
    text = image[image_of] + rng.normal(size=(180, 32))
    for name, size in (("fp32", 0.0), ("int4", 0.5)):
        noisy = {"image": image + size * rng.normal(size=image.shape), "text": text}
        np.savez(tmp_path / f"{name}.npz", **noisy, image_of=image_of)
    np.savez(tmp_path / "few.npz", image=image[:50], text=text, image_of=image_of % 50)
    monkeypatch.chdir(tmp_path)

    def ran(*words):
        main(["search", *words, "--resamples", "100"])
        return capsys.readouterr().out

    return ran


def recall(image, text, image_of):
    return np.mean([i == image_of[j] for j, i in enumerate((text @ image.T).argmax(axis=1))])


def test_the_recall_is_that_of_the_tables_and_its_change_is_told(run):
    found = {}
    for name in ("fp32", "int4"):
        table = np.load(f"{name}.npz")
        unit = table["image"] / np.linalg.norm(table["image"], axis=1, keepdims=True)
        found[name] = recall(unit, table["text"], table["image_of"])
    rows = json.loads(run("int4.npz", "--reference", "fp32.npz", "--json"))["rows"]
    by_name = {row["measure"]: row["value"] for row in rows if row["group"] == "text_to_image"}
    assert by_name["recall_at_1"] == pytest.approx(found["int4"])
    assert by_name["recall_at_1_change"] == pytest.approx(found["int4"] - found["fp32"])


def test_each_measure_has_a_line_with_its_change_and_what_the_brackets_mean(run):
    out = run("int4.npz", "--reference", "fp32.npz", "--indexes", "binary", "{index: truncated, dimensions: 8}")
    lines = out.splitlines()
    assert lines[0].split() == ["image", "to", "text,", "float32", "value", "change", "to", "fp32.npz"]
    line = next(line for line in lines if line.startswith("recall_at_1 "))
    assert line.count("[") == 2
    assert any(line.startswith("text to image, truncated_8") for line in lines)
    assert "the library is taken as given" in " ".join(out.split())
    assert not any(line.startswith("recall_at_1_change") for line in lines)


def test_a_model_alone_has_values_without_changes(run):
    out = run("fp32.npz")
    assert "change to" not in out
    assert "image to text, float32" in out


def test_rows_are_those_of_a_study_with_fp32_beside_the_variant(run, tmp_path):
    run("int4.npz", "--reference", "fp32.npz", "--rows", "rows.parquet", "--dataset", "coco")
    rows = read_rows(tmp_path / "rows.parquet")
    assert dict(rows.schema) == dict(ROW_SCHEMA)
    assert set(rows["scheme"]) == {"fp32", "int4"}
    assert set(rows["suite"]) == {"retrieval"}
    assert set(rows["dataset"]) == {"coco"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("int4.npz", "--indexes", "int7"), "--indexes int7: index 'int7' is unknown"),
        (("int4.npz", "--indexes", "truncated"), "--indexes truncated: dimensions: missing"),
        (("int4.npz", "--indexes", "binary", "binary"), "--indexes binary: is there twice"),
        (("few.npz", "--reference", "fp32.npz"), "50 images in one and 60 in the other"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, words, told):
    with pytest.raises(SystemExit, match=told) as stop:
        run(*words)
    assert "\n" not in str(stop.value)
