import os

from reliquant.cli import columns

HEAD = ["name", "bits", "why"]
LINES = [["rtn", "4", "nearest"], ["gptq", "16", ""]]


def test_columns_are_as_wide_as_their_widest_cell():
    shown = columns.columns(HEAD, LINES, right=["bits"])
    assert shown == ["name  bits  why", "rtn      4  nearest", "gptq    16"]


def test_a_line_that_lacks_cells_may_end_with_a_wide_one():
    shown = columns.columns(HEAD, [["conv1", "outside the blocks, all of it"], *LINES])
    assert shown[1] == "conv1  outside the blocks, all of it"
    assert shown[2] == "rtn    4     nearest"


def test_a_narrow_window_gets_the_cells_below_one_another_and_no_line_wider_than_it():
    shown = columns.columns(HEAD, LINES, width=18)
    assert shown == ["rtn", "    bits 4, why", "    nearest", "gptq", "    bits 16"]


def test_a_pipe_has_no_width_unless_the_environment_gives_one(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns.window() is None
    monkeypatch.setitem(os.environ, "COLUMNS", "72")
    assert columns.window() == 72
    monkeypatch.setitem(os.environ, "COLUMNS", "3")
    assert columns.window() == columns.NARROWEST
