"""Stand-ins for large published sets: small trees of the same layout, with the published numbers made small."""

import importlib
import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from reliquant import plugins
from reliquant.images.imagenet import subset, wnids


def put(folder, number, shade=100):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        Image.fromarray(np.full((9, 8, 3), shade, np.uint8)).save(folder / f"{i}.jpg")


def read(root, name, **words):
    return plugins.load("dataset", {"dataset": name, **words})(root)


@pytest.fixture
def set_to(monkeypatch):
    def change(name, **numbers):
        for constant, value in numbers.items():
            monkeypatch.setattr(importlib.import_module(f"reliquant.images.datasets.{name}"), constant, value)

    return change


def imagenet_tree(folder, ids, each):
    for wnid in ids:
        put(folder / wnid, each)


@pytest.mark.parametrize(("name", "folder"), [("imagenet_a", "imagenet-a"), ("imagenet_r", "imagenet-r")])
def test_image_net_a_and_r_are_counted(tmp_path, set_to, name, folder):
    kept = subset(name[-1])
    imagenet_tree(tmp_path / folder, kept, 1)
    with pytest.raises(ValueError, match=rf"{folder}: 200 classes, \d+ images are expected; there are 200 with 200"):
        read(tmp_path, name)
    set_to(name, IMAGES=200)
    found = read(tmp_path, name)
    assert len(found.classes) == 1000
    assert [wnids()[i] for i in found.labels] == sorted(kept)
    assert len(read(tmp_path, name, own=True).classes) == 200


def test_image_net_sketch_is_counted(tmp_path, set_to):
    imagenet_tree(tmp_path / "sketch", wnids(), 1)
    put(tmp_path / "sketch" / wnids()[3], 2)
    with pytest.raises(
        ValueError, match=r"sketch: 1000 classes, 50,?889 images are expected; there are 1000 with 1001"
    ):
        read(tmp_path, "imagenet_sketch")
    set_to("imagenet_sketch", IMAGES=1001)
    found = read(tmp_path, "imagenet_sketch")
    assert (np.bincount(found.labels) == 1 + (np.arange(1000) == 3)).all()
    assert len(read(tmp_path, "imagenet_sketch", images=100).labels) == 100


def test_image_net_asks_for_its_images_and_counts_them(tmp_path, set_to):
    with pytest.raises(FileNotFoundError, match=r"val: no such folder\. ImageNet is given to registered researchers"):
        read(tmp_path, "imagenet")
    imagenet_tree(tmp_path / "val", wnids(), 1)
    put(tmp_path / "val" / wnids()[7], 2)
    set_to("imagenet", EACH=1)
    with pytest.raises(ValueError, match=r"1000 classes of 1 images are expected; there are 1000 .*wrong: rooster 2"):
        read(tmp_path, "imagenet")
    (tmp_path / "val" / wnids()[7] / "1.jpg").unlink()
    assert len(read(tmp_path, "imagenet", images=500).labels) == 500
    set_to("imagenet_200", EACH=1)
    found = read(tmp_path, "imagenet_200")
    assert (len(found.classes), len(found.labels)) == (200, 200)
    (tmp_path / "fog").mkdir()
    (tmp_path / "val").rename(tmp_path / "fog" / "3")
    set_to("imagenet_c", EACH=1)
    assert read(tmp_path, "imagenet_c", corruption="fog", severity=3).labels.tolist() == list(range(1000))
    with pytest.raises(FileNotFoundError, match=r"fog/4: no such folder\. Get noise\.tar"):
        read(tmp_path, "imagenet_c", corruption="fog", severity=4)


def test_image_net_v2_folders_are_numbers_of_classes(tmp_path, set_to):
    top = tmp_path / "imagenetv2-matched-frequency-format-val"
    for i in range(1000):
        put(top / str(i), 1)
    with pytest.raises(ValueError, match="1000 classes of 10 images are expected"):
        read(tmp_path, "imagenet_v2")
    set_to("imagenet_v2", EACH=1)
    found = read(tmp_path, "imagenet_v2")
    assert [int(name.split("/")[0]) for name in found.names] == found.labels.tolist()


