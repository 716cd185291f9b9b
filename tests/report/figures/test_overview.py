import polars as pl
from matplotlib.colors import to_hex

from reliquant.report.figures.overview import BETTER, SAME, WORSE, figure
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), ranks=(), iterations=())


def cells(frame):
    """Count the colours of the grid's cells."""
    drawn = [to_hex(patch.get_facecolor()) for patch in figure(frame).axes[0].patches]
    return {colour: drawn.count(colour) for colour in (BETTER, WORSE, SAME)}


def of_one_p(half):
    """Changes of accuracy whose values are 0.01, with intervals of one half-width."""
    frame = rows(SMALL).filter(measure="accuracy_change", suite="clean", dataset="shapes", scale="native")
    frame = frame.with_columns(value=pl.lit(0.01), replicates=pl.lit(None, frame.schema["replicates"]))
    return frame.with_columns(low=pl.col("value") - half, high=pl.col("value") + half)


def test_signs_are_corrected_for_the_number_of_cells():
    frame = of_one_p(half=0.009)  # p = .03 of each
    assert cells(frame) == {BETTER: 0, WORSE: 0, SAME: frame.height}
    assert cells(frame.head(1)) == {BETTER: 1, WORSE: 0, SAME: 0}
    assert cells(of_one_p(half=0.004)) == {BETTER: frame.height, WORSE: 0, SAME: 0}


def test_a_change_that_is_hardly_one_has_no_sign():
    frame = of_one_p(half=0.009).head(1).with_columns(value=pl.lit(-1e-5))
    assert [text.get_text() for text in figure(frame).axes[0].texts] == ["0.0"]
