from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reliquant.images.dataset import Dataset, UnreadableImage
from reliquant.images.decoding import ImageFiles
from reliquant.images.keys import photograph_key
from reliquant.images.prepare import load, prepare


def keys_of(dataset, folder, form, **words):
    prepare(dataset, folder, form=form, entry={}, **words)
    return load(folder).photographs.tolist()


@pytest.fixture
def photographs():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 24 + i % 2, 3), dtype=np.uint8) for i in range(8)]


def of(images):
    names = [f"{i}.png" for i in range(len(images))]
    return Dataset(["a", "b"], ["{}"], np.zeros(len(images), np.int64), images.__getitem__, names)


def test_a_key_follows_from_content_and_shape_alone():
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    other = image.copy()
    other[5, 3, 2] ^= 1
    assert photograph_key(image) == photograph_key(np.asfortranarray(image)) < 2**64
    assert photograph_key(image) != photograph_key(other)
    assert photograph_key(image) != photograph_key(image.reshape(4, 6, 3))


def test_datasets_that_share_photographs_share_their_keys(tmp_path, photographs):
    whole = keys_of(of(photographs), tmp_path / "whole", "16-shortest-bicubic")
    chosen = [5, 2, 7]
    part = keys_of(of([photographs[i] for i in chosen]), tmp_path / "part", "16-shortest-bicubic", workers=2)
    assert len(set(whole)) == len(photographs)
    assert part == [whole[i] for i in chosen]


def test_a_photograph_is_the_same_in_each_form(tmp_path, photographs):
    same = photographs[::2]  # of one size, so that they may stay native
    forms = ("native", "16-shortest-bicubic", "18-squash-bilinear")
    assert len({tuple(keys_of(of(same), tmp_path / form, form)) for form in forms}) == 1


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "RGBA", "CMYK"])
def test_a_picture_of_a_file_has_the_key_of_its_pixels(tmp_path, photographs, mode):
    pictures = [Image.fromarray(image).convert(mode) for image in photographs[::2]]
    dataset = replace(of(pictures), read=ImageFiles(pictures.__getitem__))
    expected = [photograph_key(np.asarray(picture.convert("RGB"))) for picture in pictures]
    assert keys_of(dataset, tmp_path / "fitted", "16-shortest-bicubic") == expected
    assert keys_of(dataset, tmp_path / "native", "native") == expected


def test_what_is_skipped_has_no_key(tmp_path, photographs):
    def read(i):
        if i == 1:
            raise UnreadableImage("1.png: truncated")
        return photographs[i]

    dataset = replace(of(photographs), read=read)
    found = keys_of(dataset, tmp_path / "x", "16-squash-bicubic", unreadable="skip")
    assert found == [photograph_key(image) for i, image in enumerate(photographs) if i != 1]


def test_a_folder_of_an_earlier_version_says_what_to_do(tmp_path, photographs):
    keys_of(of(photographs), tmp_path / "x", "16-squash-bicubic")
    (tmp_path / "x" / "photographs.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"photographs\.npy: no such file; .* prepare it again"):
        load(tmp_path / "x")
