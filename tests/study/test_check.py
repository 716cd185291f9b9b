import re

import pytest
import yaml

from reliquant.plugins import PACKAGE, ConfigError
from reliquant.study.check import read_study
from reliquant.study.entries import entry_problems

CONFIGS = [pytest.param(path, id=path.name) for path in sorted((PACKAGE.parents[1] / "config").glob("*.yaml"))]


def problems(config):
    with pytest.raises(ConfigError) as error:
        read_study(config)
    return error.value.problems


def first(mapping):
    return next(iter(mapping.values()))


@pytest.mark.parametrize("path", CONFIGS)
def test_every_shipped_config_is_right(path):
    read_study(yaml.safe_load(path.read_text()))


def test_all_problems_are_told_at_once_with_key_and_allowed_words(config):
    config["schemes"]["rtn"]["momentun"] = 0.1
    config["schemes"]["other"] = {"quantizer": "gtpq"}
    config["suites"]["clean"].append("shapez")
    config["precisions"] = ["w8a8", "w1a8"]
    config["scores"]["odd"] = {"score": "mcn"}
    found = problems(config)
    assert len(found) == 5, found
    for part in (
        "scheme rtn: momentun: unknown word; rtn takes weight, activation, momentum, batch",
        "scheme other: quantizer 'gtpq' is unknown",
        "suite clean: dataset 'shapez' is unknown",
        "precisions: precision 'w1a8': bits must be from 2 to 16, not 1",
        "score odd: score 'mcn' is unknown (did you mean 'mcm'?)",
    ):
        assert any(p.startswith(part) for p in found), (part, found)


def test_structural_and_entry_problems_appear_together(config):
    config["sceds"] = [1]
    config["seeds"] = ["one"]
    config["schemes"]["rtn"]["batch"] = "many"
    found = problems(config)
    assert any(p.startswith("key 'sceds' is unknown (did you mean 'seeds'?)") for p in found)
    assert any(p.startswith("seeds.0:") for p in found)
    assert any(p.startswith("scheme rtn: batch:") for p in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["schemes"].update(fp32={"quantizer": "none"}), "scheme fp32: is built in"),
        (lambda c: c.update(proxies={}), "proxies: missing"),
        (
            lambda c: first(c["proxies"]).update(held_out=0.01),
            "proxy captions: held_out: 0.01 of 500 pairs are fewer than the 10 that tuning takes",
        ),
        (lambda c: first(c["proxies"]).update(held_out=0), "a larger share, or tuning: none"),
        (lambda c: first(c["proxies"]).update(held_out=1), "proxies.captions.held_out: Input should be less than 1"),
        (lambda c: c["schemes"]["rtn"].update(scopes=["text"]), "scopes 'text' is unknown; there are both, image"),
        (lambda c: c["schemes"]["rtn"].update(weight=4), "weight: must be a mapping of grid words, got 4"),
        (lambda c: c["schemes"]["rtn"].update(weight={"granularity": "row"}), "scheme rtn: weight.granularity"),
        (lambda c: c["schemes"]["rtn"].update(weight={"bits": 1}), "scheme rtn: weight: bits: come from the precision"),
        (lambda c: c["schemes"]["rtn"].update(activation={"bits": 8}), "leave bits: 8 out"),
        (lambda c: c["schemes"].update(r={"quantizer": "raana", "choices": [1, 2, 20]}), "scheme r: choices.0: Input"),
        (lambda c: c["schemes"].update(r={"quantizer": "raana", "choices": [1, 2, 20]}), "scheme r: choices.2: Input"),
        (lambda c: c.update(shards={"one": ["clean"]}), "suite 'ood' must be in exactly one shard, not 0"),
        (lambda c: first(c["models"]).update(form="big"), "form: must read"),
        (lambda c: first(c["models"])["pretrain"].update(pairs="nowhere"), "dataset 'nowhere' is unknown"),
        (lambda c: first(c["models"])["pretrain"].update(step=1), "pretrain: step: unknown word"),
        (lambda c: first(c["suites"]["noise"])["corruptions"].append("rust"), "corruption 'rust' is unknown"),
        (lambda c: c["schemes"]["rtn"].update(snapshots=[1]), "scheme rtn: snapshots: unknown word; rtn takes"),
        (lambda c: c["schemes"]["lsq"].update(snapshots=[61]), "lsq: snapshots: 61 is not within the 30 iterations"),
        (lambda c: c["schemes"]["lsq"].update(snapshots=["x"]), "scheme lsq: snapshots: Input should be"),
        (lambda c: c["schemes"]["lsq"].update(snapshots={"w1a8": [1]}), "snapshots: precision 'w1a8': bits must be"),
        (lambda c: c["schemes"]["lsq"].update(snapshots={"w4a8-x": [1]}), "snapshots: scope 'x' is unknown; there are"),
        (lambda c: c.update(snapshot_suites=["noise"]), "snapshot_suites: 'clean' must be among them"),
        (lambda c: c.update(shards={"snapshots": ["clean"]}), "shards: 'snapshots' is the name of a shard that"),
        (lambda c: c.update(backend="int8"), "backend: Input should be 'auto', 'simulate' or 'integer', got 'int8'"),
        (lambda c: c["suites"]["shift"].update(nothing=["x"]), "dataset 'nothing' is unknown"),
        (lambda c: c.update(fits={}, scores={"near": {"score": "knn"}}), "missing; score near fits on training images"),
        (lambda c: c.update(fits={"shapes": "shapes"}), "must not be fitted on the images that they are tested on"),
        (lambda c: c.update(fits={"digits": "shapes"}), "fits: 'digits' is not in the clean suite"),
        (lambda c: c.update(fits={"shapes": "shapez"}), "fits: dataset 'shapez' is unknown"),
        (
            lambda c: c.update(negatives=None, scores={"neg": {"score": "neglabel"}}),
            "negatives: missing; score neg needs",
        ),
        (lambda c: c.update(negatives={"lexicon": "wordnt"}), "negatives: lexicon 'wordnt' is unknown"),
    ],
)
def test_what_is_wrong_is_named(config, change, message):
    change(config)
    assert any(message in p for p in problems(config)), problems(config)


