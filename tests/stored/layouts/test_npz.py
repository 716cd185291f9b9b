"""Archives of NumPy, as numpy writes them."""

import io
import zipfile

import numpy as np
import pytest

from reliquant.files.bounded import TooMuch
from reliquant.files.digests import DamagedFile
from reliquant.stored import spilled
from reliquant.stored.layouts import npz
from reliquant.stored.layouts.npz import columns

RNG = np.random.default_rng(0)
ARRAYS = {
    "image": RNG.normal(size=(50, 4)).astype(np.float16),
    "by_column": np.asfortranarray(RNG.normal(size=(50, 4))),
    "label": np.arange(50),
    "id": np.array([f"{i}.jpg" for i in range(50)]),
    "logit_scale": np.float32(100),
    "empty": np.ones((0, 3)),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, monkeypatch, save, in_memory):
    monkeypatch.setattr(spilled, "IN_MEMORY", in_memory)
    monkeypatch.setattr(npz, "BLOCK", 100)
    save(tmp_path / "x.npz", **ARRAYS)
    found, theirs = columns(tmp_path / "x.npz"), np.load(tmp_path / "x.npz", allow_pickle=False)
    assert set(found) == set(theirs)
    for name, column in found.items():
        assert column.shape == theirs[name].shape
        assert np.array_equal(column.exact(slice(None)), theirs[name])
        if column.shape:
            assert np.array_equal(column.exact(slice(3, 30)), theirs[name][3:30])
    assert np.array_equal(found["image"][np.array([40, 2])], ARRAYS["image"][[40, 2]].astype(np.float32))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "UNPACKED", 2**16)
    np.savez_compressed(tmp_path / "x.npz", image=np.zeros((10_000, 4)))
    with pytest.raises(TooMuch, match=r"x\.npz: 320,128 bytes unpacked"):
        columns(tmp_path / "x.npz")


def test_a_member_that_declares_more_than_it_holds_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((100, 4)))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", buffer.getvalue()[:-8])
    with pytest.raises(DamagedFile, match=r"image declares the shape \(100, 4\), more than it holds"):
        columns(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_that_is_cut_is_refused_by_name(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFile, match=r"x\.npz: truncated or no archive"):
        columns(tmp_path / "x.npz")


def test_bytes_that_changed_in_a_compressed_member_are_told(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", image=RNG.normal(size=(5000, 4)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"x\.npz: image cannot be unpacked"):
        columns(tmp_path / "x.npz")["image"][:]


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", image=np.array([{}], object), label=np.ones(1))
    found = columns(tmp_path / "x.npz")
    assert found["image"].given is None
    assert found["label"][:].tolist() == [1]
