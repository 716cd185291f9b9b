import polars as pl
import pytest

from reliquant.report.figures.index_forms import figure, prepared
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(models=(("vit", "wit"),), schemes=(("rtn", "Simple PTQ"),), seeds=(0,), corruptions=(), scopes=("image",))


@pytest.fixture(scope="module")
def found():
    return rows(SHAPE)


def test_each_form_stands_at_its_bytes_and_the_recall_of_its_rows(found):
    means = prepared(found)
    assert set(means["form"]) == {"float32", "int8_vector", "binary"}
    for line in means.iter_rows(named=True):
        form = "" if line["form"] == "float32" else line["form"]
        own = found.filter(suite="retrieval", score=form, group=line["group"], precision=line["precision"])
        assert line["value"] == pytest.approx(own.filter(measure="recall_at_1")["value"].item())
        assert line["bytes"] == own.filter(measure="bytes_a_vector")["value"].item()
    drawn = figure(found)
    assert [ax.get_title("left") for ax in drawn.axes] == ["text to image", "image to text"]
    marks = [line.get_ydata()[0] for line in drawn.axes[0].lines if len(line.get_ydata()) == 1]
    wanted = 100 * means.filter(group="text_to_image")["value"]
    assert sorted(marks) == pytest.approx(sorted(wanted))


def test_float32_alone_is_no_choice_and_that_is_said(found):
    with pytest.raises(NothingToDraw, match="no library was stored in another form than float32"):
        figure(found.filter(pl.col("score") == ""))
