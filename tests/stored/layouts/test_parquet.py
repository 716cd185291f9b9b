"""Parquet files, as polars writes them (and pyarrow, where it is there)."""

import numpy as np
import polars as pl
import pytest

from reliquant.files.bounded import TooMuch
from reliquant.files.digests import DamagedFile
from reliquant.stored import frames, spilled
from reliquant.stored.layouts.parquet import columns

RNG = np.random.default_rng(0)
EMB = RNG.normal(size=(300, 5)).astype(np.float32)


def frame():
    lists = pl.Series("img_emb", EMB.tolist(), dtype=pl.List(pl.Float32))
    return pl.DataFrame(
        {
            "img_emb": lists,
            "text_emb": lists.cast(pl.Array(pl.Float64, 5)),
            "label": np.arange(300, dtype=np.int16),
            "key": [f"{i}" for i in range(300)],
            "wrong": np.arange(300) % 2 == 0,
            "score": EMB[:, 0],
            "taken": pl.Series([None] * 300, dtype=pl.Datetime),
            **{f"prob_{j}": EMB[:, j] for j in range(5)},
        }
    )


@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_columns_are_those_of_polars(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(spilled, "IN_MEMORY", in_memory)
    monkeypatch.setattr(frames, "BLOCK", 5 * 70)
    frame().write_parquet(tmp_path / "x.parquet", row_group_size=110)
    found = columns(tmp_path / "x.parquet")
    for name in ("img_emb", "text_emb", "prob"):
        assert found[name].shape == (300, 5)
        assert np.array_equal(found[name][:], EMB)
        assert np.array_equal(found[name][60:80], EMB[60:80])
        assert np.array_equal(found[name][np.array([299, 3])], EMB[[299, 3]])
    assert found["label"][:].tolist() == list(range(300))
    assert found["key"][5:7].tolist() == ["5", "6"]
    assert found["wrong"][:3].tolist() == [1, 0, 1]
    assert found["score"].dtype == np.float32
    assert found["taken"].given is None
    assert not [name for name in found if name.startswith("prob_")]


def test_half_precision_and_what_pyarrow_writes_is_read(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    values = pa.array(EMB.astype(np.float16).reshape(-1))
    table = pa.table({"image_features": pa.FixedSizeListArray.from_arrays(values, 5), "id": pa.array(range(300))})
    pq.write_table(table, tmp_path / "x.parquet")
    found = columns(tmp_path / "x.parquet")
    assert np.array_equal(found["image_features"][:], EMB.astype(np.float16).astype(np.float32))
    assert found["id"][:3].tolist() == [0, 1, 2]


def test_embeddings_of_several_widths_are_refused_naming_the_first(tmp_path):
    pl.DataFrame({"image": [[1.0, 2.0], [1.0, 2.0], [1.0]]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet: image of row 2 has 1 numbers, and row 0 2"):
        columns(tmp_path / "x.parquet")


def test_what_is_missing_is_told_or_becomes_nan(tmp_path):
    pl.DataFrame({"image": [[1.0, None], [1.0, 2.0]], "label": [3, None]}).write_parquet(tmp_path / "x.parquet")
    found = columns(tmp_path / "x.parquet")
    assert np.isnan(found["image"][:]).tolist() == [[False, True], [False, False]]
    with pytest.raises(ValueError, match=r"x\.parquet: row 1 has no label: 1 such rows"):
        found["label"][:]


def test_a_damaged_file_is_refused_by_name(tmp_path):
    frame().write_parquet(tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFile, match=r"x\.parquet: truncated, damaged or not parquet"):
        columns(tmp_path / "x.parquet")


def test_an_array_that_is_null_in_every_row_is_no_bomb(tmp_path):
    wide = pl.Series("image", [None] * 100_000, dtype=pl.Array(pl.Float32, 2000))
    pl.DataFrame({"image": wide}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(TooMuch, match=r"x\.parquet: .* bytes of"):
        columns(tmp_path / "x.parquet")
