"""A path or an entry is opened for what it holds, whatever its name, and for what it is needed."""

import io
import json
import tarfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.keys import photograph_key
from reliquant.images.open import named_images, open_images
from reliquant.plugins import ConfigError

CLASSES = ["cat", "dog"]


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((9, 12, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def data(tmp_path):
    """Eight images with classes and captions, as class folders, a flat folder, parquet, tar and CSV with odd names."""
    (tmp_path / "flat-1.0").mkdir()
    rows = []
    with tarfile.open(tmp_path / "shard-000", "w") as tar:
        for i in range(8):
            (tmp_path / "tree.tar" / CLASSES[i % 2]).mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree.tar" / CLASSES[i % 2] / f"{i}.png").write_bytes(png(i))
            (tmp_path / "flat-1.0" / f"{i}.jfif").write_bytes(png(i))
            text = f"a {CLASSES[i % 2]} of {i}"
            rows.append({"image": png(i), "label": CLASSES[i % 2], "caption": text})
            for suffix, part in (("png", png(i)), ("cls", CLASSES[i % 2].encode()), ("txt", text.encode())):
                info = tarfile.TarInfo(f"{i}.{suffix}")
                info.size = len(part)
                tar.addfile(info, io.BytesIO(part))
    pl.DataFrame(rows).write_parquet(tmp_path / "table.v2")
    lines = [f"flat-1.0/{i}.jfif,{CLASSES[i % 2]},a {CLASSES[i % 2]} of {i}" for i in range(8)]
    (tmp_path / "list.txt").write_text("\n".join(["path,label,caption", *lines]))
    return tmp_path


@pytest.mark.parametrize("name", ["tree.tar", "table.v2", "shard-000", "list.txt"])
def test_every_form_of_labelled_images_is_opened(data, name):
    found = open_images(str(data / name), "8-squash-bicubic", role="labelled")
    assert found.meta["classes"] == CLASSES
    assert sorted(zip(found.images[:, 0, 0, 0].tolist(), found.labels.tolist(), strict=True)) == [
        (i, i % 2) for i in range(8)
    ]
    entry = found.meta["entry"] | {"root": str(data if "files" in found.meta["entry"] else data / name)}
    again = open_images(entry, "8-squash-bicubic", role="labelled")
    assert np.array_equal(again.images, found.images)
    assert again.meta == found.meta


@pytest.mark.parametrize("name", ["table.v2", "shard-000", "list.txt"])
def test_every_form_of_pairs_is_opened(data, name):
    found = open_images(str(data / name), "8-squash-bicubic", role="pairs")
    assert found.meta["captions"] == [f"a {CLASSES[i % 2]} of {i}" for i in range(8)]


@pytest.mark.parametrize("name", ["tree.tar", "flat-1.0", "table.v2", "shard-000", "list.txt", "."])
def test_any_images_may_be_out_of_distribution(data, name):
    (data / "tree.tar" / "top.png").write_bytes(png(8))
    there = {"tree.tar": 9, ".": 17}.get(name, 8)
    if name == ".":
        (data / "table.v2").unlink()
        (data / "shard-000").unlink()
    assert len(open_images(str(data / name), "8-squash-bicubic", role="ood").images) == there


def test_labels_do_not_matter_out_of_distribution_and_are_refused_where_they_do(data):
    frame = pl.DataFrame({"image": [png(0), png(1)], "label": [-1, 7]})
    frame.write_parquet(data / "hidden.parquet")
    found = open_images(str(data / "hidden.parquet"), "8-squash-bicubic", role="ood")
    assert found.labels.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="hidden: the labels are numbers: say what they mean"):
        open_images(str(data / "hidden.parquet"), "8-squash-bicubic", role="labelled")
    entry = {"dataset": "parquet", "root": str(data), "files": ["hidden.parquet"], "classes": CLASSES}
    with pytest.raises(ValueError, match=r"hidden.parquet row 0: label -1 is outside the 2 classes \(2 such images"):
        open_images(entry, "8-squash-bicubic", role="labelled")


def test_a_flat_folder_needs_a_word_or_a_role_and_says_so(data):
    with pytest.raises(ValueError, match=r"flat-1\.0: holds no folders; .*`classes: false`"):
        open_images(str(data / "flat-1.0"), "8-squash-bicubic", role="labelled")
    entry = f"{{dataset: image_folder, root: {data}, folder: flat-1.0, classes: false}}"
    assert open_images(entry, "8-squash-bicubic").meta["label_problem"] == "its images are read without classes"
    with pytest.raises(ValueError, match=r"flat-1\.0: its images are read without classes"):
        open_images(entry, "8-squash-bicubic", role="labelled")


def test_pairs_without_captions_are_refused_with_what_is_there(data):
    pl.DataFrame({"image": [png(0)], "words": ["x"]}).write_parquet(data / "x.parquet")
    with pytest.raises(ValueError, match=r"no column of captions .*; there are image \(Binary\), words \(String\)"):
        open_images(str(data / "x.parquet"), "8-squash-bicubic", role="pairs")
    with pytest.raises(ValueError, match=r"tree\.tar: a folder of image files has no captions; pairs have captions"):
        open_images(str(data / "tree.tar"), "8-squash-bicubic", role="pairs")
    entry = {"dataset": "image_folder", "root": str(data / "tree.tar")}
    with pytest.raises(ValueError, match=r"tree\.tar: image files in folders have no captions; pairs have captions"):
        open_images(entry, "8-squash-bicubic", role="pairs")


def test_a_folder_of_shards_is_read_as_what_they_are(data):
    (data / "shards").mkdir()
    (data / "shard-000").rename(data / "shards" / "0")
    (data / "shards" / "nshards.txt").write_text("1")
    (data / "shards" / "._0").write_bytes(b"\x00\x05\x16\x07")
    found = open_images(str(data / "shards"), "8-squash-bicubic", role="labelled")
    assert found.meta["entry"] == {"dataset": "webdataset"}
    assert found.meta["passed_over"] == {".txt": 1, "(no suffix) (hidden)": 1}
    (data / "table.v2").rename(data / "shards" / "1")
    with pytest.raises(ValueError, match="shards: holds tars and parquet files: name one"):
        open_images(str(data / "shards"), "8-squash-bicubic")


def test_what_is_passed_over_assumed_or_skipped_is_said_and_kept(data, capsys):
    (data / "tree.tar" / "cat" / "notes.txt").write_text("words")
    (data / "tree.tar" / "cat" / "bad.png").write_bytes(b"<html>")
    (data / "tree.tar" / "top.png").write_bytes(png(1))
    with pytest.raises(UnreadableImage, match=r"cat/bad\.png: cannot be decoded: .* a web page"):
        open_images(str(data / "tree.tar"), "8-squash-bicubic")
    capsys.readouterr()
    found = open_images(str(data / "tree.tar"), "8-squash-bicubic", unreadable="skip")
    assert found.meta["passed_over"] == {".txt": 1, "(image outside the class folders)": 1}
    assert found.meta["skipped"] == ["cat/bad.png"]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "tree.tar: 9 read, 2 passed over: (image outside the class folders) 1, .txt 1"
    assert said[1].startswith("tree.tar: 1 of 9 images cannot be read and are skipped; the first: ")
    pl.DataFrame({"photo": [png(0)], "text": ["x"]}).write_parquet(data / "x.parquet")
    found = open_images(str(data / "x.parquet"), "8-squash-bicubic", role="pairs")
    assert found.meta["assumed"] == ["images are read from column 'photo'", "captions are read from column 'text'"]
    assert "x: captions are read from column 'text'" in capsys.readouterr().err


def test_nothing_is_said_and_no_key_is_added_where_all_is_plain(data, capsys):
    found = open_images(str(data / "tree.tar"), "8-squash-bicubic")
    assert set(found.meta) == {"n", "classes", "templates", "entry", "form", "skipped", "sha256", "arrays"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (png(0), "x: is a PNG image; it must be a folder of images, a parquet file"),
        (b"PK\x03\x04....", "x: is a zip archive"),
        (b"\x1f\x8b\x08...", "x: is compressed by gzip: decompress it"),
        (b"\x93NUMPY\x01", r"x: is an array of NumPy \(.npy\)"),
        (b"", "x: is an empty file"),
        (b"just words\n", "x: has no lines but the first, 'just words'"),
        (b'{"a": 1}\n{"a": 2}\n', "x: has no column of paths"),
    ],
)
def test_other_files_are_refused_with_what_they_are(tmp_path, content, told):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        open_images(str(tmp_path / "x"), "8-squash-bicubic")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("{dataset: [", "no YAML"),
        ("{data: x}", "must be a mapping with the key 'dataset'"),
        ("{1}", "must be a mapping with the key 'dataset'"),
        ("{dataset: lab, root: [a]}", "must be a mapping such as"),
        ("{dataset: image_folder, templates: ['a {c}']}", r"templates: template 'a \{c\}' must hold \{\} once"),
        ("{dataset: image_folder, templates: []}", "templates: must be a list of at least one"),
        ("{dataset: image_folder, classes: [a, a]}", "classes: classes 0 and 1 are both called 'a'"),
        ("{dataset: image_folder, clases: [a]}", "clases: unknown word"),
        ("{dataset: no_such.module}", "there is no such Python module"),
    ],
)
def test_a_wrong_entry_is_refused_as_in_a_study(word, told):
    with pytest.raises(ConfigError, match=told):
        open_images(word, "8-squash-bicubic")


