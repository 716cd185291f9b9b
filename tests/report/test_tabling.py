import csv
import io

import polars as pl
import pytest
from scipy.stats import norm, t

from reliquant.report import tabling

FRAME = pl.DataFrame({"scheme": ["rtn_a", "lsq"], "ECE": ["**-1.0 [-2.0, 0.0]*****", ""], "n": [3, None]})


def test_stars_are_corrected_for_all_changes_of_the_table():
    # p = .04 and .03 alone; of two tests Holm doubles the smaller one, so that neither is below .05
    cells = [
        {"value": v, "low": v - 1.0, "high": v + 1.0} for v in (norm.isf(0.02) / 1.959964, norm.isf(0.015) / 1.959964)
    ]
    alone = tabling.changes(pl.DataFrame({"a": cells[:1]}), ["a"])["a"].to_list()
    both = tabling.changes(pl.DataFrame({"a": cells[:1], "b": cells[1:]}), ["a", "b"])
    assert alone[0].endswith("]*")
    assert [both["a"][0][-1], both["b"][0][-1]] == ["]", "]"]


def test_students_t_has_fewer_stars_than_the_normal_approximation():
    cell = {"value": 0.1, "low": 0.05, "high": 0.15}
    normal = tabling.changes(pl.DataFrame({"a": [cell]}), ["a"])["a"][0]
    student = tabling.changes(pl.DataFrame({"a": [cell | {"freedom": 2.0}]}), ["a"])["a"][0]
    assert (normal, student) == ("+10.0 [+5.0, +15.0]***", "+10.0 [+5.0, +15.0]*")


def test_a_column_of_squares_is_written_in_its_own_unit():
    cell = {"value": 0.0011, "low": 0.0002, "high": 0.0020}
    written = tabling.changes(pl.DataFrame({"a": [cell], "b": [cell]}), ["a", "b"], factors={"b": tabling.SQUARES})
    assert written["b"][0] == "+11.0 [+2.0, +20.0]*"
    assert written["a"][0].startswith("+0.1 [")


def test_far_out_a_spread_of_200_resamples_is_trusted_less_than_a_normal_one():
    cell = tabling.Change(1.0, 1.0 - 1.96 / 4, 1.0 + 1.96 / 4)
    errors = 4 * t.isf(0.025, 199) / norm.isf(0.025)  # a 95 % interval is that of Student's t
    assert 2 * norm.sf(4) < cell.p
    assert cell.p == pytest.approx(2 * t.sf(errors, 199), rel=0.01)


def test_a_change_without_interval_or_value_has_no_stars():
    cells = [{"value": 0.1, "low": None, "high": None}, None, {"value": None, "low": None, "high": None}]
    assert tabling.changes(pl.DataFrame({"a": cells}), ["a"])["a"].to_list() == ["+10.0", "", ""]


def test_zero_has_no_minus():
    assert tabling.number(-0.0001) == "0.0"
    assert tabling.number(float("nan")) == ""


@pytest.mark.parametrize(("highest", "best"), [(True, [1, 3]), (False, [0, 2])])
def test_the_best_of_each_group_is_marked_and_single_lines_are_not(highest, best):
    frame = pl.DataFrame({"group": list("aabbc"), "x": ["1.0", "+2.0 [1.0, 3.0]", "-4.0", "3.0", "9.0"]})
    marked = tabling.best(frame, "x", highest=highest, by=("group",))["x"].to_list()
    assert [i for i, cell in enumerate(marked) if cell.startswith("**")] == best


def test_csv_has_no_marks():
    lines = list(csv.reader(io.StringIO(tabling.to_csv(FRAME))))
    assert lines == [["scheme", "ECE", "n"], ["rtn_a", "-1.0 [-2.0, 0.0]***", "3"], ["lsq", "", ""]]


def test_markdown_keeps_the_bold_and_escapes_the_stars_and_bars():
    text = tabling.to_markdown(FRAME.with_columns(scheme=pl.lit("a|b")), "Title", "Note.")
    assert "| a\\|b | **-1.0 [-2.0, 0.0]\\*\\*\\*** | 3 |" in text
    assert text.startswith("### Title\n\n| scheme | ECE | n |\n| --- | --- | --- |\n")


def test_latex_escapes_what_it_would_read_as_a_command():
    text = tabling.to_latex(FRAME, "50 % & more", "", "main")
    assert r"rtn\_a & \textbf{-1.0 [-2.0, 0.0]***} & 3 \\" in text
    assert r"\caption{50 \% \& more." in text
    assert r"\label{tab:main}" in text
    assert r"\begin{longtable}{lrr}" in text


def test_html_cells_sort_by_their_number_and_link_to_the_rows_behind():
    def where(column, line):
        return {"scheme": line["scheme"], "measure": "<ece>"} if column == "ECE" else None

    text = tabling.to_html(FRAME, where, "rows.csv")
    assert '<td data-order="-1.0" class="number"><a class="behind" href="rows.csv"' in text
    assert "&quot;measure&quot;: &quot;&lt;ece&gt;&quot;, &quot;scheme&quot;: &quot;rtn_a&quot;" in text
    assert "<b>-1.0 [-2.0, 0.0]***</b></a></td>" in text
    assert "<td>rtn_a</td>" in text
    assert text.count("<a ") == 1  # an empty cell has no link
