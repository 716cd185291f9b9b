"""What `reliquant verify` asks of single files; a whole study is asked in `tests/workflow/test_study.py`."""

import hashlib
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from safetensors.numpy import save_file

from reliquant.cli import file_checks
from reliquant.cli.verify_study import verify_study
from reliquant.download.contents import contents
from reliquant.evaluation.belonging import made_of
from reliquant.files.artifacts import read_header, save_array, save_frame, save_json, save_sealed_json, save_tensors
from reliquant.files.digests import DamagedFile, digest_of, digest_of_file
from reliquant.images.inventory import identity_of
from reliquant.study import paths
from reliquant.study.check import read_study

STUDY = read_study(yaml.safe_load(Path(".test/config/config.yaml").read_text()))


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_file_that_a_study_must_have_is_a_line():
    found = {one.path: one.state for one in verify_study(STUDY)}
    assert set(found.values()) == {"missing"}
    for dataset in STUDY.config.datasets:  # pairs are those that models are trained on, and a proxy
        folder = paths.prepared(dataset, "native")
        assert {paths.meta(folder), paths.images(folder), paths.labels(folder), paths.photographs(folder)} <= set(found)
    for path in STUDY.variants:
        assert paths.variant("tiny", path) in found
    assert {paths.samples("tiny", *evaluation) for evaluation in STUDY.evaluations} <= set(found)
    assert [path for path in found if path.endswith(".snapshots.tar")]
    assert {paths.rows("tiny"), paths.facts("tiny"), paths.digests(paths.report("tiny"))} <= set(found)


