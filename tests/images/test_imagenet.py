import numpy as np
import pytest
from PIL import Image

from reliquant.images import imagenet
from reliquant.images.imagenet import names, subset, wnids


def put(folder, number, shade=100):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        Image.fromarray(np.full((9, 8, 3), shade, np.uint8)).save(folder / f"{i}.jpg")


@pytest.fixture
def few(monkeypatch):
    """An ImageNet of four classes; ImageNet-A and -R have two of them each."""
    ids = ["n01440764", "n01443537", "n01484850", "n01491361"]
    called = [names()[wnids().index(wnid)] for wnid in ids]
    monkeypatch.setattr(imagenet, "wnids", lambda: ids)
    monkeypatch.setattr(imagenet, "names", lambda: called)
    return ids


def test_wordnet_ids_names_and_subsets_belong_together():
    assert len(wnids()) == len(set(wnids())) == len(names()) == 1000
    assert (wnids()[0], names()[0]) == ("n01440764", "tench")
    assert names()[wnids().index("n02123045")] == "tabby cat"
    for which in ("a", "r"):
        assert len(subset(which)) == 200
        assert set(subset(which)) < set(wnids())
    assert len(imagenet.templates("openai")) == 80
    assert all(template.count("{}") == 1 for template in imagenet.templates("openai"))


def test_a_subset_is_labelled_among_all_classes_or_among_its_own(tmp_path, few):
    for i in (1, 3):
        put(tmp_path / few[i], 2)
    kept = [few[3], few[1]]
    found = imagenet.read_wnids(tmp_path, only=kept)
    assert found.labels.tolist() == [1, 1, 3, 3]
    assert found.classes == imagenet.names()
    own = imagenet.read_wnids(tmp_path, only=kept, own=True)
    assert own.labels.tolist() == [0, 0, 1, 1]
    assert own.classes == [imagenet.names()[i] for i in (1, 3)]


def test_templates_are_given_ones_or_one_by_default():
    assert imagenet.templates(["a {}"]) == ["a {}"]
    assert imagenet.templates(None) == ["a photo of a {}."]
