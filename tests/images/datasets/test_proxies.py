"""CC3M, YFCC and SBU, read from the files that a person has."""

import io
import json
import tarfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant import plugins
from reliquant.files.artifacts import read_sealed_json, save_sealed_json
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import load, prepare
from reliquant.quantization.held_out import make_pairs

SETS = ["cc3m", "yfcc", "sbu"]


def jpeg(value):
    file = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def pack(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def read(name, root, **words) -> Dataset:
    return plugins.load("dataset", {"dataset": name, **words})(root)


@pytest.fixture
def tars(tmp_path):
    """Two tars as img2dataset writes them: image, txt and json with a status and a link."""
    for part in range(2):
        members = []
        for i in range(3):
            key, text = f"{part:05}{i:04}", f"picture {part}{i}" if i != 1 else "  "
            about = {"caption": text, "url": f"http://example.org/{key}.jpg", "status": "success"}
            members += [(f"{key}.jpg", jpeg(10 * part + i)), (f"{key}.txt", text.encode())]
            members += [(f"{key}.json", json.dumps(about).encode())]
        pack(tmp_path / f"{part:05}.tar", members)
    return tmp_path


@pytest.mark.parametrize("name", SETS)
def test_tars_and_parquet_files_give_the_same_pairs(name, tars, tmp_path_factory):
    found = read(name, tars)
    assert found.captions == ["picture 00", "picture 02", "picture 10", "picture 12"]  # blank ones are left out
    assert [int(found.read(i)[0, 0, 0]) for i in range(4)] == [0, 2, 10, 12]
    assert found.names == ["00000.tar/000000000", "00000.tar/000000002", "00001.tar/000010000", "00001.tar/000010002"]
    folder = tmp_path_factory.mktemp("parquet")
    rows = [{"jpg": jpeg(v), "text": t} for v, t in ((0, "picture 00"), (1, None), (2, "picture 02"))]
    pl.DataFrame(rows).write_parquet(folder / "a.parquet")
    other = read(name, folder, image="jpg", caption="text")
    assert other.captions == found.captions[:2]
    assert np.array_equal(other.read(1), found.read(1))
    assert read(name, tars, images=2).captions == ["picture 00", "picture 10"]
    assert read(name, tars, files=["00001.tar"]).captions == ["picture 10", "picture 12"]


def test_which_pairs_a_variant_saw_is_recorded(tars, tmp_path):
    entry = {"dataset": "cc3m"}
    prepare(read("cc3m", tars), tmp_path / "p", form="10-shortest-bicubic", entry=entry)
    pairs = make_pairs(load(tmp_path / "p"), 2, 0, "cpu", held_out=0.0)
    proxy, which = pairs.proxy, pairs.which
    assert which["names"] == [["00000.tar/000000000", "00000.tar/000000002", "00001.tar/000010000",
                               "00001.tar/000010002"][i] for i in which["indices"]]  # fmt: skip
    assert which["dataset"] == entry
    again = make_pairs(load(tmp_path / "p"), 2, 1, "cpu", held_out=0.0).which
    assert again == which  # whatever the seed
    meta = read_sealed_json(tmp_path / "p" / "meta.json")
    meta["captions"] = [f"{text}!" for text in meta["captions"]]
    save_sealed_json(tmp_path / "p" / "meta.json", meta)
    other = make_pairs(load(tmp_path / "p"), 2, 0, "cpu", held_out=0.0).which
    assert other["pairs_sha256"] != which["pairs_sha256"]
    assert proxy.captions == [text.rstrip("!") for text in (meta["captions"][i] for i in which["indices"])]


def test_what_is_missing_or_odd_is_named(tars, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="empty: put image-caption pairs there: WebDataset tars, or parquet"):
        read("sbu", empty)
    with pytest.raises(FileNotFoundError, match=r"00009\.tar: no such file"):
        read("sbu", tars, files=["00009.tar"])
    pack(tars / "00002.tar", [("a.jpg", jpeg(1))])
    with pytest.raises(ValueError, match=r"00002\.tar/a: has no caption: neither a\.txt nor `caption` in a\.json"):
        read("yfcc", tars)
    pack(tars / "00002.tar", [("a.jpg", jpeg(1)), ("a.txt", b" ")])
    with pytest.raises(ValueError, match="not one of the 1 captions says anything"):
        read("yfcc", tars, files=["00002.tar"])
    pl.DataFrame({"image": [jpeg(1)], "alt": ["x"]}).write_parquet(tars / "x.parquet")
    with pytest.raises(ValueError, match=r"tars or parquet files, not parquet, tar: say which with `files`"):
        read("cc3m", tars)
    with pytest.raises(
        ValueError,
        match=r"x\.parquet: has no column of captions .*; there are image \(Binary\), alt",
    ):
        read("cc3m", tars, files=["x.parquet"])
