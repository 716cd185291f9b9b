import polars as pl
import pytest

from reliquant.report.figures.recall_by_bits import figure, prepared
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(seeds=(0,), corruptions=(), retrieval=("fresh",))


def test_lines_join_mean_recalls_of_float32_embeddings_from_fp32_to_the_fewest_bits():
    found = rows(SHAPE)
    precisions, by, lines = prepared(found)
    assert (precisions, by) == (["fp32", "w8a8", "w6a8", "w4a8"], "scheme")
    own = found.filter(suite="retrieval", measure="recall_at_1", score="", source="wit", scheme="rtn", precision="w4a8")
    for group in ("image_to_text", "text_to_image"):
        line = lines.filter(source="wit", group=group, scheme="rtn", precision="w4a8")
        assert line["value"].item() == pytest.approx(own.filter(group=group)["value"].mean())
    drawn = figure(found)
    assert len(drawn.axes) == 2 * 2  # directions, sources
    assert drawn.axes[0].get_ylabel() == "text to image\nRecall@1 (%)"
    mark = next(line for line in drawn.axes[0].lines if len(line.get_xdata()) == 4)
    assert mark.get_xdata()[0] == 0


def test_many_schemes_are_drawn_by_family():
    schemes = tuple((f"s{i}", ("Simple PTQ", "QAT (Contr.)")[i % 2]) for i in range(7))
    _, by, lines = prepared(rows(Shape(models=(("vit", "wit"),), schemes=schemes, seeds=(0,), corruptions=())))
    assert by == "family"
    assert set(lines["family"]) == {"FP32", "Simple PTQ", "QAT (Contr.)"}
    assert set(lines["scheme"]) == {"fp32", ""}
    assert lines.filter(pl.col("precision") == "w4a8").height == 2 * 2
