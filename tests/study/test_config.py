import pytest

from reliquant.plugins import ConfigError
from reliquant.study.check import read_study
from reliquant.study.config import grid_problems, own_words, with_grids
from reliquant.study.entries import entry_problems
from reliquant.study.scheme import scheme_entry
from reliquant.study.slices import sliced


def test_bits_come_from_the_precision_and_the_rest_from_the_scheme():
    entry = with_grids({"quantizer": "rtn", "weight": {"granularity": "group", "group": 32}}, "w4a8")
    assert entry["weight"] == {"granularity": "group", "group": 32, "bits": 4}
    assert entry["activation"] == {"granularity": "tensor", "bits": 8}


def test_a_slice_of_schemes_explains_only_its_own(config):
    config["explain"] = {"datasets": ["shapes"], "schemes": ["rtn", "lsq"]}
    found = sliced({**config, "schemes": ["rtn"]}, config)
    assert list(found["schemes"]) == ["rtn"]
    assert found["explain"]["schemes"] == ["rtn"]
    assert {path.split("/")[1] for path in read_study(found).explained} == {"fp32", "rtn"}


def test_a_slice_of_names_takes_their_entries_and_names_what_is_not_there():
    whole = {"models": {"a": {"tower": 1}, "b": {"tower": 2}}, "schemes": {"rtn": {}}, "proxies": {"p": {"of": "x"}}}
    assert sliced({**whole, "models": ["b"]}, whole) == {**whole, "models": {"b": {"tower": 2}}}
    assert sliced(whole, whole) == whole
    with pytest.raises(ConfigError) as error:
        sliced({**whole, "models": ["c"], "proxies": ["q"]}, whole)
    assert error.value.problems == ["model 'c' is unknown; there are a, b", "proxy 'q' is unknown; there are p"]


def test_a_plugin_sees_its_own_words_only():
    entry = {"quantizer": "lsq", "lr": 1e-5, "family": "QAT", "precisions": ["w4a8"], "snapshots": [1]}
    assert own_words("schemes", entry) == {"quantizer": "lsq", "lr": 1e-5}
    assert own_words("datasets", {"dataset": "lab", "folder": "f", "native": True}) == {"dataset": "lab"}


def test_the_grids_of_a_scheme_are_mappings_without_bits():
    assert list(grid_problems({"weight": {"granularity": "group"}})) == []
    assert list(grid_problems({"weight": [4], "activation": {"bits": 8}})) == [
        "weight: must be a mapping of grid words, got [4]",
        "activation: bits: come from the precision, such as w4a8; leave bits: 8 out",
    ]


def test_what_formats_and_tensors_say_of_a_grid_is_no_word_of_a_scheme():
    words = {"weight": {"element": "e2m1"}, "activation": {"tensor_scale": 1e-9}}
    told = [
        "weight: element: comes from the precision's format, such as wfp4a8; leave element: e2m1 out",
        "activation: tensor_scale: is found from each tensor, where the precision's format has one, such as nvfp4; "
        "leave tensor_scale: 1e-09 out",
    ]
    assert list(grid_problems(words)) == told
    assert list(entry_problems("schemes", {"quantizer": "rtn", **words}, {})) == told
    with pytest.raises(ConfigError) as error:
        scheme_entry({"quantizer": "rtn", **words}, "w8afp8")
    assert error.value.problems == [f"scheme: {problem}" for problem in told]
