import polars as pl
import pytest

from reliquant import plugins
from reliquant.report import frames, plotting
from reliquant.report.caution import caution, few_quantized
from reliquant.report.page import figure, page, summary
from reliquant.report.page import table as piece
from reliquant.report.synthetic import Shape, rows


@pytest.fixture(scope="module")
def full():
    return rows(Shape(seeds=(0,), clean=("shapes",), corruptions=("fog",)))


def of_blocks(full, share, least=0.8, **which):
    """The rows of what variants say of their blocks: the share, low for some, and what was meant."""
    of = full.filter(pl.col("measure") == "quantized_weight_share", pl.col("scheme") != "fp32")
    low = pl.lit(True)
    for column, value in which.items():
        low &= pl.col(column) == value
    shares = of.with_columns(measure=pl.lit("quantized_block_share"), value=pl.when(low).then(share).otherwise(0.99))
    meant = shares.with_columns(measure=pl.lit("least_block_share"), value=pl.lit(least))
    return pl.concat([full, shares, meant])


@pytest.fixture
def unsaved(monkeypatch):
    """Let figures be drawn, and not laid out and written, most of their time: nothing here reads their files."""
    monkeypatch.setattr(plotting, "save_all", lambda drawn, *forms: [b""] * len(forms))


@pytest.mark.usefixtures("unsaved")
def test_every_piece_that_rests_on_such_a_variant_says_so_and_no_other_table(full):
    schemes = frames.quantized(full)["scheme"].unique().sort().to_list()
    short = of_blocks(full, 0.4, scheme=schemes[0])
    told = "Rests on variants with few of their blocks' weights quantized"
    assert few_quantized(full).is_empty()  # without such a variant, a piece can but say which sets are left out
    for name in plugins.names("figure"):
        found = figure(short, name)
        assert "Means over sets" not in found.caution
        assert found.caution == "" or not found.absent
    for name in plugins.names("table"):
        found, plain = piece(short, name), piece(full, name)
        assert plain.caution == ""
        rests = found.rows is not None and schemes[0] in found.rows["scheme"].to_list()
        if found.absent or not rests:
            assert found.caution == ""
            continue
        assert f"{schemes[0]} " in found.caution
        assert told in found.files[".md"].decode()
        assert told in found.files[".tex"].decode()
    assert figure(full, "accuracy_by_bits").caution == ""
    assert told in figure(short, "accuracy_by_bits").caution
    assert piece(short, "fp32").caution == ""


def test_a_caution_names_three_variants_and_counts_the_rest(full):
    short = of_blocks(full, 0.4)
    recorded = frames.Recorded(short)
    frames.select(recorded, ["accuracy"])
    told = caution(recorded)
    assert told.count("(40.0%)") == 3
    of = frames.quantized(full).select(frames.VARIANT).unique()
    assert f"and {of.height - 3} more." in told
    assert caution(frames.Recorded(short)) == ""  # which has read nothing


def test_the_headline_and_the_claims_of_a_page_say_what_they_rest_on(full):
    short = of_blocks(full, 0.4, scheme=frames.quantized(full)["scheme"][0])
    facts = {"study": "s", "title": "S", "note": "", "config": "", "commit": "", "models": {}, "datasets": {}}
    counted = {"rows": 1, "rows_without_finite_value": 0}
    pages = {}
    for name, rows_of in (("full", full), ("short", short)):
        told = summary(rows_of)
        pieces = [figure(rows_of, "accuracy_by_bits"), piece(rows_of, "main")]
        pages[name] = page(pieces, [], told | counted, facts | {"versions": {}})
    assert "caution" not in summary(full)
    assert '<p class="caution">' not in pages["full"]
    assert pages["short"].count('<p class="caution">! Rests on variants with few of their blocks') == 4
