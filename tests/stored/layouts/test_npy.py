"""Arrays of NumPy, as numpy writes them."""

import numpy as np
import pytest

from reliquant.files.digests import DamagedFile
from reliquant.stored.layouts.npy import columns

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8", "<i4", "|u1", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_by_parts_and_named_by_its_file(tmp_path, kind, order):
    array = np.asarray((RNG.normal(size=(9, 4)) * 5).astype(kind), order=order)
    np.save(tmp_path / "img_emb.npy", array)
    column = columns(tmp_path / "img_emb.npy")["img_emb"]
    assert column.shape == (9, 4)
    assert np.array_equal(column.exact(slice(2, 6)), array[2:6])
    assert np.array_equal(column[np.array([8, 0])], array[[8, 0]].astype(column.dtype))


def test_words_are_read(tmp_path):
    np.save(tmp_path / "id.npy", np.array(["a", "bä"]))
    assert columns(tmp_path / "id.npy")["id"][:].tolist() == ["a", "bä"]
    np.save(tmp_path / "id.npy", np.array([b"a", "bä".encode()]))
    assert columns(tmp_path / "id.npy")["id"][:].tolist() == ["a", "bä"]


def test_a_number_has_no_axis(tmp_path):
    np.save(tmp_path / "logit_scale.npy", np.float32(100))
    column = columns(tmp_path / "logit_scale.npy")["logit_scale"]
    assert column.shape == ()
    assert float(column[:]) == 100


class Harmful:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_objects_are_never_unpickled(tmp_path, capsys):
    np.save(tmp_path / "image.npy", np.array([Harmful()], object), allow_pickle=True)
    column = columns(tmp_path / "image.npy")["image"]
    assert column.given is None
    assert column.stored == "object (pickled)"
    assert capsys.readouterr().out == ""


def test_a_file_that_is_cut_is_refused_by_name(tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, np.ones((100, 4)))
    content = path.read_bytes()
    for kept in (4, 40, 200, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(DamagedFile, match=r"image\.npy: truncated"):
            columns(path)


def test_a_shape_that_no_file_holds_is_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, np.ones((100, 4)))
    path.write_bytes(path.read_bytes().replace(b"(100, 4)", b"(9**9,4)"))
    with pytest.raises(DamagedFile):
        columns(path)
    np.save(path, np.ones((100, 4)))
    path.write_bytes(path.read_bytes().replace(b"(100, 4), }   ", b"(10000000, 4)}"))
    with pytest.raises(DamagedFile, match="declares 320,000,000 bytes"):
        columns(path)
