"""Sets with several captions an image: COCO, Flickr30k in Karpathy's split, and one's own tars and parquet files."""

import importlib
import io
import json
import tarfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant import plugins
from reliquant.files.artifacts import DamagedFile, read_sealed_json, save_sealed_json
from reliquant.images.dataset import Dataset
from reliquant.images.meta import read_meta
from reliquant.images.prepare import load, prepare
from reliquant.quantization.held_out import make_pairs


def read(name, root, **words) -> Dataset:
    return plugins.load("dataset", {"dataset": name, **words})(root)


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def pack(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


SPLITS = ("test", "train", "test", "val", "test")


@pytest.fixture(params=["coco", "flickr30k"])
def karpathy(request, tmp_path, monkeypatch):
    """A table as Karpathy's, five images of which three are of the test split, and the name of the set."""
    name = request.param
    folder = {"coco": "val2014", "flickr30k": "flickr30k-images"}[name]
    (tmp_path / folder).mkdir()
    images = []
    for i, split in enumerate(SPLITS):
        (tmp_path / folder / f"{i}.png").write_bytes(png(i))
        sentences = [{"raw": f" caption {k} of {i}. ", "tokens": []} for k in range(6)]
        one = {"filename": f"{i}.png", "split": split, "sentences": sentences}
        images.append({**one, "filepath": "val2014"} if name == "coco" else one)
    (tmp_path / f"dataset_{name}.json").write_text(json.dumps({"images": images, "dataset": name}))
    module = importlib.import_module(f"reliquant.images.datasets.{name}")
    monkeypatch.setattr(module, "COUNTS", {**module.COUNTS, "test": 3})
    return name, tmp_path


def test_the_test_split_has_the_first_five_captions_of_each_image_and_keeps_them_when_prepared(karpathy):
    name, root = karpathy
    found = read(name, root)
    assert [int(found.read(i)[0, 0, 0]) for i in range(3)] == [0, 2, 4]
    assert found.all_captions == [[f"caption {k} of {i}." for k in range(5)] for i in (0, 2, 4)]
    assert len(read(name, root, captions=None).all_captions[0]) == 6
    prepare(read(name, root, images=2), root / "p", form="10-shortest-bicubic", entry={"dataset": name})
    meta = load(root / "p").meta
    assert meta["all_captions"] == [found.all_captions[0], found.all_captions[1]]
    assert meta["captions"] == ["caption 0 of 0.", "caption 0 of 2."]  # what a proxy takes
    assert make_pairs(load(root / "p"), None, 0, "cpu", held_out=0.0).proxy.captions == meta["captions"]


def test_what_is_missing_says_how_to_get_it(karpathy, tmp_path_factory):
    name, root = karpathy
    with pytest.raises(FileNotFoundError, match=rf"dataset_{name}\.json: no such file\. .*Terms: "):
        read(name, tmp_path_factory.mktemp("empty"))
    next(root.glob("*/2.png")).unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.png: no such file, as 1 of 3 images\. "):
        read(name, root)
    there = read(name, root, part=True)
    assert there.names == [there.names[0], there.names[0].replace("0.png", "4.png")]
    assert there.passed_over == {"(an image that is not there)": 1}


def changed(root, name, change):
    path = root / f"dataset_{name}.json"
    table = json.loads(path.read_text())
    change(table["images"])
    path.write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images: images.pop(), r"3 images of split 'test' are expected; there are 2"),
        (lambda images: images[0].update(filename="../0.png"), r"the filename of an image must not begin with \."),
        (lambda images: images[0].update(filepath="/etc"), r"0\.png: filepath '/etc' is none of"),
        (lambda images: images[2]["sentences"].clear(), r"2\.png: has 0 captions; 5 are expected"),
        (lambda images: images[2].pop("filename"), r"must hold `images`, each with filename"),
    ],
)
def test_a_table_that_is_not_karpathy_s_is_refused_with_its_name(karpathy, change, told):
    name, root = karpathy
    changed(root, name, change)
    with pytest.raises(ValueError, match=rf"dataset_{name}\.json: {told}"):
        read(name, root)


def test_lists_of_captions_are_kept_whole_from_tars_and_parquet_files_alike(tmp_path):
    lists = [["one", "", "first"], ["two"], ["three", "third"]]
    members = []
    for i, texts in enumerate(lists):
        members += [(f"{i}.png", png(i)), (f"{i}.json", json.dumps({"caption": texts}).encode())]
    for name in ("tars", "tables"):
        (tmp_path / name).mkdir()
    pack(tmp_path / "tars" / "a.tar", members)
    rows = [{"image": png(i), "captions": texts} for i, texts in enumerate(lists)]
    pl.DataFrame(rows).write_parquet(tmp_path / "tables" / "a.parquet")
    found = [read("captioned", tmp_path / name) for name in ("tars", "tables")]
    for each in found:
        assert each.all_captions == [["one", "first"], ["two"], ["three", "third"]]
        assert each.captions == ["one", "two", "three"]
    assert read("captioned", tmp_path / "tars", images=1).all_captions == [["one", "first"]]
    first_alone = read("cc3m", tmp_path / "tables")  # a proxy reads what it read
    assert first_alone.all_captions is None
    assert any("the first of each is taken" in told for told in first_alone.assumed)


def test_lines_of_a_text_are_captions_only_where_that_is_asked_for(tmp_path):
    pack(
        tmp_path / "a.tar", [("0.png", png(0)), ("0.txt", b"a cat\n\na pet\n"), ("1.png", png(1)), ("1.txt", b"a dog")]
    )
    found = read("captioned", tmp_path)
    assert found.all_captions == [["a cat\n\na pet"], ["a dog"]]
    assert found.assumed == (
        "1 captions have several lines, each is read as one; `lines: true` makes each line a caption",
    )
    found = read("captioned", tmp_path, lines=True)
    assert found.all_captions == [["a cat", "a pet"], ["a dog"]]
    assert found.captions == ["a cat", "a dog"]
    assert not found.assumed


@pytest.mark.parametrize("all_captions", [[["b"], ["b"]], [["a"], []], [["a"], [1]], [["a"]], ["a", "b"]])
def test_all_captions_that_are_not_those_of_the_images_are_damage(tmp_path, all_captions):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    data = Dataset([], ["a {}"], np.full(2, -1), lambda i: images[i], ["x", "y"], captions=["a", "b"])
    prepare(data, tmp_path, form="native", entry={})
    path = tmp_path / "meta.json"
    good = read_sealed_json(path)
    assert "all_captions" not in good
    save_sealed_json(path, good | {"all_captions": all_captions})
    with pytest.raises(DamagedFile, match="'all_captions' must list the captions of each image"):
        read_meta(tmp_path)
    save_sealed_json(path, good | {"all_captions": [["a", "c"], ["b"]]})
    assert read_meta(tmp_path)["all_captions"] == [["a", "c"], ["b"]]
