"""What an image file declares is compared with limits before memory is taken; no program is run, whatever its name."""

import io
import re
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from reliquant import plugins
from reliquant.images.dataset import UnreadableImage
from reliquant.images.decoding import decode, opened

ZEROS = zlib.compress(bytes(100_000_000))


def encoded(image, form, **words):
    file = io.BytesIO()
    image.save(file, form, **words)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(14))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + data


def gif(canvas, frame):
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0, 0, 0)
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0x80) + bytes(6) + b"\x02\x02\x4c\x01\x00;"


def tiff(**tags):
    """A grey TIFF of 10 x 10 pixels, or of what the tags (t256=...) say, with 10 bytes of data."""
    data = zlib.compress(bytes(10_000))
    words = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1} | {int(name[1:]): value for name, value in tags.items()}
    place = {324: 200, 325: len(data)} if 322 in words else {273: 200, 279: len(data)}
    out = b"II*\0" + struct.pack("<IH", 8, len(words | place))
    for tag, value in sorted((words | place).items()):
        out += struct.pack("<HHII", tag, 4, 1, value)
    return (out + bytes(4)).ljust(200, b"\0") + data


def many_passes():
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    return data[:first] + data[first:second] * 5_000 + data[second:]


def large_jpeg():
    data = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(data)


HOSTILE = {
    "PNG of 3.6 billion pixels": png(60_000, 60_000),
    "PNG of 70 million pixels": png(7_000, 10_000),
    "compressed text": png(2, 2, chunk(b"zTXt", b"a\0\0" + ZEROS)),
    "compressed international text": png(2, 2, chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS)),
    "compressed profile": png(2, 2, chunk(b"iCCP", b"a\0\0" + ZEROS)),
    "a thousand texts": png(2, 2, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))] * 1_000),
    "GIF with a large canvas": gif((65_535, 65_535), (1, 1)),
    "GIF with a large frame": gif((1, 1), (65_535, 65_535)),
    "TIFF of 10 billion pixels": tiff(t256=100_000, t257=100_000, t278=100_000),
    "TIFF of one tile": tiff(t322=65_536, t323=65_536),
    "TIFF of many channels": tiff(t256=8_000, t257=8_000, t277=60_000),
    "BMP": struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 60, 0, 0, 54, 40, 50_000, 50_000, 1, 24, *[0] * 6),
    "PPM": b"P6 50000 50000 255\n",
    "JPEG": large_jpeg(),
    "JPEG of 5,000 passes": many_passes(),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_a_small_file_that_asks_for_much_is_an_unreadable_image(name, at_most):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with at_most(5), pytest.raises(UnreadableImage, match=r"^cat\.jpg: cannot be decoded: "):
        decode(HOSTILE[name], "cat.jpg")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("suffix", ["jpg", "eps", "png"])
def test_a_postscript_file_runs_nothing(suffix, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / f"cat.{suffix}"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for source in (path, path.read_bytes()):
        with pytest.raises(UnreadableImage, match=r"cannot be decoded: not an image that is read, but PostScript"):
            opened(source, "cat.jpg")
    assert not ran.exists()


def test_no_image_is_opened_without_a_list_of_formats():
    found = []
    for path in [*plugins.PACKAGE.rglob("*.py"), *(plugins.PACKAGE.parents[1] / "tools").rglob("*.py")]:
        found += [path for call in re.findall(r"\bImage\.open\(.*", path.read_text()) if "formats=" not in call]
    assert not found


def test_a_word_lets_larger_images_pass(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    data = encoded(Image.new("1", (9_000, 8_000)), "PNG")
    with pytest.raises(UnreadableImage, match=r"9000 x 8000: 72,000,000 pixels; at most 67,108,864 are read"):
        opened(data, "x")
    monkeypatch.setenv("RELIQUANT_LIMITS", "1.5")
    assert opened(data, "x").size == (9_000, 8_000)


WITHIN = """
import resource, sys
from reliquant.images.decoding import decode
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)
print(decode(sys.stdin.buffer.read(), "x").shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("words", [{"form": "JPEG", "progressive": True}, {"form": "PNG"}], ids=["JPEG", "PNG"])
def test_the_largest_image_is_decoded_within_a_gibibyte(words):
    image = Image.fromarray(np.zeros((8_100, 8_200, 3), np.uint8))
    done = subprocess.run([sys.executable, "-c", WITHIN], input=encoded(image, **words), capture_output=True)
    assert done.stdout == b"(8100, 8200, 3)\n", done.stderr.decode()[-500:]


def test_the_limit_is_what_refuses_an_image_and_not_its_damage():
    large, tiled = HOSTILE["PNG of 70 million pixels"], HOSTILE["TIFF of one tile"]
    with pytest.raises(UnreadableImage, match="7000 x 10000: 70,000,000 pixels; at most 67,108,864 are read"):
        decode(large, "x")
    with pytest.raises(UnreadableImage, match="tiles of 65536 x 65536: 4,294,967,296 pixels; at most"):
        decode(tiled, "x")
    with pytest.raises(UnreadableImage, match="a JPEG of more passes over its pixels than any has; at most 100"):
        decode(HOSTILE["JPEG of 5,000 passes"], "x")
