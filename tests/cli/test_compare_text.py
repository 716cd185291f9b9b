import pytest

from reliquant.cli.compare_text import LEGEND, SHOWN, compared_text
from reliquant.report.compare import compare
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())


@pytest.fixture(scope="module")
def found():
    frame = rows(SMALL)
    other = frame.with_columns(value=frame["value"] + 0.25, low=frame["low"] + 0.25, high=frame["high"] + 0.25)
    return compare(frame, other).filter("significant")


def test_each_change_is_a_line_below_its_variant(found):
    one = found.filter(
        scheme="rtn", precision="w4a8", suite="clean", dataset="shapes", scale="native", measure="accuracy"
    )
    assert one.height == 1
    told = compared_text(one).splitlines()
    row = one.row(0, named=True)
    assert told[0].startswith("vit rtn w4a8 image")
    assert told[2].split()[:5] == ["clean", "shapes", "accuracy", f"{row['value_a']:.4g}", f"{row['value_b']:.4g}"]
    assert f"+0.2500 [{row['low']:+.4f}, {row['high']:+.4f}]" in told[2]
    assert told[-1] == LEGEND


def test_many_changes_of_a_variant_are_counted_unless_all_are_asked_for(found):
    one = found.filter(scheme="rtn", precision="w4a8")
    assert one.height > SHOWN
    assert f"  and {one.height - SHOWN} smaller changes (--all shows them)" in compared_text(one)
    assert "smaller" not in compared_text(one, each=True)


def test_rows_of_one_study_alone_say_which(found):
    whole = rows(SMALL)
    alone = compare(whole.filter(measure="accuracy"), whole.filter(measure="accuracy", scheme="rtn"))
    told = compared_text(alone.filter(where="a"))
    assert "only in the first" in told
    assert "only in the second" not in told


def test_nothing_is_said_in_words(found):
    assert compared_text(found.clear()) == "nothing changed significantly"
