import polars as pl
import pytest

from reliquant.report import page
from reliquant.report.published import compared, reference_numbers
from reliquant.report.synthetic import Shape, rows


@pytest.fixture
def fp32():
    """FP32 rows of one model on two sets, at accuracies of our choosing."""
    found = rows(Shape(seeds=(0,), corruptions=("fog",))).filter(scheme="fp32", suite="clean", measure="accuracy")
    found = found.filter(pl.col("scale") == "native").head(1)
    accuracies = {"one": 0.8983, "two": 0.6501, "three": 0.5}
    same = found.with_columns(model=pl.lit("b32"), n=pl.lit(9))
    return pl.concat([same.with_columns(dataset=pl.lit(d), value=pl.lit(v)) for d, v in accuracies.items()])


FACTS = {
    "models": {"b32": {"architecture": "ViT-B-32", "pretrained": "openai"}},
    "datasets": {
        "one": {"entry": {"dataset": "cifar10"}},
        "two": {"entry": {"dataset": "cifar100", "split": "test"}},
        "three": {"entry": {"dataset": "imagenet", "images": 1000}},
    },
}


def test_a_difference_above_half_a_point_is_marked(fp32):
    found = compared(fp32, FACTS)
    assert found.select("dataset", "published", "wrong").rows() == [("one", 0.8983, False), ("two", 0.6423, True)]
    assert found["difference"].to_list() == pytest.approx([0, 0.0078])
    assert found["source"].str.contains("open_clip").all()


def test_models_and_sets_without_a_published_number_are_left_out(fp32):
    facts = {**FACTS, "models": {"b32": {"architecture": "lab_vit", "pretrained": None}}}
    assert compared(fp32, facts).is_empty()


def test_the_published_table_is_of_accuracies_with_a_source():
    found = reference_numbers()
    assert found["accuracy"].is_between(0, 1).all()
    assert not found.select("architecture", "pretrained", "dataset").is_duplicated().any()
    assert found["source"].str.len_chars().min() > 10
    assert not found["source"].str.contains("NOT verified").any()


def test_the_report_shows_them(fp32):
    facts = {"title": "t", "note": "", "study": "s", "commit": "", "config": "", "versions": {}, "datasets": {}}
    facts |= {"models": {}, "published": compared(fp32, FACTS)}
    summary = {"fp32": {}, "change": {}, "variants": 0, "rows": 0, "rows_without_finite_value": 0, "models": 0}
    piece = page.Piece("table", "x", "X", "models", 1, "read", absent="nothing")
    html = page.page([piece], [], summary, facts)
    assert "+0.78 differs" in html
    assert "89.83" in html
