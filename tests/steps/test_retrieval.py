"""From a lab model and its quantized variant to the rows of searches, through the two steps' own command lines."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import yaml

from reliquant import plugins
from reliquant.cli import file_checks
from reliquant.cli.plan_searches import search_rows
from reliquant.evaluation.belonging import require_current
from reliquant.evaluation.stored_embeddings import load_embeddings
from reliquant.files.artifacts import ROW_SCHEMA, DamagedFile, read_facts
from reliquant.files.stored_frames import read_rows
from reliquant.images.prepare import load, prepare
from reliquant.models.files import save_model
from reliquant.report.collect import require_made_of
from reliquant.steps import embed, quantize, retrieve
from reliquant.study.check import read_study
from reliquant.study.scheme import scheme_entry

PAIRS = {"dataset": "lab_captions", "world": "curated", "images": 120, "seed": 4}
FORMS = {"half": {"index": "float16"}, "signs": {"index": "binary"}}
MODEL = {"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-curated"}
COMMON = {"study": "s", "source": "curated", "model": "vit"}
FP32 = {**COMMON, "scheme": "fp32", "family": "FP32", "precision": "fp32", "scope": "none", "proxy": "none", "seed": 0}
RTN = {**COMMON, "scheme": "rtn", "family": "PTQ", "precision": "w3a8", "scope": "both", "proxy": "p", "seed": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A lab model, and a hundred and twenty pairs that it has not seen."""
    folder = tmp_path_factory.mktemp("retrieval")
    save_model(folder / "vit.safetensors", plugins.load("tower", MODEL)(None), MODEL)
    prepare(plugins.load("dataset", PAIRS)(folder), folder / "fresh" / "native", form="native", entry=PAIRS)
    return folder


def embedded(run, place, labels):
    """Quantize and embed; return the words of the second step."""
    name, model, fresh = labels["scheme"], place / "vit.safetensors", place / "fresh" / "native"
    variant, output = place / f"{name}.safetensors", place / f"{name}-embeddings.safetensors"
    if not output.exists():
        words = {"proxy": fresh, "proxy-entry": PAIRS} if name == "rtn" else {}
        entry = scheme_entry("rtn", "w3a8") if name == "rtn" else {"quantizer": "none"}
        run(quantize, model=model, entry=entry, labels=labels, device="cpu", output=variant, **words)
        sets = json.dumps([{"dataset": "fresh", "folder": str(fresh), "entry": PAIRS}])
        run(embed, model=model, variant=variant, sets=sets, device="cpu", output=output)
    return {"embeddings": output, "labels": labels, "indexes": FORMS, "resamples": 200}


@pytest.fixture
def searched(run, place):
    """The rows of FP32 and of the variant, whose files are made once."""
    fp32, rtn = embedded(run, place, FP32), embedded(run, place, RTN)
    for name, words in (("fp32", fp32), ("rtn", {**rtn, "baseline": fp32["embeddings"]})):
        if not (place / f"{name}-rows.parquet").exists():
            run(retrieve, **words, output=place / f"{name}-rows.parquet")
    return [read_rows(place / f"{name}-rows.parquet") for name in ("fp32", "rtn")]


def value(rows, measure, group, score=""):
    (found,) = rows.filter(measure=measure, group=group, score=score)["value"]
    return found


def nearer(query, gallery, right):
    """Return of each query how many items are nearer than its right one, and how many as near, itself among them."""
    pairs = []
    for one, mine in zip(query, right, strict=True):
        near = [float(np.dot(one.astype(float), other.astype(float))) for other in gallery]
        ahead = sum(other > near[mine] + 1e-6 for other in near)
        pairs.append((ahead, sum(abs(other - near[mine]) <= 1e-6 for other in near)))
    return np.array(pairs).T


def recall(found, k):
    """Return the expected share of right answers among the first k, items that are as near in any order."""
    ahead, alike = found
    return np.clip((k - ahead) / alike, 0, 1).mean()


