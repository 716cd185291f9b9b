import numpy as np
import pytest
import torch

from reliquant import plugins
from reliquant.evaluation.captioned import embed_captioned, gallery
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import load, prepare

CAPTIONS = [["a red star", "red"], ["a blue star"], ["a Red  star"], ["", " "], ["again"], ["a blue ring"]]


def folder_of(tmp_path, captions=CAPTIONS, labels=(0, 1, 0, 1, 1, -1), **words):
    """Prepare six images, of which the fifth is the same as the first; return them opened."""
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    images[4] = images[0]
    first = None if captions is None else [texts[0] for texts in captions]
    words = {"captions": first, "all_captions": captions, **words}
    dataset = Dataset(["a", "b"], ["a {}"], np.array(labels), lambda i: images[i], list("uvwxyz"), **words)
    prepare(dataset, tmp_path / "d" / "native", form="native", entry={})
    return load(tmp_path / "d" / "native")


def test_copies_of_an_image_are_one_with_all_captions_and_what_repeats_is_counted(tmp_path, capsys):
    found = gallery(folder_of(tmp_path), "stars")
    assert found.images.tolist() == [0, 1, 2, 3, 5]
    assert found.texts == ["a red star", "red", "again", "a blue star", "a Red  star", "a blue ring"]
    assert found.image_of.tolist() == [0, 0, 0, 1, 2, 4]
    assert found.label.tolist() == [-1, 1, 0, 1, -1]  # the first image's copies are of two classes
    assert found.facts == {"images": 5, "captions": 6, "copies": 1, "without_caption": 1, "repeated": 2}
    told = capsys.readouterr().err
    assert "stars: 1 images are copies of others: their captions are those of one image" in told
    assert "stars: 1 images have no caption: they may be found, and ask for nothing" in told
    assert "stars: 2 of 6 captions are those of another image, too: only its own image counts as right" in told


def test_sets_with_one_caption_an_image_are_searched_as_they_are(tmp_path):
    prepared = folder_of(tmp_path, all_captions=None, captions=[f"{i}" for i in range(6)])
    found = gallery(prepared, "stars")
    assert found.texts == ["0", "4", "1", "2", "3", "5"]
    assert found.image_of.tolist() == [0, 0, 1, 2, 3, 4]
    assert found.photographs.tolist() == prepared.photographs[[0, 1, 2, 3, 5]].tolist()


def test_labels_that_cannot_be_used_are_none(tmp_path):
    assert gallery(folder_of(tmp_path / "a", label_problem="has none"), "x").label is None
    assert gallery(folder_of(tmp_path / "b", labels=[-1] * 6), "x").label is None
    assert gallery(folder_of(tmp_path / "c", labels=[1] * 6), "x").label is None  # one class tells nothing apart


def test_without_captions_there_is_no_search(tmp_path):
    with pytest.raises(ValueError, match="stars: has no captions, and retrieval searches by them"):
        gallery(folder_of(tmp_path / "a", captions=None), "stars")
    with pytest.raises(ValueError, match="stars: 5 images and 0 captions; a search needs two images and a caption"):
        gallery(folder_of(tmp_path / "b", captions=[[""]] * 6), "stars")


def test_embeddings_are_those_of_the_model_whatever_the_batch(tmp_path):
    clip = plugins.load("tower", {"tower": "small", "architecture": "small_vit"})(None)
    clip.model.eval()
    prepared = folder_of(tmp_path)
    captioned, _ = embed_captioned(clip, prepared, "stars", batch=2)
    whole, _ = embed_captioned(clip, prepared, "stars", batch=256)
    with torch.no_grad():
        text = clip.model.encode_text(clip.tokenizer(gallery(prepared, "stars").texts)).double().numpy()
        pixels = torch.from_numpy(prepared.images[[0, 1, 2, 3, 5]]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(clip.mean), torch.tensor(clip.std))
        image = clip.model.encode_image((pixels - mean[:, None, None]) / std[:, None, None]).double().numpy()
    for own, (found, other) in zip(
        (image, text), ((captioned.image, whole.image), (captioned.text, whole.text)), strict=True
    ):
        assert found.dtype == np.float32
        assert np.allclose(found, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-5)
        assert np.allclose(found, other, atol=1e-6)


def test_captions_that_fill_what_the_model_reads_are_counted(tmp_path, capsys):
    clip = plugins.load("tower", {"tower": "small", "architecture": "small_vit"})(None)
    context = clip.tokenizer(["a"]).shape[1]
    captions = [[" ".join(["star"] * words)] for words in (1, context - 3, context - 2, context + 5, 2, 3)]
    _, facts = embed_captioned(clip, folder_of(tmp_path, captions), "stars")
    assert facts["full"] == 2
    assert "stars: 2 of 6 captions fill all tokens that the model reads" in capsys.readouterr().err
