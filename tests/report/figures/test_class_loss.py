import numpy as np
import polars as pl

from reliquant.report.figures.class_loss import MOST, figure
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), schemes=(("rtn", "Simple PTQ"),))


def of_classes(values, half):
    """Return rows of one variant's change of accuracy by class, with intervals of one half-width."""
    row = rows(SHAPE).filter(pl.col("precision") == "w8a8", measure="class_accuracy_change", suite="explain").head(1)
    frame = pl.concat([row] * len(values)).with_columns(
        value=pl.Series(values),
        group=pl.Series([f"class {i:03}" for i in range(len(values))]),
        replicates=pl.lit(None, row.schema["replicates"]),
    )
    return frame.with_columns(low=pl.col("value") - half, high=pl.col("value") + half)


def starred(frame):
    """Count the cells of the figure, and those with a star."""
    texts = [text.get_text() for text in figure(frame).axes[0].texts]
    return len(texts), sum("*" in text for text in texts)


def test_classes_that_are_not_shown_count_as_tests_too():
    values = [-0.10] + [0.0] * 39
    assert starred(of_classes(values[:1], half=0.08)) == (1, 1)  # p = .015
    assert starred(of_classes(values, half=0.08)) == (MOST, 0)  # of 40 classes; of the 12 shown too
    assert starred(of_classes(values, half=0.05))[1] == 1  # p = .0001
    assert starred(of_classes(values[:MOST], half=0.064)) == (MOST, 1)  # p = .0025, by 12
    assert starred(of_classes(values, half=0.064)) == (MOST, 0)  # by 40


def test_the_worst_of_many_classes_that_lose_nothing_has_hardly_ever_a_star():
    rng, studies = np.random.default_rng(0), 30
    found = sum(starred(of_classes(rng.normal(0, 0.05, 40), half=0.098))[1] > 0 for _ in range(studies))
    assert found / studies <= 0.125  # the best of 40 would have one in 0.6 of studies, were it not corrected
