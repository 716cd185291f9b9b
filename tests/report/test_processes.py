import gc
import os

import polars as pl
import pytest

from reliquant.report.processes import each_made

ROWS = pl.DataFrame({"value": [1.0, 2.0]})


@pytest.fixture(autouse=True)
def nothing_frozen():
    """What tests/conftest.py froze after the collection would count, too."""
    gc.unfreeze()


def total(rows, name):
    return name, rows["value"].sum(), gc.isenabled(), os.getpid()


def broken(rows, name):
    raise ValueError(name)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_made_stands_in_order_and_nothing_is_collected_meanwhile(processes):
    made = each_made([(total, "b"), (total, "a"), (total, "c")], ROWS, processes)
    assert [m[:3] for m in made] == [("b", 3.0, False), ("a", 3.0, False), ("c", 3.0, False)]
    assert (os.getpid() in {m[3] for m in made}) == (processes == 1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_few_pieces_are_made_in_fewer_processes():
    made = each_made([(total, "a"), (total, "b")], ROWS, 2)
    assert {m[3] for m in made} == {os.getpid()}
    assert each_made([], ROWS, 2) == []


def test_a_piece_that_fails_leaves_the_collector_as_it_was():
    with pytest.raises(ValueError, match="a"):
        each_made([(broken, "a")], ROWS, 1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
