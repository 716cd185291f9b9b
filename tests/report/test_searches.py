import polars as pl
import pytest

from reliquant.report import frames
from reliquant.report.recommend import recommend, wish
from reliquant.report.searches import wished
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=(),
              retrieval=("fresh", "other"))  # fmt: skip
RTN = pl.col("scheme") == "rtn"


@pytest.fixture(scope="module")
def found():
    return rows(SHAPE)


def of(frame, measure, form="", group=("image_to_text", "text_to_image")):
    """The mean of RTN's values at 4 bits in a stored form and some directions, straight from the rows."""
    kept = (pl.col("suite") == "retrieval") & (pl.col("measure") == measure) & (pl.col("score") == form)
    return frame.filter(kept & pl.col("group").is_in(group) & RTN & (pl.col("precision") == "w4a8"))["value"].mean()


def shifted(frame):
    """The rows with recall of images for texts a tenth higher: directions that differ."""
    there = (pl.col("group") == "image_to_text") & pl.col("measure").str.starts_with("recall")
    return frame.with_columns(
        pl.when(there).then(pl.col(c) + 0.1).otherwise(c).alias(c) for c in ("value", "low", "high")
    )


def test_what_is_selected_of_the_suite_is_of_float32_embeddings_alone(found):
    assert found.filter(suite="retrieval")["score"].n_unique() == 3
    selected = frames.select(found, "recall_at_1", suite="retrieval")
    assert selected["score"].unique().to_list() == [""]
    assert set(selected["group"]) == {"image_to_text", "text_to_image"}
    recorded = frames.Recorded(found)
    frames.select(recorded, "recall_at_1", suite="retrieval")
    (behind,) = recorded.read.values()
    assert behind["score"].unique().to_list() == [""]  # what a click on a number shows


@pytest.mark.parametrize(
    ("text", "direction", "form"),
    [
        ("retrieval:recall_at_1_change >= -1", "", ""),
        ("retrieval:text_to_image:recall_at_1_change >= -1", "text_to_image", ""),
        ("retrieval:int8_vector:recall_at_1_change >= -1", "", "int8_vector"),
        ("retrieval:image_to_text:binary:recall_at_1_change >= -1", "image_to_text", "binary"),
        ("retrieval:binary:image_to_text:recall_at_1_change >= -1", "image_to_text", "binary"),
    ],
)
def test_a_wish_is_about_one_stored_form_and_the_directions_that_it_says(found, text, direction, form):
    asked = wish(text)
    assert (asked.suite, asked.measure, asked.direction, asked.form) == (
        "retrieval",
        "recall_at_1_change",
        direction,
        form,
    )
    every = shifted(found)
    groups = (direction,) if direction else ("image_to_text", "text_to_image")
    (own,) = recommend(every, [text], cost="stored_bits").filter(RTN, precision="w4a8")[text].to_list() or [None]
    if own is None:  # beaten by another: the same value is told where all are judged
        selected, _ = wished(every, "recall_at_1_change", direction=direction, form=form)
        own = frames.mean_of_sets(selected.filter(RTN, precision="w4a8"))["value"].item()
    assert own == pytest.approx(of(every, "recall_at_1_change", form, groups))


def test_a_recommendation_says_over_which_directions_a_wish_of_searches_is(found):
    text = "retrieval:recall_at_1_change >= -0.5"
    assert (
        "retrieval:recall_at_1_change (image to text and text to image) on fresh, other"
        in recommend(found, [text])["sets"][0]
    )
    text = "retrieval:map_change >= -0.5"  # which images by class alone have
    assert "retrieval:map_change (image to image) on fresh, other" in recommend(found, [text])["sets"][0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "retrieval:sideways:recall_at_1 >= 0",
            r"^retrieval:sideways: is no direction and no stored form of these rows",
        ),
        ("retrieval:image_to_image:recall_at_1 >= 0", r"image to image has no recall_at_1 in the suite retrieval"),
        ("retrieval:nothing >= 0", r"no rows of nothing in the suite retrieval, float32 embeddings$"),
    ],
)
def test_a_wish_for_what_was_not_searched_says_what_was(found, text, told):
    with pytest.raises(ValueError, match=told):
        recommend(found, [text])


@pytest.mark.parametrize(
    "text",
    [
        "ood:near:auroc >= 0",
        "retrieval:image_to_text:text_to_image:recall_at_1 >= 0",
        "retrieval:int8:binary:recall_at_1 >= 0",
        "retrieval:a:b:c:recall_at_1 >= 0",
        "searches:recall_at_1 >= 0",
    ],
)
def test_a_wish_that_says_too_much_is_refused(text):
    with pytest.raises(ValueError, match=r"wish .*(must read|at most)"):
        wish(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "retrieval:text_to_video:recall_at_1 >= 0.5",
            "^retrieval:text_to_video: is no direction and no stored form of these rows; directions are image_to_text,"
            " text_to_image, image_to_image; stored forms here are binary, int8_vector$",
        ),
        (
            "retrieval:image_to_image:recall_at_1 >= 0.5",
            "^image to image has no recall_at_1 in the suite retrieval; it has .*precision_at_1",
        ),
        ("retrieval:image_to_image:recall_at_1_change >= 0.5", "it has .*precision_at_1_change"),
        ("retrieval:recall_at_9 >= 0.5", "there are no rows of recall_at_9 in the suite retrieval, float32 embeddings"),
    ],
)
def test_a_wish_of_what_is_not_there_is_told_what_there_is(found, text, told):
    with pytest.raises(ValueError, match=told):
        recommend(found, [text])


def test_a_wish_of_a_direction_that_was_not_searched_names_those_that_were(found):
    without = found.filter(pl.col("group") != "image_to_image")
    told = "no rows of direction image_to_image in the suite retrieval; there are image_to_text, text_to_image$"
    with pytest.raises(ValueError, match=told):
        recommend(without, ["retrieval:image_to_image:map >= 0.5"])
