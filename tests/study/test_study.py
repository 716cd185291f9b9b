import copy

import pytest
import yaml

from reliquant.plugins import PACKAGE, ConfigError
from reliquant.study.check import read_study
from reliquant.study.config import sliced, with_grids
from reliquant.study.study import Variant

ROOT = PACKAGE.parents[1]


@pytest.fixture
def config():
    """The lab's own config, explaining nothing: tests change the grid that `explain` would name."""
    lab = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    return {k: v for k, v in lab.items() if k != "explain"}


def problems(config):
    with pytest.raises(ConfigError) as error:
        read_study(config)
    return error.value.problems


def first(mapping):
    return next(iter(mapping.values()))


CONFIGS = [pytest.param(path, id=path.name) for path in sorted((ROOT / "config").glob("*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS)
def test_every_shipped_config_is_right(path):
    read_study(yaml.safe_load(path.read_text()))


def test_the_grid_is_the_product_of_its_axes_and_a_baseline_a_model(config):
    study = read_study(config)
    c = study.config
    points = len(c.schemes) * len(c.precisions) * len(c.scopes) * len(c.proxies) * len(c.seeds)
    assert len(study.variants) == len(c.models) * (1 + points)
    for path, variant in study.variants.items():
        assert path == str(variant)
        assert str(variant.baseline) in study.variants


def test_a_scheme_may_narrow_the_axes(config):
    model = next(iter(config["models"]))
    config["models"] = {model: config["models"][model]}
    config["schemes"] = {"rtn": {"quantizer": "rtn", "precisions": ["w2a8"], "scopes": ["both"], "seeds": [3, 4]}}
    proxy = next(iter(config["proxies"]))
    wanted = {str(Variant(model, "rtn", "w2a8", "both", proxy, s)) for s in (3, 4)}
    assert set(read_study(config).variants) == wanted | {f"{model}/fp32/fp32-none-none-0"}


def test_snapshots_are_asked_for_all_variants_or_by_precision_and_scope(config):
    model = next(iter(config["models"]))
    lsq = {"quantizer": "lsq", "iterations": 100, "precisions": ["w4a8", "w8a8"], "scopes": ["image", "both"]}
    config["models"] = {model: config["models"][model]}
    config["schemes"] = {
        "plain": lsq,
        "every": {**lsq, "snapshots": [50, 0]},
        "some": {**lsq, "snapshots": {"w4a8-image": [10], "w8a8": [20]}},
    }
    study = read_study(config)
    found = {(v.scheme, v.precision, v.scope): study.scheme_entry(v).get("snapshots") for v in study.variants.values()}
    assert {found["plain", p, s] for p in ("w4a8", "w8a8") for s in ("image", "both")} == {None}
    assert all(found["every", p, s] == [0, 50] for p in ("w4a8", "w8a8") for s in ("image", "both"))
    some = [found["some", p, s] for p, s in (("w4a8", "image"), ("w4a8", "both"), ("w8a8", "image"), ("w8a8", "both"))]
    assert some == [[10], None, [20], [20]]
    kept = {variant for variant, shard in study.evaluations if shard == "snapshots"}
    assert kept == {p for p, v in study.variants.items() if study.snapshots(v)}
    assert {c["suite"] for c in study.cells(model, "snapshots")} == {"clean"}


def test_bits_come_from_the_precision_and_the_rest_from_the_scheme():
    entry = with_grids({"quantizer": "rtn", "weight": {"granularity": "group", "group": 32}}, "w4a8")
    assert entry["weight"] == {"granularity": "group", "group": 32, "bits": 4}
    assert entry["activation"] == {"granularity": "tensor", "bits": 8}


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


def test_one_shard_a_suite_unless_the_config_groups_them(config):
    grouped = read_study(config)
    del config["shards"]
    assert read_study(config).shards == {s: [s] for s in grouped.suites}


def test_a_new_in_distribution_set_leaves_the_old_shards_as_they_are(config):
    model, old = next(iter(config["models"])), read_study(config)
    reference, groups = next(iter(config["suites"]["ood"].items()))
    config["datasets"]["fresh"] = dict(config["datasets"][reference])
    config["suites"]["clean"].append("fresh")
    config["suites"]["ood"]["fresh"] = dict(groups)  # beside out-of-distribution sets that are there already
    config["shards"] = {**old.shards, "late": ["clean/fresh", "ood/fresh"]}
    grown = read_study(config)
    assert all(grown.cells(model, shard) == old.cells(model, shard) for shard in old.shards)
    late = grown.cells(model, "late")
    assert {c["reference"] for c in late} == {"fresh"}
    assert sum(c["suite"] == "ood" for c in late) == sum(len(sets) for sets in groups.values())


def test_a_dataset_has_one_folder_a_preparation(config):
    study = read_study(config)
    model = next(iter(config["models"]))
    folders = {c["dataset"]: c["folder"] for shard in study.shards for c in study.cells(model, shard)}
    assert all(folder.startswith(f"data/prepared/{name}/") for name, folder in folders.items())
    assert "data/raw" in study.root(next(iter(folders)))


def test_from_scratch_trains_what_was_shipped(config):
    name = next(iter(config["models"]))
    assert not read_study(config).trains(name)
    again = read_study({**copy.deepcopy(config), "from_scratch": True})
    assert again.trains(name)
    assert "pretrained" not in again.tower_entry(name)
    assert "pretrained" in read_study(config).tower_entry(name)


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


def test_a_variant_depends_on_its_own_losses_alone(config):
    model = next(iter(config["models"]))
    config["schemes"] = {
        "rtn": {"quantizer": "rtn", "family": "a"},
        "own": {"quantizer": "lsq_mse", "family": "a"},
        "given": {"quantizer": "lsq", "family": "a", "losses": [{"loss": "distillation"}, {"loss": "sigmoid"}]},
    }
    study = read_study(config)
    found = {v.scheme: study.losses(v) for v in study.variants.values() if v.model == model}
    assert found == {
        "fp32": [],
        "rtn": [],
        "own": ["contrastive", "feature_mse"],
        "given": ["distillation", "sigmoid"],
    }


def test_the_order_of_keys_changes_no_job(config):
    turned = yaml.safe_load(yaml.safe_dump(config, sort_keys=True))
    turned["suites"]["ood"] = dict(
        reversed([(k, dict(reversed(v.items()))) for k, v in turned["suites"]["ood"].items()])
    )
    model = next(iter(config["models"]))
    assert all(
        read_study(config).cells(model, s) == read_study(turned).cells(model, s) for s in read_study(config).shards
    )


def test_a_training_set_is_read_only_where_a_score_fits(config):
    config["fits"] = {"shapes": "colours"}
    model = next(iter(config["models"]))
    config["scores"] = {"mcm": {"score": "mcm"}}
    plain = read_study(config)
    assert not any(c["fit"] for s in plain.shards for c in plain.cells(model, s))
    config["suites"]["ood"] = {"shapes": config["suites"]["ood"]["shapes"]}
    config["scores"] = {"knn": {"score": "knn"}}
    fitted = read_study(config)
    found = {(c["suite"], c["dataset"]) for s in fitted.shards for c in fitted.cells(model, s) if c["fit"]}
    assert ("clean", "shapes") in found
    assert all(suite == "ood" or dataset == "shapes" for suite, dataset in found)
    assert "data/prepared/colours/native/images.npy" in fitted.inputs(model, fitted.shard_of("ood"))


def test_a_published_lexicon_is_fetched_unless_it_lies_in_the_data_root(config):
    config["negatives"] = {"lexicon": "wordnet", "folder": "words", "parts": ["noun"]}
    study = read_study(config)
    assert study.negatives() == ({"lexicon": "wordnet", "parts": ["noun"]}, "data/raw/words")
    assert study.fetched_lexicon() == ["data/raw/words/fetched.json"]
    assert study.published_in("words") == ("lexicon", {"lexicon": "wordnet", "parts": ["noun"]})
    config["data_root"] = "."
    assert not read_study(config).fetched_lexicon()


def test_explain_names_a_part_of_the_grid_and_fp32_always(config):
    config["explain"] = {"datasets": ["shapes"], "schemes": ["rtn"], "precisions": ["w4a8"], "scopes": ["image"]}
    study = read_study(config)
    assert len(study.explained) == 2 * len(config["models"])
    assert {study.variants[p].scheme for p in study.explained} == {"fp32", "rtn"}
    assert read_study({k: v for k, v in config.items() if k != "explain"}).explained == []


def test_explain_names_only_what_is_there(config):
    config["explain"] = {"datasets": ["digits"], "schemes": ["gptz"], "precisions": ["w3a3"]}
    found = problems(config)
    assert any("'digits' must be in the clean suite too" in p for p in found)
    assert any("explain: schemes: 'gptz' is not in the grid" in p for p in found)
    assert any("explain: precisions: 'w3a3' is not in the grid" in p for p in found)


def test_a_slice_of_schemes_explains_only_its_own(config):
    config["explain"] = {"datasets": ["shapes"], "schemes": ["rtn", "lsq"]}
    found = sliced({**config, "schemes": ["rtn"]}, config)
    assert list(found["schemes"]) == ["rtn"]
    assert found["explain"]["schemes"] == ["rtn"]
    assert {path.split("/")[1] for path in read_study(found).explained} == {"fp32", "rtn"}
