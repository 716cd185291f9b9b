import numpy as np
import polars as pl
import pytest

from reliquant.report.figures.spurious import figure
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), ranks=(), iterations=())


@pytest.fixture(scope="module")
def frame():
    return rows(SHAPE).filter(pl.col("measure").is_in(["rsg_change", "vuln_add"]), suite="spurious")


def with_values(frame, values, half):
    """Give the rows values and intervals of one half-width, and no replicates."""
    frame = frame.with_columns(value=pl.Series(values), replicates=pl.lit(None, frame.schema["replicates"]))
    return frame.with_columns(low=pl.col("value") - half, high=pl.col("value") + half)


def stars(frame):
    """Return what stands above the bars."""
    return [text.get_text() for ax in figure(frame).axes for text in ax.texts if text.get_text()]


def test_a_single_bar_has_the_star_of_its_own_p_and_several_share_the_level(frame):
    assert stars(with_values(frame.head(1), [0.01], half=0.0095)) == ["*"]  # p = .04
    assert stars(with_values(frame, [0.01] * frame.height, half=0.0095)) == []
    assert stars(with_values(frame, [0.01] * frame.height, half=0.002)) == ["***"] * frame.height


def test_a_null_study_has_hardly_ever_a_star(frame):
    rng, studies = np.random.default_rng(0), 60
    bars = frame.unique(["measure", "family", "precision"], keep="first", maintain_order=True)
    found = sum(bool(stars(with_values(bars, rng.normal(0, 1, bars.height) / 100, 0.0196))) for _ in range(studies))
    assert bars.height == 18  # independent ones, of which uncorrected one or more has a star in 0.6 of studies
    assert found / studies <= 0.125
