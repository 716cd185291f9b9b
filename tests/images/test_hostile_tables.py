"""Tables and arrays of a few bytes that would take gigabytes are refused by their size, their header or their lines."""

import gzip
import struct
import zipfile
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from reliquant.files.bounded import TooMuch
from reliquant.images.cifar import read_arrays
from reliquant.images.datasets import mnist, svhn
from reliquant.images.listed import read_listed
from reliquant.models.checkpoint import is_arrays, read_checkpoint


@pytest.fixture(autouse=True)
def quick(at_most):
    with at_most(5):
        yield


def test_an_idx_file_that_unpacks_to_gigabytes_is_not_read_whole(tmp_path):
    head = bytes([0, 0, 8, 3]) + struct.pack(">III", 4_000_000, 28, 28)
    with gzip.open(tmp_path / "t10k-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(200):
            file.write(bytes(2**20))
    with pytest.raises(TooMuch, match=r"t10k-images-idx3-ubyte\.gz: 134,217,729 bytes, unpacked, or more; at most"):
        mnist.dataset(tmp_path)


def test_an_idx_file_whose_shape_overflows_is_refused(tmp_path):
    head = bytes([0, 0, 8, 3]) + struct.pack(">III", 2**31, 2**31, 4)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(head)
    with pytest.raises(ValueError, match=r"16 bytes do not hold the 2147483648x2147483648x4 that it announces"):
        mnist.dataset(tmp_path)


def test_a_mat_file_is_refused_by_its_headers(tmp_path):
    arrays = {"X": np.zeros((200, 1000, 1000), np.uint8), "y": np.zeros((4, 1), np.uint8)}
    savemat(tmp_path / "test_32x32.mat", arrays, do_compression=True)
    with pytest.raises(ValueError, match=r"26032 images of 32 x 32 are expected, and their labels, .*200, 1000, 1000"):
        svhn.dataset(tmp_path)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda data: zlib.compress(data, 1)])
def test_a_compressed_table_is_not_unpacked(tmp_path, pack):
    (tmp_path / "x.csv").write_bytes(pack(b"path,label\n" + b"a,b\n" * 1_000_000))
    with pytest.raises(ValueError, match=r"x\.csv: is compressed: unpack it"):
        read_listed([tmp_path / "x.csv"], templates=["a {}"])


TABLES = {
    "columns": ("path," + "a," * 20_000 + "\nx\n", "20,002 columns; at most 10,000 are read"),
    "empty cells": (",".join(["path", *(f"a{i}" for i in range(5_000))]) + "\n" * 1_000_000, "5,001,000,000 cells"),
    "a line": ("a" * 3_000_000, "1,048,576 letters in its first line, or more"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_more_cells_than_bytes_is_refused(tmp_path, name):
    text, said = TABLES[name]
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(TooMuch, match=rf"x\.csv: {said}"):
        read_listed([tmp_path / "x.csv"], templates=["a {}"])


def npy(shape, kind="|u1"):
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)


@pytest.mark.parametrize("data", [npy((10**12, 32, 32, 3)), npy((10_000, 32, 32, 3), "|O"), npy((10**30,))])
def test_an_array_of_a_huge_shape_or_of_objects_is_refused(tmp_path, data):
    (tmp_path / "x.npy").write_bytes(data)
    np.save(tmp_path / "y.npy", np.zeros(10_000, np.int64))
    with pytest.raises(ValueError, match=r"x\.npy: truncated, or no array of numbers"):
        read_arrays(tmp_path / "x.npy", tmp_path / "y.npy", rows=slice(0, 10), total=10_000, templates=["{}"])


@pytest.mark.parametrize("names", [["a.npy"], ["archive/data.pkl", "archive/data/0"]], ids=["npz", "pt"])
def test_weights_that_unpack_to_much_are_refused(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in names:
            file.writestr(name, bytes(80_000_000))
    with pytest.raises(TooMuch, match=rf"x: {80 * len(names)},000,000 bytes, unpacked,; at most"):
        is_arrays(tmp_path / "x") if names == ["a.npy"] else read_checkpoint(tmp_path / "x")


def test_a_safetensors_header_of_gigabytes_is_not_read(tmp_path):
    (tmp_path / "x").write_bytes((4 * 2**30).to_bytes(8, "little") + b'{"a":' + bytes(500))
    with pytest.raises(ValueError, match=r"x: is no checkpoint"):
        read_checkpoint(tmp_path / "x")
