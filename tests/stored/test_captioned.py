import numpy as np
import pytest

from reliquant.stored.captioned import captioned_of, matched_pair
from reliquant.stored.read import read_table

RNG = np.random.default_rng(0)
IMAGE, TEXT, OF = RNG.normal(size=(6, 5)) * 3, RNG.normal(size=(9, 5)), np.array([0, 0, 1, 2, -1, 3, 4, 4, 4])


def table(tmp_path, name="t", **columns):
    path = tmp_path / f"{name}.npz"
    np.savez(path, **{"image": IMAGE, "text": TEXT, "image_of": OF, **columns})
    return read_table(path)


def test_embeddings_have_length_1_and_names_of_classes_become_numbers(tmp_path):
    found, said = captioned_of(table(tmp_path, label=np.array(list("babcab")), photograph=np.arange(6)))
    np.testing.assert_allclose(np.linalg.norm(found.image, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found.text, TEXT / np.linalg.norm(TEXT, axis=1, keepdims=True), rtol=1e-5)
    assert (found.label.tolist(), found.photographs.tolist()) == ([1, 0, 1, 2, 0, 1], list(range(6)))
    assert found.image_of.tolist() == OF.tolist()
    assert said == ()


def test_as_many_texts_as_images_are_one_each_and_other_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "one.npz", image=IMAGE, text=TEXT[:6])
    found, said = captioned_of(read_table(tmp_path / "one.npz"))
    assert found.image_of.tolist() == list(range(6))
    assert said == (f"{tmp_path / 'one.npz'}: text i is of image i, as there is no image_of",)
    np.savez(tmp_path / "more.npz", image=IMAGE, text=TEXT)
    with pytest.raises(
        ValueError, match=r"more\.npz: 6 images and 9 texts need image_of, the row of each text's image"
    ):
        captioned_of(read_table(tmp_path / "more.npz"))


def test_a_text_of_an_image_that_is_not_there_is_named_with_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"t\.npz: text 0 is of image 6; images are 0 to 5, and -1 is none"):
        captioned_of(table(tmp_path, image_of=OF + 6))
    with pytest.raises(ValueError, match=r"t\.npz: image_of must hold whole numbers, not float64"):
        captioned_of(table(tmp_path, image_of=OF + 0.5))


def test_images_in_another_order_are_matched_by_id_with_their_texts(tmp_path):
    ids, order = np.array(list("abcdef")), np.array([3, 1, 5, 0, 2, 4])
    back = np.argsort(order)
    other = np.where(OF < 0, -1, back[OF])
    variant = table(tmp_path, "variant", image=IMAGE[order], image_of=other, id=ids[order])
    mine, theirs, said = matched_pair(variant, table(tmp_path, "fp32", id=ids))
    np.testing.assert_array_equal(mine.image, theirs.image)
    np.testing.assert_array_equal(mine.image_of, theirs.image_of)
    assert any("rows are matched by id" in line for line in said)


def test_pairs_or_texts_in_another_order_are_refused(tmp_path):
    image, text = RNG.normal(size=(30, 40)), RNG.normal(size=(30, 40))
    mixed = np.random.default_rng(4).permutation(30)
    fp32 = table(tmp_path, "fp32", image=image, text=text, image_of=np.arange(30))
    pairs = table(tmp_path, "pairs", image=image[mixed], text=text[mixed], image_of=np.arange(30))
    with pytest.raises(ValueError, match=r"pairs\.npz: \d+ of 30 images looked at are clearly other images than in"):
        matched_pair(pairs, fp32)
    texts = table(tmp_path, "texts", image=image, text=text[mixed], image_of=mixed)
    with pytest.raises(ValueError, match=r"texts\.npz: \d+ of 30 texts looked at .*: store the texts of both in one"):
        matched_pair(texts, fp32)
