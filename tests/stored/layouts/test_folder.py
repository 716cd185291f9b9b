"""Folders of arrays, and those that clip-retrieval writes."""

import numpy as np
import polars as pl
import pytest

from reliquant.stored.layouts.folder import columns

EMB = np.random.default_rng(0).normal(size=(25, 4)).astype(np.float16)
IDS = ("id", "key", "image_path")


def write(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def test_every_array_of_a_folder_is_named_by_its_file(tmp_path):
    write(tmp_path, image=EMB, label=np.arange(25))
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / ".hidden.npy").write_bytes(b"no array")
    found, said = columns(tmp_path, IDS)
    assert set(found) == {"image", "label"}
    assert np.array_equal(found["image"][:], EMB)
    assert said == ()


def test_parts_are_one_array_in_the_order_of_their_numbers(tmp_path):
    parts = {f"image_{k}": EMB[2 * k : 2 * k + 2] for k in range(12)}
    write(tmp_path, **parts)
    column = columns(tmp_path, IDS)[0]["image"]
    assert column.shape == (24, 4)
    assert np.array_equal(column[:], EMB[:24])
    assert np.array_equal(column[3:18], EMB[3:18])
    asked = np.array([23, 0, 7, 7, 12])
    assert np.array_equal(column[asked], EMB[asked])
    assert np.array_equal(column[::5], EMB[:24:5])


def test_a_part_that_is_missing_is_told(tmp_path):
    write(tmp_path, image_0=EMB, image_2=EMB)
    with pytest.raises(ValueError, match=r"parts of image are missing: there are image_\{0, 2\}; they go on from 0"):
        columns(tmp_path, IDS)
    write(tmp_path, image_1=EMB[:, :3])
    with pytest.raises(ValueError, match=r"image: parts differ: \(25, 4\) of float16, \(25, 3\) of float16"):
        columns(tmp_path, IDS)


def test_of_many_parts_the_first_are_told_and_that_there_are_more(tmp_path):
    write(tmp_path, **{f"image_{i}": EMB for i in range(10) if i != 3})
    with pytest.raises(ValueError, match=r"there are image_\{0, 1, 2, 4, 5, 6, 7, 8, \.\.\.\}; they go on"):
        columns(tmp_path, IDS)


def test_a_whole_array_beside_its_parts_is_refused(tmp_path):
    write(tmp_path, image=EMB, image_0=EMB)
    with pytest.raises(ValueError, match=r"image\.npy and image_0\.npy are both image"):
        columns(tmp_path, IDS)


def test_a_folder_of_clip_retrieval_is_read_by_its_layout(tmp_path):
    write(tmp_path / "img_emb", img_emb_0=EMB[:10], img_emb_1=EMB[10:])
    write(tmp_path / "text_emb", text_emb_0=EMB[:10] * 2, text_emb_1=EMB[10:] * 2)
    (tmp_path / "metadata").mkdir()
    words = {"image_path": [f"{i}.jpg" for i in range(25)], "caption": ["a star"] * 25, "key": list(range(25))}
    for k, rows in enumerate((slice(0, 10), slice(10, 25))):
        pl.DataFrame(words)[rows].write_parquet(tmp_path / "metadata" / f"metadata_{k}.parquet")
    found, said = columns(tmp_path, IDS)
    assert np.array_equal(found["img_emb"][:], EMB)
    assert np.array_equal(found["caption_emb"][8:12], EMB[8:12] * 2)
    assert found["image_path"][9:11].tolist() == ["9.jpg", "10.jpg"]
    assert "key" not in found
    assert "text" not in found
    assert said == (
        f"{tmp_path}: text_emb holds embeddings of captions, one an image, and is read as caption_emb, not as text, the"
        " classes (--names text=caption_emb takes it)",
    )


def test_a_folder_without_arrays_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder without \.npy files; name the file of a table in it"):
        columns(tmp_path, IDS)
