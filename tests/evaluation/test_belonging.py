"""Whole records of another variant, model or shard: a digest does not tell them, what they are made of does."""

import numpy as np
import polars as pl
import pytest

from reliquant.evaluation.belonging import made_of, require_current, require_records_of, require_shard
from reliquant.files.artifacts import read_header, save_frame, save_sealed_json, save_tensors
from reliquant.files.digests import DamagedFile, digest_of

LABELS = {"model": "m", "scheme": "rtn", "precision": "w4a8", "scope": "image", "proxy": "p", "seed": 0, "study": "s"}
FP32 = LABELS | {"scheme": "fp32", "precision": "fp32"}


@pytest.fixture
def files(tmp_path):
    """A variant, its records and FP32's."""
    variant = tmp_path / "v.safetensors"
    save_tensors(variant, {"w": np.zeros(3)}, {"labels": LABELS, "model_sha256": "a"})
    own = {"variant": read_header(variant)["sha256"], "labels": LABELS, "model_sha256": "a"}
    save_frame(tmp_path / "own.parquet", pl.DataFrame({"x": [1]}), own)
    save_frame(tmp_path / "fp32.parquet", pl.DataFrame({"x": [1]}), {"labels": FP32, "model_sha256": "a"})
    return variant, own, tmp_path


def test_records_of_the_variant_and_of_its_fp32_belong(files):
    variant, _, folder = files
    require_records_of(LABELS, variant, [folder / "own.parquet"], [folder / "fp32.parquet"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"variant": "b"}, r"other\.parquet: holds records of another variant than .*v\.safetensors"),
        ({"model_sha256": "b"}, r"other\.parquet: holds records of another model than .*v\.safetensors was made of"),
        ({"labels": LABELS | {"seed": 1}}, r"other\.parquet: is of seed 1, not of study 's', model 'm', scheme 'rtn'"),
        ({"labels": None}, r"other\.parquet: is of study None, model None, scheme None"),
    ],
)
def test_records_of_another_variant_are_refused(files, change, told):
    variant, own, folder = files
    save_frame(folder / "other.parquet", pl.DataFrame({"x": [1]}), own | change)
    with pytest.raises(DamagedFile, match=told):
        require_records_of(LABELS, variant, [folder / "other.parquet"], [])


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (
            {"labels": LABELS, "model_sha256": "a"},
            r"other\.parquet: is of scheme 'rtn', not of study 's', model 'm', scheme",
        ),
        ({"labels": FP32 | {"study": "t"}, "model_sha256": "a"}, r"other\.parquet: is of study 't', not of study 's'"),
        ({"labels": FP32 | {"model": "n"}, "model_sha256": "a"}, r"other\.parquet: is of model 'n'"),
        ({"labels": FP32, "model_sha256": "b"}, r"other\.parquet: holds records of another FP32 model"),
    ],
)
def test_a_baseline_that_is_not_of_the_same_fp32_model_is_refused(files, facts, told):
    variant, _, folder = files
    save_frame(folder / "other.parquet", pl.DataFrame({"x": [1]}), facts)
    with pytest.raises(DamagedFile, match=told):
        require_records_of(LABELS, variant, [folder / "own.parquet"], [folder / "other.parquet"])


def test_a_variant_under_anothers_name_is_refused(files):
    variant, _, folder = files
    with pytest.raises(DamagedFile, match=r"v\.safetensors: is of precision 'w4a8'"):
        require_records_of(LABELS | {"precision": "w8a8"}, variant, [folder / "own.parquet"], [])


def test_a_shard_holds_the_records_that_it_is_called_after(tmp_path):
    places = pl.DataFrame({"suite": ["clean", "ood", "ood"], "dataset": ["a", "b", "c"]})
    require_shard(places, ["clean", "ood"], tmp_path)
    require_shard(places, ["clean/a", "ood/b", "ood/c"], tmp_path)
    with pytest.raises(DamagedFile, match="holds records of ood/b, ood/c: it is of another shard"):
        require_shard(places, ["clean"], tmp_path)
    with pytest.raises(DamagedFile, match="has none of noise: it is of another shard"):
        require_shard(places, ["clean", "ood", "noise"], tmp_path)


def test_records_of_snapshots_beside_others_are_refused(files):
    variant, own, folder = files
    save_frame(folder / "snapshots.parquet", pl.DataFrame({"iteration": [1]}), own | {"variant": "b"})
    require_records_of(LABELS, variant, [folder / "snapshots.parquet"], [])
    with pytest.raises(DamagedFile, match=r"snapshots\.parquet: holds records of snapshots, which stand alone"):
        require_records_of(LABELS, variant, [folder / "own.parquet", folder / "snapshots.parquet"], [])


@pytest.fixture
def of_data(files):
    """Return a function that writes records, or FP32's, of some state of the data; and inventories of the states."""
    _, own, folder = files
    for state in ("then", "now"):
        save_sealed_json(folder / f"{state}.json", {"data/prepared/d/native/images.npy": state})

    def written(name, state, of=None):
        data = {"data": digest_of({"data/prepared/d/native/images.npy": state})} if state else {}
        facts = (own if of is None else own | {"labels": of}) | data
        save_frame(folder / f"{name}.parquet", pl.DataFrame({"x": [state or ""]}), facts)
        return folder / f"{name}.parquet"

    return written


@pytest.mark.parametrize(("own", "fp32"), [("then", "now"), ("now", "then"), ("then", "then"), (None, "now")])
def test_records_of_other_images_are_refused(files, of_data, own, fp32):
    variant, _, folder = files
    right = [of_data("own", "now")], [of_data("fp32", "now", FP32)]
    require_records_of(LABELS, variant, *right, data=[folder / "now.json"])
    require_records_of(LABELS, variant, *right, data=[folder / "then.json", folder / "now.json"])
    wrong = [of_data("own", own)], [of_data("fp32", fp32, FP32)]
    told = "own" if own != "now" else "fp32"
    with pytest.raises(DamagedFile, match=rf"{told}\.parquet: holds records of other images than .*now\.json tells of"):
        require_records_of(LABELS, variant, *wrong, data=[folder / "now.json"])
    if own != fp32:
        with pytest.raises(DamagedFile, match=r"fp32\.parquet: holds records of other images than .*own\.parquet"):
            require_records_of(LABELS, variant, *wrong)


def test_rows_are_of_the_records_and_the_variant_that_lie_there(files, of_data):
    variant, _, folder = files
    records = of_data("own", "now")
    rows, known = folder / "rows.parquet", {}
    save_frame(rows, pl.DataFrame({"x": [1]}), {"made_of": made_of(variant, [records])})
    require_current(rows, [variant, records], known)
    assert sorted(known) == sorted(map(str, (variant, records)))
    with pytest.raises(DamagedFile, match=r"rows\.parquet: was made of another .*fp32\.parquet than lies there"):
        require_current(rows, [folder / "fp32.parquet"])
    of_data("own", "then")
    with pytest.raises(DamagedFile, match=r"rows\.parquet: was made of another .*own\.parquet than lies there"):
        require_current(rows, [variant])
    records.unlink()
    require_current(rows, [variant, records])
    save_tensors(variant, {"w": np.ones(3)}, {"labels": LABELS, "model_sha256": "a"})
    with pytest.raises(DamagedFile, match=r"rows\.parquet: was made of another .*v\.safetensors than lies there"):
        require_current(rows, [])
    save_frame(rows, pl.DataFrame({"x": [1]}), {"made_of": "nothing"})
    with pytest.raises(DamagedFile, match=r"rows\.parquet: was made of another .*v\.safetensors than lies there"):
        require_current(rows, [variant])
