import pytest

from reliquant import plugins
from reliquant.study.pieces import left_out, report_problems, shown

EVERY = {"figure": plugins.names("figure"), "table": plugins.names("table")}


def test_a_kind_that_is_not_named_is_shown_whole():
    assert shown({}) == EVERY
    assert left_out({}) == {}
    assert shown({"figures": ["pareto", "overview"]}) == {"figure": ["overview", "pareto"], "table": EVERY["table"]}


def test_an_empty_list_is_none_of_a_kind_and_what_is_left_out_is_named():
    asked = {"figures": [], "tables": EVERY["table"][1:]}
    assert shown(asked) == {"figure": [], "table": EVERY["table"][1:]}
    assert left_out(asked) == {"figures": EVERY["figure"], "tables": EVERY["table"][:1]}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"figures": ["overviev"]},
            "report: figures: figure 'overviev' is unknown (did you mean 'overview'?)",
        ),
        ({"tables": ["overview"]}, "report: tables: table 'overview' is unknown"),
        ({"figures": ["my_package.mine"]}, "report: figures: figure 'my_package.mine' is unknown"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_there_are(asked, told):
    (problem,) = report_problems(asked)
    assert problem.startswith(told)
    assert not list(report_problems({"figures": ["overview"], "tables": ["main"]}))
