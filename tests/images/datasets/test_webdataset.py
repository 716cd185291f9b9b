import io
import json
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


def test_an_odd_sample_is_named(tmp_path):
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.cls", b"x"), ("b.png", png(2))])
    with pytest.raises(ValueError, match=r"0\.tar/b: has no label"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.txt", b"x"), ("b.png", png(2))])
    with pytest.raises(ValueError, match=r"0\.tar/b: has no caption"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.json", b"{")])
    with pytest.raises(ValueError, match=r"a\.json: not JSON"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", png(1)), ("a.png", png(1))])
    with pytest.raises(ValueError, match=r"a\.png is there twice"):
        dataset(tmp_path)
    pack(tmp_path / "0.tar", [("a.png", b"junk"), ("a.cls", b"x")])
    with pytest.raises(UnreadableImage, match=r"0\.tar/a"):
        dataset(tmp_path).read(0)


def test_a_tar_without_images_is_empty(tmp_path):
    pack(tmp_path / "0.tar", [("a.txt", b"x")])
    with pytest.raises(ValueError, match="empty"):
        dataset(tmp_path)
