"""What columns are called elsewhere."""

import re

import numpy as np
import pytest

from reliquant import plugins
from reliquant.stored.column import column_of
from reliquant.stored.synonyms import SYNONYMS, ours_of

ROWS = np.ones((3, 2), np.float32)


def ours(columns, **names):
    found, said = ours_of({name: column_of(np.asarray(array)) for name, array in columns.items()}, "x.npz", names)
    return {name: column[:].tolist() for name, column in found.items()}, said


def test_usual_names_are_found_and_those_that_differ_are_said():
    found, said = ours({"IMG-emb": ROWS, "text": ROWS, "targets": [1, 2, 3], "softmax": ROWS, "other": [0]})
    assert set(found) == {"image", "text", "label", "probabilities"}
    assert said == (
        "x.npz: image is taken from IMG-emb",
        "x.npz: label is taken from targets",
        "x.npz: probabilities is taken from softmax",
    )


def test_two_that_may_be_meant_are_refused_with_the_word_that_says_which():
    both = {"image_features": ROWS, "img_emb": ROWS}
    told = "image_features and img_emb may each be image; say which: --names image=image_features or --names"
    with pytest.raises(ValueError, match=told):
        ours(both)
    assert ours(both, image="img_emb")[1] == ("x.npz: image is taken from img_emb",)


def test_a_column_that_cannot_be_meant_by_its_type_is_passed_over():
    found, said = ours({"image": ["a.jpg", "b.jpg", "c.jpg"], "img_emb": ROWS, "text": ["a cat", "a dog", "a cow"]})
    assert set(found) == {"image"}
    assert said == ("x.npz: image is taken from img_emb",)


def test_a_matrix_beside_a_list_is_no_label():
    assert ours({"y": ROWS, "target": [1, 2, 3]})[0] == {"label": [1, 2, 3]}
    assert ours({"y": ROWS})[0] == {"label": ROWS.tolist()}  # refused by whoever reads it


def test_words_may_be_labels_and_ids():
    found, _ = ours({"class": ["cat", "dog"], "image_path": ["a", "b"], "pred": ["dog", "dog"]})
    assert found == {"label": ["cat", "dog"], "id": ["a", "b"], "prediction": ["dog", "dog"]}


def test_names_that_are_told_must_be_known_and_there():
    with pytest.raises(ValueError, match="--names img=a: 'img' is unknown; there are image, text, label, "):
        ours({"a": ROWS}, img="a")
    with pytest.raises(ValueError, match=r"x\.npz: has no 'b' for image; there are a"):
        ours({"a": ROWS}, image="b")


def test_a_type_that_is_not_read_is_refused_where_its_column_is_needed():
    with pytest.raises(ValueError, match=r"x\.npz: image is of type complex64; float64, float32, .* are read"):
        ours({"image": ROWS.astype("c8")})
    assert ours({"other": ROWS.astype("c8"), "label": [1]})[0] == {"label": [1]}


def test_no_name_stands_for_two_of_ours():
    names = [name for known in SYNONYMS.values() for name in known]
    assert len(names) == len(set(names))


def test_the_names_that_the_docs_list_are_found():
    page = (plugins.PACKAGE.parents[1] / "docs" / "own_data.md").read_text().partition("## Your own embeddings")[2]
    table = re.findall(
        r"^\| ([a-z_, ]+) \|[^|]*\| ([^|]*)\|$", page.partition("| ours |")[2].partition("\n\n")[0], re.M
    )
    assert len(table) > 8
    listed = set()
    for ours, theirs in table:
        listed |= set(ours.split(", "))
        known = {name for one in ours.split(", ") for name in SYNONYMS[one]}
        assert set(re.findall(r"\w+", theirs)) <= known, ours
    assert listed == set(SYNONYMS)
