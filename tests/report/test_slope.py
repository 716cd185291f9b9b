import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from reliquant.files.artifacts import KEPT, REPLICATES
from reliquant.report.slope import of_ranks
from reliquant.report.verdict import NotTestable

RANKS = (0, 1, 3, 9, 99)  # log10(1 + rank) = 0, 0.3, 0.6, 1, 2
LABELS = {"model": "m", "source": "s", "family": "f", "precision": "w4a8", "scope": "image", "proxy": "p"}


def of(slopes, *, seeds=(0,), scatter=0.0, half=0.01, ranks=RANKS, rng=None):
    """Rows of SQNR by rank of one variant per slope."""
    lines = []
    for i, slope in enumerate(slopes):
        for seed in seeds:
            for rank in ranks:
                value = 20 + slope * np.log10(1 + rank) + (scatter * rng.normal() if scatter else 0)
                lines.append({"scheme": f"s{i}", "seed": seed, "measure": f"sqnr_rank_{rank}", "value": value})
    frame = pl.DataFrame(lines).with_columns(**{k: pl.lit(v) for k, v in LABELS.items()})
    ends = {"low": pl.col("value") - half, "high": pl.col("value") + half}
    return frame.with_columns(**ends, dataset=pl.lit("d"), n=pl.lit(200))


def test_the_variants_are_the_unit_of_the_interval():
    slopes = [-4.0, -5.0, -3.0, -4.5]
    finding = of_ranks(of(slopes))
    expected = ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert finding.value == pytest.approx(np.mean(slopes))
    assert (finding.low, finding.high) == pytest.approx((expected.low, expected.high))
    assert (finding.verdict, finding.runs) == ("supported", 4)
    assert of_ranks(of([-s for s in slopes])).verdict == "contradicted"


def test_seeds_of_a_variant_are_one_unit():
    one, three = of_ranks(of([-4.0, -5.0, -3.0])), of_ranks(of([-4.0, -5.0, -3.0], seeds=(0, 1, 2)))
    assert (three.low, three.high, three.runs) == pytest.approx((one.low, one.high, 3))


def test_images_that_are_few_widen_the_interval():
    sure, unsure = (of_ranks(of([-4.0, -4.1, -3.9], half=half)) for half in (0.01, 10.0))
    assert sure.verdict == "supported"
    assert unsure.verdict == "too small to tell"


def test_one_variant_has_an_interval_by_the_scatter_of_its_ranks():
    finding = of_ranks(of([-4.0], scatter=0.5, rng=np.random.default_rng(0)))
    assert finding.low < finding.value < finding.high
    with pytest.raises(NotTestable, match="at three ranks"):
        of_ranks(of([-4.0], ranks=(0, 1)))


def test_variants_whose_slopes_are_zero_on_average_are_hardly_ever_a_slope():
    rng = np.random.default_rng(0)
    words = [of_ranks(of(rng.normal(0, 3, 6), scatter=1.0, rng=rng)).verdict for _ in range(300)]
    assert np.mean([word == "supported" for word in words]) < 0.05


def with_shared_images(rng, *, variants=4, images=0.5):
    """Rows without any true slope whose images move all ranks of all variants alike, with replicates that show it."""
    frame = of([0.0] * variants)
    x = np.log10(1 + frame["measure"].str.extract(r"(\d+)$").cast(float).to_numpy())
    errors = rng.normal(0, images, KEPT + 1)[None] * x[:, None]
    value = frame["value"].to_numpy() + errors[:, 0]
    kept = pl.Series("replicates", (value[:, None] + errors[:, 1:]).astype(np.float32), dtype=REPLICATES)
    half = 1.96 * images * np.maximum(x, 0.01)
    return frame.with_columns(kept, value=pl.Series(value), low=pl.Series(value - half), high=pl.Series(value + half))


def test_images_that_variants_share_are_not_mistaken_for_agreement_of_variants():
    rng = np.random.default_rng(0)
    words = [of_ranks(with_shared_images(rng)).verdict for _ in range(200)]
    assert np.mean([word == "too small to tell" for word in words]) > 0.9


def test_images_that_move_ranks_apart_average_out_where_replicates_say_so():
    rng = np.random.default_rng(0)
    frame = of([-4.0, -4.1, -3.9], half=3.0)
    kept = frame["value"].to_numpy()[:, None] + rng.normal(0, 3.0 / 1.96, (frame.height, KEPT))
    shared = frame.with_columns(pl.Series("replicates", kept.astype(np.float32), dtype=REPLICATES))
    wide, right = of_ranks(frame), of_ranks(shared)
    x = np.log10(1 + np.array(RANKS))
    error = 3.0 / 1.96 / np.sqrt(((x - x.mean()) ** 2).sum() * 3)
    assert (right.high - right.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert right.high - right.low < wide.high - wide.low


def test_variants_without_intervals_are_left_out_by_name_and_prove_nothing():
    frame = of([-4.0, -4.1, -3.9, -8.0]).with_columns(
        low=pl.when(pl.col("scheme") != "s3").then("low"), high=pl.when(pl.col("scheme") != "s3").then("high")
    )
    finding = of_ranks(frame)
    assert (finding.runs, finding.value) == (3, pytest.approx(-4.0))
    assert "5 of 20 runs left out, without an interval" in finding.why
    with pytest.raises(NotTestable, match="left out"):
        of_ranks(frame.with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64)))
