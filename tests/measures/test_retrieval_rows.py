import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.measures.retrieval import Captioned, task, unit_rows
from reliquant.measures.retrieval_rows import COLUMNS, retrieval_rows
from reliquant.measures.search import ITEMS, searched

FORMS = {name: {"index": name} for name in ("float16", "int8_vector", "int8_dimension", "binary", "binary_rescored")}
FORMS["truncated_16"] = {"index": "truncated", "dimensions": 16}


def captioned(n=60, d=32, seed=0, captions=3):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 5, n)
    base = rng.normal(size=(n, d)) + rng.normal(size=(5, d))[label]
    image_of = np.repeat(np.arange(n), captions)
    image, text = base + 0.5 * rng.normal(size=base.shape), base[image_of] + rng.normal(size=(len(image_of), d))
    photographs = rng.integers(0, 2**63, n, dtype=np.uint64)
    return Captioned(unit_rows(image), unit_rows(text), image_of, label, photographs)


def noisy(one, size, seed=1):
    rng = np.random.default_rng(seed)
    image, text = (unit_rows(rows + size * rng.normal(size=rows.shape)) for rows in (one.image, one.text))
    return Captioned(image, text, one.image_of, one.label, one.photographs)


def value(rows, measure, group="image_to_text", score=""):
    return rows.row(by_predicate=_is(measure, group, score), named=True)


def _is(measure, group, score):
    return (pl.col("measure") == measure) & (pl.col("group") == group) & (pl.col("score") == score)


