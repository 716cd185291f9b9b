"""Mutated images, tars and tables: each is read, or refused by name; no other error, no sample lost without a word."""

import io
import json
import tarfile
from functools import cache

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.decoding import decode
from reliquant.images.formats import FORMATS
from reliquant.images.open import open_images
from reliquant.images.walking import find_images

Image.init()
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
SIZE = (13, 11)


@cache
def written():
    """Write a picture in every mode and format in which Pillow can: the files, by format and mode."""
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 4), dtype=np.uint8))
    files = {}
    for form in sorted(Image.SAVE):
        for mode in MODES:
            file = io.BytesIO()
            try:
                picture = colours.convert("L" if mode == "I;16" else "RGB").convert(mode)
                picture.save(file, form)
            except (OSError, ValueError, KeyError, AttributeError, TypeError):
                continue  # not in this mode, or only with words of its own
            files[form, mode] = file.getvalue()
    return files


@cache
def readable():
    return {key: data for key, data in written().items() if key[0] in FORMATS}


def mutated(data, rng):
    """Change some bytes, cut the end, cut a piece out, or repeat one."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        kind, start = rng.integers(4), int(rng.integers(len(data)))
        end = int(min(len(data), start + rng.integers(1, 40)))
        if kind == 0:
            data[start:end] = rng.integers(0, 256, end - start, dtype=np.uint8).tobytes()
        elif kind == 1:
            data = data[: start + 1]
        elif kind == 2 and end - start < len(data):
            del data[start:end]
        else:
            data[start:start] = data[start:end]
    return bytes(data)


def refusal(source):
    """Decode an image; return what is said where it is unreadable."""
    try:
        pixels = decode(source, "x")
    except UnreadableImage as error:
        return str(error)
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
    return None


def test_every_file_that_pillow_writes_is_an_image_or_counted(tmp_path):
    assert len({form for form, _ in readable()}) == len(FORMATS)
    for (form, mode), data in written().items():
        (tmp_path / f"{form} {mode.replace(';', '')}").write_bytes(data)
    found = find_images(tmp_path)
    of_formats = {name.split()[0] for name in found.names}
    assert set(FORMATS) <= of_formats <= {*FORMATS, "MPO", "DIB", "JFIF"}
    assert len(found.names) + sum(found.passed_over.values()) == len(written())
    refused = {name: refusal(tmp_path / name) for name in found.names}
    assert {message.split(": ", 2)[2].split(": ")[-1] for message in refused.values() if message} == {
        "which value is white is not known; save 8 or 16 bits a channel"
    }


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it finds in damaged files
def test_mutated_images_are_read_or_unreadable(cases):
    rng = np.random.default_rng(0)
    keys = sorted(readable())
    total = cases(1500)
    refused = [refusal(mutated(readable()[keys[i % len(keys)]], rng)) for i in range(total)]
    refused = [message for message in refused if message]
    assert len(refused) > total / 20
    assert all(message.startswith("x: cannot be decoded: ") for message in refused)


def table_of(rng):
    png = [readable()["PNG", "RGB"]] * 6
    image = [png, [{"bytes": data, "path": "p"} for data in png]][rng.integers(2)]
    label = [["a", "b"] * 3, [0, 1] * 3, [0.0, 1.0] * 3, [None] * 6][rng.integers(4)]
    file = io.BytesIO()
    header = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    frame = pl.DataFrame({"image": image, "label": label, "caption": ["x"] * 6})
    frame.write_parquet(file, metadata={"huggingface": json.dumps(header)})
    return file.getvalue()


def tar_of(rng):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for i in range(6):
            about = json.dumps({"label": i % 2, "caption": "x"}).encode()
            png, jpeg = (readable()[form, "RGB"] for form in ("PNG", "JPEG"))
            parts = {"png": png, "json": about} if rng.integers(2) else {"jpg": jpeg}
            for suffix, data in (parts | {"cls": str(i % 2).encode(), "txt": b"x"}).items():
                info = tarfile.TarInfo(f"img.{i}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def list_of(rng):
    lines = ["path,label,caption", *(f"{i}.png,{'ab'[i % 2]},x" for i in range(6))]
    return "\n".join(lines).replace(",", ",\t;"[rng.integers(3)]).encode()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "name"), [(table_of, "a.parquet"), (tar_of, "a.tar"), (list_of, "a.csv")])
@pytest.mark.parametrize("role", ["labelled", "ood", "pairs"])
def test_mutated_tables_and_tars_are_read_or_refused_by_name(tmp_path, cases, capsys, make, name, role):
    rng = np.random.default_rng(1)
    (tmp_path / "classes.json").write_text('["a", "b"]')
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(readable()["PNG", "RGB"])
    whole = open_images(_put(tmp_path / name, make(rng)), "8-squash-bicubic", role=role)
    assert len(whole.images) == 6
    refused = []
    for _ in range(cases(60)):
        capsys.readouterr()
        word = _put(tmp_path / name, mutated(make(rng), rng))
        try:
            found = open_images(word, "8-squash-bicubic", role=role)
        except (ValueError, OSError) as error:
            refused.append(str(error))
            continue
        said = capsys.readouterr().err
        assert len(found.images) == 6 or said or make is list_of  # a line that is cut away leaves a right, shorter list
    assert all(refused)


def _put(path, data):
    path.write_bytes(data)
    return str(path)
