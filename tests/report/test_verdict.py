import polars as pl
import pytest

from reliquant.report.synthetic import Shape, rows
from reliquant.report.verdict import NotTestable, by_sign, effect, joined, most_bits, runs_of, significant

LABELS = {"model": "m", "source": "s", "family": "f", "precision": "w8a8", "scope": "image", "proxy": "p", "seed": 0}
SMALL = Shape(seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())


def runs(values, half=0.01):
    """One run per value, of different schemes, with intervals of one width."""
    frame = pl.DataFrame({"value": values, "scheme": [f"s{i}" for i in range(len(values))]})
    ends = {"low": pl.col("value") - half, "high": pl.col("value") + half}
    return frame.with_columns(**ends, n=pl.lit(9), **{name: pl.lit(word) for name, word in LABELS.items()})


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.1, 0.2, 0.3], "supported"),
        ([-0.1, -0.2, -0.3], "contradicted"),
        ([0.4, -0.1, -0.1, -0.1], "mixed"),  # the mean is above 0, most runs are below
        ([0.001, 0.002, 0.003], "mixed"),  # all above 0, the interval of the mean is not
    ],
)
def test_a_direction_needs_its_interval_and_two_thirds_of_the_runs(values, word):
    assert by_sign(runs(values), 1, unit="fraction").verdict == word
    turned = {"supported": "contradicted", "contradicted": "supported", "mixed": "mixed"}
    assert by_sign(runs(values), -1, unit="fraction").verdict == turned[word]


def test_without_intervals_the_runs_alone_decide():
    unknown = runs([0.1, 0.2, -0.3, 0.1]).with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    finding = by_sign(unknown, 1, unit="fraction")
    assert (finding.verdict, finding.low) == ("supported", None)
    assert finding.why == "75% of 4 runs go the claimed way"


def test_an_effect_is_the_mean_of_runs_that_share_their_images():
    mean = effect(runs([0.1, 0.3], half=0.05))
    assert (mean["value"], mean["low"], mean["high"]) == pytest.approx((0.2, 0.15, 0.25))
    assert (mean["runs"], mean["images"]) == (2, 9)


def test_a_run_is_significant_beyond_its_interval_and_needs_more_where_there_are_more_tests():
    frame = runs([0.0085, 0.009, 0.02, -0.02]).rename({"value": "x", "low": "x_low", "high": "x_high"})
    # one-sided at 5 %: 1.645 / 1.96 of half a width; at 5 % of 100 tests: 3.29 / 1.96
    assert significant(frame, "x", 1).to_list() == [True, True, True, False]
    assert significant(frame, "x", 1, tests=100).to_list() == [False, False, True, False]
    assert significant(frame, "x", -1).to_list() == [False, False, False, True]


def test_runs_are_chosen_by_kind_bits_scope_and_source():
    frame = rows(SMALL)
    chosen = runs_of(frame, "accuracy_change", kinds=("ptq",), bits=4.0, scope="both", sources=("wit",))
    assert set(chosen["scheme"]) == {"rtn"}
    assert set(chosen["precision"]) == {"w4a8"}
    assert chosen.select("model", "scope").rows() == [("cnx-wit", "both"), ("vit-wit", "both")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kinds": ("pruning",)}, "no clean rows of accuracy_change with kind pruning"),
        ({"bits": 3.0}, "no clean rows of accuracy_change with bits 3"),
        ({"sources": ("yfcc", "cc")}, "no clean rows of accuracy_change of sources like yfcc, cc"),
        ({"suite": "noise"}, "no noise rows of accuracy_change"),
    ],
)
def test_what_the_rows_lack_is_said(words, message):
    with pytest.raises(NotTestable, match=message):
        runs_of(rows(SMALL), "accuracy_change", **words)


def test_the_most_bits_are_those_of_quantized_variants():
    frame = rows(SMALL)
    assert most_bits(frame) == 8.0
    assert most_bits(frame.filter(pl.col("precision") != "w8a8")) == 6.0
    with pytest.raises(NotTestable, match="no quantized variant in the clean suite"):
        most_bits(frame.filter(scheme="fp32"))


def test_runs_of_several_measures_are_joined_by_variant():
    a, b = runs([0.1, 0.2]), runs([0.3, 0.4, 0.5])
    whole = joined([("a", a), ("b", b)])
    assert whole.select("scheme", "a", "b").sort("scheme").rows() == [("s0", 0.1, 0.3), ("s1", 0.2, 0.4)]
    with pytest.raises(NotTestable, match="no variant has all the measures"):
        joined([("a", a), ("b", b.filter(scheme="s2"))])
