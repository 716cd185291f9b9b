import numpy as np
import polars as pl
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import class_columns, samples_of
from reliquant.evaluation.stored_records import read_samples
from reliquant.files.artifacts import DamagedFile


@pytest.fixture
def records():
    rng = np.random.default_rng(0)
    image, text = (rng.normal(size=(n, 4)).astype(np.float32) for n in (9, 3))
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    features = Features(image, text, np.arange(9) % 3, logit_scale=5.0, photographs=np.arange(9, dtype=np.uint64))
    frame = samples_of(features, {"mcm": lambda f, _: f.cosine.max(axis=1)}).with_columns(class_columns(features))
    where = {"suite": "clean", "dataset": "x", "reference": "x", "corruption": "", "group": ""}
    return frame.with_columns(severity=pl.lit(0, pl.Int8), **{name: pl.lit(word) for name, word in where.items()})


def test_records_of_other_types_with_the_same_values_are_read_as_they_are(tmp_path, records):
    other = records.with_columns(pl.col(pl.String).cast(pl.Categorical), pl.col("index", "label").cast(pl.Int64))
    other = other.with_columns(pl.col("confidence").cast(pl.Float64), pl.col("top", "top_log_p").arr.to_list())
    other.write_parquet(tmp_path / "s.parquet")
    assert read_samples(tmp_path / "s.parquet").equals(records)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.drop("rank"), "has no column 'rank'"),
        (lambda r: r.rename({"rank": "place"}), "has a column 'place' that is unknown"),
        (lambda r: r.drop("photograph"), "has no column 'photograph'"),
        (lambda r: r.drop("set_sizes"), "has no column 'set_sizes'"),
        (lambda r: r.drop("top"), "has no column 'top'"),
        (lambda r: r.drop("top", "top_log_p"), "has no column 'top'"),
        (lambda r: r.with_columns(confidence_tuned="confidence"), "has no column 'nll_tuned'"),
        (lambda r: r.with_columns(pl.col("score:mcm").cast(pl.Float32)), "'score:mcm' is Float32, not Float64"),
        (lambda r: r.with_columns(pl.col("confidence").cast(pl.Float64) / 3), "'confidence' is Float64, not Float32"),
        (lambda r: r.with_columns(nll=pl.lit(None, pl.Float32)), "nll is null in 9 rows"),
        (lambda r: r.with_columns(rank=pl.lit(-1, pl.Int32)), "rank is -1"),
        (
            lambda r: r.with_columns(pl.when(pl.col("index") > 2).then("score:mcm").alias("score:mcm")),
            "score:mcm is null in 3 of 9 images of suite clean",
        ),
    ],
)
def test_records_of_another_version_are_refused_by_name(tmp_path, records, change, told):
    change(records).write_parquet(tmp_path / "s.parquet")
    with pytest.raises(DamagedFile, match=rf"s\.parquet: .*{told}"):
        read_samples(tmp_path / "s.parquet")


def test_all_that_an_evaluation_adds_is_known(tmp_path, records):
    more = {"template:a {}": np.arange(9) > 3}
    sigmoid = {f"{name}_sigmoid": pl.lit(0.5, pl.Float32) for name in ("confidence", "nll", "brier")}
    full = records.with_columns(**more, **sigmoid)
    shown = full.with_columns(suite=pl.lit("spurious"), set_sizes=None, confidence_sigmoid=None)
    both = pl.concat([full, shown.cast(dict(full.schema))])
    both.write_parquet(tmp_path / "s.parquet")
    assert read_samples(tmp_path / "s.parquet").select(both.columns).equals(both)
    full.with_columns(set_sizes=pl.lit(None, full.schema["set_sizes"])).write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DamagedFile, match="set_sizes is null in 9 rows"):
        read_samples(tmp_path / "bad.parquet")
