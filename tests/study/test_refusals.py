"""What a method refuses of a scheme's words is told when the DAG is built, as the job would."""

import itertools

import pytest

from reliquant import plugins
from reliquant.plugins import ConfigError
from reliquant.study.check import read_study
from reliquant.study.scheme import scheme_entry

LEARNED = {"quantizer": "lsq", "weights": "learned"}
BLOCKS = "lsq: weights: learned learns scales in FP32 or FP16, and blocks of a format have others; say weights: absmax"
CASES = [
    (LEARNED, "mxfp4", BLOCKS),
    (LEARNED, "wnvfp4a16", BLOCKS),
    ({**LEARNED, "weight": {"symmetric": False}}, "w4a8", "lsq: weights: learned learns a symmetric range"),
    ({**LEARNED, "layers": {"other": {"last": "nvfp4"}}}, "w4a8", f"layers: other: {BLOCKS}"),
    ({"quantizer": "hqq", "grid": "scheme"}, "w4a16", "hqq: grid: scheme optimises zero points; say weight"),
    (
        {"quantizer": "hqq", "grid": "scheme", "weight": {"granularity": "tensor", "symmetric": False}},
        "w4a16",
        "hqq: grid: scheme optimises a zero point of each channel or group",
    ),
    ({"quantizer": "repq", "activation": {"dynamic": True}}, "w8a8", "repq: it fixes one static scale per tensor"),
    ({"quantizer": "erq", "activation": {"dynamic": True}}, "w8a8", "erq: it fixes one static scale per tensor"),
    ({"quantizer": "distill", "activation": {"dynamic": True}}, "w8a8", "distill: inputs learn one static scale"),
    (
        {"quantizer": "raana", "layers": {"other": {"last": "w8a8"}}},
        "w4a8",
        "layers: other: raana: it gives each layer its own bits; leave out layers: other",
    ),
    ({"quantizer": "paretoq", "weight": {"symmetric": False}}, "w4a8", "paretoq: it has its own grids of weights"),
]


@pytest.mark.parametrize(("scheme", "precision", "problem"), CASES)
def test_a_combination_that_a_method_refuses_is_told_with_the_scheme(scheme, precision, problem):
    with pytest.raises(ConfigError) as error:
        scheme_entry(scheme, precision)
    assert [text.startswith(f"scheme: {problem}") for text in error.value.problems] == [True], error.value.problems


@pytest.mark.parametrize(("scheme", "precision", "problem"), CASES)
def test_a_study_is_refused_with_the_name_of_the_scheme(config, scheme, precision, problem):
    config["schemes"]["mine"] = {**scheme, "precisions": [precision]}
    with pytest.raises(ConfigError) as error:
        read_study(config)
    assert any(f"mine: {problem}" in text for text in error.value.problems), error.value.problems


@pytest.mark.parametrize(
    ("scheme", "precision"),
    [
        ({"quantizer": "lsq", "weights": "absmax"}, "mxfp4"),
        (LEARNED, "wfp4a8"),
        (LEARNED, "w16a8"),
        ({"quantizer": "distill"}, "nvfp4"),
        ({"quantizer": "hqq", "grid": "scheme", "weight": {"symmetric": False}}, "w4a16"),
        ({"quantizer": "hqq"}, "w4a16"),
        ({"quantizer": "raana", "layers": {"keep": ["first"]}}, "w4a8"),
        ({"quantizer": "raana", "allocate": False, "layers": {"other": {"last": "w8a8"}}}, "w4a8"),
    ],
)
def test_what_a_method_takes_is_not_refused(scheme, precision):
    assert scheme_entry(scheme, precision)["quantizer"] == scheme["quantizer"]


@pytest.mark.parametrize("name", plugins.names("quantizer"))
def test_each_condition_names_a_word_or_an_attribute_of_a_grid(name):
    words = plugins.words(plugins.source("quantizer", name), "quantizer")
    listed = [plugins.literal("quantizer", name, literal) or [] for literal in ("REFUSES", "REFUSES_OTHER")]
    for conditions, why in itertools.chain(*listed):
        assert why
        assert {key.partition(".")[0] for key in conditions} <= set(words)
