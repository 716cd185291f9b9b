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


def test_texts_may_name_their_images_by_id(tmp_path):
    ids = np.array(list("abcdef"))
    words = np.array([ids[i] if i >= 0 else "" for i in OF])
    found, _ = captioned_of(table(tmp_path, image_of=words, id=ids))
    assert found.image_of.tolist() == OF.tolist()
    numbers = np.arange(6) + 100
    found, _ = captioned_of(table(tmp_path, image_of=np.where(OF < 0, "", numbers[OF].astype(str)), id=numbers))
    assert found.image_of.tolist() == OF.tolist()
    with pytest.raises(
        ValueError, match=r"t\.npz: image_of holds words; it must hold rows of images from 0, or their ids"
    ):
        captioned_of(table(tmp_path, image_of=words))
    with pytest.raises(ValueError, match=r"t\.npz: text 2 is of image 'b', which no id is"):
        captioned_of(table(tmp_path, image_of=words, id=np.array(list("axcdef"))))
    with pytest.raises(ValueError, match=r"t\.npz: id 'a' is that of two images"):
        captioned_of(table(tmp_path, image_of=words, id=np.array(list("aacdef"))))


def test_tables_that_differ_are_named_both(tmp_path):
    fp32 = table(tmp_path, "fp32")
    both = r"q\.npz beside .*fp32\.npz: "
    with pytest.raises(ValueError, match=both + "8 texts here and 9 in the reference"):
        matched_pair(table(tmp_path, "q", text=TEXT[:8], image_of=OF[:8]), fp32)
    with pytest.raises(ValueError, match=both + "image_of 1 is 2 here and 0 in the reference"):
        matched_pair(table(tmp_path, "q", image_of=np.where(np.arange(9) == 1, 2, OF)), fp32)
    narrow = {"image": IMAGE[:, :4], "text": TEXT[:, :4]}
    with pytest.raises(ValueError, match=both + "image rows have 4 numbers here and 5 in the reference"):
        matched_pair(table(tmp_path, "q", **narrow), fp32)


def test_that_texts_are_matched_by_position_is_told_where_ids_are_of_images(tmp_path):
    ids = np.array(list("abcdef"))
    tables = table(tmp_path, "q", id=ids), table(tmp_path, "fp32", id=ids)
    assert any("texts are matched by their position, as ids are of images" in line for line in matched_pair(*tables)[2])


def test_all_variants_have_the_keys_of_photographs_of_the_reference(tmp_path):
    keys = np.array([1, 1, 2, 3, 4, 5])
    mine, theirs, _ = matched_pair(table(tmp_path, "q"), table(tmp_path, "fp32", photograph=keys))
    assert mine.photographs.tolist() == theirs.photographs.tolist() == keys.tolist()
    mine, _, _ = matched_pair(table(tmp_path, "q", photograph=keys), table(tmp_path, "fp32"))
    assert mine.photographs is None
