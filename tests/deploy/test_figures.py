import polars as pl
import pytest

from reliquant.deploy.figures import figures, measured_rows
from reliquant.files.artifacts import provenance, save_frame
from reliquant.report.synthetic import Shape, rows

FACTS = {"entry": {"quantizer": "rtn"}}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    frame = rows(Shape(models=(("vit", "wit"), ("cnn", "wit")), seeds=(0, 1), corruptions=(), iterations=(), ranks=()))
    frame = frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
    ran = frame.filter(scheme="rtn", precision="w8a8").with_columns(scheme=pl.lit("rtn@onnxruntime"))
    save_frame(path, pl.concat([frame, ran]), provenance(assumed=["so"], other=1))
    return path


def labels(table, **changed):
    frame = pl.read_parquet(table).filter(scheme="rtn", precision="w8a8", model="vit", scope="image", seed=0)
    words = ("study", "model", "source", "scheme", "family", "precision", "scope", "proxy", "seed")
    return {**FACTS, "labels": {**{word: frame[word][0] for word in words}, **changed}}


def test_rows_are_those_of_the_variant_in_every_runtime_and_of_fp32(table):
    frame, known = measured_rows(table, "w8a8-image-captions-0", labels(table))
    assert sorted(set(frame["scheme"])) == ["fp32", "rtn", "rtn@onnxruntime"]
    assert set(frame["model"]) == {"vit"}
    own = frame.filter(pl.col("scheme") != "fp32")
    assert own.select("precision", "scope", "seed").unique().rows() == [("w8a8", "image", 0)]
    assert known["assumed"] == ["so"]
    assert "other" not in known
    whole = pl.read_parquet(table).filter(scheme="rtn", precision="w8a8", model="vit", scope="image", seed=0)
    assert own.filter(scheme="rtn").height == whole.height


CHANGES = [{"precision": "w3a3"}, {"seed": 7}, {"scheme": "hqq", "scope": "both"}, {"model": "b"}]


@pytest.mark.parametrize("changed", CHANGES)
def test_rows_of_another_variant_are_refused(table, changed):
    told = r"--rows .*rows\.parquet: has no rows of this variant \(.*\), only of "
    with pytest.raises(ValueError, match=told) as refusal:
        measured_rows(table, "x", labels(table, **changed))
    assert str(next(iter(changed.values()))) in str(refusal.value)


def test_a_variant_without_a_study_goes_by_its_files_name(table):
    with pytest.raises(ValueError, match="has variants of this name of more than one model: "):
        measured_rows(table, "rtn", {**FACTS, "labels": {"scope": "image"}})
    with pytest.raises(ValueError, match="has no rows of this variant"):
        measured_rows(table, "mine", {**FACTS, "labels": {"scope": "image"}})


def test_a_variant_of_the_same_name_and_another_size_is_another_variant(table):
    facts = labels(table)
    size = pl.read_parquet(table).filter(scheme="rtn", precision="w8a8", model="vit", measure="bytes", suite="")
    own = size.filter(scope="image", seed=0)["value"][0]
    measured_rows(table, "x", {**facts, "measures": {"bytes": own}})
    with pytest.raises(
        ValueError, match=r"rows\.parquet: is of another variant: a variant of this name has [\d,]+ bytes"
    ):
        measured_rows(table, "x", {**facts, "measures": {"bytes": own + 1}})


def test_rows_of_fp32_are_those_of_the_model(table):
    frame, _ = measured_rows(table, "vit", {"entry": {"quantizer": "none"}})
    assert set(frame["scheme"]) == {"fp32"}
    assert set(frame["model"]) == {"vit"}


def test_figures_are_the_cards(table):
    frame, _ = measured_rows(table, "x", labels(table))
    found = figures(frame)
    accuracy = [line for line in found if line["measure"] == "accuracy" and line["suite"] == "clean"]
    assert len(accuracy) == 2 * frame.filter(suite="clean", measure="accuracy", scheme="rtn", scale="native").height
    one = accuracy[0]
    rows_ = frame.filter(suite="clean", dataset=one["set"], scheme="rtn", scale="native")
    assert one["value"] == rows_.filter(measure="accuracy")["value"][0]
    assert one["change"] == rows_.filter(measure="accuracy_change")["value"][0]
