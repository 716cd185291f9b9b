"""A parquet file that unpacks to gigabytes is refused by what its pages declare."""

import io
from functools import cache

import polars as pl
import pytest
from PIL import Image

from reliquant.files import parquet_limits
from reliquant.files.bounded import TooMuch
from reliquant.files.parquet_limits import check
from reliquant.images.parquet import read_parquet


def png():
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    return file.getvalue()


def written(path, frame, **words):
    frame.write_parquet(path, **{"compression": "zstd", "statistics": False, **words})
    return path


@cache
def of_large_image():
    """The bytes of a file whose one image has 280 million."""
    file = io.BytesIO()
    return written(file, pl.DataFrame({"image": [png() + bytes(280_000_000)], "label": ["a"]})).getvalue()


def large_image(path):
    path.write_bytes(of_large_image())
    return path


def many_rows(path):
    rows = pl.select(image=pl.repeat(png(), 1_100_000, dtype=pl.Binary), label=pl.repeat("a", 1_100_000))
    return written(path, rows)


def long_label(path):
    labels = pl.Series(["a" * 2_000_000, "b"]).gather([0] * 150 + [1] * 850)
    return written(path, pl.DataFrame({"image": [png()] * 1_000, "label": labels}))


def lying_footer(path):
    """The footer says that the column has 100 bytes; the page's header says how many there are."""
    data = of_large_image()
    size = 280_000_000
    facts = parquet_limits._Thrift(data[-8 - int.from_bytes(data[-8:-4], "little") : -8]).struct()
    declared = facts[4][0][1][0][3][6]
    assert declared > size
    number, lie = varint(2 * declared), varint(200, len(varint(2 * declared)))
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data[start:].count(number) >= 1
    path.write_bytes(data[:start] + data[start:].replace(number, lie))
    return path


def varint(value, length=0):
    """Write a whole number as Thrift does, in at least so many bytes."""
    out = []
    while value > 127 or len(out) + 1 < length:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


BOMBS = {
    "a large image": (large_image, r"280,0\d\d,\d\d\d bytes of column 'image' in a row group; at most 268,435,456"),
    "many rows": (many_rows, r"1,100,000 rows; at most 1,00\d,\d\d\d are read"),
    "a long label of many rows": (long_label, r"300,000,850 bytes in column 'label'"),
    "a footer that says less": (lying_footer, r"280,0\d\d,\d\d\d bytes of column 'image' in a row group"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_asks_for_much_is_refused_at_once(name, tmp_path, at_most):
    make, said = BOMBS[name]
    path = make(tmp_path / "bomb.parquet")
    assert path.stat().st_size < 300_000
    with at_most(5), pytest.raises(TooMuch, match=rf"bomb\.parquet: {said}"):
        read_parquet([path], templates=["a {}"])


def test_a_footer_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "x.parquet"
    with open(path, "wb") as file:
        file.write(b"PAR1")
        file.truncate(2**32)
        file.seek(2**32 - 8)
        file.write((2**32 - 100).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(TooMuch, match=r"x\.parquet: 4,294,967,196 bytes of footer"):
        read_parquet([path], templates=["a {}"])


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "brotli", "lz4", "uncompressed"])
@pytest.mark.parametrize("options", [{}, {"row_group_size": 7}, {"data_page_size": 100}, {"statistics": "full"}])
def test_files_as_they_are_written_pass(tmp_path, compression, options):
    images = {"bytes": png(), "path": "a.png"}
    frame = pl.DataFrame({"image": [images] * 50, "label": list(range(50)), "captions": [["a", "b"]] * 50})
    path = written(tmp_path / "x.parquet", frame, compression=compression, **options)
    check(path, ["image", "label", "captions"])
    assert len(read_parquet([path], caption="captions", templates=["a {}"]).names) == 50


def test_whatever_is_damaged_is_named(tmp_path):
    path = written(tmp_path / "x.parquet", pl.DataFrame({"image": [png()] * 20, "label": ["a", "b"] * 10}))
    data = bytearray(path.read_bytes())
    messages = []
    for at in range(4, len(data), 3):
        data[at] ^= 0x55
        path.write_bytes(data)
        try:
            check(path, ["image", "label"])
        except ValueError as error:
            messages.append(str(error))
        data[at] ^= 0x55
    assert len(messages) > 30
    assert all(str(path) in message for message in messages)


def test_a_header_that_is_longer_than_most_is_read_whole():
    header = bytes([0x18, 0xE8, 0x07]) + b"x" * 1_000 + bytes([0x15, 0x0A, 0])  # field 1: a text; field 2: 5; the end
    found = parquet_limits._header(io.BytesIO(b"PAR1" + header + b"the page itself"), 4)
    assert found == ({1: b"x" * 1_000, 2: 5}, len(header))
