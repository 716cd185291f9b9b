import re

import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.datasets.csv import dataset


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_paths_and_labels_are_read_from_the_folder_of_the_table(photos, separator, start):
    lines = ["path,label", "photos/1.png,cat", "photos/0.png, dog", "photos/2.png,cat"]
    (photos / "list.csv").write_text(start + "\n".join(lines).replace(",", separator) + "\n", encoding="utf-8")
    found = dataset(photos)
    assert found.classes == ["cat", "dog"]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.names == ["photos/1.png", "photos/0.png", "photos/2.png"]
    assert [int(found.read(i)[0, 0, 0]) for i in range(3)] == [1, 0, 2]


def test_captions_in_the_form_of_open_clips_own_tables_are_pairs(photos):
    (photos / "train.tsv").write_text('filepath\ttitle\nphotos/0.png\t"a cat, black"\nphotos/1.png\ta dog\n')
    found = dataset(photos, files=["train.tsv"])
    assert found.captions == ["a cat, black", "a dog"]
    assert found.label_problem.startswith(f"{photos}/train.tsv: has no column of labels")
    assert "captions are read from column 'title'" in found.assumed


def test_numbers_mean_what_classes_beside_the_table_say(photos):
    (photos / "list.csv").write_text("file_name,class\nphotos/0.png,1\nphotos/1.png,0.0\nphotos/2.png,-1\n")
    assert "the labels are numbers" in dataset(photos).label_problem
    (photos / "classes.json").write_text('["cat", "dog"]')
    found = dataset(photos)
    assert found.labels.tolist() == [1, 0, -1]
    assert found.label_problem == "photos/2.png: label -1 is outside the 2 classes"


def test_a_file_that_is_not_there_is_named_when_it_is_read(photos):
    (photos / "list.csv").write_text("path\nphotos/9.png\n\nhttps://example.org/a.png\n")
    found = dataset(photos)
    with pytest.raises(UnreadableImage, match=r"photos/9\.png: its image .*photos/9\.png is not there; paths are read"):
        found.read(0)
    with pytest.raises(UnreadableImage, match=r"a\.png is a link: download the images"):
        found.read(len(found.names) - 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("photos/0.png,cat\n", "has no lines but the first, 'photos/0.png,cat'"),
        ("photos/0.png,cat\nphotos/1.png,dog\n", "has no column of paths .* in its first line, 'photos/0.png,cat'"),
        ("path,label\nphotos/0.png,a,b\n", "no text table .*: found more fields"),
        ("", "no text table .an empty file."),
        (b"path,label\n\xff\xfe,\x00\n", "is no text in UTF-8"),
        ("path,label\nphotos/0.png,cat".encode("utf-16"), "is no text in UTF-8 .*: save it as UTF-8"),
        ("path|label\nphotos/0.png|cat\n", "has no column of paths .* separated by commas, tabs or semicolons"),
        ("path,label,label\nphotos/0.png,a,b\n", "has two columns 'label' in its first line"),
    ],
)
def test_what_is_no_such_table_is_refused_by_name(photos, text, told):
    (photos / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"list.csv: {told}"):
        dataset(photos)


def test_columns_may_be_named_and_tables_must_have_the_same(photos):
    (photos / "a.csv").write_text("where,what\nphotos/0.png,cat\n")
    found = dataset(photos, image="where", label="what")
    assert found.classes == ["cat"]
    with pytest.raises(ValueError, match=r"a\.csv: has no column 'which'; there are where \(String\), what"):
        dataset(photos, image="where", label="which")
    (photos / "b.csv").write_text("what,where\ncat,photos/0.png\n")
    with pytest.raises(ValueError, match=re.escape("b.csv: its columns are what, where, not those of a.csv")):
        dataset(photos, image="where", label="what")


def test_paths_of_windows_and_blank_lines_are_read(photos):
    lines = ["path,label", "", "photos\\1.png,cat", ".\\photos\\0.png,dog", "", "photos/2.png,cat", "", ""]
    (photos / "list.csv").write_text("\r\n".join(lines))
    found = dataset(photos)
    assert found.labels.tolist() == [0, 1, 0]
    assert [int(found.read(i)[0, 0, 0]) for i in range(3)] == [1, 0, 2]


def test_a_name_with_a_backslash_is_itself_where_it_is_there(photos):
    (photos / "photos" / "1.png").rename(photos / "photos\\1.png")
    (photos / "list.csv").write_text("path,label\nphotos\\1.png,cat\nphotos/0.png,dog\n")
    assert int(dataset(photos).read(0)[0, 0, 0]) == 1


@pytest.mark.parametrize("letters", [300, 9000])
def test_what_is_too_long_for_a_path_is_told_in_short(photos, letters):
    (photos / "list.csv").write_text(f"path,label\n{'iVBOR' * (letters // 5)},cat\nphotos/0.png,dog\n")
    with pytest.raises(UnreadableImage, match=r"letters\) is no path; images are bytes or paths") as told:
        dataset(photos).read(0)
    assert len(str(told.value)) < 700


@pytest.mark.parametrize(("name", "other"), [("list[1].csv", "list1.csv"), ("list*.csv", "list0.csv")])
def test_the_name_of_a_table_is_no_pattern(photos, name, other):
    (photos / name).write_text("path,label\nphotos/0.png,own\n")
    (photos / other).write_text("path,label\nphotos/1.png,of another\n")
    found = dataset(photos, files=[name])
    assert (found.classes, found.names) == (["own"], ["photos/0.png"])
