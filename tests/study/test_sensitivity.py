import json

import pytest

from reliquant import plugins
from reliquant.cli.plan_study import estimate
from reliquant.study import paths
from reliquant.study.check import read_study
from reliquant.study.made_of import rows_made_of
from reliquant.study.sensitivity import alone_problem, entry_of, facts_of, files_of, images_of, sets_of, tried
from reliquant.study.slices import sliced

ASKED = {"datasets": ["shapes"], "ood": {"shapes": ["new-shapes"]}, "by": "block", "schemes": ["rtn"]}


@pytest.fixture
def asking(config):
    """The lab's own config, which asks for the layers of RTN's variants."""
    config["sensitivity"] = dict(ASKED)
    return config


def problems(config):
    with pytest.raises(plugins.ConfigError) as error:
        read_study(config)
    return error.value.problems


def test_a_study_that_does_not_ask_tries_nothing_and_has_the_rows_that_it_had(config):
    study = read_study(config)
    assert tried(study) == []
    assert set(rows_made_of(study)) == {paths.shard_rows(study.name, *job) for job in study.evaluations}
    plan = estimate(study)
    assert plan["jobs"]["sensitivity"] == 0
    assert not [word for word in plan if "alone" in word]


def test_the_variants_tried_are_the_part_of_the_grid_that_is_named_and_never_fp32(asking):
    study = read_study(asking)
    assert {study.variants[path].scheme for path in tried(study)} == {"rtn"}
    assert len(tried(study)) == sum(v.scheme == "rtn" for v in study.variants.values())
    asking["sensitivity"] |= {"precisions": ["w4a8"], "scopes": ["image"], "seeds": [0]}
    study = read_study(asking)
    for variant in (study.variants[path] for path in tried(study)):
        assert (variant.precision, variant.scope, variant.seed) == ("w4a8", "image", 0)
    asking["sensitivity"].pop("schemes")
    asking["schemes"]["lsq"] = {"quantizer": "lsq", "iterations": 2, "snapshots": [1]}
    study = read_study(asking)
    (lsq,) = {str(entry_of(study, study.variants[p])) for p in tried(study) if study.variants[p].scheme == "lsq"}
    assert "snapshots" not in lsq


def test_a_slice_of_schemes_tries_only_its_own(asking):
    asking["schemes"]["lsq"] = {"quantizer": "lsq"}
    found = sliced({**asking, "schemes": ["lsq"]}, asking)
    assert tried(read_study(found)) == []


def test_a_job_reads_its_sets_and_rows_are_made_of_model_and_descriptions(asking):
    study = read_study(asking)
    path = tried(study)[0]
    variant = study.variants[path]
    clean, other = sets_of(study, variant.model)
    assert (clean["dataset"], clean["against"]) == ("shapes", [])
    assert (other["dataset"], other["against"]) == ("new-shapes", ["shapes"])
    assert images_of(study, variant) == [paths.images(each["folder"]) for each in (clean, other)]
    pairs = study.proxy(variant.proxy, variant.model)["folder"]
    wanted = [paths.model(variant.model), *(paths.meta(f) for f in (clean["folder"], other["folder"], pairs))]
    assert files_of(study, variant) == wanted
    assert rows_made_of(study)[paths.sensitivity_rows(study.name, path)] == wanted
    facts = facts_of(study, variant)
    assert (facts["by"], facts["labels"]["scheme"], facts["suites"]) == ("block", "rtn", ["explain"])
    assert json.dumps(facts)


def test_the_plan_counts_jobs_and_the_rows_of_a_layer(asking):
    study = read_study(asking)
    plan = estimate(study)
    assert plan["jobs"]["sensitivity"] == len(tried(study))
    assert plan["rows of each block alone"] == len(tried(study)) * (1 + 4 + 1)
    assert "hours of sensitivity" in plan["unknown"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"datasets": ["digits"], "ood": {}}, "datasets: 'digits' must be in the clean suite; there are shapes"),
        ({"datasets": []}, "sensitivity.datasets: List should have at least 1 item"),
        ({"datasets": ["shapes", "shapes"]}, "sensitivity: datasets: 'shapes' is there twice"),
        ({"ood": {"colors": ["digits"]}}, "ood: dataset of sensitivity 'colors' is unknown; there are shapes"),
        ({"ood": {"shapes": ["shapes"]}}, "sensitivity: ood: shapes: 'shapes' must be in the ood suite of shapes"),
        ({"ood": ["new-shapes"]}, "sensitivity.ood: Input should be a valid dictionary"),
        ({"by": "tower"}, "sensitivity.by: Input should be 'layer' or 'block', got 'tower'"),
        ({"schemes": ["gptz"]}, "sensitivity: schemes: 'gptz' is not in the grid"),
        ({"precisions": ["w3a3"]}, "sensitivity: precisions: 'w3a3' is not in the grid"),
        ({"rank": "ece"}, "unknown"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line_each(asking, words, told):
    asking["sensitivity"] |= words
    (problem,) = problems(asking)
    assert told in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"quantizer": "mixed", "method": "gptq"}, "mixed chooses bits among layers; name its method, gptq"),
        ({"quantizer": "rtn", "layers": {"attention": "all"}}, "layers: attention: layers are tried one at a time"),
    ],
)
def test_a_scheme_without_layers_to_try_is_refused_only_where_it_is_asked_for(asking, entry, told):
    assert alone_problem(entry).startswith(told)
    assert alone_problem({"quantizer": "none"}).startswith("none rounds nothing")
    asking["schemes"]["strange"] = entry
    read_study(asking)
    asking["sensitivity"].pop("schemes")
    (problem,) = problems(asking)
    assert problem.startswith(f"sensitivity: scheme strange: {told}")
    assert problem.endswith("or name `schemes` without strange")