OUTSIDE = {
    "ssb_hard": "ssb_hard/a",
    "openimage_o": "openimage_o",
    "ninco": "NINCO/NINCO_OOD_classes/newt",
    "inaturalist": "iNaturalist/images",
    "places365": "val_256",
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_sets_without_labels_are_counted(tmp_path, set_to, name):
    put(tmp_path / OUTSIDE[name], 3)
    with pytest.raises(ValueError, match=r"[\d]+ images are expected; there are 3"):
        read(tmp_path, name)
    set_to(name, IMAGES=3)
    found = read(tmp_path, name)
    assert found.labels.tolist() == [-1, -1, -1]
    assert found.read(2).shape == (9, 8, 3)


@pytest.mark.parametrize("name", ["ssb_hard", "openimage_o", "pacs", "objectnet", "counteranimal"])
def test_sets_that_the_user_places_say_how(tmp_path, name):
    words = {"domain": "photo"} if name == "pacs" else {}
    with pytest.raises(FileNotFoundError, match=r"no such folder\. (Get|Put)"):
        read(tmp_path / "none", name, **words)


def test_pacs_reads_a_domain(tmp_path, set_to):
    for kind in ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"):
        put(tmp_path / "sketch" / kind, 2)
    with pytest.raises(ValueError, match="7 classes, 3929 images are expected; there are 7 with 14 images"):
        read(tmp_path, "pacs", domain="sketch")
    assert read(tmp_path, "pacs", domain="sketch", part=True).classes[3] == "guitar"
    set_to("pacs", COUNTS={"sketch": 14})
    assert len(read(tmp_path, "pacs", domain="sketch").labels) == 14


def test_the_real_pacs_is_read(shared_data):
    found = read(shared_data / "pacs", "pacs", domain="art_painting", part=True)
    assert (len(found.classes), len(found.labels)) == (7, 175)
    assert found.read(0).shape == (227, 227, 3)


def test_waterbirds_groups_say_whether_bird_and_background_agree(tmp_path, set_to):
    top = tmp_path / "waterbird_complete95_forest2water2"
    put(top / "001.gull", 4)
    lines = [f"{i},001.gull/{i}.jpg,{i % 2},{2 * (i < 3)},{i // 2},x" for i in range(4)]
    (top / "metadata.csv").write_text("img_id,img_filename,y,split,place,place_filename\n" + "\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="5794 images of the test split are expected; 3 are listed"):
        read(tmp_path, "waterbirds")
    set_to("waterbirds", SPLITS={"test": (2, 3)})
    found = read(tmp_path, "waterbirds")
    assert found.labels.tolist() == [0, 1, 0]
    assert found.groups == ["common", "counter", "counter"]


def test_objectnet_keeps_the_shared_classes_without_the_border(tmp_path, set_to):
    top = tmp_path / "objectnet-1.0"
    for name in ("air_freshener", "backpack", "banana"):
        put(top / "images" / name, 2)
    (top / "mappings").mkdir()
    labels = {"air_freshener": "Air freshener", "backpack": "Backpack", "banana": "Banana"}
    (top / "mappings" / "folder_to_objectnet_label.json").write_text(json.dumps(labels))
    shared = {"Backpack": "backpack, knapsack", "Banana": "banana"}
    (top / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps(shared))
    with pytest.raises(ValueError, match="113 classes, 18574 images are expected; there are 2 with 4 images"):
        read(tmp_path, "objectnet")
    set_to("objectnet", CLASSES=2, IMAGES=4)
    found = read(tmp_path, "objectnet")
    assert found.classes == ["backpack", "banana"]
    assert found.read(0).shape == (5, 4, 3)


def test_counteranimal_maps_folders_onto_the_thousand_classes(tmp_path, set_to):
    put(tmp_path / f"{wnids()[80]} black grouse" / "common-grass", 2)
    put(tmp_path / "2 great white shark" / "counter-deck", 1)
    with pytest.raises(ValueError, match="7174 common images are expected; there are 2"):
        read(tmp_path, "counteranimal")
    set_to("counteranimal", CLASSES=2, COUNTS={"common": 2, "counter": 1})
    found = read(tmp_path, "counteranimal")
    assert sorted(zip(found.labels.tolist(), found.groups, strict=True)) == [
        (2, "counter"),
        (80, "common"),
        (80, "common"),
    ]
    put(tmp_path / "shark" / "common", 1)
    with pytest.raises(ValueError, match="shark: starts with neither a WordNet id"):
        read(tmp_path, "counteranimal")


def test_cifar_100_takes_the_fine_label_and_the_archives_own_names(tmp_path, set_to):
    set_to("cifar100", COUNTS={"test": 3})
    top = tmp_path / "cifar-100-binary"
    top.mkdir()
    with pytest.raises(FileNotFoundError, match=r"fine_label_names\.txt"):
        read(tmp_path, "cifar100")
    (top / "fine_label_names.txt").write_text("apple\naquarium_fish\n\n")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    records = [bytes([9, label]) + x.tobytes() for label, x in zip((0, 1, 1), pixels, strict=True)]
    (top / "test.bin").write_bytes(b"".join(records))
    found = read(tmp_path, "cifar100")
    assert found.classes == ["apple", "aquarium fish"]
    assert found.labels.tolist() == [0, 1, 1]
    assert np.array_equal(found.read(2), pixels[2].transpose(1, 2, 0))
    (top / "test.bin").write_bytes(b"".join(records)[:-1])
    with pytest.raises(ValueError, match=r"test\.bin: has 9221 bytes; 3 records take 9222"):
        read(tmp_path, "cifar100")


def test_cifar_10_1_and_10_c_are_arrays_of_the_published_shape(tmp_path, set_to):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    for part, array in (("data", pixels), ("labels", labels)):
        np.save(tmp_path / f"cifar10.1_v6_{part}.npy", array)
    with pytest.raises(ValueError, match=r"\(2000, 32, 32, 3\) uint8 is expected, not \(20, 32, 32, 3\) uint8"):
        read(tmp_path, "cifar10_1")
    set_to("cifar10_1", IMAGES=20)
    assert read(tmp_path, "cifar10_1").labels.tolist() == labels.tolist()
    top = tmp_path / "CIFAR-10-C"
    top.mkdir()
    np.save(top / "fog.npy", pixels)
    np.save(top / "labels.npy", labels)
    set_to("cifar10_c", IMAGES=4)
    found = read(tmp_path, "cifar10_c", corruption="fog", severity=3)
    assert found.labels.tolist() == labels[8:12].tolist()
    assert np.array_equal(found.read(1), pixels[9])
    with pytest.raises(ValueError, match="holds no corruption 'frog'; there are fog"):
        read(tmp_path, "cifar10_c", corruption="frog", severity=1)


def test_svhn_calls_ten_zero(tmp_path, set_to):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[10], [1], [2], [10]], np.uint8)})
    with pytest.raises(ValueError, match="26032 images of 32 x 32 are expected"):
        read(tmp_path, "svhn")
    set_to("svhn", IMAGES=4)
    found = read(tmp_path, "svhn")
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert np.array_equal(found.read(1), pixels[..., 1])
