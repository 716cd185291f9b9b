import pytest

from reliquant import plugins
from reliquant.cli.plan_study import jobs_of
from reliquant.study import paths
from reliquant.study.check import read_study
from reliquant.study.made_of import rows_made_of
from reliquant.study.retrieval import embeddings_of, facts_of, images_of, indexes_of, searched, seen_by, sets_of
from reliquant.study.seen import seen_problems, seen_sets
from reliquant.study.slices import sliced

PAIRS = {"dataset": "lab_captions", "world": "curated", "images": 40, "seed": 4, "native": True}
FORMS = {"half": {"index": "float16"}, "first": {"index": "truncated", "dimensions": 64}}


@pytest.fixture
def silent(config):
    """The lab's own config without the suite."""
    config["suites"].pop("retrieval", None)
    return config


@pytest.fixture
def asking(silent):
    """The lab's own config, which asks for searches with RTN's variants."""
    silent["datasets"]["fresh"] = dict(PAIRS)
    silent["suites"]["retrieval"] = {"datasets": ["fresh"], "indexes": dict(FORMS), "schemes": ["rtn"]}
    return silent


def problems(config):
    with pytest.raises(plugins.ConfigError) as error:
        read_study(config)
    return error.value.problems


def test_a_study_that_does_not_ask_searches_nothing_and_has_the_rows_that_it_had(silent):
    study = read_study(silent)
    assert searched(study) == []
    assert indexes_of(study) == {}
    assert sets_of(study, "lab-vit-web") == []
    assert set(rows_made_of(study)) == {paths.shard_rows(study.name, *job) for job in study.evaluations}
    jobs = jobs_of(study)
    assert jobs["embed"] == jobs["retrieve"] == 0


def test_fp32_and_the_part_of_the_grid_that_is_named_are_searched_and_planned(asking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = read_study(asking)
    assert {study.variants[path].scheme for path in searched(study)} == {"fp32", "rtn"}
    assert len(searched(study)) == 4 * (1 + 4 * 2)
    jobs = jobs_of(study)
    assert jobs["embed"] == jobs["retrieve"] == 36
    before = jobs_of(read_study({**asking, "suites": {**asking["suites"], "retrieval": None}}))
    assert jobs["prepare"] == before["prepare"] + 1
    assert jobs["total"] == before["total"] + 1 + 2 * 36
    asking["suites"]["retrieval"]["precisions"] = ["w4a8"]
    assert len(searched(read_study(asking))) == 4 * (1 + 2)


def test_rows_are_made_of_the_embeddings_of_the_variant_and_of_fp32(asking):
    study = read_study(asking)
    path = next(path for path in searched(study) if path.startswith("lab-vit-web/rtn/w4a8-both"))
    variant = study.variants[path]
    own, fp32 = (paths.embeddings(study.name, str(v)) for v in (variant, variant.baseline))
    assert embeddings_of(study, variant) == [own, fp32]
    assert embeddings_of(study, variant.baseline) == [fp32]
    assert rows_made_of(study)[paths.retrieval_rows(study.name, path)] == [own, fp32]
    folder = "data/prepared/fresh/native"
    entry = {word: value for word, value in PAIRS.items() if word != "native"}
    assert sets_of(study, "lab-vit-web") == [{"dataset": "fresh", "folder": folder, "entry": entry}]
    assert images_of(study, "lab-vit-web") == [f"{folder}/images.npy", f"{folder}/meta.json"]
    assert facts_of(study, variant)["indexes"] == FORMS
    assert facts_of(study, variant)["labels"]["precision"] == "w4a8"


def test_a_slice_of_schemes_leaves_those_in_the_suite(asking):
    asking["suites"]["retrieval"]["schemes"] = ["rtn", "lsq"]
    whole = {**asking, "suites": {**asking["suites"]}}
    left = sliced({**asking, "schemes": ["lsq"]}, whole)
    assert left["suites"]["retrieval"]["schemes"] == ["lsq"]
    assert left["suites"]["clean"] == asking["suites"]["clean"]
    assert whole["suites"]["retrieval"]["schemes"] == ["rtn", "lsq"]
    assert read_study(left).schemes.keys() == {"fp32", "lsq"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"datasets": ["shapes"]}, "suites: retrieval: shapes: lab has no captions to search; there are captioned, "),
        ({"datasets": ["nowhere"]}, "suites: retrieval: dataset 'nowhere' is unknown; there are "),
        ({"datasets": ["fresh", "fresh"]}, "suites: retrieval: datasets: 'fresh' is there twice"),
        ({"datasets": []}, "suites.retrieval.datasets: List should have at least 1 item"),
        (
            {"schemes": ["gptq"]},
            "suites: retrieval: schemes: 'gptq' is not in the grid; there are rtn, mse, quarot, fp8, lsq",
        ),
        ({"indexes": {"a": {"index": "int7"}}}, "suites: retrieval: indexes: a: index 'int7' is unknown; there are "),
        ({"indexes": {"a": {"index": "float16", "bits": 2}}}, "suites: retrieval: indexes: a: bits: unknown word"),
        (
            {"indexes": {"a": {"index": "truncated", "dimensions": 65}}},
            "suites: retrieval: indexes: a: dimensions: 65: the embeddings of lab-vit-curated have 64; take fewer",
        ),
        ({"direction": "both"}, "suites.retrieval.direction"),
    ],
)
def test_what_cannot_be_searched_is_told_before_any_job(asking, change, told):
    asking["suites"]["retrieval"] |= change
    assert any(told in problem for problem in problems(asking)), problems(asking)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"seed": 3, "images": 77}, "fresh: has the pairs of proxy captions: no pair that is searched may be one"),
        ({"seed": None}, "fresh: has the pairs that model lab-vit-curated is trained on: no pair that is searched"),
        ({"seed": 0}, "fresh: has the pairs that model lab-vit-curated is trained on: no pair that is searched"),
    ],
)
def test_pairs_that_were_seen_are_not_searched_however_many_of_them(asking, seen, told):
    fresh = asking["datasets"]["fresh"] | seen
    asking["datasets"]["fresh"] = {word: value for word, value in fresh.items() if value is not None}
    assert any(f"suites: retrieval: {told}" in problem for problem in problems(asking)), problems(asking)


