import io
import json
import re

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
    table(2, size=[1, 2]).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        ValueError, match=r"a\.parquet: has no column 'img'; there are image \(Binary\), label \(String"
    ):
        dataset(tmp_path, image="img")
    with pytest.raises(ValueError, match="column 'size' is Int64; images are bytes, a struct with"):
        dataset(tmp_path, image="size")
    with pytest.raises(ValueError, match="has no column 'kind'; there are image"):
        dataset(tmp_path, label="kind")
    with pytest.raises(ValueError, match="column 'size' is Int64; captions are texts"):
        dataset(tmp_path, caption="size")
    pl.DataFrame({"size": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"has no column of images .*; there are size \(Int64\)"):
        dataset(tmp_path)


def test_columns_are_found_by_name_and_type_and_said(tmp_path):
    frame = pl.DataFrame({"Text": ["one", "two"], "size": [1, 2], "picture": [png(0), png(1)]})
    frame.write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path)
    assert found.captions == ["one", "two"]
    assert int(found.read(1)[0, 0, 0]) == 1
    assert found.assumed == ("images are read from column 'picture'", "captions are read from column 'Text'")
    assert re.search(r"a\.parquet: has no column of labels .*; there are Text \(String\), size", found.label_problem)
    frame.rename({"picture": "x", "size": "target"}).write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path, classes=["zero", "one", "two"])
    assert found.labels.tolist() == [1, 2]
    assert "labels are read from column 'target'" in found.assumed


def test_of_several_captions_the_first_that_says_something_is_taken(tmp_path):
    captions = [["a cat", "a pet"], ["", "a dog"], [], None]
    pl.DataFrame({"image": [png(0)] * 4, "captions": captions}).write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path)
    assert found.captions == ["a cat", "a dog", "", ""]
    assert found.assumed[-1] == "column 'captions' holds lists of captions: the first of each is taken"


def test_images_may_lie_beside_the_file(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.png").write_bytes(png(7))
    paths = ["photos/0.png", "photos/1.png", "https://example.org/2.png"]
    for column in (paths, [{"bytes": None, "path": path} for path in paths], [{"path": path} for path in paths]):
        pl.DataFrame({"image": column, "label": ["a", "a", "b"]}).write_parquet(tmp_path / "a.parquet")
        found = dataset(tmp_path)
        assert int(found.read(0)[0, 0, 0]) == 7
        with pytest.raises(UnreadableImage, match=r"a\.parquet row 1: its image .*photos/1\.png is not there"):
            found.read(1)
        with pytest.raises(UnreadableImage, match=r"a\.parquet row 2: its image .*2\.png is a link: download"):
            found.read(2)


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt64, pl.Float32, pl.Float64, pl.String, pl.List(pl.Int64)])
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind):
    labels = [[0], [2], [1]] if kind == pl.List(pl.Int64) else [0, 2, 1]
    frame = pl.DataFrame({"image": [png(i) for i in range(3)], "label": pl.Series(labels).cast(kind)})
    frame.write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path, classes=["ant", "bee", "cow"])
    assert found.labels.tolist() == [0, 2, 1]
    assert found.classes == ["ant", "bee", "cow"]
    assert found.label_problem is None
    assert "the labels are numbers: say what they mean" in dataset(tmp_path).label_problem


@pytest.mark.parametrize(
    ("labels", "words", "places", "problem"),
    [
        (["dog", "cat"], {"classes": ["cat"]}, [-1, 0], "a.parquet row 0: label 'dog' is not among the 1 classes: cat"),
        ([0, 7], {"classes": ["cat", "dog"]}, [0, -1], "a.parquet row 1: label 7 is outside the 2 classes"),
        ([-1, 1], {"classes": ["cat", "dog"]}, [-1, 1], "a.parquet row 0: label -1 is outside the 2 classes"),
        ([1, None], {"classes": ["cat", "dog"]}, [1, -1], "a.parquet row 1: has no label"),
        ([0.5, 1.0], {"classes": ["cat", "dog"]}, [-1, 1], "a.parquet row 0: label 0.5 is no whole number"),
        ([[0, 1], [1]], {"classes": ["cat", "dog"]}, [-1, -1], "row 0: label [0, 1] is neither a name nor a number"),
        ([0, 1], {"classes": ["cat", "cat "]}, [-1, -1], "classes 0 and 1 are both called 'cat'"),
        (["a b", "a_b"], {}, [0, 1], "classes 0 and 1 are both called 'a b'"),
        ([None, None], {"classes": ["cat"]}, [-1, -1], "has no labels"),
        ([0, 1], {"label": None}, [-1, -1], "is read without labels"),
    ],
)
def test_what_is_wrong_with_labels_is_told_to_whoever_needs_them(tmp_path, labels, words, places, problem):
    pl.DataFrame({"image": [png(0), png(1)], "label": labels}).write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path, **words)
    assert problem in found.label_problem
    assert found.labels.tolist() == places


def test_underscores_in_class_names_are_said(tmp_path):
    pl.DataFrame({"image": [png(0)], "label": ["guinea_pig"]}).write_parquet(tmp_path / "a.parquet")
    found = dataset(tmp_path)
    assert found.classes == ["guinea_pig"]
    assert found.assumed == ("prompts hold the underscores of class names, as in 'guinea_pig'",)


def test_files_whose_headers_name_other_classes_are_refused(tmp_path):
    for name, classes in (("a", ["ant", "bee"]), ("b", ["bee", "ant"])):
        header = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
        frame = pl.DataFrame({"image": [png(0), png(1)], "label": [0, 1]})
        frame.write_parquet(tmp_path / f"{name}.parquet", metadata={"huggingface": json.dumps(header)})
    assert dataset(tmp_path, files=["b.parquet"]).classes == ["bee", "ant"]
    with pytest.raises(ValueError, match=r"b\.parquet: its header names other classes than that of a\.parquet"):
        dataset(tmp_path)


def test_files_are_known_by_their_content(tmp_path):
    table(2).write_parquet(tmp_path / "part-0")
    (tmp_path / "._part-1.parquet").write_bytes(b"attributes")
    (tmp_path / "notes.txt").write_text("about it")
    found = dataset(tmp_path)
    assert found.names == ["part-0 row 0", "part-0 row 1"]
    assert found.passed_over == {".parquet (hidden)": 1, ".txt": 1}


def test_missing_empty_and_truncated_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet file"):
        dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"b\.parquet: no such file"):
        dataset(tmp_path, files=["b.parquet"])
    table(2).clear().write_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: has no rows"):
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


@pytest.mark.parametrize(("name", "other"), [("x[1].parquet", "x1.parquet"), ("x*.parquet", "x0.parquet")])
def test_the_name_of_a_file_or_folder_is_no_pattern(tmp_path, name, other):
    for folder in ("of[ab]", "ofa"):
        (tmp_path / folder).mkdir()
        table(2).write_parquet(tmp_path / folder / other)
    table(3).with_columns(label=pl.lit("own")).write_parquet(tmp_path / "of[ab]" / name)
    found = dataset(tmp_path / "of[ab]", files=[name])
    assert (found.classes, len(found.labels)) == (["own"], 3)
    assert found.read(2)[0, 0, 0] == 2