def test_a_missing_data_root_is_named(config):
    config["datasets"]["cifar"] = {"dataset": "cifar10", "split": "test"}
    config["data_root"] = "/nowhere/at/all"
    assert any("data_root: /nowhere/at/all/cifar10: no such folder" in p for p in problems(config))


def test_datasets_that_would_overwrite_each_other_are_named(config):
    hub = {"dataset": "huggingface", "revision": "0" * 40, "files": ["test.parquet"]}
    config["datasets"] |= {name: hub | {"repo": f"a/{name}"} for name in ("one", "two")}
    told = "datasets: one, two download different files into data/raw/huggingface; give each its own `folder`"
    assert told in problems(config)
    config["datasets"]["two"]["folder"] = "two"
    read_study(config)
    config["datasets"]["two"] = config["datasets"]["one"] | {"images": 4}  # the same files, read another way
    read_study(config)


def test_explain_names_only_what_is_there(config):
    config["explain"] = {"datasets": ["digits"], "schemes": ["gptz"], "precisions": ["w3a3"]}
    found = problems(config)
    assert any("'digits' must be in the clean suite too" in p for p in found)
    assert any("explain: schemes: 'gptz' is not in the grid" in p for p in found)
    assert any("explain: precisions: 'w3a3' is not in the grid" in p for p in found)


FETCHED = {"dataset": "cifar10", "split": "test"}


@pytest.mark.parametrize(
    "folder",
    ["../../../outside", "/outside", "a/../..", "..", ".ssh", "-x", "a b", "a\n", "a/", "a//b", "é", "a\\b", "a;b", ""],
)
def test_what_is_fetched_lies_below_the_folder_of_downloads(config, folder):
    config["datasets"]["cifar"] = FETCHED | {"folder": folder}
    config["negatives"] = {"lexicon": "wordnet", "folder": folder}
    found = problems(config)
    for key in ("dataset cifar: folder: ", "negatives: folder: "):
        assert any(p.startswith(f"{key}must lie below the folder of downloads") for p in found), found


