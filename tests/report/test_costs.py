import polars as pl
import pytest

from reliquant.report.costs import costs_of, measure_of
from reliquant.report.synthetic import Shape, Truth, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), ranks=(), iterations=())


@pytest.fixture(scope="module")
def frame():
    """Rows of a study, and the latency of one variant, of which the text tower is the slower."""
    found = rows(SHAPE, Truth())
    times = found.filter(measure="bytes", suite="").head(1).with_columns(suite=pl.lit("deploy").cast(pl.String))
    times = times.with_columns(measure=pl.lit("latency_batch_1_ms"))
    towers = [times.with_columns(group=pl.lit(tower), value=pl.lit(v)) for tower, v in (("image", 2.0), ("text", 3.0))]
    return pl.concat([found, *(one.cast(dict(found.schema)) for one in towers)])


def test_a_word_names_a_measure_of_the_suite_that_has_it():
    assert measure_of("bytes") == ("", "", "bytes")
    assert measure_of("latency") == ("deploy", "image", "latency_batch_1_ms")
    assert measure_of("text:latency_batch_32_ms") == ("deploy", "text", "latency_batch_32_ms")
    assert measure_of("memory") == ("deploy", "image", "peak_memory_mb")


@pytest.mark.parametrize(("cost", "told"), [("text:bytes", "a tower stands before"), ("audio:latency", "not 'audio'")])
def test_a_tower_that_is_none_is_refused(cost, told):
    with pytest.raises(ValueError, match=told):
        measure_of(cost)


def test_costs_are_those_of_one_tower(frame):
    assert costs_of(frame, "latency")["value"].to_list() == [2.0]
    assert costs_of(frame, "text:latency")["value"].to_list() == [3.0]
    assert costs_of(frame, "bytes").height > 1


def test_a_cost_that_nobody_measured_is_refused_with_the_command_that_measures_it(frame):
    with pytest.raises(ValueError, match=r"peak_memory_mb of the image tower: rows of `reliquant time`"):
        costs_of(frame, "memory")
    with pytest.raises(ValueError, match=r"stored_bytes: rows of `reliquant measure`"):
        costs_of(frame, "stored_bytes")