@pytest.mark.parametrize("group", ["text_to_image", "image_to_text"])
def test_rows_are_those_of_similarities_that_are_compared_one_by_one(searched, place, group):
    fp32, rtn = searched
    assert dict(rtn.schema) == dict(ROW_SCHEMA)
    own, base = (load_embeddings(place / f"{name}-embeddings.safetensors")[0]["fresh"] for name in ("rtn", "fp32"))
    assert not np.allclose(own.text, base.text, atol=1e-3)
    (query, gallery), right = group.split("_to_"), np.arange(120)  # a caption each
    ways = {"own": (own, own), "fp32": (base, base), "library": (own, base), "queries": (base, own)}
    found = {name: nearer(getattr(a, query), getattr(b, gallery), right) for name, (a, b) in ways.items()}
    for k in (1, 5, 10):
        share = {name: recall(pair, k) for name, pair in found.items()}
        assert value(fp32, f"recall_at_{k}", group) == pytest.approx(share["fp32"])
        assert value(rtn, f"recall_at_{k}", group) == pytest.approx(share["own"])
        assert value(rtn, f"recall_at_{k}_change", group) == pytest.approx(share["own"] - share["fp32"])
        assert value(rtn, f"recall_at_{k}_fp32_library", group) == pytest.approx(share["library"])
        assert value(rtn, f"recall_at_{k}_fp32_queries", group) == pytest.approx(share["queries"])
    half = getattr(own, gallery).astype(np.float16)
    assert value(rtn, "recall_at_1", group, "half") == pytest.approx(
        recall(nearer(getattr(own, query), half, right), 1)
    )
    assert value(rtn, "bytes_a_vector", group) == 4 * 64
    assert value(rtn, "bytes_a_vector", group, "half") == 2 * 64
    assert value(rtn, "bytes_a_vector", group, "signs") == 64 / 8


def test_a_plan_counts_the_rows_of_searches(searched):
    config = yaml.safe_load((plugins.PACKAGE.parents[1] / "config" / "config.yaml").read_text())
    config |= {"models": {"vit": MODEL}, "schemes": {"rtn": {"quantizer": "rtn"}}, "precisions": ["w3a8"]}
    config |= {"scopes": ["both"], "explain": None}
    config["datasets"]["fresh"] = PAIRS
    config["suites"]["retrieval"] = {"datasets": ["fresh"], "indexes": FORMS}
    fp32, rtn = searched
    assert search_rows(read_study(config)) == {"rows of searches": fp32.height + rtn.height}
    config["suites"]["retrieval"] = None
    assert search_rows(read_study(config)) == {}


def test_images_are_searched_by_class_and_how_many_captions_repeat_is_told_once(searched, place):
    fp32, rtn = searched
    base = load_embeddings(place / "fp32-embeddings.safetensors")[0]["fresh"]
    similar = base.image @ base.image.T
    np.fill_diagonal(similar, -2)
    same = base.label[np.argsort(-similar, axis=1)[:, :5]] == base.label[:, None]
    assert value(fp32, "precision_at_5", "image_to_image") == pytest.approx(same.mean())
    captions = [" ".join(text.casefold().split()) for text in load(place / "fresh" / "native").meta["captions"]]
    repeated = np.mean([captions.count(text) > 1 for text in captions])
    assert 0 < repeated < 0.3
    assert value(fp32, "repeated_captions", "") == pytest.approx(repeated)
    assert rtn.filter(measure="repeated_captions").is_empty()
    told = pl.concat([fp32, rtn]).filter(pl.col("measure") != "repeated_captions")
    assert told["suite"].unique().to_list() == ["retrieval"]
    assert told["dataset"].unique().to_list() == ["fresh"]
    assert set(told["group"]) == {"image_to_text", "text_to_image", "image_to_image"}
    assert set(told["score"]) == {"", "half", "signs"}


