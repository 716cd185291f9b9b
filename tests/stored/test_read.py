"""Tables as they are found: what there is, what was assumed, what is missing."""

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from reliquant.files.digests import DamagedFile
from reliquant.stored.read import read_table

RNG = np.random.default_rng(0)
IMAGE, LABEL = RNG.normal(size=(30, 6)).astype(np.float32), RNG.integers(0, 4, 30)


def as_safetensors(path):
    save_file({"image_features": IMAGE, "label": LABEL}, path)


def as_npz(path):
    with open(path, "wb") as file:
        np.savez(file, image_features=IMAGE, label=LABEL)


def as_parquet(path):
    pl.DataFrame({"image_features": IMAGE, "label": LABEL}).write_parquet(path)


def as_csv(path):
    words = {f"image_features_{j}": IMAGE[:, j] for j in range(6)}
    pl.DataFrame({"label": LABEL, **words}).write_csv(path)


def as_folder(path):
    path.mkdir()
    np.save(path / "image_features.npy", IMAGE)
    np.save(path / "label.npy", LABEL)


@pytest.mark.parametrize("write", [as_safetensors, as_npz, as_parquet, as_csv, as_folder])
@pytest.mark.parametrize("name", ["table", "table.npz", "table.npy", "table.csv"])
def test_a_layout_is_known_by_its_content(tmp_path, write, name):
    write(tmp_path / name)
    table = read_table(tmp_path / name)
    assert np.array_equal(table.arrays["image"][:], IMAGE)
    assert np.array_equal(table.arrays["label"][:], LABEL)
    assert table.said == (f"{tmp_path / name}: image is taken from image_features",)
    assert table.others == {}


def test_a_single_array_is_what_its_file_is_called_or_what_is_told(tmp_path):
    np.save(tmp_path / "image.npy", IMAGE)
    np.save(tmp_path / "b32.npy", IMAGE)
    assert list(read_table(tmp_path / "image.npy").arrays) == ["image"]
    with pytest.raises(
        ValueError, match=r"b32\.npy: has no 'image'; there are none that is known by its name, and b32"
    ):
        read_table(tmp_path / "b32.npy").require("image")
    assert np.array_equal(read_table(tmp_path / "b32.npy", names={"image": "b32"}).arrays["image"][:], IMAGE)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "an empty file, no table: safetensors"), (b"%PDF-1.7", "a PDF, no table"), (bytes(99), "of no known kind")],
)
def test_what_is_no_table_is_refused_by_what_it_is(tmp_path, content, told):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DamagedFile, match=f"x: {told}"):
        read_table(tmp_path / "x")


def test_a_table_says_what_it_took_and_reads_when_asked(tmp_path):
    arrays = {"image_embeds": np.ones((3, 2), np.float16), "label": np.arange(3, dtype=np.int32)}
    save_file(arrays, tmp_path / "x.safetensors")
    table = read_table(tmp_path / "x.safetensors")
    assert table.said == (f"{tmp_path / 'x.safetensors'}: image is taken from image_embeds",)
    assert table.rows() == 3
    assert table.arrays["image"][:].dtype == np.float32
    assert table.arrays["label"][1:].tolist() == [1, 2]


def test_a_column_that_is_missing_is_told_with_what_there_is(tmp_path):
    save_file({"image": np.ones((3, 2)), "name": np.ones(3)}, tmp_path / "x.safetensors")
    told = r"x\.safetensors: has no 'label'; there are image, and name \(--names label=NAME says which it is\)"
    with pytest.raises(ValueError, match=told):
        read_table(tmp_path / "x.safetensors").require("image", "label")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_table(tmp_path / "x.safetensors")
