import polars as pl
import pytest

from reliquant.report.synthetic import Shape, rows
from reliquant.report.tables import guarantees


@pytest.fixture(scope="module")
def frame():
    return rows(Shape(seeds=(0,), clean=("shapes",), corruptions=("fog",), ranks=(), iterations=()))


def test_coverage_stands_beside_its_change_for_each_precision_and_family(frame):
    found = guarantees.table(frame)
    assert found.select("precision", "family").n_unique() == found.height == 9
    line = found.filter(precision="W4A8", family="QAT (Contr.)").row(0, named=True)
    assert float(line["clean"]) == pytest.approx(75, abs=1)  # 90 less half of what the family loses at 4 bits
    assert line["change, clean"].startswith("-15.")
    assert line["change, clean"].endswith("***")


def test_a_study_without_noise_has_no_column_of_it(frame):
    found = guarantees.table(frame.filter(pl.col("suite") != "noise"))
    assert "noise" not in found.columns
    assert {"clean", "shifted"} < set(found.columns)


def test_a_cell_names_the_rows_behind_it():
    line = {"precision": "W4A8", "family": "Rot+LSQ"}
    expected = {"suite": "shift", "measure": f"{guarantees.COVERAGE}_change", "precision": "w4a8", "family": "Rot+LSQ"}
    assert guarantees.where("change, shifted", line) == expected
    assert guarantees.where("family", line) is None
