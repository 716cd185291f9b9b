"""Each claim on rows whose truth is known: supported where it is true, contradicted where it is turned round."""

from dataclasses import replace

import polars as pl
import pytest

from reliquant.report.claims import CLAIMS, judge
from reliquant.report.synthetic import Shape, Truth, rows
from reliquant.report.verdict import kind

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
GAINING = replace(PAPER, accuracy={**LOSS, ("QAT (Contr.)", 8): 0.03})


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
    assert verdicts(rows(SMALL, TURNED[number]))[number] == "contradicted"


@pytest.mark.parametrize(
    ("better", "word"), [(40, "supported"), (0, "contradicted"), (90, "contradicted"), (27, "mixed")]
)
def test_claim_1_counts_the_runs_with_better_calibration(better, word):
    ranked = pl.col("value").rank("ordinal")
    frame = rows(SMALL).filter(pl.col("precision") == "w8a8", pl.col("measure") == "ece_change", suite="clean")
    frame = frame.filter(scale="native").with_columns(
        value=pl.when(ranked <= pl.len() * better / 100).then(-0.01).otherwise(0.01)
    )
    assert verdicts(frame)[1] == word


def test_sources_that_disagree_give_a_mixed_verdict():
    shape = replace(SMALL, models=(("a", "wit"), ("b", "openai")))
    assert verdicts(rows(shape, replace(PAPER, ece={"wit": -0.2, "openai": 0.2})))[3] == "mixed"


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
    assert found[2]["why"] == "no clean rows of ece_relative_change of sources like laion, web, noisy"
    assert "tuning the logit scale" in found[5]["why"]


def test_empty_rows_make_every_claim_untestable():
    assert set(verdicts(rows(SMALL).clear()).values()) == {"not testable here"}


def test_effects_are_the_known_truth_with_intervals_and_counts():
    found = {c["number"]: c for c in judge(rows(SMALL))}
    assert found[2]["value"] == pytest.approx(PAPER.ece["laion"], abs=0.005)
    assert found[2]["low"] < found[2]["value"] < found[2]["high"]
    assert found[4]["value"] == pytest.approx(PAPER.text_ece, abs=0.01)
    assert found[6]["value"] == pytest.approx(
        PAPER.noise + sum(LOSS[f, 8] for f in ("Simple PTQ", "QAT (Contr.)", "Rot+LSQ")) / 3, abs=0.005
    )
    assert found[2]["runs"] == 2 * 3 * 3  # models, schemes, precisions: the image scope of one source
    assert found[2]["images"] == 2 * PAPER.images
    assert found[2]["rows"] == {
        "suite": "clean",
        "measure": "ece_relative_change",
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
    apart = pl.when(pl.col("scope") == "both").then(pl.col("value") + (pl.col("seed") - 1) * 0.4).otherwise("value")
    moved = [apart.alias("value") if c == "value" else pl.col(c) for c in frame.columns]
    assert verdicts(frame)[4] == "supported"
    assert verdicts(frame.with_columns(moved))[4] == "mixed"
