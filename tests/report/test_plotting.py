import polars as pl
from matplotlib.colors import to_rgb

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
