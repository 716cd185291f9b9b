import io
import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant.images import parquet
from reliquant.images.dataset import UnreadableImage
from reliquant.images.datasets.parquet import dataset


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def table(n, **more):
    return pl.DataFrame(
        {"image": [png(i) for i in range(n)], "label": ["cat" if i % 2 else "dog" for i in range(n)], **more}
    )


def test_rows_of_several_files_come_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "CHUNK_BYTES", 200)  # so that chunks end inside the files
    table(5).write_parquet(tmp_path / "a.parquet")
    table(4).write_parquet(tmp_path / "b.parquet")
    found = dataset(tmp_path)
    assert found.classes == ["cat", "dog"]
    assert found.labels.tolist() == [1, 0, 1, 0, 1, 1, 0, 1, 0]
    assert found.names[6] == "b.parquet row 1"
    assert [int(found.read(i)[0, 0, 0]) for i in (8, 0, 4, 5, 3)] == [3, 0, 4, 0, 3]


def test_hugging_face_columns_and_header_are_understood(tmp_path):
    frame = table(3).with_columns(
        pl.struct(pl.col("image").alias("bytes"), path=pl.lit("p")).alias("image"), label=pl.Series([0, 1, 0])
    )
    features = {"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    frame.write_parquet(tmp_path / "a.parquet", metadata={"huggingface": json.dumps({"info": {"features": features}})})
    found = dataset(tmp_path)
    assert found.classes == ["ant", "bee"]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.read(2)[0, 0, 0] == 2


def test_columns_are_named_by_words(tmp_path):
    frame = table(2, text=["one", "two"], key=["k0", "k1"]).rename({"image": "jpg", "label": "y"})
    frame.write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path, image="jpg", label="y", name="key", caption="text")
    assert found.captions == ["one", "two"]
    assert found.names == ["k0", "k1"]
    pairs = dataset(tmp_path, image="jpg", label=None, caption="text")
    assert pairs.labels.tolist() == [-1, -1]
    assert pairs.classes == []


def test_a_wrong_column_lists_those_that_are_there(tmp_path):
    table(2).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: has no column 'img'; there are image, label"):
        dataset(tmp_path, image="img")
    with pytest.raises(ValueError, match="column 'label' is String; images are binary"):
        dataset(tmp_path, image="label")


def test_a_label_outside_the_classes_names_its_row(tmp_path):
    table(2).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet row 0: label 'dog' is not among the 1 classes: cat"):
        dataset(tmp_path, classes=["cat"])
    table(2).with_columns(label=pl.Series([0, 7])).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet row 1: label 7 is outside the 2 classes"):
        dataset(tmp_path, classes=["cat", "dog"])
    with pytest.raises(ValueError, match="the labels are numbers"):
        dataset(tmp_path)


def test_missing_empty_and_truncated_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet file"):
        dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"b\.parquet: no such file"):
        dataset(tmp_path, files=["b.parquet"])
    table(2).clear().write_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="the dataset is empty"):
        dataset(tmp_path, files=["b.parquet"])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing more")
    with pytest.raises(ValueError, match=r"b\.parquet: not a parquet file, or truncated"):
        dataset(tmp_path, files=["b.parquet"])


def test_an_unreadable_or_absent_image_names_its_row(tmp_path):
    frame = pl.DataFrame({"image": [b"junk", None, png(0)], "label": ["a", "a", "a"]})
    frame.write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path)
    with pytest.raises(UnreadableImage, match=r"a\.parquet row 0: cannot be decoded"):
        found.read(0)
    with pytest.raises(UnreadableImage, match=r"a\.parquet row 1: has no image"):
        found.read(1)
