"""Decode one image file as open_clip does; whatever a decoder raises ends as an unreadable image with a name."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reliquant.files.bounded import TooMuch, limit, require, told
from reliquant.images.dataset import UnreadableImage
from reliquant.images.formats import FORMATS, HEAD, described, head_of

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")  # Pillow makes RGB of these
PIXELS = 2**26  # of an image: decoding takes up to 12 bytes for each, in each worker
LARGE, _LARGE_ONES = 2**24, Lock()  # images of more pixels are decoded one at a time, however many workers there are
MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)  # what begins a part of a JPEG
SCAN, END, BARE = 0xDA, 0xD9, (0x01, 0xD8)  # markers: of pixels, of the end, and of parts without a length
SCANS = 100  # passes of a JPEG over all its pixels; progressive ones have about 10
TILE = (322, 323)  # tags of TIFF: width and height of its parts
THUMBNAIL, BITS, TWELVE = 254, 258, (12,)  # tags of TIFF: whether a picture is a small copy; bits of each channel


@dataclass(frozen=True)
class ImageFiles:
    """Read image i of a set of files: called, as RGB uint8 (h, w, 3); `open` leaves it as the file holds it.

    open_clip resizes a picture as it is and makes RGB of it afterwards, which differs for palettes and transparency:
    `prepare` does so, too, with what can be opened.
    """

    open: Callable[[int], Image.Image]

    def __call__(self, i: int, /) -> NDArray[np.uint8]:
        """Return image i as RGB."""
        return rgb(self.open(i))


def decode(source: bytes | Path, name: str, /) -> NDArray[np.uint8]:
    """Decode an image file to RGB uint8 (h, w, 3) as open_clip does; raise UnreadableImage naming the image."""
    return rgb(opened(source, name))


def opened(source: bytes | Path, name: str, /) -> Image.Image:
    """Decode an image file in its own mode, with 8 bits a channel: the high bytes of 16.

    Pillow's conversion, and so open_clip's, turns nearly all 16-bit greys white. Like open_clip, this takes the first
    of several pictures and applies neither EXIF's orientation nor a colour profile. Raises UnreadableImage naming the
    image and what is wrong: damaged, of another format, of more pixels than are read, a thumbnail of another picture,
    or of pixels without a known white.
    """
    if limit(PIXELS) > PIXELS and Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own: there it warns, and refuses twice
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit(PIXELS))
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            _check_declared(image, source)
            with _LARGE_ONES if image.width * image.height > LARGE else nullcontext():
                image.load()
            if getattr(image, "tag_v2", {}).get(THUMBNAIL, 0) == 1:
                raise UnreadableImage("its first picture is a thumbnail of another, as in a camera's raw files")
            return _eight_bits(image)
    except MemoryError as error:  # the machine's fault: another image may have to do with it
        raise MemoryError(f"{name}: not enough memory to decode it") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{name}: cannot be decoded: {_unidentified(source)}") from error
    except Exception as error:  # decoders raise anything: RuntimeError, SyntaxError, struct.error, OverflowError, ...
        raise UnreadableImage(f"{name}: cannot be decoded: {_reason(error)}") from error


def rgb(image: Image.Image, /) -> NDArray[np.uint8]:
    """Return the pixels of a picture as RGB uint8 (h, w, 3); transparency is dropped, as open_clip does."""
    return np.asarray(image.convert("RGB"))


def _check_declared(image: Image.Image, source: bytes | Path) -> None:
    """Raise ValueError for an image that declares more than is decoded: as memory is taken for what is declared."""
    width, height = image.size
    require(f"{width} x {height}", "pixels", width * height, PIXELS)
    tags: Any = getattr(image, "tag_v2", {})
    across, down = (int(tags.get(tag, 0)) for tag in TILE)
    require(f"tiles of {across} x {down}", "pixels", across * down, PIXELS)
    if image.format in ("JPEG", "MPO"):
        data = source if isinstance(source, bytes) else source.read_bytes()
        if _passes(data, most := limit(SCANS)) > most:
            raise TooMuch(f"a JPEG of more passes over its pixels than any has; {told(most)}")


def _passes(data: bytes, most: int) -> int:
    """Count a JPEG's passes over its pixels, one more than `most` at most; what stands behind its end is none of it.

    Parts are found as libjpeg finds them (ITU T.81, B.1.1): a telephone puts a film there, a camera more pictures.
    """
    passes = at = 0
    while passes <= most and (found := MARKER.search(data, at)):
        marker, at = found[1][0], found.end()
        if marker == END:
            break
        passes += marker == SCAN
        if marker not in BARE:
            at += int.from_bytes(data[at : at + 2], "big")
    return passes


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # greys up to 65535
        bits = 12 if getattr(image, "tag_v2", {}).get(BITS) == TWELVE else 16
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    if image.mode not in MODES:
        what = {"I": "whole numbers of 32 bits", "F": "floating point"}.get(image.mode, f"in mode {image.mode}")
        raise UnreadableImage(f"its pixels are {what}: which value is white is not known; save 8 or 16 bits a channel")
    return image


def _unidentified(source: bytes | Path) -> str:
    head = source[:HEAD] if isinstance(source, bytes) else head_of(source)
    what = described(head)
    return f"damaged at its start ({what})" if what.endswith(" image") else f"not an image that is read, but {what}"


def _reason(error: Exception) -> str:
    """Return what a decoder says; its type, too, where that is no message for people."""
    text = " ".join(str(error).split())
    told = isinstance(error, ValueError | OSError) and text
    return text if told else f"{type(error).__name__}{': ' if text else ''}{text}"
