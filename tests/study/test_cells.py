import yaml

from reliquant.study.cells import cells_of
from reliquant.study.check import read_study
from reliquant.study.config import Suites

SUITES = Suites(
    clean=["birds", "cats"],
    shift={"cats": ["sketches"], "birds": ["art"]},
    ood={"birds": {"far": ["noise"], "near": ["bats", "bees"]}},
    noise={"cats": {"corruptions": ["fog", "snow"], "severities": [1, 5], "images": 100}},
    spurious=["waterbirds"],
)
PLAIN = {"group": "", "corruption": "", "severities": [0], "images": None}


def test_a_clean_or_spurious_set_is_its_own_reference():
    birds, cats = ({"suite": "clean", "dataset": name, "reference": name, **PLAIN} for name in ("birds", "cats"))
    assert list(cells_of("clean", SUITES)) == [birds, cats]
    waterbirds = {"suite": "spurious", "dataset": "waterbirds", "reference": "waterbirds", **PLAIN}
    assert list(cells_of("spurious", SUITES)) == [waterbirds]


def test_a_shifted_or_unknown_set_is_read_with_the_classes_of_its_reference():
    shifted = [(cell["reference"], cell["dataset"]) for cell in cells_of("shift", SUITES)]
    assert shifted == [("birds", "art"), ("cats", "sketches")]
    unknown = [(cell["reference"], cell["group"], cell["dataset"]) for cell in cells_of("ood", SUITES)]
    assert unknown == [("birds", "near", "bats"), ("birds", "near", "bees"), ("birds", "far", "noise")]


def test_noise_has_one_cell_for_each_corruption_with_all_its_severities():
    plain = {"suite": "noise", "dataset": "cats", "reference": "cats", "group": "", "severities": [1, 5], "images": 100}
    assert list(cells_of("noise", SUITES)) == [{**plain, "corruption": "fog"}, {**plain, "corruption": "snow"}]


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


def test_the_order_of_keys_changes_no_job(config):
    turned = yaml.safe_load(yaml.safe_dump(config, sort_keys=True))
    turned["suites"]["ood"] = dict(
        reversed([(k, dict(reversed(v.items()))) for k, v in turned["suites"]["ood"].items()])
    )
    model = next(iter(config["models"]))
    assert all(
        read_study(config).cells(model, s) == read_study(turned).cells(model, s) for s in read_study(config).shards
    )
