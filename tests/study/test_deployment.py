import pytest

from reliquant import plugins
from reliquant.cli.missing import missing
from reliquant.cli.plan_study import estimate, jobs_of
from reliquant.deploy import folder
from reliquant.deploy.runtimes import RUNTIMES
from reliquant.study import deployment, paths
from reliquant.study.check import read_study
from reliquant.study.made_of import rows_made_of
from reliquant.study.slices import sliced

MODEL = "lab-vit-curated"


@pytest.fixture
def asking(config):
    """The lab's own config, which deploys RTN's variants of one model in one precision."""
    config["deploy"] = {"runtimes": ["onnxruntime", "openvino"], "models": [MODEL], "schemes": ["rtn"]}
    config["deploy"] |= {"precisions": ["w8a8"], "scopes": ["both"]}
    return config


def problems(config):
    with pytest.raises(plugins.ConfigError) as error:
        read_study(config)
    return [problem for problem in error.value.problems if problem.startswith("deploy")]


def test_a_study_that_does_not_ask_exports_nothing_and_has_the_rows_that_it_had(config, asking):
    without = read_study({**config, "deploy": None})
    assert deployment.exported(without) == deployment.runs(without) == deployment.towers_of(without) == []
    assert deployment.absent_packages(without) == ""
    jobs = jobs_of(without)
    assert {jobs[rule] for rule in ("export", "run_exported", "measure_exported", "deployed")} == {0}
    assert rows_made_of(without) == rows_made_of(read_study(asking))


def test_fp32_and_the_part_of_the_grid_that_is_named_are_exported_and_planned(asking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = read_study(asking)
    variants = [study.variants[path] for path in deployment.exported(study)]
    assert {(v.model, v.scheme, v.precision, v.scope) for v in variants} == {
        (MODEL, "fp32", "fp32", "none"),
        (MODEL, "rtn", "w8a8", "both"),
    }
    shards = list(study.shards)
    plan, before = estimate(study), estimate(read_study({**asking, "deploy": None}))
    added = {"export": 2, "run_exported": 4 * len(shards), "measure_exported": 4 * len(shards), "deployed": 1}
    assert {rule: plan["jobs"][rule] for rule in added} == added
    assert plan["jobs"]["total"] == before["jobs"]["total"] + sum(added.values())
    assert plan["rows"] == before["rows"]
    assert "hours and bytes of deploy" in plan["unknown"]
    assert "hours and bytes of deploy" not in before["unknown"]


def test_files_of_a_run_are_named_after_variant_runtime_and_shard_and_made_of_the_simulation_too(asking):
    study = read_study(asking)
    run = next(run for run in deployment.runs(study) if "/rtn/" in run[0] and run[1] == "openvino")
    path, _, shard = run
    needed = deployment.rows_made_of(study)[paths.run_rows(study.name, *run)]
    own = [paths.variant(study.name, path), paths.run_samples(study.name, *run)]
    assert needed == [*own, paths.samples(study.name, path, shard), paths.doubled(study.name, path)]
    facts = deployment.facts_of(study, run)
    assert facts["labels"] == {**study.row_labels(study.variants[path]), "scheme": "rtn@openvino"}
    made = {line.rpartition("/")[2] for line in deployment.files_of(study, path)}
    assert made >= {"image.onnx", "text.onnx", folder.FACTS, folder.CARD, folder.CLASSES}


def test_the_exports_of_a_model_are_timed_in_one_job_where_it_is_asked_for(asking):
    assert deployment.timed(read_study(asking)) == []
    asking["deploy"]["time"] = {}
    study = read_study(asking)
    assert (study.config.deploy.time.batch, study.config.deploy.time.rounds) == (32, 7)
    assert deployment.timed(study) == [MODEL]
    assert [folder.split("/")[4] for folder in deployment.folders_of(study, MODEL)] == ["fp32", "rtn"]
    assert jobs_of(study)["time_exported"] == 1


def test_suites_narrow_the_cells_and_the_shards_and_scores_of_local_features_are_left_out(asking):
    asking["shards"] = {"most": ["clean", "ood", "shift", "noise"], "late": ["spurious"]}
    asking["deploy"]["suites"] = ["clean", "ood"]
    asking["scores"]["patches"] = {"score": "gl_mcm"}
    study = read_study(asking)
    assert deployment.shards_of(study) == ["most"]
    assert deployment.words_in(study, "most") == ["clean", "ood"]
    assert {cell["suite"] for cell in deployment.cells_of(study, MODEL, "most")} == {"clean", "ood"}
    assert deployment.left_out_of(study) == ["patches"]
    assert "patches" not in deployment.scores_of(study)
    assert set(deployment.scores_of(study)) == set(study.config.scores) - {"patches"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"runtimes": []}, "deploy.runtimes: List should have at least 1 item"),
        ({"runtimes": ["tensorrt"]}, "deploy.runtimes.0: Input should be 'onnxruntime' or 'openvino', got 'tensorrt'"),
        ({"runtimes": ["openvino", "openvino"]}, "deploy: runtimes: 'openvino' is there twice"),
        ({"models": ["vit"]}, "deploy: models: model 'vit' is unknown; there are"),
        ({"schemes": ["gtpq"]}, "deploy: schemes: 'gtpq' is not in the grid; there are"),
        ({"precisions": ["w3a3"]}, "deploy: precisions: 'w3a3' is not in the grid"),
        ({"suites": ["ood"]}, "deploy: suites: ood is measured beside clean images; add clean"),
        ({"time": {"rounds": 0}}, "deploy.time.rounds: Input should be greater than or equal to 1, got 0"),
        ({"code_bits": 2}, "deploy.code_bits: Input should be 4 or 8, got 2"),
        ({"threads": 0}, "deploy.threads: Input should be greater than or equal to 1, got 0"),
        ({"towers": "all"}, "deploy.towers: Input should be 'both', 'image' or 'text', got 'all'"),
    ],
)
def test_what_is_wrong_with_the_words_is_told_when_the_config_is_checked(asking, words, told):
    asking["deploy"] |= words
    assert any(problem.startswith(told) for problem in problems(asking)), problems(asking)


