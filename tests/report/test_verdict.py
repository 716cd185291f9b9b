import polars as pl
import pytest

from reliquant.report.synthetic import Shape, rows
from reliquant.report.verdict import (
    Finding,
    NotTestable,
    by_sign,
    joined,
    most_bits,
    runs_of,
    together,
    unchanged,
)

LABELS = {"model": "m", "source": "s", "family": "f", "precision": "w8a8", "scope": "image", "proxy": "p", "seed": 0}
SMALL = Shape(seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())
UNIT = {"unit": "fraction"}


def runs(values, half=0.01):
    """One run per value, of different schemes, with intervals of one width."""
    frame = pl.DataFrame({"value": values, "scheme": [f"s{i}" for i in range(len(values))]})
    ends = {"low": pl.col("value") - half, "high": pl.col("value") + half}
    return frame.with_columns(**ends, n=pl.lit(900), **{name: pl.lit(word) for name, word in LABELS.items()})


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.1, 0.2, 0.3], "supported"),
        ([-0.1, -0.2, -0.3], "contradicted"),
        ([0.4, -0.1, -0.1, -0.1], "mixed"),  # the mean is above 0, three of four runs are proven below
        ([0.1, -0.1], "mixed"),  # the mean is 0, and both runs are proven not to be
        ([0.001, 0.002, 0.003], "too small to tell"),  # the interval of the mean includes 0, and no run is proven
    ],
)
def test_a_direction_needs_its_interval_and_runs_that_do_not_prove_otherwise(values, word):
    assert by_sign(runs(values), 1, **UNIT).verdict == word
    turned = {"supported": "contradicted", "contradicted": "supported"}
    assert by_sign(runs(values), -1, **UNIT).verdict == turned.get(word, word)


def test_runs_without_intervals_prove_nothing():
    unknown = runs([0.1, 0.2, 0.3, 0.1]).with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    with pytest.raises(NotTestable, match="no run has an interval"):
        by_sign(unknown, 1, **UNIT)


@pytest.mark.parametrize(("value", "word"), [(0.001, "contradicted"), (0.006, "too small to tell")])
def test_a_change_that_lies_within_the_margin_contradicts_a_direction(value, word):
    assert by_sign(runs([value], half=0.007), 1, margin=0.01, **UNIT).verdict == word


def test_a_bound_other_than_zero_is_what_the_interval_must_exclude():
    assert by_sign(runs([0.23], half=0.02), 1, beyond=0.2, **UNIT).verdict == "supported"
    assert by_sign(runs([0.17], half=0.02), 1, beyond=0.2, **UNIT).verdict == "contradicted"
    assert by_sign(runs([0.21], half=0.02), 1, beyond=0.2, **UNIT).verdict == "too small to tell"


@pytest.mark.parametrize(
    ("value", "half", "word"),
    [
        (0.0, 0.005, "supported"),
        (0.004, 0.005, "supported"),
        (0.03, 0.005, "contradicted"),
        (-0.03, 0.005, "contradicted"),
        (0.0, 0.02, "too small to tell"),  # absence of evidence
        (0.03, 0.04, "too small to tell"),
    ],
)
def test_no_change_is_supported_only_by_an_interval_within_the_margin(value, half, word):
    finding = unchanged(runs([value], half=half), margin=0.01, **UNIT)
    assert finding.verdict == word
    assert (finding.needs is not None) == (word == "too small to tell")


def test_the_images_that_would_be_needed_fall_with_the_square_of_the_effect():
    # half a width of 0.01 is 1.96 errors, and 3.26 are told with a chance of 0.9: (0.01 * 3.26 / 1.96 / 0.005)^2 = 11
    finding = by_sign(runs([0.005]), 1, **UNIT)
    assert finding.needs == pytest.approx(900 * 11.07, rel=0.02)
    assert f"would need about {finding.needs:,} images a set, where 900 are" in finding.why
    assert by_sign(runs([0.0025]), 1, **UNIT).needs == pytest.approx(4 * finding.needs, rel=0.02)


def test_the_effect_that_is_told_is_3_26_errors_in_the_claims_direction():
    assert by_sign(runs([0.1]), 1, **UNIT).told == "+1.7 points"
    assert by_sign(runs([0.1]), -1, **UNIT).told == "-1.7 points"


def test_a_claim_of_several_parts_needs_them_all():
    def part(word):
        return Finding(word, "why", 0.1, unit="fraction")

    words = {
        ("supported", "supported"): "supported",
        ("supported", "contradicted"): "mixed",
        ("supported", "too small to tell"): "too small to tell",
        ("contradicted", "too small to tell"): "contradicted",
        ("mixed", "supported"): "mixed",
    }
    for (one, other), word in words.items():
        assert together({"a": part(one), "b": part(other)}).verdict == word, (one, other)


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
