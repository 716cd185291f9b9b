import io

import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.images.decoding import ImageFiles, decode
from reliquant.images.numbering import number
from reliquant.images.reading import class_names, thinned


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def made(n):
    return Dataset(
        ["x"], ["a {}"], np.zeros(n, int), lambda i: i, [str(i) for i in range(n)], [f"c{i}" for i in range(n)]
    )


def test_grey_and_transparent_images_become_rgb():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(decode(png(grey), "x"), np.stack([grey] * 3, 2))
    clear = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    assert np.array_equal(decode(png(clear), "x"), clear[..., :3])


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b"no image", lambda b: b"", lambda b: b[:-30]])
def test_a_damaged_image_is_named(damage):
    data = damage(png(np.zeros((32, 32, 3), np.uint8) + np.arange(32, dtype=np.uint8)[:, None, None]))
    with pytest.raises(UnreadableImage, match=r"^cats/7\.png: cannot be decoded"):
        decode(data, "cats/7.png")


def test_a_missing_file_is_an_unreadable_image(tmp_path):
    with pytest.raises(UnreadableImage, match="No such file"):
        decode(tmp_path / "x.png", "x.png")


def test_numbers_without_names_are_refused():
    with pytest.raises(ValueError, match=r"the labels are numbers.*classes\.json"):
        number([0, 1], None, ["a", "b"])


def test_labels_outside_the_classes_name_their_image():
    with pytest.raises(ValueError, match="b: label 2 is outside the 2 classes"):
        number([0, 2], ["x", "y"], ["a", "b"])
    with pytest.raises(ValueError, match="b: label 'z' is not among the 2 classes: x, y"):
        number(["x", "z"], ["x", "y"], ["a", "b"])
    with pytest.raises(ValueError, match="b: has no label"):
        number(["x", None], ["x", "y"], ["a", "b"])


def test_class_names_come_from_the_word_then_from_files(tmp_path):
    assert class_names(tmp_path, None) is None
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    assert class_names(tmp_path, None) == ["cat", "dog"]
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert class_names(tmp_path, None) == ["a", "b"]
    assert class_names(tmp_path, ["z"]) == ["z"]
    for text in ('{"a": 1}', "[1, 2]", "[", ""):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(ValueError, match=r"classes\.json: "):
            class_names(tmp_path, None)
    (tmp_path / "classes.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"classes\.json: must hold a list"):
        class_names(tmp_path, None)


def test_blank_lines_at_the_end_and_the_mark_of_windows_editors_are_no_names(tmp_path):
    (tmp_path / "classnames.txt").write_bytes(b"\xef\xbb\xbfcat \r\n\r\ndog\r\n\r\n")
    assert class_names(tmp_path, None) == ["cat", "", "dog"]  # an empty name within is told where it is used
    (tmp_path / "classnames.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"classnames\.txt: "):
        class_names(tmp_path, None)


def test_thinned_files_are_still_opened_as_they_are():
    opened = ImageFiles(lambda i: Image.new("L", (2, 2), i))
    data = Dataset(["x"], ["{}"], np.zeros(10, int), opened, [str(i) for i in range(10)])
    found = thinned(data, 4)
    assert isinstance(found.read, ImageFiles)
    assert [found.read.open(i).getpixel((0, 0)) for i in range(4)] == [0, 2, 5, 7]
    assert found.read(1).tolist() == [[[2, 2, 2]] * 2] * 2


def test_thinning_spreads_evenly_and_keeps_captions_with_their_images():
    found = thinned(made(10), 4)
    assert found.names == ["0", "2", "5", "7"]
    assert found.captions == ["c0", "c2", "c5", "c7"]
    assert [found.read(i) for i in range(4)] == [0, 2, 5, 7]
    assert thinned(made(10), None).names == made(10).names


@pytest.mark.parametrize("images", [0, 11])
def test_thinning_to_more_than_there_are_is_refused(images):
    with pytest.raises(ValueError, match=f"images: {images} asked for; there are 10"):
        thinned(made(10), images)
