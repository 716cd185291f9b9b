"""Every form of index: what it stores, what that stands for, and what a query meets."""

import numpy as np
import pytest

from reliquant import plugins
from reliquant.measures.index import float32
from reliquant.measures.retrieval import unit_rows

ENTRIES = [{"index": name} for name in ("float16", "int8_vector", "int8_dimension", "binary", "binary_rescored")]
ENTRIES.append({"index": "truncated", "dimensions": 8})
LIBRARY = unit_rows(np.random.default_rng(0).normal(size=(50, 32)) + np.arange(32) / 16)


def built(entry, library=LIBRARY):
    return plugins.load("index", entry)(library)


def test_every_form_is_tried_here():
    assert sorted(entry["index"] for entry in ENTRIES) == plugins.names("index")


@pytest.mark.parametrize(
    ("entry", "expected"), list(zip(ENTRIES, [64, 32 + 4, 32 + 8 * 32 / 50, 4, 4, 32], strict=True)), ids=str
)
def test_bytes_are_those_of_all_that_is_stored(entry, expected):
    assert built(entry).bytes_a_vector == pytest.approx(expected)
    assert float32(LIBRARY).bytes_a_vector == 128


def test_codes_of_a_vector_are_within_half_a_step_of_its_own():
    found = built({"index": "int8_vector"})
    codes, scale = found.stored
    assert np.abs(codes).max(axis=1).tolist() == [127] * 50
    assert (np.abs(found.library - LIBRARY) <= scale / 2 * 1.0001).all()
    np.testing.assert_array_equal(found.library, codes * scale)


def test_codes_of_a_dimension_have_the_range_of_the_library_and_no_other():
    library = LIBRARY.copy()
    library[:, 3] = 0.25
    found = built({"index": "int8_dimension"}, library)
    codes, low, step = found.stored
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(low, library.min(axis=0))
    assert (codes.max(axis=0)[step > 0] == 255).all()
    assert (np.abs(found.library - library) <= step / 2 * 1.0001).all()
    assert (found.library[:, 3] == np.float32(0.25)).all()


def test_signs_have_the_inner_product_of_the_hamming_distance():
    found = built({"index": "binary"})
    distance = (np.unpackbits(found.stored[0], axis=1)[:, None] != np.unpackbits(found.stored[0], axis=1)[None]).sum(2)
    np.testing.assert_array_equal(found.asked(LIBRARY) @ found.library.T, 32 - 2 * distance)
    assert found.whole


def test_rescoring_meets_stored_signs_alone():
    found = built({"index": "binary_rescored", "over": 6})
    assert found.shortlist == 60
    assert set(np.unique(found.library)) == {-1, 1}
    assert plugins.check("index", {"index": "binary_rescored", "over": 0})


def test_shortened_vectors_have_length_1_again_and_queries_are_shortened_too():
    found = built({"index": "truncated", "dimensions": 8})
    np.testing.assert_allclose(np.linalg.norm(found.library, axis=1), 1, rtol=1e-6)
    shortened = LIBRARY[:, :8] / np.linalg.norm(LIBRARY[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(found.library, shortened, rtol=1e-6)
    np.testing.assert_array_equal(found.asked(LIBRARY), found.library)


def test_more_dimensions_than_there_are_and_zeros_are_refused():
    with pytest.raises(ValueError, match="truncated: dimensions 33: the embeddings have 32"):
        built({"index": "truncated", "dimensions": 33})
    with pytest.raises(ValueError, match="truncated: row 2 has only zeros in its first 2 dimensions"):
        built({"index": "truncated", "dimensions": 2}, np.eye(3, dtype=np.float32))
    assert plugins.check("index", {"index": "truncated"}) == [
        "dimensions: missing; truncated needs it (Annotated[int, Field(ge=1)])"
    ]


def test_float16_is_rounded_once():
    found = built({"index": "float16"})
    np.testing.assert_array_equal(found.library, LIBRARY.astype(np.float16).astype(np.float32))
