import importlib

import polars as pl
import pytest

from reliquant.report import stored_bits
from reliquant.report.synthetic import Shape, rows

LISTING = ["main", "calibration", "spurious", "why", "effective_robustness", "guarantees"]
ACROSS = ["ood", "shifted"]


@pytest.fixture(scope="module")
def full():
    """Rows of a study in which `lsq` stores half a bit more than the others."""
    found = rows(Shape(seeds=(0,), corruptions=("fog",)))
    more = (pl.col("measure") == "stored_bits") & (pl.col("scheme") == "lsq")
    return found.with_columns(value=pl.when(more).then(pl.col("value") + 0.5).otherwise("value"))


def table(name, given):
    return importlib.import_module(f"reliquant.report.tables.{name}").table(given)


@pytest.mark.parametrize("name", LISTING)
def test_a_table_of_schemes_says_what_a_weight_takes(name, full):
    found = table(name, full).filter(pl.col("precision").str.to_lowercase() == "w4a8")
    by = "scheme" if "scheme" in found.columns else "family"
    bits = dict(found.select(by, "stored bits").iter_rows())
    odd, plain = ("lsq", "rtn") if by == "scheme" else ("QAT (Contr.)", "Simple PTQ")
    assert (bits[odd], bits[plain]) == ("4.53", "4.03")
    places = found["stored bits"].to_list()
    if name in ("spurious", "guarantees", "why"):
        assert places == sorted(places)


@pytest.mark.parametrize("name", ACROSS)
def test_a_table_with_precisions_across_says_it_in_their_titles(name, full):
    module = importlib.import_module(f"reliquant.report.tables.{name}")
    found = module.table(full)
    title = next(column for column in found.columns if "W4A8" in column)
    assert "W4A8 (4.03 to 4.53 bits)" in title
    assert module.where(title, found.row(0, named=True))["precision"] == "w4a8"


@pytest.mark.parametrize("name", LISTING + ACROSS)
def test_rows_from_before_it_was_measured_leave_the_cell_empty(name, full):
    old = full.filter(pl.col("measure") != "stored_bits")
    found = table(name, old)
    if name in LISTING:
        assert set(found["stored bits"]) == {""}
    else:
        assert not any("bits" in column for column in found.columns)


def test_a_line_of_several_variants_has_their_range():
    shown = pl.DataFrame({"precision": ["w4a8", "w8a8"], "dataset": ["a", "b"], "x": [1, 2]})
    found = stored_bits.beside(shown, rows(Shape(seeds=(0,), corruptions=())), ["precision", "dataset"])
    assert found.columns == ["precision", "dataset", "stored bits", "x"]
    assert found["stored bits"].to_list() == ["4.03", "8.03"]
