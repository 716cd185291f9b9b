from dataclasses import replace

import polars as pl
import pytest

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.measures import shift
from reliquant.report.synthetic import Shape, Truth, rows

SHAPE = Shape(
    models=(("vit", "wit"),),
    schemes=(("rtn", "Simple PTQ"),),
    precisions=("w4a8",),
    scopes=("image",),
    seeds=(0,),
    clean=("shapes",),
    scales=("native",),
)
EXACT = replace(Truth(), jitter=0.0)


def value(frame, measure, **where):
    chosen = frame.filter(pl.col("measure") == measure, pl.col("iteration").is_null(), **where)
    assert chosen.height == 1, (measure, where, chosen.height)
    return chosen["value"].item()


def test_rows_have_the_columns_of_a_study_and_no_row_twice():
    frame = rows(Shape(seeds=(0,)))
    assert dict(frame.schema) == dict(ROW_SCHEMA)
    keys = [name for name in ROW_SCHEMA if name not in ("value", "low", "high", "p", "n")]
    assert not frame.select(keys).is_duplicated().any()


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert rows(SHAPE, seed=1).equals(rows(SHAPE, seed=1))
    assert not rows(SHAPE, seed=1).equals(rows(SHAPE, seed=2))


def test_without_jitter_the_rows_are_the_truth():
    frame = rows(SHAPE, EXACT)
    fp32, quantized = ({"suite": "clean", "scheme": scheme} for scheme in ("fp32", "rtn"))
    assert value(frame, "accuracy", **fp32) == pytest.approx(0.7)
    assert value(frame, "accuracy", **quantized) == pytest.approx(0.7 * (1 - 0.12))
    assert value(frame, "accuracy_delta", **quantized) == pytest.approx(0.12)
    assert value(frame, "ece", **quantized) == pytest.approx(0.08 * (1 - 0.2))
    assert value(frame, "ece_relative_change", **quantized) == pytest.approx(-0.2)
    assert frame.filter(scheme="fp32", measure="accuracy_change").is_empty()


def test_spurious_measures_follow_from_the_accuracies_of_the_groups():
    frame = rows(SHAPE, EXACT).filter(suite="spurious")
    four = [
        value(frame, "accuracy", scheme=scheme, group=group)
        for scheme, group in (("fp32", "common"), ("fp32", "counter"), ("rtn", "common"), ("rtn", "counter"))
    ]
    assert value(frame, "rsg", scheme="rtn") == pytest.approx(shift.rsg(*four[2:]))
    assert value(frame, "rsg_change", scheme="rtn") == pytest.approx(shift.rsg_change(*four))
    assert value(frame, "vuln_add", scheme="rtn") == pytest.approx(shift.vuln_add(*four))
    assert value(frame, "vuln_add", scheme="rtn") == pytest.approx(0.103)


def test_empty_suites_have_no_rows():
    frame = rows(replace(SHAPE, ood=(), shift=(), spurious=(), retrieval=(), corruptions=(), ranks=(), iterations=()))
    assert set(frame["suite"]) == {"clean", ""}
