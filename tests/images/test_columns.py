import polars as pl
import pytest

from reliquant.images.columns import choose_columns, holds_captions, holds_images, read_captions

ENCODED = pl.Struct({"bytes": pl.Binary, "path": pl.String})


def chosen(schema, **words):
    return choose_columns(pl.Schema(schema), "x", **{"image": None, "label": "label", "caption": None, **words})


@pytest.mark.parametrize(
    ("schema", "image"),
    [
        ({"image": pl.Binary}, "image"),
        ({"a": pl.Int64, "Image": ENCODED}, "Image"),
        ({"path": pl.String, "jpg": pl.Binary}, "jpg"),  # images before paths
        ({"mask": ENCODED, "photo": ENCODED}, "photo"),
        ({"key": pl.Binary, "x": ENCODED}, "x"),  # the only struct
        ({"key": pl.String, "x": pl.Binary}, "x"),  # the only binary column
        ({"label": pl.String, "file_name": pl.String}, "file_name"),
        ({"caption": pl.String, "image": pl.String}, "image"),
    ],
)
def test_images_are_found_by_type_and_name(schema, image):
    assert chosen(schema).image == image


@pytest.mark.parametrize("schema", [{"a": ENCODED, "b": ENCODED}, {"a": pl.Int64}, {"url": pl.String}])
def test_where_no_column_or_several_could_hold_the_images_those_there_are_are_told(schema):
    with pytest.raises(ValueError, match=r"x: has no column of images .*; there are " + next(iter(schema))):
        chosen(schema)


def test_labels_and_captions_are_found_by_name_and_said():
    found = chosen({"image": pl.Binary, "category": pl.String, "text": pl.List(pl.String)})
    assert (found.label, found.caption) == ("category", "text")
    assert found.assumed == ("labels are read from column 'category'", "captions are read from column 'text'")
    assert (found.label_problem, found.caption_problem) == (None, None)
    usual = chosen({"image": pl.Binary, "label": pl.Int64, "caption": pl.String, "text": pl.String})
    assert (usual.caption, usual.assumed) == ("caption", ())
    asked = chosen({"image": pl.Binary, "y": pl.Int64, "alt": pl.String}, label="y", caption="alt")
    assert (asked.label, asked.caption, asked.assumed) == ("y", "alt", ())


def test_what_is_missing_is_told_to_whoever_needs_it():
    found = chosen({"image": pl.Binary, "text": pl.Int64})
    assert (found.label, found.caption) == (None, None)
    assert found.label_problem.startswith("x: has no column of labels (label, ")
    assert found.caption_problem.endswith("; there are image (Binary), text (Int64)")
    assert chosen({"image": pl.Binary, "label": pl.Int64}, label=None).label_problem.startswith("x: is read without")


def test_types_that_hold_images_and_captions():
    assert holds_images(pl.Struct({"path": pl.String}))
    assert holds_images(pl.Struct({"bytes": pl.Null, "path": pl.String}))
    assert not holds_images(pl.Struct({"bytes": pl.List(pl.UInt8)}))
    assert not holds_images(pl.List(pl.Binary))
    assert holds_captions(pl.Array(pl.String, 5))
    assert not holds_captions(pl.Struct({"raw": pl.String}))


def test_the_first_caption_that_says_something_is_taken():
    found = chosen({"image": pl.Binary, "caption": pl.List(pl.String)})
    captions, told = read_captions(pl.DataFrame({"caption": [["a", "b"], [" ", "c"], [], None]}), found)
    assert captions == ["a", "c", "", ""]
    assert told == ("column 'caption' holds lists of captions: the first of each is taken",)
