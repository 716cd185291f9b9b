import numpy as np
import polars as pl
import pytest

from reliquant.measures.pairing import Pair, matched
from reliquant.measures.rows import rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.head(79), "suite clean, dataset d, reference d: 80 images here, 79 in the baseline"),
        (lambda f: f.with_columns(dataset=pl.lit("x")), "dataset d, reference d: 80 images here, 0 in the baseline"),
        (lambda f: f.with_columns(label=(pl.col("label") + 1) % 6), "label 0 here, 1 in the baseline"),
        (lambda f: f.with_columns(index=pl.col("index") + 7), "index 0 here, 7 in the baseline"),
        (lambda f: f.with_columns(confidence=pl.lit(np.nan)), "the baseline: confidence of 80 images is NaN, first in"),
        (lambda f: f.with_columns(label=pl.lit(-1)), "the baseline: 80 images without a class, first in suite clean"),
    ],
)
def test_records_that_do_not_match_one_to_one_are_refused_by_name(cell, change, message):
    with pytest.raises(ValueError, match=message):
        rows(cell(), change(cell()))


def test_records_of_other_photographs_in_the_same_places_are_refused(cell):
    samples = cell().with_columns(photograph=pl.col("index").cast(pl.UInt64))
    assert matched(samples, samples).height == 80
    assert matched(samples, cell()).height == 80  # records of other programs have no keys
    swapped = samples.with_columns(photograph=pl.col("photograph").replace({3: 4, 4: 3}))
    with pytest.raises(ValueError, match="dataset d, reference d: image 3 is another photograph here than in the base"):
        rows(samples, swapped)


def test_the_same_image_twice_is_refused(cell):
    double = pl.concat([cell(), cell()])
    with pytest.raises(ValueError, match="image 0 comes twice in suite clean, dataset d"):
        rows(double, double)


def test_the_baseline_is_returned_in_the_order_of_the_images(cell):
    samples = cell()
    shuffled = samples.sample(fraction=1, shuffle=True, seed=3)
    assert matched(samples, shuffled).equals(samples)


def test_both_sides_of_a_pair_stay_in_step(cell):
    a, b = cell(n=6), cell(n=6, noise=2.0)
    pair = Pair(a, b)
    assert pair.sides == [a, b]
    assert [side["index"].to_list() for side in pair.slice(2, 3).sides] == [[2, 3, 4]] * 2
    chosen = pair.filter(a["label"] == 1).sort("index")
    assert [side["index"].to_list() for side in chosen.sides] == [[1]] * 2
    both = pair.followed_by(Pair(a.with_columns(more=pl.lit(1)), b.with_columns(more=pl.lit(1))))
    assert [side.height for side in both.sides] == [12, 12]
    assert both.fp32["confidence"].to_list() == b["confidence"].to_list() * 2


def test_a_pair_without_fp32_has_one_side(cell):
    records = cell(n=4)
    alone = Pair(records, None)
    assert alone.sides == [records]
    for pair in (alone.sort("index"), alone.slice(0, 2), alone.filter(records["index"] > 0), alone.followed_by(alone)):
        assert pair.fp32 is None
