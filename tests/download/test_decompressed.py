"""Compressed files are read forwards, a little back, and never further than a limit."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

from reliquant.download.decompressed import decompressed
from reliquant.files.bounded import TooMuch

DATA = np.random.default_rng(0).bytes(300_000)
PACKED = {
    "plain": DATA,
    "gz": gzip.compress(DATA),
    "bz2": bz2.compress(DATA),
    "xz": lzma.compress(DATA),
    "lzma": lzma.compress(DATA, lzma.FORMAT_ALONE),
    "two gz": gzip.compress(DATA[:100_000]) + gzip.compress(DATA[100_000:]),
    "two xz, zeros behind": lzma.compress(DATA[:100_000]) + bytes(8) + lzma.compress(DATA[100_000:]) + bytes(4),
}


@pytest.fixture(params=PACKED)
def packed(request, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(PACKED[request.param])
    return path


def test_all_of_a_file_is_read_within_its_limit(packed):
    with decompressed(packed, len(DATA)) as stream:
        assert stream.read() == DATA


def test_places_are_found_forwards_and_back(packed):
    with decompressed(packed, len(DATA)) as stream:
        for at, size in ((5, 10), (200_000, 512), (200_000, 700), (199_900, 5), (200_000, 9), (299_990, 100)):
            assert stream.seek(at) == at
            assert stream.read(size) == DATA[at : at + size]
            assert stream.tell() == min(at + size, len(DATA))


def test_no_byte_is_read_beyond_the_limit(packed):
    with decompressed(packed, 150_000) as stream:
        assert stream.read(150_000) == DATA[:150_000]
        with pytest.raises(TooMuch, match=r"x: unpacks to more bytes than its size lets expect: at most 150,000"):
            stream.read(1)
    with decompressed(packed, 150_000) as stream, pytest.raises(TooMuch):
        stream.seek(10**15)


def test_an_xz_that_asks_for_much_memory_is_refused(tmp_path):
    path = tmp_path / "x.xz"
    much = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    path.write_bytes(lzma.compress(b"x", filters=much))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reliquant.download.decompressed.XZ_MEMORY", 2**20)
        with decompressed(path, 10) as stream, pytest.raises(lzma.LZMAError, match=r"[Mm]emory"):
            stream.read()


def test_a_file_that_ends_early_is_told(tmp_path):
    path = tmp_path / "x.xz"
    path.write_bytes(lzma.compress(DATA)[:1000])
    with decompressed(path, len(DATA)) as stream, pytest.raises(EOFError, match="before its mark of the end"):
        stream.read()
