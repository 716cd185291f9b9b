import numpy as np
import pytest

from reliquant.images.cifar import CLASSES, PLANES, read_arrays, read_records

WORDS = {"classes": CLASSES, "templates": ["a {}"]}


def test_records_of_several_files_are_read_one_after_another(tmp_path):
    records = np.random.default_rng(0).integers(0, 10, (4, 2 + PLANES), dtype=np.uint8)
    paths = [tmp_path / "a.bin", tmp_path / "b.bin"]
    for path, part in zip(paths, (records[:2], records[2:]), strict=True):
        part.tofile(path)
    dataset = read_records(paths, 2, **WORDS, labels=2)
    assert dataset.labels.tolist() == records[:, 1].tolist()  # the last label byte counts
    assert dataset.names == ["a.bin record 0", "a.bin record 1", "b.bin record 0", "b.bin record 1"]
    image = dataset.read(3)
    for channel in range(3):
        plane = records[3, 2 + 1024 * channel : 2 + 1024 * (channel + 1)].reshape(32, 32)
        assert np.array_equal(image[:, :, channel], plane)


def test_record_files_that_are_missing_or_of_another_size_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.bin: no such file"):
        read_records([tmp_path / "a.bin"], 2, **WORDS)
    (tmp_path / "a.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match=r"a\.bin: has 3 bytes; 2 records take 6146"):
        read_records([tmp_path / "a.bin"], 2, **WORDS)


@pytest.fixture
def arrays(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "data.npy", pixels)
    np.save(tmp_path / "labels.npy", np.arange(6, dtype=np.uint8))
    return tmp_path / "data.npy", tmp_path / "labels.npy", pixels


def test_rows_of_arrays_are_kept(arrays):
    data, labels, pixels = arrays
    dataset = read_arrays(data, labels, rows=slice(2, 4), total=6, templates=["{}"])
    assert dataset.labels.tolist() == [2, 3]
    assert dataset.classes == CLASSES
    assert np.array_equal(dataset.read(1), pixels[3])


def test_arrays_that_are_missing_or_of_another_shape_are_named(arrays, tmp_path):
    data, labels, pixels = arrays
    words = {"rows": slice(None), "total": 6, "templates": ["{}"]}
    with pytest.raises(FileNotFoundError, match=r"none\.npy: no such file"):
        read_arrays(data, tmp_path / "none.npy", **words)
    np.save(labels, pixels)
    with pytest.raises(ValueError, match=r"labels\.npy: 6 labels are expected, not \(6, 32, 32, 3\)"):
        read_arrays(data, labels, **words)
    np.save(data, pixels / 1)
    with pytest.raises(ValueError, match=r"data\.npy: \(6, 32, 32, 3\) uint8 is expected, not .* float64"):
        read_arrays(data, labels, **words)
