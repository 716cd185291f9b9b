import gc
import multiprocessing
import os
import time
from pathlib import Path

import polars as pl
import pytest

from reliquant.report.processes import being_made

ROWS = pl.DataFrame({"value": [1.0, 2.0]})


@pytest.fixture(autouse=True)
def nothing_frozen():
    """What tests/conftest.py froze after the collection would count, too."""
    gc.unfreeze()


def total(rows, name):
    return name, rows["value"].sum(), gc.isenabled(), os.getpid()


def noted(rows, name):
    Path(name).touch()
    time.sleep(0.1)


def all_made(named, processes):
    with being_made(named, ROWS, processes) as made:
        return made()


def broken(rows, name):
    raise ValueError(name)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_made_stands_in_order_and_nothing_is_collected_meanwhile(processes):
    made = all_made([(total, "b"), (total, "a"), (total, "c")], processes)
    assert [m[:3] for m in made] == [("b", 3.0, False), ("a", 3.0, False), ("c", 3.0, False)]
    assert (os.getpid() in {m[3] for m in made}) == (processes == 1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_few_pieces_are_made_in_fewer_processes():
    made = all_made([(total, "a"), (total, "b")], 2)
    assert {m[3] for m in made} == {os.getpid()}
    assert all_made([], 2) == []


def test_a_piece_that_fails_leaves_the_collector_as_it_was():
    with pytest.raises(ValueError, match="a"):
        all_made([(broken, "a")], 1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def failing_block(folder):
    """Have files made in a folder, and fail as soon as there is one."""
    with being_made([(noted, str(folder / str(i))) for i in range(100)], ROWS, 2):
        deadline = time.monotonic() + 60
        while not any(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        raise ValueError("the block")


def test_a_block_that_fails_waits_for_what_has_begun_and_nothing_else_is_made(tmp_path):
    with pytest.raises(ValueError, match="the block"):
        failing_block(tmp_path)
    assert multiprocessing.active_children() == []
    assert 0 < len(list(tmp_path.iterdir())) < 50
