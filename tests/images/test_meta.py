import numpy as np
import pytest

from reliquant.files.artifacts import read_sealed_json, save_sealed_json
from reliquant.files.digests import DamagedFile
from reliquant.images.dataset import Dataset
from reliquant.images.meta import read_meta
from reliquant.images.prepare import prepare


@pytest.fixture
def meta(tmp_path):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    data = Dataset(["a", "b"], ["a {}"], np.array([0, 1, 0]), lambda i: images[i], ["x", "y", "z"], groups=["g"] * 3)
    prepare(data, tmp_path, form="native", entry={"dataset": "x"})
    return tmp_path / "meta.json"


def test_what_prepare_writes_is_read(meta):
    assert read_meta(meta.parent)["classes"] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": "3"}, "'n' must be a whole number"),
        ({"classes": [1, 2]}, "'classes' must be a list of texts"),
        ({"groups": ["g"]}, "1 groups for 3 images"),
        ({"templates": ["a"]}, "templates: template 'a' must hold"),
        ({"captions": ["a"] * 3}, "must have 'captions' and 'names', or neither"),
        ({"class_names": []}, "'class_names' is unknown"),
    ],
)
def test_a_word_that_cannot_be_is_told_with_the_file(meta, change, told):
    save_sealed_json(meta, read_sealed_json(meta) | change)
    with pytest.raises(DamagedFile, match=rf"meta\.json: .*{told}"):
        read_meta(meta.parent)


def test_an_empty_file_is_no_json(meta):
    meta.write_bytes(b"")
    with pytest.raises(DamagedFile, match=r"meta\.json: is no JSON, or truncated"):
        read_meta(meta.parent)