def test_what_is_placed_may_lie_anywhere(config, tmp_path):
    config["datasets"]["mine"] = {"dataset": "image_folder", "folder": f"{tmp_path}/My photos (2024)"}
    read_study(config)
    config["datasets"]["mine"]["folder"] = "-x"
    assert any(p.startswith("dataset mine: folder: must not begin with -") for p in problems(config))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("a", "a/b", "dataset two: folder: data/raw/a/b lies in data/raw/a, where dataset one is downloaded"),
        ("Cats", "cats", "dataset two: folder: data/raw/cats differs from data/raw/Cats of dataset one by capitals"),
    ],
)
def test_downloads_do_not_lie_in_each_others_folder(config, one, other, told):
    config["datasets"] |= {"one": FETCHED | {"folder": one}, "two": FETCHED | {"folder": other}}
    assert any(p.startswith(told) for p in problems(config))
    config["datasets"]["two"]["folder"] = one
    read_study(config)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(device="cpu; touch x; true"), "device: must read auto, cpu, cuda, cuda:1"),
        (lambda c: c.update(device="cpu\n"), "device: must read auto, cpu, cuda, cuda:1"),
        (lambda c: c.update(study="lab\n"), "study: must be small letters and digits"),
        (lambda c: c.update(study="Lab"), "study: must be small letters and digits"),
        (lambda c: c.update(study="a" * 65), "study: must have at most 64 letters"),
        (lambda c: c.update(data_root="-x"), "data_root: must not begin with -"),
        (lambda c: c.update(precisions=["w\u0664a8"]), "precisions: precision 'w\u0664a8' must read"),
        (lambda c: c.update(precisions=["w04a8"]), "precisions: precision 'w04a8' must read"),
        (lambda c: c.update(seeds=[2**63]), "seeds.0: Input should be less than"),
        (lambda c: c["schemes"]["rtn"].update(seeds=[-1]), "scheme rtn: seeds: Input should be greater than"),
        (lambda c: c["schemes"].update({"a\nb": {"quantizer": "x"}}), "scheme a\\nb: quantizer 'x' is unknown"),
    ],
)
def test_words_that_become_paths_or_arguments_have_one_form(config, change, told):
    change(config)
    found = problems(config)
    assert any(p.startswith(told) for p in found), found
    assert all("\n" not in p for p in found)


def test_schemes_of_the_full_study_have_their_published_grids():
    schemes = yaml.safe_load((PACKAGE.parents[1] / "config" / "paper.yaml").read_text())["schemes"]
    token, asymmetric = {"granularity": "token", "dynamic": True}, {"symmetric": False}
    assert schemes["llm-int8"]["activation"] == schemes["quarot"]["activation"] == token
    assert schemes["repq"]["activation"] == schemes["repq"]["weight"] == schemes["gptq"]["weight"] == asymmetric
    assert schemes["awq"]["weight"] == {"granularity": "group", "group": 128, **asymmetric}


def test_schemes_that_the_full_study_leaves_out_are_right_words():
    text = (PACKAGE.parents[1] / "config" / "paper.yaml").read_text()
    left_out = yaml.safe_load("\n".join(re.findall(r"^  # ([a-z0-9-]+: \{.*\})$", text, re.MULTILINE)))
    assert list(left_out) == ["repq-symmetric", "llm-int8-static", "quarot-static", "repq-softmax"]
    for scheme in left_out.values():
        assert list(entry_problems("schemes", scheme, yaml.safe_load(text))) == []


def test_weight_only_methods_meet_on_the_same_grids():
    schemes = yaml.safe_load((PACKAGE.parents[1] / "config" / "weight-only.yaml").read_text())["schemes"]
    for family in ("channel", "group-32", "group-64", "group-128"):
        of = {scheme["quantizer"]: scheme["weight"] for scheme in schemes.values() if scheme["family"] == family}
        assert sorted(of) == ["awq", "gptq", "hqq", "mse", "rtn"]
        assert all(grid == of["rtn"] and not grid["symmetric"] for grid in of.values())


def test_methods_for_few_bits_meet_on_the_same_grids():
    study = read_study(yaml.safe_load((PACKAGE.parents[1] / "config" / "few-bits.yaml").read_text()))
    quantized = [variant for variant in study.variants.values() if variant.scheme != "fp32"]
    entries = [study.scheme_entry(variant) for variant in quantized]
    assert {entry["quantizer"] for entry in entries} == {"rtn", "repq", "gptq", "erq", "qdrop"}
    assert all(not entry[grid]["symmetric"] for entry in entries for grid in ("weight", "activation"))
    assert len(quantized) == 2 * 8 * 3
    assert {v.scheme for v, e in zip(quantized, entries, strict=True) if "compensation" in e} == {
        "rtn-qwt",
        "gptq-qwt",
        "erq-qwt",
    }
