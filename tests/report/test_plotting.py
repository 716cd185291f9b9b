import io
import re
import zlib

import polars as pl
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.colors import to_rgb
from PIL import Image

from reliquant.report import plotting


def test_a_source_keeps_its_colour_whoever_else_is_there():
    few, many = (plotting.looks(pl.DataFrame({"source": s})) for s in (["wit"], ["laion", "wit", "dfn", "zeta"]))
    assert few["wit"] == many["wit"]
    assert len({look.colour for look in many.values()}) == 4


def test_colours_of_the_two_kinds_of_sources_differ_in_grey():
    looks = plotting.looks(pl.DataFrame({"source": ["curated", "web"]}))
    dark, light = (
        sum(w * c for w, c in zip((0.21, 0.72, 0.07), to_rgb(looks[s].colour), strict=True)) for s in ("curated", "web")
    )
    assert light - dark > 0.3


def test_many_sources_all_get_a_look():
    assert len(plotting.looks(pl.DataFrame({"source": [f"s{i}" for i in range(20)]}))) == 20


def test_a_panel_says_how_many_images_are_behind_its_means():
    assert plotting.counted("clean", pl.DataFrame({"n": [800, 4000]})) == "clean\nn = 4,000"


@plotting.styled
def draw():
    figure, axes = plotting.canvas(2, 2.0, 1, 2)
    axes[0, 0].set_title("office")
    axes[0, 1].set_ylabel("points")
    return figure


def test_a_saved_figure_is_as_it_was_and_its_forms_are_of_one_size():
    drawn = draw()
    engine, load, canvas = drawn.get_layout_engine(), subset.load_font, drawn.canvas
    pdf, png, svg = plotting.save_all(drawn, "pdf", "png", "svg")
    assert (drawn.get_layout_engine(), subset.load_font, drawn.canvas, drawn.dpi) == (engine, load, canvas, 100)
    assert Image.open(io.BytesIO(png)).size == (1380, 400)
    assert b"/MediaBox [ 0 0 496.8 144 ]" in pdf
    assert b'width="496.8pt" height="144pt"' in svg


def test_the_bytes_of_a_form_are_the_same_whichever_others_are_saved():
    pdf, png, svg = plotting.save_all(draw(), "pdf", "png", "svg")
    assert [*plotting.save_all(draw(), "svg", "png"), plotting.save(draw(), "pdf")] == [svg, png, pdf]


def test_axes_stand_where_the_pdf_has_them_in_every_form():
    places = []
    for form in ("pdf", "png", "svg"):
        drawn = draw()
        before = [ax.get_position().bounds for ax in drawn.axes]
        plotting.save(drawn, form)
        places.append([ax.get_position().bounds for ax in drawn.axes])
    assert before != places[0] == places[1] == places[2]


def test_fonts_in_a_pdf_have_glyphs_and_no_tables_that_shape_text():
    pdf = plotting.save(draw(), "pdf")
    parts = re.findall(rb"FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    streams = [zlib.decompress(part) for part in parts]
    fonts = [TTFont(io.BytesIO(stream)) for stream in streams if stream.startswith(b"\0\1\0\0")]
    assert len(fonts) >= 2  # plain and bold
    for font in fonts:
        assert not set(plotting.SHAPING) & set(font.keys())
        assert {"glyf", "hmtx"} <= set(font.keys())
