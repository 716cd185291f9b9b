import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import Dataset
from reliquant.images.folders import expect, images_below, placed, read_folders, unlabelled


def put(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(path)


def counted(*counts):
    """A dataset of so many images in each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [str(i) for i in range(len(labels))]
    return Dataset([f"class {i}" for i in range(len(counts))], ["{}"], labels, lambda i: None, names)


def test_images_lie_at_any_depth_and_are_sorted_by_path(tmp_path):
    for name in ("b/2.PNG", "b/10.png", "a.jpg"):
        put(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "b" / "folder.png").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path)] == [
        "a.jpg",
        "b/10.png",
        "b/2.PNG",
    ]
    with pytest.raises(ValueError, match=r"folder\.png: holds no images"):
        images_below(tmp_path / "b" / "folder.png")


def test_folders_outside_the_classes_are_passed_over_only_when_asked(tmp_path):
    for i, name in enumerate(("ant", "bee", "cow")):
        put(tmp_path / name / "0.png", shade=i)
    words = {"classes": ["cow", "ant"], "prompts": None, "templates": ["{}"]}
    dataset = read_folders(tmp_path, **words, others=True)
    assert dataset.classes == ["cow", "ant"]
    assert dataset.labels.tolist() == [0, 1]
    assert [int(dataset.read(i)[0, 0, 0]) for i in range(2)] == [2, 0]
    with pytest.raises(ValueError, match="'bee' is not among the 2 classes: cow, ant"):
        read_folders(tmp_path, **words)


def test_a_dataset_that_is_as_published_comes_back(tmp_path):
    dataset = counted(2, 2)
    assert expect(dataset, tmp_path, classes=2, each=2, total=4) is dataset
    assert expect(counted(3, 0, 1), tmp_path, classes=2, total=4).labels.tolist() == [0, 0, 0, 2]  # one class is empty


@pytest.mark.parametrize(
    ("counts", "expected", "told"),
    [
        (
            (2, 3),
            {"classes": 2, "each": 2},
            "2 classes of 2 images are .*; there are 2 with 5 images; wrong: class 1 3$",
        ),
        ((2, 2), {"classes": 3}, "3 classes are expected; there are 2 with 4 images$"),
        ((2, 2), {"classes": 2, "total": 5}, "2 classes, 5 images are expected; there are 2 with 4 images$"),
    ],
)
def test_a_dataset_that_is_not_as_published_is_refused(tmp_path, counts, expected, told):
    with pytest.raises(ValueError, match=told):
        expect(counted(*counts), tmp_path, **expected)


def test_images_without_labels_are_counted(tmp_path):
    put(tmp_path / "x" / "0.png", shade=7)
    dataset = unlabelled(tmp_path, templates=["{}"], total=1)
    assert (dataset.labels.tolist(), dataset.classes, dataset.names) == ([-1], [], ["x/0.png"])
    assert dataset.read(0)[0, 0, 0] == 7
    with pytest.raises(ValueError, match="2 images are expected; there are 1"):
        unlabelled(tmp_path, templates=["{}"], total=2)


def test_a_folder_that_is_not_placed_says_how_to_get_it(tmp_path):
    assert placed(tmp_path, "Ask.") == tmp_path
    with pytest.raises(FileNotFoundError, match=r"none: no such folder\. Ask the authors"):
        placed(tmp_path / "none", "Ask the authors")


def test_images_outside_the_class_folders_are_counted(tmp_path):
    for name in ("ant/0.png", "bee/0.png", "top.png", "cover.png"):
        put(tmp_path / name)
    (tmp_path / "ant" / "notes.txt").write_text("words")
    dataset = read_folders(tmp_path, classes=None, prompts=None, templates=["{}"])
    assert dataset.names == ["ant/0.png", "bee/0.png"]
    assert dataset.passed_over == {"(image outside the class folders)": 2, ".txt": 1}


def test_folders_of_splits_are_no_classes(tmp_path):
    for name in ("train/ant/0.png", "val/ant/0.png"):
        put(tmp_path / name)
    with pytest.raises(ValueError, match="train, val are splits and no classes: give one of these folders"):
        read_folders(tmp_path, classes=None, prompts=None, templates=["{}"])
    put(tmp_path / "train_station" / "0.png")
    assert len(read_folders(tmp_path, classes=None, prompts=None, templates=["{}"]).classes) == 3


def test_folders_that_captions_call_the_same_are_refused(tmp_path):
    for name in ("guinea_pig/0.png", "guinea pig/0.png"):
        put(tmp_path / name)
    with pytest.raises(ValueError, match="classes 0 and 1 are both called 'guinea pig'"):
        read_folders(tmp_path, classes=None, prompts=None, templates=["{}"])


def test_a_class_without_images_says_what_it_holds_instead(tmp_path):
    put(tmp_path / "ant" / "0.png")
    (tmp_path / "bee").mkdir()
    (tmp_path / "bee" / "0.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ValueError, match=r"bee: holds no images \(0 read, 1 passed over: \.heic 1\)"):
        read_folders(tmp_path, classes=None, prompts=None, templates=["{}"])


def test_a_link_to_the_tree_itself_is_no_class(tmp_path):
    put(tmp_path / "ant" / "0.png")
    (tmp_path / "all").symlink_to(".")
    (tmp_path / "bee").symlink_to("ant")
    dataset = read_folders(tmp_path, classes=None, prompts=None, templates=["{}"])
    assert dataset.classes == ["ant", "bee"]
    assert dataset.names == ["ant/0.png", "bee/0.png"]


def test_wordnet_ids_are_no_prompts_and_numbers_are_said(tmp_path):
    for name in ("a/n01440764/0.png", "a/n01443537/0.png", "b/0/0.png", "b/1/0.png"):
        put(tmp_path / name)
    with pytest.raises(ValueError, match="its folders are WordNet ids such as n01440764, which no caption says"):
        read_folders(tmp_path / "a", classes=None, prompts=None, templates=["{}"])
    named = read_folders(tmp_path / "a", classes=None, prompts=["tench", "goldfish"], templates=["{}"])
    assert (named.classes, named.assumed) == (["tench", "goldfish"], ())
    numbers = read_folders(tmp_path / "b", classes=None, prompts=None, templates=["{}"])
    assert numbers.assumed == ("its classes are called by numbers, and so in prompts: 0, 1",)


def test_a_file_beside_folders_of_numbers_says_what_they_mean(tmp_path):
    for name in ("2", "10"):
        put(tmp_path / name / "0.png")
    words = {"classes": None, "prompts": None, "templates": ["{}"]}
    (tmp_path / "classnames.txt").write_text("".join(f"thing {i}\r\n" for i in range(11)))
    assert read_folders(tmp_path, **words).classes == ["thing 10", "thing 2"]
    (tmp_path / "classnames.txt").write_text("ant\nbee\ncow\n")
    with pytest.raises(ValueError, match="10: class 10 is outside the 3 classes"):
        read_folders(tmp_path, **words)


def test_classes_that_hold_folders_alone_are_said(tmp_path):
    for name in ("a/cat", "b/dog"):
        put(tmp_path / name / "0.png")
    words = {"classes": None, "prompts": None, "templates": ["{}"]}
    (told,) = read_folders(tmp_path, **words).assumed
    assert told == "its classes are the outer folders, such as 'a', not those in them, such as 'cat'"
    put(tmp_path / "b" / "1.png")
    assert read_folders(tmp_path, **words).assumed == ()


def test_classes_that_differ_in_case_alone_are_said(tmp_path):
    for name in ("cat", "Cat"):
        put(tmp_path / name / "0.png")
    (told,) = read_folders(tmp_path, classes=None, prompts=None, templates=["{}"]).assumed
    assert told.startswith("classes 'Cat' and 'cat' differ only in case")