def test_files_say_what_they_are_of_and_another_one_is_refused_by_name(searched, run, place):
    own, fp32 = place / "rtn-embeddings.safetensors", place / "fp32-embeddings.safetensors"
    rows = place / "rtn-rows.parquet"
    require_made_of({"labels": RTN, "suites": ["retrieval"], "indexes": FORMS}, rows)
    require_current(rows, [own, fp32])
    assert list(read_facts(rows)["made_of"]) == sorted(map(str, (own, fp32)))
    folders = {"fresh": str(place / "fresh" / "native")}
    file_checks.embeddings(own, place / "rtn.safetensors", RTN, folders)
    with pytest.raises(DamagedFile, match=r"rtn-embeddings\.safetensors: is of another variant than .*fp32\.safetens"):
        file_checks.embeddings(own, place / "fp32.safetensors", RTN, folders)
    words = {"embeddings": own, "labels": RTN, "resamples": 100, "output": place / "no.parquet"}
    with pytest.raises(DamagedFile, match=r"rtn-embeddings\.safetensors: is of scheme 'rtn'"):
        run(retrieve, **words, baseline=own)
    with pytest.raises(DamagedFile, match=r"fp32-embeddings\.safetensors: is of scheme 'fp32'"):
        run(retrieve, **{**words, "embeddings": fp32})


def test_other_images_than_the_config_s_are_refused_before_anything_is_embedded(searched, run, place):
    sets = [{"dataset": "fresh", "folder": str(place / "fresh" / "native"), "entry": {**PAIRS, "seed": 5}}]
    words = {"model": place / "vit.safetensors", "variant": place / "rtn.safetensors", "device": "cpu"}
    with pytest.raises(DamagedFile, match=r"fresh/native/meta\.json: its images are of"):
        run(embed, **words, sets=json.dumps(sets), output=place / "no.safetensors")
    assert not (place / "no.safetensors").exists()


def test_pairs_that_a_variant_was_calibrated_on_are_found_under_another_name_and_refused(searched, run, place):
    fresh = str(place / "fresh" / "native")
    sets, seen = ([{word: fresh, "folder": fresh, "entry": PAIRS}] for word in ("dataset", "who"))
    words = {"model": place / "vit.safetensors", "variant": place / "rtn.safetensors", "device": "cpu"}
    words |= {"sets": json.dumps(sets), "seen": json.dumps(seen), "output": place / "no.safetensors"}
    with pytest.raises(ValueError, match=r"120 of 120 images are among the pairs of .*fresh/native: no pair that is"):
        run(embed, **words)
    assert not (place / "no.safetensors").exists()


def test_a_few_images_that_were_seen_are_told_and_counted_in_the_rows(searched, run, place, tmp_path, capsys):
    one, other = (plugins.load("dataset", {**PAIRS, "seed": seed})(place) for seed in (4, 5))
    mixed = replace(other, read=lambda i: one.read(i) if i == 0 else other.read(i))  # one photograph of 120
    folder, entry = tmp_path / "other" / "native", {**PAIRS, "seed": 5}
    prepare(mixed, folder, form="native", entry=entry)
    sets = [{"dataset": "fresh", "folder": str(place / "fresh" / "native"), "entry": PAIRS}]
    seen = [{"who": "the training", "folder": str(folder), "entry": entry}]
    words = {"model": place / "vit.safetensors", "variant": place / "fp32.safetensors", "device": "cpu"}
    run(embed, **words, sets=json.dumps(sets), seen=json.dumps(seen), output=tmp_path / "own.safetensors")
    assert "fresh: 1 of 120 images are among the pairs of the training" in capsys.readouterr().err
    run(retrieve, embeddings=tmp_path / "own.safetensors", labels=FP32, resamples=100, output=tmp_path / "rows.parquet")
    assert value(read_rows(tmp_path / "rows.parquet"), "seen_images", "") == pytest.approx(1 / 120)
    assert searched[0].filter(measure="seen_images").is_empty()
