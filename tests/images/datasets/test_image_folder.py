import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.datasets.image_folder import dataset


@pytest.fixture
def tree(tmp_path):
    for label, name in enumerate(("guinea_pig", "ant")):
        for i in range(3):
            path = tmp_path / "val" / name / "deeper" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 10 * label + i, np.uint8)).save(path)
    (tmp_path / "val" / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "val" / ".cache").mkdir()
    return tmp_path


def test_folders_are_classes_in_sorted_order(tree):
    found = dataset(tree, split="val")
    assert found.classes == ["ant", "guinea pig"]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.names[4] == "guinea_pig/deeper/1.png"
    assert [int(found.read(i)[0, 0, 0]) for i in range(6)] == [10, 11, 12, 0, 1, 2]


def test_classes_and_prompts_set_order_and_names(tree):
    found = dataset(
        tree, split="val", classes=["guinea_pig", "ant"], prompts=["cavy", "ant"], templates=["{}"], images=2
    )
    assert found.classes == ["cavy", "ant"]
    assert found.labels.tolist() == [0, 1]
    assert found.templates == ["{}"]


def test_a_missing_folder_is_named(tree):
    with pytest.raises(FileNotFoundError, match="train: no such folder"):
        dataset(tree, split="train")
    with pytest.raises(FileNotFoundError, match="bee: no such folder, but 'bee' is among the classes"):
        dataset(tree, split="val", classes=["ant", "guinea_pig", "bee"])


def test_a_folder_outside_the_classes_is_named(tree):
    with pytest.raises(ValueError, match="'guinea_pig' is not among the 1 classes: ant"):
        dataset(tree, split="val", classes=["ant"])


def test_empty_folders_are_refused(tree):
    (tree / "val" / "bee").mkdir()
    with pytest.raises(ValueError, match="bee: holds no images"):
        dataset(tree, split="val")
    with pytest.raises(ValueError, match="holds no folders"):
        dataset(tree, split="val/bee")


def test_prompts_must_be_as_many_as_classes(tree):
    with pytest.raises(ValueError, match="1 names for the 2 class folders"):
        dataset(tree, split="val", prompts=["one"])


def test_an_unreadable_image_is_named_when_it_is_read(tree):
    path = tree / "val" / "ant" / "deeper" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    found = dataset(tree, split="val")
    with pytest.raises(UnreadableImage, match=r"ant/deeper/1\.png: cannot be decoded"):
        found.read(1)


def test_without_classes_any_tree_is_read(tree):
    found = dataset(tree, classes=False)
    assert found.classes == []
    assert found.labels.tolist() == [-1] * 6
    assert found.names[0] == "val/ant/deeper/0.png"
    assert found.passed_over == {".txt": 1}
    assert found.label_problem == "its images are read without classes"


def test_real_domains_of_photographs_and_sketches(shared_data):
    found = dataset(shared_data / "pacs", split="sketch")
    assert len(found.classes) == 7
    assert np.bincount(found.labels).tolist() == [25] * 7
    assert found.read(0).shape == (227, 227, 3)
