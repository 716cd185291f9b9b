"""What a file is, by its content: the one place that decides what is an image and what is no data at all.

A name ends as its maker liked: downloads have none, browsers write `.jfif`, a folder may be called `dtd-r1.0.1`.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Literal

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")  # Pillow's names; no other is ever opened
IMAGE_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".apng", ".webp", ".avif", ".avifs", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    ]
)
SUFFIXES = {"parquet": (".parquet",), "tar": (".tar",), "csv": (".csv", ".tsv")}
SYSTEM_NAMES = frozenset(  # what systems leave in folders, in lower case; names that start with a dot are hidden too
    ["__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"]
)
HEAD = 512  # bytes that tell what a file is: a block of a tar
OTHERS = (  # what is often taken for an image or a table: where in the file, the bytes, what it is
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself (`git lfs pull` gets it)"),
    (0, b"/annex/objects/", "a git-annex pointer, not the file itself (`git annex get` gets it)"),
    (0, b"\x00\x05\x16\x07", "attributes that macOS keeps beside a file"),
    (4, b"ftyp", "HEIC, or a film"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "a PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<!doctype html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<?xml", "XML"),
    (0, b"\x1f\x8b", "compressed by gzip: decompress it"),
    (0, b"BZh", "compressed by bzip2: decompress it"),
    (0, b"\xfd7zXZ", "compressed by xz: decompress it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by Zstandard: decompress it"),
    (0, b"PK\x03\x04", "a zip archive (.npz files are, too): unpack it"),
    (0, b"\x93NUMPY", "an array of NumPy (.npy)"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"ARROW1", "an Arrow file: write it as parquet"),
    *(
        (0, bytes([0x80, number]), "a pickle, as Python and early PyTorch write it, which can run programs")
        for number in (2, 3, 4, 5)
    ),
    (0, b"SQLite format 3", "an SQLite database"),
)
Kind = Literal["folder", "image", "parquet", "tar", "csv", "text", "other"]


def image_format(head: bytes, /) -> str | None:
    """Name the photographic format, as Pillow calls it, of a file that begins with these bytes; None for any other.

    >>> image_format(b"GIF89a"), image_format(b"notes on GIF89a")
    ('GIF', None)
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and _is_avif(head):
        return "AVIF"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if head[:2] in (b"II", b"MM") and head[2:4] in (b"\x2a\x00", b"\x00\x2a", b"\x2b\x00", b"\x00\x2b"):
        return "TIFF"
    if re.match(rb"P[1-6]\s+(#|\d)", head):
        return "PPM"
    return None


def _is_avif(head: bytes) -> bool:
    """Whether one of the brands that the first box lists is AVIF's; the same box begins HEIC and films."""
    brands = head[8 : int.from_bytes(head[:4], "big")]
    return any(brands[i : i + 4] in (b"avif", b"avis") for i in range(0, len(brands), 4))


def head_of(path: Path | str, /) -> bytes:
    """Read the first bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        return file.read(HEAD)


def kind_of(path: Path, /) -> Kind:
    """Say what a path holds, by its content; where that says nothing, by how its name ends, and `other` at last.

    Raises FileNotFoundError naming a path that is not there.
    """
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_file():
        return "other"
    return _kind_of_file(path, head_of(path))


def _kind_of_file(path: Path, head: bytes) -> Kind:
    if head.startswith(b"PAR1"):
        return "parquet"
    if image_format(head):
        return "image"
    if _begins_a_tar(head):
        return "tar"
    suffix = path.suffix.lower()
    for kind, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return kind  # type: ignore[return-value]
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "text" if described(head) == "text" else "other"


def _begins_a_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == HEAD  # cut inside a letter
    return bool(head) and b"\0" not in head


def described(head: bytes, /) -> str:
    """Say in words what a file is that begins with these bytes, for a message that refuses it.

    >>> described(b"%PDF-1.7")
    'a PDF'
    """
    if not head:
        return "an empty file"
    for start, magic, name in OTHERS:
        if head[start:].lower().startswith(magic.lower()):
            return name
    if known := image_format(head):
        return f"a {known} image"
    if head.startswith(b"PAR1"):
        return "a parquet file"
    if _begins_a_tar(head):
        return "a tar"
    return "text" if _is_text(head) else "of no known kind"


def is_hidden(name: str, /) -> bool:
    """Whether a file or folder of this name is no data: it starts with a dot, or a system left it.

    >>> is_hidden("._0.png"), is_hidden("__MACOSX"), is_hidden("dtd-r1.0.1")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in SYSTEM_NAMES