def test_images_have_the_name_of_their_folder_file_or_dataset(data):
    names = {word: named_images(str(data / word)).name for word in ("tree.tar", "flat-1.0", "table.v2", "shard-000")}
    assert names == {"tree.tar": "tree.tar", "flat-1.0": "flat-1.0", "table.v2": "table", "shard-000": "shard-000"}
    assert named_images("{dataset: lab, task: shape, images: 5}").name == "lab"
    assert named_images(f"{{dataset: image_folder, root: {data}/tree.tar/}}").name == "tree.tar"


def test_native_images_stay_as_they_are(data):
    entry = {"dataset": "csv", "root": str(data), "files": ["list.txt"], "native": True}
    assert open_images(entry, "8-squash-bicubic").images.shape == (8, 9, 12, 3)


def test_opened_images_have_the_keys_of_their_photographs(data):
    entry = {"dataset": "csv", "root": str(data), "files": ["list.txt"]}
    fitted, native = (open_images({**entry, "native": native}, "8-squash-bicubic") for native in (False, True))
    assert fitted.photographs.tolist() == native.photographs.tolist() == [photograph_key(i) for i in native.images]


def test_the_path_of_an_image_that_is_not_there_is_told_before_its_labels(tmp_path):
    frame = pl.DataFrame({"image": [{"bytes": None, "path": "photos/0.png"}], "label": [0]})
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UnreadableImage, match=r"a\.parquet row 0: its image .*photos/0\.png is not there"):
        open_images(str(tmp_path / "a.parquet"), "8-squash-bicubic", role="labelled")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.png").write_bytes(png(3))
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    assert open_images(str(tmp_path / "a.parquet"), "8-squash-bicubic", role="labelled").images[0, 0, 0, 0] == 3
