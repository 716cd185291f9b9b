from dataclasses import replace

import pytest

from reliquant.report.synthetic import Shape, Truth, rows

SHAPE = Shape(
    models=(("vit", "wit"),),
    schemes=(("rtn", "Simple PTQ"),),
    precisions=("w4a8",),
    scopes=("image",),
    seeds=(0,),
    clean=("shapes",),
    shift=("sketch",),
    ood=(("digits", "far"),),
    scores=("mcm",),
)


@pytest.fixture(scope="module")
def frame():
    return rows(SHAPE, replace(Truth(), jitter=0.0))


def value(frame, measure, suite, scheme="rtn"):
    return frame.filter(measure=measure, suite=suite, scheme=scheme, scale="native")["value"].item()


@pytest.mark.parametrize("suite", ["clean", "shift", "noise"])
def test_a_guarantee_of_fp32_breaks_and_an_own_threshold_mends_it(frame, suite):
    assert value(frame, "conformal_coverage_95_own", suite, "fp32") == 0.95
    assert value(frame, "conformal_coverage_95_fp32", suite) == pytest.approx(0.95 - 0.06)
    assert value(frame, "conformal_coverage_95_own", suite) == 0.95
    assert value(frame, "conformal_size_90_fp32", suite) == pytest.approx(2 - 0.12)


def test_refusal_and_full_spectrum_detection_change_by_shares_of_the_loss(frame):
    assert value(frame, "augrc_change", "shift") == pytest.approx(0.03)
    assert value(frame, "full_spectrum_auroc_change", "ood") == pytest.approx(-0.012)
    assert frame.filter(measure="augrc_change", scheme="fp32").is_empty()


def test_templates_lie_around_the_accuracy(frame):
    ends = [value(frame, f"accuracy_{which}_template", "clean") for which in ("worst", "best")]
    assert sum(ends) / 2 == pytest.approx(value(frame, "accuracy", "clean"))
    assert value(frame, "template_spread", "clean", "fp32") == pytest.approx(0.01)