def spoiled(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes({"empty": b"", "text": b"text" * 99}[kind])


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device", "empty", "text"])
def test_whatever_lies_in_the_place_of_each_file_is_one_line_and_the_others_are_checked_too(kind):
    wanted = [one.path for one in verify_study(STUDY)]
    for path in wanted:
        spoiled(Path(path), kind)
    found = verify_study(STUDY)
    assert [one.path for one in found] == wanted
    assert {one.state for one in found} == {"broken"}
    assert not [one for one in found if "\n" in one.problem or not one.problem]


def test_types_that_numpy_has_not_are_told_with_the_tensor(tmp_path):
    file = tmp_path / "m.safetensors"
    save_file({"a": np.zeros(4, np.uint16)}, file, metadata={"reliquant": "{}"})
    content = file.read_bytes()
    assert b'"U16"' in content
    for kind in (b'"BF16"', b'"F8_E5M2"', b'"F8_E4M3"'):
        header = content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip().replace(b'"U16"', kind)
        header = header.replace(b"[4]", b"[8]") if b"F8" in kind else header
        file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        with pytest.raises(DamagedFile, match=rf"m\.safetensors: a is {kind.decode()[1:-1]}, a type that"):
            file_checks.model(file)


def test_an_array_of_another_time_than_its_description_is_told(tmp_path):
    folder = tmp_path / "data"
    meta = {"n": 2, "classes": ["a"], "templates": ["{}"], "entry": {}, "skipped": [], "sha256": ""}
    identity = save_array(folder / paths.LABELS, np.zeros(2, np.int64))
    save_sealed_json(folder / paths.META, {**meta, "arrays": {paths.LABELS: identity}})
    file_checks.array(folder / paths.LABELS)
    save_array(folder / paths.LABELS, np.ones(2, np.int64))
    with pytest.raises(DamagedFile, match=r"labels\.npy and meta\.json do not belong together"):
        file_checks.array(folder / paths.LABELS)


@pytest.fixture
def report(tmp_path):
    folder, rows = tmp_path / "reports", tmp_path / "rows.parquet"
    rows.write_bytes(b"rows")
    files = {Path(of(folder)).name: of(folder) for of in (paths.page, paths.summary, paths.claims)}
    for file in files.values():
        save_json(Path(file), {})
    listed = {name: digest_of_file(Path(file)) for name, file in files.items()}
    save_sealed_json(Path(paths.digests(folder)), {"files": listed, "made_of": {"rows": digest_of_file(rows)}})
    return folder, {"rows": rows}


def test_each_changed_file_of_a_report_is_told(report):
    folder, made_of = report
    file_checks.listed(folder, made_of)
    checks = dict(file_checks.pieces(folder))
    assert len(checks) == 3
    for path, check in checks.items():
        check()
        Path(path).write_text("{ }")
        with pytest.raises(DamagedFile, match="changed since it was written"):
            check()


def test_a_report_of_other_rows_or_without_its_page_is_told(report):
    folder, made_of = report
    made_of["rows"].write_bytes(b"others")
    with pytest.raises(DamagedFile, match="was drawn from other rows than"):
        file_checks.listed(folder, made_of)
    save_sealed_json(Path(paths.digests(folder)), {"files": {"../rows.parquet": ""}, "made_of": {}})
    with pytest.raises(DamagedFile, match=r"does not list .*report\.html"):
        file_checks.listed(folder, made_of)
    assert not list(file_checks.pieces(folder))


@pytest.mark.parametrize("key", ["title", "resamples", "study"])
def test_facts_of_another_config_are_told(key):
    other = STUDY.config.model_dump(exclude_unset=True) | {key: {"title": "b", "resamples": 200, "study": "b"}[key]}
    words = {"study": "tiny", "title": "", "note": "", "versions": {}, "datasets": {}}
    models = {name: {"source": "", "architecture": "", "n_parameters": 1} for name in STUDY.config.models}
    for config, told in ((STUDY.config.model_dump(exclude_unset=True), None), (other, "of another config")):
        save_sealed_json(Path(paths.facts("tiny")), {**words, "models": models, "config": yaml.safe_dump(config)})
        if told is None:
            file_checks.facts(STUDY)
            continue
        with pytest.raises(DamagedFile, match=told):
            file_checks.facts(STUDY)


LABELS = {"study": "s", "model": "m", "scheme": "rtn", "precision": "w4a8", "scope": "image", "proxy": "p", "seed": 0}


def meta_of(folder, **words):
    found = {"n": 2, "classes": ["a"], "templates": ["{}"], "entry": {"dataset": "lab"}, "skipped": [], "sha256": "ab"}
    save_sealed_json(folder / paths.META, {**found, "arrays": {}, "form": folder.name, **words})


def test_a_variant_of_another_model_or_of_other_pairs_is_told(tmp_path):
    pairs, model, variant = tmp_path / "native", Path(paths.model("m")), tmp_path / "v.safetensors"
    meta_of(pairs)
    save_tensors(model, {"w": np.zeros(2)}, {"kind": "model"})
    sums = {"model_sha256": read_header(model)["sha256"], "pairs": {"sha256": "ab"}}
    for change, told in (
        ({}, None),
        ({"model_sha256": "b"}, "another model"),
        ({"pairs": None}, "with other pairs than"),
    ):
        save_tensors(variant, {"w": np.zeros(1)}, {"labels": LABELS, **sums, **change})
        if told is None:
            file_checks.variant(variant, LABELS, pairs)
            continue
        with pytest.raises(DamagedFile, match=rf"v\.safetensors: was made .*{told}"):
            file_checks.variant(variant, LABELS, pairs)


def test_prepared_images_of_another_entry_are_told(tmp_path):
    meta_of(tmp_path / "native")
    file_checks.described(tmp_path / "native", {"dataset": "lab"})
    with pytest.raises(
        DamagedFile, match=r"meta\.json: its images are of {.*}, not of {.*7}: another folder lies in its"
    ):
        file_checks.described(tmp_path / "native", {"dataset": "lab", "seed": 7})


def test_an_inventory_of_other_files_is_told(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    listed, files = tmp_path / "list.json", [str(tmp_path / "a"), str(tmp_path / "b")]
    save_sealed_json(listed, {file: identity_of(Path(file)) for file in files})
    file_checks.inventory(listed, files)
    with pytest.raises(DamagedFile, match=r"list\.json: lists .*b, which its shard does not read"):
        file_checks.inventory(listed, files[:1])
    with pytest.raises(DamagedFile, match=r"list\.json: does not list c"):
        file_checks.inventory(listed, [*files, "c"])
    (tmp_path / "a").write_text("other")
    with pytest.raises(DamagedFile, match=r"a: is another file than .*list\.json tells of"):
        file_checks.inventory(listed, files)


def test_records_and_rows_of_other_data_are_told(tmp_path):
    variant, data, records, rows = (
        tmp_path / name for name in ("v.safetensors", "list.json", "s.parquet", "r.parquet")
    )
    save_tensors(variant, {"w": np.zeros(1)}, {"labels": LABELS, "model_sha256": "a"})
    save_sealed_json(data, {"a": "1"})
    facts = {
        "variant": read_header(variant)["sha256"],
        "labels": LABELS,
        "model_sha256": "a",
        "data": digest_of({"a": "1"}),
    }
    save_frame(records, pl.DataFrame({"x": [1]}), facts)
    save_frame(rows, pl.DataFrame({"x": [1]}), {"labels": LABELS, "made_of": made_of(variant, [records])})
    file_checks.samples(records, variant, LABELS, data)
    file_checks.rows(rows, {"labels": LABELS}, [str(variant), str(records)])
    save_frame(records, pl.DataFrame({"x": [2]}), facts | {"data": digest_of({"a": "2"})})
    with pytest.raises(DamagedFile, match=r"s\.parquet: holds records of other images than .*list\.json tells of"):
        file_checks.samples(records, variant, LABELS, data)
    with pytest.raises(DamagedFile, match=r"r\.parquet: was made of another .*s\.parquet than lies there"):
        file_checks.rows(rows, {"labels": LABELS}, [str(variant), str(records)])


def test_a_download_whose_files_changed_is_told(tmp_path):
    files = [{"url": "http://a.org/b.bin", "unpack": False, "sha256": hashlib.sha256(b"b").hexdigest()}]
    for name in ("b.bin", "set"):
        (tmp_path / name).write_bytes(b"b")
    record = {"files": files, "contents": contents(tmp_path, ["set"])}
    save_sealed_json(tmp_path / paths.FETCHED, record)
    file_checks.download(tmp_path)
    for name in ("set", "b.bin"):
        (tmp_path / name).write_bytes(b"c")
        with pytest.raises(DamagedFile, match=f"{name}.* changed"):
            file_checks.download(tmp_path)