def test_captions_that_say_nothing_are_not_searched(asking):
    asking["datasets"]["fresh"] = {"dataset": "data_free", "images": 40}
    told = "suites: retrieval: fresh: the captions of data_free say nothing about the images"
    assert any(told in problem for problem in problems(asking)), problems(asking)


FILES = {"dataset": "webdataset", "folder": "mine"}
LAB, CIFAR = {"dataset": "lab_captions", "world": "curated"}, {"dataset": "cifar10_captions"}


@pytest.mark.parametrize(
    ("searched", "seen"),
    [
        ({**LAB, "images": 40}, {**LAB, "images": 9, "seed": 0}),
        ({**LAB, "images": 40, "seed": 9, "folder": "a"}, {**LAB, "images": 40, "seed": 9}),
        ({"dataset": "coco"}, {"dataset": "coco", "split": "test"}),
        ({"dataset": "coco", "captions": 5}, {"dataset": "coco", "captions": 1, "images": 100}),
        ({"dataset": "captioned", "folder": "mine", "lines": True}, {"dataset": "captioned", "folder": "mine"}),
        ({"dataset": "captioned", "folder": "mine"}, FILES),
        ({"dataset": "captioned", "folder": "./mine/../mine"}, FILES),
        ({"dataset": "captioned", "folder": "mine", "files": ["a.tar", "b.tar"]}, {**FILES, "files": ["./b.tar"]}),
        ({"dataset": "captioned", "folder": "mine", "files": ["a.tar"]}, FILES),
        ({**CIFAR, "source": "web"}, {**CIFAR, "source": "curated", "seed": 3}),
    ],
)  # fmt: skip
def test_pairs_that_a_proxy_draws_from_are_not_searched_however_the_entry_is_written(asking, searched, seen):
    asking["datasets"] |= {"fresh": searched, "calibration": seen}
    asking["proxies"]["captions"]["of"] = "calibration"
    told = "suites: retrieval: fresh: has the pairs of proxy captions: no pair that is searched may be one"
    assert any(told in problem for problem in problems(asking)), problems(asking)


@pytest.mark.parametrize(
    ("searched", "seen"),
    [
        ({"dataset": "captioned", "folder": "a"}, {"dataset": "captioned", "folder": "b"}),
        ({"dataset": "captioned", "folder": "mine", "files": ["a.tar"]}, {**FILES, "files": ["b.tar"]}),
        ({"dataset": "coco"}, {"dataset": "coco", "split": "val"}),
        ({"dataset": "flickr30k"}, {"dataset": "coco"}),
        (dict(PAIRS), {**PAIRS, "world": "web"}),
    ],
)
def test_pairs_of_another_place_split_or_seed_are_searched(asking, searched, seen):
    asking["datasets"] |= {"fresh": searched, "calibration": seen}
    asking["proxies"]["captions"]["of"] = "calibration"
    study = read_study(asking)
    assert list(seen_problems(study, "fresh")) == []


def test_embeddings_are_told_what_the_variant_or_the_training_of_fp32_has_seen(asking):
    asking["from_scratch"] = True
    study = read_study(asking)
    rtn = study.variants[next(path for path in searched(study) if path.startswith("lab-vit-web/rtn/"))]
    (proxy,) = seen_sets(study, rtn)
    of = study.config.proxies[rtn.proxy].of
    assert proxy["who"] == f"proxy {rtn.proxy}"
    assert proxy["folder"] == study.prepared(of, "lab-vit-web")
    assert proxy["entry"] == study.dataset_entry(of)
    assert seen_by(study, rtn) == [f"{proxy['folder']}/photographs.npy", f"{proxy['folder']}/meta.json"]
    (trained,) = seen_sets(study, rtn.baseline)
    assert trained["who"] == "the training of lab-vit-web"
    assert trained["entry"] == study.dataset_entry(study.pretrain_words("lab-vit-web")[0])
    asking["from_scratch"] = False
    assert seen_sets(read_study(asking), rtn.baseline) == []
