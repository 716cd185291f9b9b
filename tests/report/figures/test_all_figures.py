"""What holds for every figure; each one's own truth is in its own test file."""

import importlib
import io
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from reliquant import plugins
from reliquant.report import plotting
from reliquant.report.plotting import NothingToDraw
from reliquant.report.synthetic import Shape, rows

NAMES = plugins.names("figure")
SHAPE = Shape(seeds=(0,), clean=("shapes", "colours"), corruptions=("fog", "snow"), severities=(1, 5))


@pytest.fixture(scope="module")
def full():
    return rows(SHAPE)


@pytest.fixture(scope="module")
def lone():
    """One source and one scheme, without intervals."""
    few = {"models": (("vit", "wit"),), "schemes": (("rtn", "Simple PTQ"),), "precisions": ("w8a8",)}
    frame = rows(replace(SHAPE, **few, scopes=("image",)))
    return frame.with_columns(low=None, high=None, p=None).cast({"low": float, "high": float, "p": float})


def draw(name, frame, **words):
    """Draw as the page does: what a plugin prepares is given to it after the rows."""
    module = importlib.import_module(f"reliquant.report.figures.{name}")
    once = [module.prepared(frame)] if hasattr(module, "prepared") else []
    return module.figure(frame, *once, **words)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_draws_in_both_widths_and_leaves_the_style_alone(name, full):
    before = dict(matplotlib.rcParams)
    for columns, inches in plotting.WIDTHS.items():
        figure = draw(name, full, columns=columns)
        assert isinstance(figure, Figure)
        assert figure.get_size_inches()[0] == inches
        assert any(ax.has_data() for ax in figure.axes)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_without_its_rows_says_what_is_missing(name, full):
    for frame in (full.clear(), full.filter(scheme="fp32", measure="ece")):
        with pytest.raises(NothingToDraw, match=r"\w+ \w+ \w+"):
            draw(name, frame)


@pytest.mark.parametrize("name", NAMES)
def test_one_source_one_scheme_and_no_intervals_are_enough_or_said(name, lone):
    if name == "accuracy_by_iteration":
        with pytest.raises(NothingToDraw, match="evaluated on its way"):
            draw(name, lone)
    else:
        assert draw(name, lone).axes


@pytest.mark.parametrize("name", ["dichotomy", "calibration_violins"])
def test_the_same_rows_give_the_same_bytes_with_fonts_embedded(name, full):
    first, second = (plotting.save(draw(name, full), "pdf") for _ in range(2))
    assert first == second
    assert b"/FontFile2" in first  # TrueType, embedded
    assert b"/Type3" not in first
    assert b"CreationDate" not in first


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_says_how_to_read_it(name):
    module = importlib.import_module(f"reliquant.report.figures.{name}")
    assert module.TITLE
    assert len(module.READ.split()) > 20


def test_png_is_at_least_1300_pixels_wide_for_two_columns(full):
    picture = Image.open(io.BytesIO(plotting.save(draw("dichotomy", full, columns=2), "png")))
    assert picture.width >= 1300