def test_rows_have_the_columns_of_a_study_and_every_measure_once():
    fp32 = captioned()
    rows = retrieval_rows(noisy(fp32, 0.1), fp32, indexes=FORMS, resamples=200)
    assert rows.columns == list(COLUMNS)
    assert {name: rows.schema[name] for name in COLUMNS} == {name: ROW_SCHEMA[name] for name in COLUMNS}
    assert not rows.select("group", "score", "measure").is_duplicated().any()
    assert set(rows["score"]) == {"", *FORMS}
    plain = set(rows.filter(group="text_to_image", score="")["measure"])
    levels = {"recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "map_at_r", "ndcg_at_10"}
    mixed = {f"{name}{where}" for name in levels for where in ("_fp32_library", "_fp32_queries")}
    changed = {"top10_jaccard", "top10_rank_biased_overlap", "rank_correlation", "right_answer_moved"}
    assert plain == levels | mixed | {f"{name}_change" for name in levels | mixed | {"margin"}} | changed | {
        "margin",
        "bytes_a_vector",
    }
    alike = {"precision_at_1", "precision_at_5", "precision_at_10", "map"}
    assert {*alike, "top10_jaccard"} <= set(rows.filter(group="image_to_image", score="binary")["measure"])


def test_a_model_alone_has_no_changes_to_fp32_but_those_of_its_stored_forms():
    rows = retrieval_rows(captioned(), None, indexes={"binary": FORMS["binary"]}, resamples=50)
    assert not rows.filter(score="")["measure"].str.contains("change|jaccard|fp32").any()
    stored = value(rows, "recall_at_1_index_change", score="binary")
    levels = [value(rows, "recall_at_1", score=score)["value"] for score in ("binary", "")]
    assert stored["value"] == pytest.approx(levels[0] - levels[1])


def test_values_are_those_of_a_matrix_sorted_whole():
    one = captioned()
    rows = retrieval_rows(one, None, resamples=50)
    s = one.image.astype(float) @ one.text.T.astype(float)
    rank = np.array([np.flatnonzero(one.image_of[np.argsort(-row)] == i)[0] + 1 for i, row in enumerate(s)])
    for k in (1, 5, 10):
        assert value(rows, f"recall_at_{k}")["value"] == pytest.approx((rank <= k).mean())
    assert value(rows, "median_rank")["value"] == np.median(rank)
    rank = np.array([np.flatnonzero(np.argsort(-s[:, j]) == i)[0] + 1 for j, i in enumerate(one.image_of)])
    for k in (1, 5, 10):
        assert value(rows, f"recall_at_{k}", "text_to_image")["value"] == pytest.approx((rank <= k).mean())
    assert value(rows, "median_rank", "text_to_image")["value"] == np.median(rank)


def test_nothing_changes_where_nothing_was_quantized_and_it_is_not_claimed_to_be_certain():
    one = captioned()
    rows = retrieval_rows(one, one, resamples=200)
    same = rows.filter(pl.col("measure").str.ends_with("_change"))
    assert (same["value"] == 0).all()
    assert (same["p"] == 1).all()
    shares = same.filter(pl.col("measure").str.starts_with("recall"))
    assert (shares["low"] < 0).all()
    assert (shares["high"] > 0).all()
    for name in ("top10_jaccard", "top10_rank_biased_overlap", "rank_correlation"):
        assert value(rows, name)["value"] == pytest.approx(1)
        assert value(rows, name)["low"] < 0.99
    assert value(rows, "right_answer_moved")["value"] == 0
    assert value(rows, "right_answer_moved")["high"] > 0


def test_a_mixed_index_is_searched_by_the_other_models_queries():
    fp32 = captioned()
    variant = noisy(fp32, 0.2)
    rows = retrieval_rows(variant, fp32, resamples=50)
    for measure, asking, library in (
        ("recall_at_1_fp32_library", variant, fp32),
        ("recall_at_1_fp32_queries", fp32, variant),
    ):
        found = searched(task("text_to_image", asking, library))
        right = (found.top[:, 0] == fp32.image_of).mean()
        assert value(rows, measure, "text_to_image")["value"] == pytest.approx(right)
        change = right - value(retrieval_rows(fp32, None, resamples=50), "recall_at_1", "text_to_image")["value"]
        assert value(rows, f"{measure}_change", "text_to_image")["value"] == pytest.approx(change)


def test_captions_of_one_image_are_not_so_many_images():
    once = captioned(n=200, captions=1)
    texts = np.repeat(once.text, 5, axis=0)
    five = Captioned(once.image, texts, np.repeat(once.image_of, 5), once.label, once.photographs)
    one, more = (
        value(retrieval_rows(each, None, resamples=50), "recall_at_1", "text_to_image") for each in (once, five)
    )
    for name in ("value", "low", "high", "n"):
        assert more[name] == pytest.approx(one[name])


def test_a_gallery_smaller_than_k_gives_no_number_for_it():
    axes = np.eye(4, dtype=np.float32)
    rows = retrieval_rows(Captioned(axes[:3], axes[:3], np.arange(3)), None, resamples=50)
    assert value(rows, "recall_at_1")["value"] == 1
    assert value(rows, "recall_at_5")["value"] is None
    assert value(rows, "ndcg_at_10")["value"] is None


def crowded(captions, n=12):
    """Captioned images of which the first has many captions."""
    rng = np.random.default_rng(0)
    image, image_of = rng.normal(size=(n, 8)), np.r_[np.zeros(captions, int), np.arange(1, n)]
    return Captioned(unit_rows(image), unit_rows(image[image_of] + rng.normal(size=(len(image_of), 8))), image_of)


@pytest.mark.parametrize(("captions", "over"), [(11, 1), (41, 4)])
def test_a_shortlist_that_is_shorter_than_the_right_answers_gives_no_map_at_r(captions, over):
    forms = {
        "short": {"index": "binary_rescored", "over": over},
        "long": {"index": "binary_rescored", "over": over + 1},
    }
    rows = retrieval_rows(crowded(captions), None, indexes=forms, resamples=50)
    assert value(rows, "map_at_r", score="short")["value"] is None
    assert value(rows, "map_at_r_index_change", score="short")["value"] is None
    assert value(rows, "recall_at_1", score="short")["value"] is not None
    assert value(rows, "map_at_r", score="long")["value"] is not None
    assert value(rows, "map_at_r")["value"] is not None
    assert value(rows, "map_at_r", "text_to_image", "short")["value"] is not None


def test_an_image_with_more_captions_than_places_that_are_listed_has_no_map_at_r_and_no_margin():
    many = crowded(ITEMS + 1)
    rows = retrieval_rows(many, noisy(many, 0.1), resamples=50)
    for measure in ("map_at_r", "map_at_r_change", "margin", "margin_change"):
        assert value(rows, measure)["value"] is None
    own = many.image @ many.text.T
    hit = many.image_of[own.argmax(axis=1)] == np.arange(len(many.image))
    assert value(rows, "recall_at_1")["value"] == pytest.approx(hit.mean())
    assert value(rows, "margin", "text_to_image")["value"] is not None
    fewer = retrieval_rows(crowded(ITEMS - 1), None, resamples=50)
    assert value(fewer, "map_at_r")["value"] is not None
    assert value(fewer, "margin")["value"] is not None


def test_one_query_has_values_and_the_interval_of_one_answer():
    axes = np.eye(12, dtype=np.float32)
    rows = retrieval_rows(Captioned(axes[:1], axes, np.array([0] + [-1] * 11)), None, resamples=50)
    only = value(rows, "recall_at_1")
    assert (only["value"], only["n"], only["high"]) == (1.0, 1, 1.0)
    assert only["low"] < 0.25
    assert value(rows, "margin")["low"] is None


def test_a_set_in_which_nothing_can_be_found_is_refused():
    axes = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="no image has a text and no class has two images"):
        retrieval_rows(Captioned(axes, axes, np.full(4, -1)), None, resamples=50)
