"""`search`: stored embeddings of images and captions, alone and beside FP32; what it prints, keeps and refuses."""

import json

import numpy as np
import polars as pl
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
    for name, size in (("fp32", 0.0), ("int4", 0.5), ("int8", 0.1)):
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
    assert lines[0] == "int4 beside fp32.npz"
    assert lines[1].split() == ["measure", "value", "reference", "unit", "change"]
    assert lines[2] == "image to text, float32: 60 images searched 180 captions"
    assert "text to image, truncated_8: 180 captions of 60 images searched 60 images" in lines
    assert "the library is taken as given" in " ".join(out.split())
    assert not any(line.strip().startswith("recall_at_1_change") for line in lines)


def test_values_have_units_and_so_have_changes(run):
    rows = json.loads(run("int4.npz", "--reference", "fp32.npz", "--json"))["rows"]
    own = {row["measure"]: row for row in rows if row["group"] == "text_to_image"}
    lines = run("int4.npz", "--reference", "fp32.npz").partition("\ntext to image")[2].splitlines()
    words = {line.split()[0]: line.split() for line in lines[1:] if line.startswith("  ")}
    value, change = own["recall_at_1"]["value"], own["recall_at_1_change"]
    assert words["recall_at_1"][1:4] == [f"{100 * value:.1f}", f"{100 * (value - change['value']):.1f}", "%"]
    assert words["recall_at_1"][4] == f"{100 * change['value']:+.1f}"
    assert words["recall_at_1"][5] == f"[{100 * change['low']:+.1f},"
    assert words["recall_at_1"][-1] == "points"
    assert words["margin"][1:4:2] == [f"{own['margin']['value']:.4f}", "cosine"]
    assert words["bytes_a_vector"][1:] == ["128.0", "bytes"]
    assert words["median_rank"][3] == "rank"
    assert words["top10_jaccard"][2:5] == ["of", "1", "interval"]


def test_a_model_alone_has_values_without_changes(run):
    out = run("fp32.npz")
    assert out.splitlines()[1].split() == ["measure", "value", "unit", "95", "%", "interval"]
    assert "Changes are to" not in out
    assert "image to text, float32" in out


def test_a_model_alone_has_the_change_of_a_stored_form_to_float32(run):
    out = run("fp32.npz", "--indexes", "binary")
    assert "Changes are to the same embeddings in float32" in " ".join(out.split())
    block = out.partition("text to image, binary")[2]
    (line,) = [line.split() for line in block.splitlines() if line.startswith("  recall_at_1 ")]
    assert float(line[1]) - float(line[2]) == pytest.approx(float(line[4]), abs=0.11)
    assert float(line[4]) < 0


def test_several_variants_have_a_block_each_and_the_numbers_that_each_has_alone(run):
    both = ["int4.npz", "int8.npz", "--reference", "fp32.npz"]
    out = run(*both)
    assert [line for line in out.splitlines() if " beside " in line] == ["int4 beside fp32.npz", "int8 beside fp32.npz"]
    found = json.loads(run(*both, "--json"))
    for name in ("int4", "int8"):
        (alone, together) = (
            [row for row in rows if row["variant"] == name]
            for rows in (json.loads(run(f"{name}.npz", *both[2:], "--json"))["rows"], found["rows"])
        )
        assert alone == together
    assert found["searches"]["int8"]["text_to_image"] == {"queries": 180, "library": 60}
    with pytest.raises(SystemExit, match="--rows of several tables: needs --reference"):
        run("int4.npz", "int8.npz", "--rows", "rows.parquet")
    with pytest.raises(SystemExit, match="--bytes: needs --reference"):
        run("int4.npz", "--bytes", "3")


def test_rows_with_sizes_and_precisions_serve_recommend(run, tmp_path, capsys):
    words = ["--reference", "fp32.npz", "--precision", "w4a16", "w8a16", "--bytes", "50", "100"]
    run("int4.npz", "int8.npz", *words, "--reference-bytes", "400", "--rows", "rows.parquet")
    rows = read_rows(tmp_path / "rows.parquet")
    assert dict(rows.select("scheme", "precision").unique().iter_rows()) == {
        "fp32": "fp32",
        "int4": "w4a16",
        "int8": "w8a16",
    }
    sizes = rows.filter(pl.col("measure").is_in(["bytes", "bytes_fp32"])).select("scheme", "measure", "value", "suite")
    assert set(sizes.iter_rows()) == {
        ("fp32", "bytes", 400, ""),
        ("int4", "bytes", 50, ""),
        ("int4", "bytes_fp32", 400, ""),
        ("int8", "bytes", 100, ""),
        ("int8", "bytes_fp32", 400, ""),
    }
    main(["recommend", "rows.parquet", "--wish", "retrieval:recall_at_1_change >= -0.5", "--json"])
    answers = json.loads(capsys.readouterr().out)
    assert answers[0]["scheme"] == "int4"
    assert answers[0]["cost"] == 50


def test_rows_are_those_of_a_study_with_fp32_beside_the_variant(run, tmp_path):
    run("int4.npz", "--reference", "fp32.npz", "--rows", "rows.parquet", "--dataset", "coco")
    rows = read_rows(tmp_path / "rows.parquet")
    assert dict(rows.schema) == dict(ROW_SCHEMA)
    assert set(rows["scheme"]) == {"fp32", "int4"}
    assert set(rows["suite"]) == {"retrieval"}
    assert set(rows["dataset"]) == {"coco"}


def test_what_has_no_value_is_undefined(run):
    image = np.eye(6)
    np.savez("six.npz", image=image, text=image, image_of=np.arange(6))
    lines = [line.split() for line in run("six.npz", "--reference", "six.npz").splitlines()]
    assert ["recall_at_10", "undefined"] in lines
    assert any(line[:2] == ["recall_at_5", "100.0"] for line in lines if line)


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
