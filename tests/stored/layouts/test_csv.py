"""Text tables, as polars and spreadsheets write them."""

import numpy as np
import polars as pl
import pytest

from reliquant.files.bounded import TooMuch
from reliquant.files.digests import DamagedFile
from reliquant.stored import frames, spilled
from reliquant.stored.layouts.csv import columns

EMB = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_columns_are_those_that_were_written(tmp_path, monkeypatch, separator, in_memory):
    monkeypatch.setattr(spilled, "IN_MEMORY", in_memory)
    monkeypatch.setattr(frames, "BLOCK", 12 * 70)
    words = {f"img_emb_{j}": EMB[:, j] for j in range(12)}
    frame = pl.DataFrame({"file": [f"{i}.jpg" for i in range(200)], "label": np.arange(200), **words})
    frame = frame.with_columns(conf=pl.Series(EMB[:, 0]), name=pl.Series(["cat", "dog"] * 100))
    frame.write_csv(tmp_path / "x.csv", separator=separator)
    found = columns(tmp_path / "x.csv")
    assert list(found) == ["file", "label", "conf", "name", "img_emb"]
    assert np.array_equal(found["img_emb"].exact(slice(None)), EMB)
    assert np.array_equal(found["img_emb"][50:90], EMB[50:90])
    assert found["label"].dtype == np.int64
    assert found["label"][3:5].tolist() == [3, 4]
    assert np.array_equal(found["conf"][:], EMB[:, 0])
    assert found["name"][:2].tolist() == ["cat", "dog"]


def test_spaces_and_a_byte_order_mark_are_no_content(tmp_path):
    (tmp_path / "x.csv").write_bytes("\ufeffid, label \n a , 1\n b , 2\n".encode())
    found = columns(tmp_path / "x.csv")
    assert found["id"][:].tolist() == ["a", "b"]
    assert found["label"][:].tolist() == [1, 2]


def test_columns_called_by_numbers_alone_are_one(tmp_path):
    (tmp_path / "x.csv").write_text("label,0,1,2\n1,0.2,0.5,0.3\n0,1,0,0\n")
    assert columns(tmp_path / "x.csv")["0..2"][:].tolist() == [pytest.approx([0.2, 0.5, 0.3]), [1, 0, 0]]


def test_numbered_columns_of_words_stay_apart(tmp_path):
    (tmp_path / "x.csv").write_text("top_0,top_1,label\ncat,dog,1\n")
    assert set(columns(tmp_path / "x.csv")) == {"top_0", "top_1", "label"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "e_0,e_1\n1,1e999\n" + "1,2\n" * 200 + "x,2\n",
            r"x\.csv: 'x' in line 203 is no number, unlike others of e_0$",
        ),
        ("note,e_0,e_1\n" + '"a\nb",1,2\n' * 200 + "c,1,y\n", r"x\.csv: 'y' in line 402 is no number, unlike .* e_1$"),
        ("e_0;e_1\n" + "1;2\n" * 200 + "1;2;3\n", r"x\.csv: line 202 has 3 fields, and the header 2$"),
        ("label,label\n1,2\n", "has two columns 'label' in its first line"),
        ("label\n", "has no lines but the first"),
        ("", "empty"),
        ("\x1f\x8b", "is compressed"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path, content, told):
    (tmp_path / "x.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises((DamagedFile, ValueError), match=told) as stop:
        columns(tmp_path / "x.csv")["e"][:]
    assert str(tmp_path / "x.csv") in str(stop.value)


def test_a_cell_that_is_empty_is_nan_among_embeddings(tmp_path):
    (tmp_path / "x.csv").write_text("e_0,e_1\n1,2\n" * 1 + "3,4\n" * 150 + ",2\n")
    assert np.isnan(columns(tmp_path / "x.csv")["e"][-1:]).tolist() == [[True, False]]


def test_more_cells_than_a_file_of_its_size_has_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text(",".join(map(str, range(9000))) + "\n" * 2000)
    with pytest.raises(TooMuch, match="cells, most of them empty"):
        columns(tmp_path / "x.csv")


def test_blank_lines_are_none_and_a_missing_number_is_told(tmp_path):
    (tmp_path / "x.csv").write_text("id,label,e_0,e_1\na,1,1,2\n\nb,2,3,4\n\n")
    found = columns(tmp_path / "x.csv")
    assert found["label"][:].tolist() == [1, 2]
    assert found["e"][:].tolist() == [[1, 2], [3, 4]]
    (tmp_path / "x.csv").write_text("id,label\na,1\nb,\n")
    with pytest.raises(ValueError, match=r"x\.csv: row 1 has no label: 1 such rows"):
        columns(tmp_path / "x.csv")["label"][:]


def test_a_table_of_embeddings_alone_is_read(tmp_path):
    pl.DataFrame({f"image_{j}": EMB[:, j] for j in range(12)}).write_csv(tmp_path / "x.csv")
    assert np.array_equal(columns(tmp_path / "x.csv")["image"][:], EMB)
