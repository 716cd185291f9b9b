from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from reliquant.images.datasets import data_free, digits, lab_captions, lab_patterns
from reliquant.images.world.patterns import PATTERNS
from reliquant.models.tokenizer import read_words
from reliquant.models.towers.small import MODELS

HERE = Path(".")


def test_captioned_images_repeat_and_their_start_does_not_depend_on_their_number():
    few, many = (lab_captions.dataset(HERE, world="web", images=n) for n in (20, 300))
    assert few.captions == many.captions[:20]
    np.testing.assert_array_equal(few.read(19), many.read(19))
    np.testing.assert_array_equal(few.labels, many.labels[:20])


def test_the_two_worlds_and_two_seeds_differ():
    sets = [lab_captions.dataset(HERE, world=w, images=5, seed=s) for w, s in (("web", 0), ("web", 1), ("curated", 0))]
    assert len({tuple(data.captions) for data in sets}) == 3
    assert len({data.read(0).tobytes() for data in sets}) == 3


@pytest.mark.parametrize("world", ["curated", "web"])
def test_the_vocabulary_knows_every_word_of_the_captions_and_they_fit_the_context(world):
    known = set(read_words(MODELS / "vocabulary.txt"))
    captions = lab_captions.dataset(HERE, world=world, images=1000).captions
    assert {word for caption in captions for word in caption.split()} <= known
    assert sum(len(caption.split()) > 14 for caption in captions) < 20


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_patterns_are_unlabelled_varied_and_repeat(pattern):
    data, again = (lab_patterns.dataset(HERE, pattern=pattern, images=n) for n in (6, 250))
    assert data.labels.tolist() == [-1] * 6
    assert len({data.read(i).tobytes() for i in range(6)}) == 6
    np.testing.assert_array_equal(data.read(5), again.read(5))
    assert data.read(0).shape == (32, 32, 3)
    assert data.read(0).dtype == np.uint8


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match="pattern 'plaid' is unknown; there are fractal, gratings, glyphs, rectangles"):
        lab_patterns.dataset(HERE, pattern="plaid", images=4)


def test_digits_are_scikit_learns_scans_enlarged():
    data = digits.dataset(HERE, images=12)
    scan = load_digits().images[3]
    image = data.read(3)
    assert image.shape == (32, 32, 3)
    assert data.classes[data.labels[3]] == "three"
    shrunk = image[..., 0].reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), scan.ravel())[0, 1] > 0.98


def test_more_digits_than_there_are_is_refused():
    with pytest.raises(ValueError, match="1798 asked for; scikit-learn ships 1797"):
        digits.dataset(HERE, images=1798)


@pytest.mark.parametrize("kind", data_free.KINDS)
def test_pairs_without_data_are_the_same_every_time_and_of_any_size(kind):
    data, again = (data_free.dataset(HERE, kind=kind, images=n, size=50) for n in (6, 250))
    assert data.read(5).shape == (50, 50, 3)
    assert data.read(5).dtype == np.uint8
    assert np.array_equal(data.read(5), again.read(5))
    assert (kind == "gray") == (len(np.unique(data.read(0))) == 1)
    assert not np.array_equal(data.read(0), data.read(1))
    assert len(set(again.captions)) > 20
    assert len(data_free.dataset(HERE, kind=kind, images=40, things=["cat"], templates=["a {}"]).captions) == 40


def test_noise_has_every_level_as_often():
    noise = data_free.dataset(HERE, kind="noise", images=20, size=64)
    counts = np.bincount(np.concatenate([noise.read(i).ravel() for i in range(20)]), minlength=256)
    assert counts.min() > 0.8 * counts.mean()