def test_a_scheme_that_onnx_cannot_say_is_refused_with_its_name_and_precision(asking):
    asking["schemes"]["blocks"] = {"quantizer": "rtn", "precisions": ["mxfp4", "w4a8"]}
    asking["deploy"] |= {"schemes": ["blocks"], "precisions": ["mxfp4"]}
    (inputs, weights) = problems(asking)
    assert inputs.startswith("deploy: scheme blocks at mxfp4: inputs are numbers of e2m1, a type that QuantizeLinear")
    assert weights.startswith("deploy: scheme blocks at mxfp4: weights are numbers of e2m1")
    assert "float_weights: true writes them as float32" in weights
    asking["deploy"]["precisions"] = ["w4a8"]
    assert len(deployment.exported(read_study(asking))) == 2


def test_packages_that_are_not_there_are_told_in_one_line(asking, monkeypatch, tmp_path):
    study = read_study(asking)
    assert deployment.absent_packages(study) == ""
    monkeypatch.setattr(deployment, "find_spec", lambda name: None if name in ("openvino", "onnx") else name)
    told = "deploy: onnx, openvino not installed: pip install 'reliquant[deploy]', or leave deploy out"
    assert deployment.absent_packages(study) == told
    assert missing(study, tmp_path / "weights.lock.json")["extra deploy"].startswith("onnx, openvino not installed")


def test_a_slice_leaves_in_deploy_what_it_has(asking):
    one = sliced({**asking, "models": [MODEL], "schemes": ["rtn"]}, asking)
    assert len(deployment.exported(read_study(one))) == 2
    other = sliced({**asking, "models": ["lab-vit-web"]}, asking)
    assert deployment.exported(read_study(other)) == []


def test_the_runtimes_and_files_of_the_config_are_those_that_the_package_opens():
    assert set(RUNTIMES) == {"onnxruntime", "openvino"}
    assert paths.exported_facts("x") == f"x/{folder.FACTS}"
    assert paths.exported_card("x") == f"x/{folder.CARD}"
    assert paths.exported_classes("x") == f"x/{folder.CLASSES}"
    assert paths.exported_tower("x", "image") == f"x/image{folder.SUFFIX['onnx']}"
