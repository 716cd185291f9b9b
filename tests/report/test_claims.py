"""Each claim on rows whose truth is known: supported where it is true, contradicted where it is turned round."""

import functools
from dataclasses import replace

import polars as pl
import pytest

from reliquant.report.claims import CLAIMS, judge
from reliquant.report.synthetic import Shape, Truth, rows
from reliquant.report.verdict import kind
from reliquant.study.config import EQUIVALENCE

SMALL = Shape(seeds=(0,), clean=("shapes", "colours"), corruptions=("fog",), severities=(1, 5))
VULN, LOSS = Truth().vuln, Truth().accuracy
PAPER = Truth()
TURNED = {
    2: replace(PAPER, ece={"wit": -0.2, "laion": -0.3}),
    3: replace(PAPER, ece={"wit": 0.3, "laion": 0.49}),
    4: replace(PAPER, text_ece=-0.3),
    5: replace(PAPER, tuned_ece=0.4),
    6: replace(PAPER, noise=-0.1),
    7: replace(PAPER, shift=0.05),
    8: replace(PAPER, vuln=VULN | {("Simple PTQ", 8): -0.03}),
    9: replace(PAPER, vuln=VULN | {("QAT (Contr.)", 8): -0.03}),
    10: replace(PAPER, vuln=VULN | {("Rot+LSQ", 8): 0.05}),
    11: replace(PAPER, vuln=VULN | {("Simple PTQ", 4): -0.1}),
    12: replace(PAPER, vuln=VULN | {("Rot+LSQ", 4): -0.1}),
    13: replace(PAPER, auroc=-0.05),
    14: replace(PAPER, sqnr=(10.0, 4.0), bands=(-0.02, 0.03)),
    15: replace(PAPER, auroc=-0.05),
    16: replace(PAPER, accuracy=LOSS | {("QAT (Contr.)", 4): -0.01}),
}
GAINING = replace(PAPER, accuracy={**LOSS, ("QAT (Contr.)", 8): 0.03}, jitter=0.0005)


@functools.cache
def study():
    """The rows that most tests read, made once."""
    return rows(SMALL)


def found(number, frame, margin=EQUIVALENCE):
    """Judge one claim alone."""
    return CLAIMS[number - 1][3](frame, margin=margin)


def verdicts(frame):
    return {claim["number"]: claim["verdict"] for claim in judge(frame)}


@pytest.fixture(scope="module")
def as_the_paper_says():
    return verdicts(rows(SMALL, GAINING))


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
def test_a_true_claim_is_supported(as_the_paper_says, number):
    assert as_the_paper_says[number] == "supported"


@pytest.mark.parametrize("number", sorted(TURNED))
def test_a_claim_turned_round_is_contradicted(number):
    assert found(number, rows(SMALL, TURNED[number])).verdict == "contradicted"


def at_8_bits(better, half):
    """Changes of calibration of which a share is below 0 and the rest above, all by 0.01 and with intervals."""
    ranked = pl.col("value").rank("ordinal")
    frame = study().filter(pl.col("precision") == "w8a8", pl.col("measure") == "squared_ce_change", suite="clean")
    value = pl.when(ranked <= pl.len() * better / 100).then(-0.01).otherwise(0.01)
    frame = frame.filter(scale="native").with_columns(value=value, replicates=pl.lit(None, frame.schema["replicates"]))
    return frame.with_columns(low=pl.col("value") - half, high=pl.col("value") + half)


@pytest.mark.parametrize(
    ("better", "word"), [(40, "supported"), (0, "contradicted"), (90, "contradicted"), (27, "contradicted")]
)
def test_claim_1_counts_the_runs_with_better_calibration(better, word):
    assert verdicts(at_8_bits(better, half=0.001))[1] == word


@pytest.mark.parametrize("better", [40, 0, 90])
def test_claim_1_is_not_told_by_runs_that_may_all_be_chance(better):
    found = judge(at_8_bits(better, half=0.02))[0]
    assert found["verdict"] == "too small to tell"
    assert found["needs"] > found["images"]
    assert f"would need about {found['needs']:,} images a set" in found["why"]


def test_runs_without_an_interval_are_left_out_and_named_and_void_no_claim():
    frame = study()
    one = (pl.col("model") == "vit-laion") & (pl.col("scheme") == "lsq") & (pl.col("precision") == "w6a8")
    one &= (pl.col("measure") == "squared_ce_change") & (pl.col("dataset") == "shapes")
    ends = [pl.when(~one).then(end).alias(end) for end in ("low", "high", "replicates")]
    without = found(2, frame.with_columns(ends))
    assert without.verdict == found(2, frame).verdict == "supported"
    assert "1 of 18 runs left out, without an interval: vit-laion lsq w6a8 image 0" in without.why


