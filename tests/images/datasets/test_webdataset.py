import io
import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.datasets.webdataset import dataset


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def pack(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_numbers_and_class_names_are_labels(tmp_path):
    pack(
        tmp_path / "0.tar",
        [("s/a.png", png(1)), ("s/a.cls", b"1\n"), ("s/b.x.png", png(9)), ("s/b.png", png(2)), ("s/b.cls", b"0")],
    )
    pack(tmp_path / "1.tar", [("c.jpg", png(3)), ("c.json", json.dumps({"label": 1}).encode())])
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    found = dataset(tmp_path)
    assert found.classes == ["cat", "dog"]
    assert found.labels.tolist() == [1, 0, 1]
    assert found.names == ["0.tar/s/a", "0.tar/s/b", "1.tar/c"]
    assert [int(found.read(i)[0, 0, 0]) for i in range(3)] == [1, 2, 3]
    pack(tmp_path / "1.tar", [("c.png", png(3)), ("c.cls", b"dog")])
    assert dataset(tmp_path, files=["1.tar"], classes=["cat", "dog"]).labels.tolist() == [1]


def test_captions_come_from_text_or_json(tmp_path):
    pack(
        tmp_path / "0.tar",
        [("a.png", png(1)), ("a.txt", b"a cat\n"), ("b.png", png(1)), ("b.json", b'{"caption": "a dog"}')],
    )
    found = dataset(tmp_path)
    assert found.captions == ["a cat", "a dog"]
    assert found.labels.tolist() == [-1, -1]


def test_nothing_outside_the_tar_is_touched(tmp_path):
    path = tmp_path / "0.tar"
    pack(path, [("../../evil.png", png(1)), ("/etc/a.png", png(2)), ("../../evil.cls", b"x"), ("/etc/a.cls", b"x")])
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = dataset(tmp_path)
    assert len(found.labels) == 2  # the link is passed over; paths are only names
    assert [p.name for p in tmp_path.iterdir()] == ["0.tar"]


def test_our_reading_equals_the_webdataset_library(tmp_path):
    library = pytest.importorskip("webdataset")
    rng = np.random.default_rng(0)
    pack(
        tmp_path / "0.tar",
        [p for i in range(5) for p in ((f"d/{i}.png", png(rng.integers(256))), (f"d/{i}.cls", str(i % 2).encode()))],
    )
    found = dataset(tmp_path, classes=["x", "y"])
    theirs = list(library.WebDataset(str(tmp_path / "0.tar"), shardshuffle=False).decode("rgb8").to_tuple("png", "cls"))
    assert [label for _, label in theirs] == found.labels.tolist()
    assert all(np.array_equal(image, found.read(i)) for i, (image, _) in enumerate(theirs))


def test_truncated_compressed_and_missing_tars_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.tar file"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.cls", b"x"), ("b.png", png(2) * 20), ("b.cls", b"x")])
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:3000])
    with pytest.raises(ValueError, match=r"0\.tar: .*truncated"):
        dataset(tmp_path)
    (tmp_path / "0.tar").write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(ValueError, match=r"0\.tar: not a plain tar"):
        dataset(tmp_path)


def test_what_is_wrong_with_labels_or_captions_is_told_to_whoever_needs_them(tmp_path):
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.cls", b"x"), ("b.png", png(2))])
    found = dataset(tmp_path)
    assert found.labels.tolist() == [0, -1]
    assert found.label_problem == "0.tar/b: has no label"
    assert found.captions is None
    assert found.caption_problem == "0.tar/a: has no caption: neither a txt nor a caption in a json"
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.txt", b"x"), ("b.png", png(2))])
    assert dataset(tmp_path).caption_problem.startswith("0.tar/b: has no caption")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([b"0", b"-1", b"1", b"-1"], r"0.tar/1: label -1 is outside the 2 classes \(2 such images\)"),
        ([b"0", b"1", b"2", b"0"], "0.tar/2: label 2 is outside the 2 classes"),
        ([b"0", b"0.5", b"1", b"0"], "0.tar/1: label 0.5 is no whole number"),
        ([b"cat", b"dog", b"-1", b"cow"], r"0.tar/2: label '-1' is not among the 2 classes: cat, dog \(2 such images"),
    ],
)
def test_a_label_that_is_no_class_is_named_with_its_sample(tmp_path, labels, problem):
    pack(tmp_path / "0.tar", [m for i, cls in enumerate(labels) for m in ((f"{i}.png", png(i)), (f"{i}.cls", cls))])
    (tmp_path / "classnames.txt").write_text("cat\ndog\n\n")
    assert re.match(problem, dataset(tmp_path).label_problem)


def test_an_odd_member_is_named(tmp_path):
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.json", b"{")])
    with pytest.raises(ValueError, match=r"a\.json: no JSON"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.png", png(1))])
    with pytest.raises(ValueError, match=r"a\.png is there twice"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", b"junk"), ("a.cls", b"x")])
    with pytest.raises(UnreadableImage, match=r"0\.tar/a"):
        dataset(tmp_path).read(0)


def test_tars_are_known_by_their_content_and_other_files_beside_them_are_counted(tmp_path):
    pack(tmp_path / "shard-0", [("a.png", png(1)), ("a.cls", b"x")])
    pack(tmp_path / "._0.tar", [("b.png", png(1)), ("b.cls", b"y")])
    (tmp_path / "README.md").write_text("about it")
    found = dataset(tmp_path)
    assert found.names == ["shard-0/a"]
    assert found.passed_over == {".tar (hidden)": 1, ".md": 1}


def test_a_tar_without_images_is_empty(tmp_path):
    pack(tmp_path / "0.tar", [("a.txt", b"x")])
    with pytest.raises(ValueError, match=r"0\.tar: holds no images \(0 read, 1 passed over: \.txt 1\)"):
        dataset(tmp_path)
