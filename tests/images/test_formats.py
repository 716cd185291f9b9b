import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant.images.formats import FORMATS, described, head_of, image_format, is_hidden, kind_of


def encoded(form, size=(9, 7)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_what_pillow_writes_is_known_by_its_first_bytes(form):
    assert image_format(encoded(form)[:512]) == form


@pytest.mark.parametrize("form", ["ICO", "TGA", "EPS", "PDF", "PCX", "JPEG2000", "SGI"])
def test_other_formats_of_pillow_are_no_images(form):
    assert image_format(encoded(form)[:512]) is None


@pytest.mark.parametrize("text", [b"BM is short for bitmap, and so on", b"P3 is a phone", b"II*", b"GIF", b"", b"P6"])
def test_texts_that_begin_like_an_image_are_none(text):
    assert image_format(text) is None


def test_a_brand_of_avif_may_stand_behind_a_common_one_and_heic_is_none():
    assert image_format(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf") == "AVIF"
    assert image_format(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heicavif") is None  # avif is behind the box
    assert described(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic") == "HEIC, or a film"


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"<!DOCTYPE HTML><html>", "a web page"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"8BPS", "a Photoshop file"),
        (b"PAR1", "a parquet file"),
        (b"just words", "text"),
        (b"\x00\x01\x02", "of no known kind"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
    ],
)
def test_what_a_file_is_is_said_in_words(head, told):
    assert described(head).startswith(told)


def test_a_path_is_what_it_holds_whatever_its_name(tmp_path):
    import tarfile

    (tmp_path / "dtd-r1.0.1").mkdir()
    (tmp_path / "photo.tar").write_bytes(encoded("PNG"))
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "table")
    with tarfile.open(tmp_path / "shard.parquet", "w") as tar:
        tar.add(tmp_path / "table", "table.bin")
    (tmp_path / "list.txt").write_text("path,label\na.png,cat\n")
    (tmp_path / "list.csv").write_text("path,label\na.png,cat\n")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "x.bin").write_bytes(b"\x00\x01\x02")
    kinds = {path.name: kind_of(path) for path in tmp_path.iterdir()}
    assert kinds == {
        "dtd-r1.0.1": "folder",
        "photo.tar": "image",
        "table": "parquet",
        "shard.parquet": "tar",
        "list.txt": "text",
        "list.csv": "csv",
        "empty.parquet": "parquet",
        "empty.jpg": "image",
        "x.bin": "other",
    }
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        kind_of(tmp_path / "nowhere")


def test_a_text_whose_last_letter_is_cut_by_the_block_is_text(tmp_path):
    (tmp_path / "a").write_text("a" * 511 + "é" * 300)
    assert described(head_of(tmp_path / "a")) == "text"


def test_what_systems_leave_is_hidden():
    hidden = [".git", "._0.png", "__MACOSX", "Thumbs.db", "THUMBS.DB", "desktop.ini", "@eaDir"]
    assert all(is_hidden(name) for name in hidden)
    assert not any(is_hidden(name) for name in ["a.png", "thumbs", "MACOSX", "_a"])