def test_no_run_with_an_interval_leaves_a_claim_untestable():
    frame = study()
    none = {name: pl.lit(None, frame.schema[name]) for name in ("low", "high", "replicates")}
    frame = frame.with_columns(**none)
    assert set(verdicts(frame).values()) == {"not testable here"}


def test_a_rise_within_the_margin_is_read_as_none_and_beyond_it_is_not():
    frame = rows(SMALL, replace(PAPER, vuln=VULN | {("Rot+LSQ", 8): 0.006}))
    assert {c["number"]: c["verdict"] for c in judge(frame, equivalence=0.01)}[10] == "supported"
    assert found(10, frame, margin=0.002).verdict == "contradicted"


def test_what_tuning_does_is_not_credited_to_quantization():
    frame = study()
    tuned = frame.filter(scale="tuned", measure="squared_ce_change", suite="clean")
    worse = {"value": pl.lit(0.001), "low": pl.lit(0.0005), "high": pl.lit(0.0015)}
    beside = tuned.with_columns(
        **worse, scale=pl.lit("both_tuned"), replicates=pl.lit(None, tuned.schema["replicates"])
    )
    alone, separated = (found(5, f) for f in (frame, pl.concat([frame, beside])))
    assert alone.verdict == "supported"
    assert "tuning and quantization are not told apart" in alone.why
    assert separated.verdict == "mixed"
    assert "against FP32 tuned likewise +10.0 points²: contradicted" in separated.why


def test_sources_that_disagree_give_a_mixed_verdict():
    shape = replace(SMALL, models=(("a", "wit"), ("b", "openai")))
    apart = replace(PAPER, ece={"wit": -0.2, "openai": 0.2}, jitter=0.0005)
    assert found(3, rows(shape, apart)).verdict == "mixed"


def test_a_study_without_a_group_says_what_is_missing():
    shape = replace(SMALL, models=(("a", "wit"),), ood=(), spurious=(), corruptions=(), scales=("native",), ranks=())
    found = {c["number"]: c for c in judge(rows(shape))}
    assert {n for n, c in found.items() if c["verdict"] == "not testable here"} == {
        2,
        5,
        6,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
    }
    assert found[2]["why"] == "no clean rows of squared_ce_change of sources like laion, web, noisy"
    assert "tuning the logit scale" in found[5]["why"]


def test_empty_rows_make_every_claim_untestable():
    assert set(verdicts(study().clear()).values()) == {"not testable here"}


def test_effects_are_the_known_truth_with_intervals_and_counts():
    found = {c["number"]: c for c in judge(study())}
    noisy, curated = ((0.08 * (1 + PAPER.ece[source])) ** 2 for source in ("laion", "wit"))
    with_text = [(0.08 * (1 + PAPER.ece[source] + PAPER.text_ece)) ** 2 for source in ("laion", "wit")]
    assert found[2]["value"] == pytest.approx(noisy - 0.08**2, abs=0.001)
    assert found[2]["low"] < found[2]["value"] < found[2]["high"]
    assert f"the ECE as published: {100 * PAPER.ece['laion']:+.0f}" in found[2]["why"].replace(".1 %", " %")
    assert found[4]["value"] == pytest.approx((sum(with_text) - noisy - curated) / 2, abs=0.001)
    assert found[6]["value"] == pytest.approx(
        PAPER.noise + sum(LOSS[f, 8] for f in ("Simple PTQ", "QAT (Contr.)", "Rot+LSQ")) / 3, abs=0.005
    )
    assert found[2]["runs"] == 2 * 3 * 3  # models, schemes, precisions: the image scope of one source
    assert found[2]["images"] == PAPER.images  # of a set, though two are averaged
    assert found[2]["rows"] == {
        "suite": "clean",
        "measure": ["squared_ce_change", "ece_relative_change"],
        "source": ["laion", "web", "noisy"],
        "scope": "image",
    }


def test_there_are_the_sixteen_claims_of_the_paper():
    assert len(CLAIMS) == 16


def test_families_sort_into_the_papers_groups():
    assert [kind(f) for f in ("PTQ", "QAT (Contr.)", "Rot+LSQ", "SmoothQuant")] == [
        "ptq",
        "qat",
        "rotation",
        "smoothquant",
    ]


def test_seeds_that_disagree_leave_claim_4_open():
    frame = rows(replace(SMALL, seeds=(0, 1, 2)))
    apart = pl.when(pl.col("scope") == "both").then((pl.col("seed") - 1) * 0.05).otherwise(0.0)
    moved = [(pl.col(c) + apart).alias(c) for c in ("value", "low", "high")]
    assert found(4, frame).verdict == "supported"
    assert found(4, frame.with_columns(moved)).verdict == "mixed"  # runs are proven to go both ways
