"""Images are decoded as open_clip does; 16-bit greys better, and no decoder's error has another name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reliquant.images import decoding
from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.images.decoding import SCANS, ImageFiles, _passes, decode, opened
from reliquant.images.prepare import load, prepare

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 256, (40, 52, 4), dtype=np.uint8))  # RGBA


def encoded(image, form, **words):
    file = io.BytesIO()
    image.save(file, form, **words)
    return file.getvalue()


def exif(orientation):
    about = Image.Exif()
    about[0x0112] = orientation
    return about.tobytes()


def with_clear_colour():
    image = PICTURE.convert("RGB").quantize(16)
    return encoded(image, "PNG", transparency=3)


FILES = {
    "RGB JPEG": encoded(PICTURE.convert("RGB"), "JPEG"),
    "grey JPEG": encoded(PICTURE.convert("L"), "JPEG"),
    "CMYK JPEG": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "turned JPEG": encoded(PICTURE.convert("RGB"), "JPEG", exif=exif(6)),
    "RGBA PNG": encoded(PICTURE, "PNG"),
    "LA PNG": encoded(PICTURE.convert("LA"), "PNG"),
    "palette PNG": encoded(PICTURE.convert("RGB").quantize(16), "PNG"),
    "palette PNG with a clear colour": with_clear_colour(),
    "1-bit PNG": encoded(PICTURE.convert("1"), "PNG"),
    "RGB WebP": encoded(PICTURE.convert("RGB"), "WEBP"),
    "RGBA WebP": encoded(PICTURE, "WEBP", lossless=True),
    "RGB AVIF": encoded(PICTURE.convert("RGB"), "AVIF"),
    "GIF": encoded(PICTURE.convert("RGB").quantize(32), "GIF"),
    "BMP": encoded(PICTURE.convert("RGB"), "BMP"),
    "CMYK TIFF": encoded(PICTURE.convert("CMYK"), "TIFF"),
    "LAB TIFF": encoded(Image.fromarray(RNG.integers(0, 256, (40, 52, 3), dtype=np.uint8), "LAB"), "TIFF"),
    "PPM": encoded(PICTURE.convert("RGB"), "PPM"),
    "PBM": encoded(PICTURE.convert("1"), "PPM"),
}


def prepared(data, folder, form="24-shortest-bicubic"):
    read = ImageFiles(lambda i: opened(data, "x"))
    prepare(Dataset(["a"], ["{}"], np.zeros(1, int), read, ["x"]), folder, form=form, entry={})
    return load(folder).images[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_every_kind_of_file_is_prepared_as_open_clip_does_it(name, resize, tmp_path):
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    from open_clip.transform import image_transform

    *until_tensor, _ = image_transform(24, is_train=False, resize_mode=resize).transforms  # without normalising
    picture = Image.open(io.BytesIO(FILES[name]))
    for transform in until_tensor:
        picture = transform(picture)
    expected = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(prepared(FILES[name], tmp_path / "p", f"24-{resize}-bicubic"), expected)


@pytest.mark.parametrize("name", FILES)
def test_an_image_at_its_own_size_is_what_pillow_makes_rgb_of(name):
    assert np.array_equal(decode(FILES[name], "x"), np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB")))


def png16(pixels, colour_type):
    """Write a PNG of 16 bits a channel by hand; Pillow writes none in colour."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff12(pixels):
    """Write a TIFF of 12 bits a grey by hand: two pixels in three bytes."""
    height, width = pixels.shape
    pairs = pixels.reshape(-1, 2)
    high, low = pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8
    data = np.stack([high, low, pairs[:, 1] & 255], 1).astype(np.uint8).tobytes()
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(data)))
    entries = b"".join(struct.pack("<HHII", tag, 4 if value > 65535 else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4


GREYS = np.linspace(0, 65535, 40 * 52).reshape(40, 52).astype(np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        png16(GREYS, 0),
        encoded(Image.fromarray(GREYS), "TIFF"),
        encoded(Image.fromarray(GREYS.astype(np.int32)), "PPM"),
        png16(np.stack([GREYS] * 3, 2), 2),
        tiff12(GREYS >> 4),
    ],
    ids=["PNG", "TIFF", "PGM", "RGB PNG", "12-bit TIFF"],
)
def test_sixteen_bits_become_the_eight_high_ones_not_white(data):
    expected = np.stack([GREYS // 256] * 3, 2)
    assert np.array_equal(decode(data, "x"), expected)


def test_sixteen_bits_are_resized_as_their_eight_bit_twin(tmp_path):
    twin = encoded(Image.fromarray((GREYS // 256).astype(np.uint8)), "PNG")
    assert np.array_equal(prepared(png16(GREYS, 0), tmp_path / "a"), prepared(twin, tmp_path / "b"))


@pytest.mark.parametrize(
    ("pixels", "what"),
    [(GREYS.astype(np.float32) / 65535, "floating point"), (GREYS.astype(np.int32), "whole numbers of 32 bits")],
)
def test_pixels_without_a_known_white_are_refused(pixels, what):
    with pytest.raises(UnreadableImage, match=f"x: cannot be decoded: its pixels are {what}: which value is white"):
        decode(encoded(Image.fromarray(pixels), "TIFF"), "x")


def test_the_first_of_several_pictures_is_taken():
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    for form in ("GIF", "TIFF", "WEBP"):
        assert decode(encoded(pages[0], form, save_all=True, append_images=pages[1:]), "x")[0, 0, 0] > 200


def test_a_thumbnail_is_no_image():
    data = encoded(PICTURE.convert("RGB"), "TIFF", tiffinfo={254: 1})
    with pytest.raises(UnreadableImage, match="its first picture is a thumbnail of another"):
        decode(data, "x.nef")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not an image that is read, but an empty file"),
        (b"<html>not found", "not an image that is read, but a web page"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "not an image that is read, but HEIC"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer, not the file itself"),
        (encoded(PICTURE.convert("RGB"), "EPS"), "not an image that is read, but PostScript"),
        (encoded(PICTURE.convert("RGB"), "ICO"), "not an image that is read, but of no known kind"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, r"damaged at its start \(a PNG image\)"),
    ],
)
def test_what_is_no_image_is_said(data, told):
    with pytest.raises(UnreadableImage, match=f"^x: cannot be decoded: .*{told}"):
        decode(data, "x")


def test_a_picture_too_large_to_be_true_is_unreadable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage, match=r"x: cannot be decoded: .*exceeds limit"):
        decode(FILES["BMP"], "x")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it finds in damaged files
@pytest.mark.parametrize("name", ["RGB JPEG", "RGBA PNG", "RGBA WebP", "RGB AVIF", "GIF", "BMP", "CMYK TIFF", "PPM"])
def test_whatever_a_decoder_raises_names_the_image(name):
    rng = np.random.default_rng(1)
    said = []
    for _ in range(300):
        data = bytearray(FILES[name])
        for place in rng.integers(0, len(data), 5):
            data[place] = rng.integers(256)
        data = data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.5 else data
        try:
            assert decode(bytes(data), "x.img").dtype == np.uint8
        except UnreadableImage as error:
            said.append(str(error))
    assert len(said) > 50
    assert all(line.startswith("x.img: cannot be decoded: ") for line in said)


def test_too_little_memory_is_no_fault_of_the_image(monkeypatch):
    def no_memory(*args):
        raise MemoryError

    monkeypatch.setattr(decoding, "_eight_bits", no_memory)
    with pytest.raises(MemoryError):
        decode(FILES["BMP"], "x")


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_what_stands_behind_a_jpegs_end_is_none_of_it(kind):
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    words = {"progressive": kind == "progressive", "restart_marker_rows": 1, "comment": b"\xff\xda" * 500}
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(file, "JPEG", **words)
    alone, film = file.getvalue(), rng.bytes(8 * 2**20)  # as in a telephone's motion photo
    assert film.count(b"\xff\xda") > SCANS
    assert (decode(alone + film, "x") == decode(alone, "x")).all()


def test_passes_over_a_jpegs_pixels_are_counted_up_to_its_end():
    file = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    assert _passes(data, SCANS) == _passes(data + data, SCANS) == data.count(b"\xff\xda") > 5
    begin = data.index(b"\xff\xda")
    many = data[:begin] + data[begin:-2] * 50 + data[-2:]
    assert _passes(many, 10**6) == many.count(b"\xff\xda") > SCANS
