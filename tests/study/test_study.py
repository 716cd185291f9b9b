import copy

from reliquant.study.check import read_study
from reliquant.study.variants import fp32_of


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


def test_one_shard_a_suite_unless_the_config_groups_them(config):
    grouped = read_study(config)
    del config["shards"]
    assert read_study(config).shards == {s: [s] for s in grouped.suites}


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
    assert {suite for suite, _ in found} == {"clean", "shift", "ood"}
    assert all(suite in ("shift", "ood") or dataset == "shapes" for suite, dataset in found)
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


def test_fp32_is_tuned_on_every_proxy_that_a_scheme_uses(config):
    config["proxies"]["half"] = {"of": "pairs", "pairs": 100, "held_out": 0.5}
    config["proxies"]["idle"] = {"of": "pairs"}
    config["schemes"] = {name: config["schemes"][name] for name in ("rtn", "lsq")}
    config["schemes"]["rtn"]["proxies"] = ["captions"]
    config["schemes"]["lsq"]["proxies"] = ["captions", "half"]
    study = read_study(config)
    fp32 = study.variants[str(fp32_of("lab-vit-web"))]
    folder, entry = study.prepared("pairs", "lab-vit-web"), study.dataset_entry("pairs")
    assert study.tuned_on(fp32) == {
        "captions": {"folder": folder, "entry": entry, "pairs": 500, "held_out": 0.2},
        "half": {"folder": folder, "entry": entry, "pairs": 100, "held_out": 0.5},
    }
    assert not any(study.tuned_on(v) for v in study.variants.values() if v.scheme != "fp32")
    config["tuning"] = "none"
    assert read_study(config).tuned_on(fp32) == {}


def test_a_shard_reads_the_clean_and_shifted_records_that_its_images_are_compared_with(config):
    config["shards"] = {suite: [suite] for suite in ("clean", "ood", "shift", "noise", "spurious")}
    study = read_study(config)
    assert study.records("clean") == ["clean"]
    assert study.records("spurious") == ["spurious"]
    assert study.records("ood") == ["ood", "clean", "shift"]
    assert study.records("shift") == ["shift", "clean"]
    assert study.records("noise") == ["noise", "clean"]
