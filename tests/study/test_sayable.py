"""What is refused when a config is checked is what the exporter says of a model that has such grids."""

import itertools

import pytest
from torch import nn

from reliquant.deploy.inputs import input_problem
from reliquant.deploy.nodes import FLOATS as TYPES
from reliquant.deploy.weights import weight_problem
from reliquant.grid import FORMATS, Grid
from reliquant.layers.products import LogSqrt2
from reliquant.layers.twins import DynamicInput, QuantLinear, StaticInput
from reliquant.study.config import with_grids
from reliquant.study.sayable import FLOATS, unsayable

PRECISIONS = ["w8a8", "w4a16", "w6a6", *FORMATS, "w4afp8", "w4anvfp4", "wnvfp4afp8", "wmxfp4afp8"]
WORDS = [
    {},
    {"weight": {"granularity": "group", "group": 16}},
    {"activation": {"granularity": "token", "dynamic": True}},
]


def twin(weight, activation):
    """A frozen twin with the grids of an entry."""
    layer = QuantLinear(nn.Linear(32, 4), weight, activation)
    if not weight.floating:
        layer.freeze_absmax()
    if not activation.floating:
        layer.input = DynamicInput(activation) if activation.dynamic else StaticInput(activation, 0.1)
    return layer


def fits(words, precision):
    """Whether a precision leaves the words of a scheme their meaning."""
    entry = with_grids(words, precision)
    return all(entry[role].get(k) == v for role, said in words.items() for k, v in said.items())


@pytest.mark.parametrize(("precision", "words"), list(itertools.product(PRECISIONS, WORDS)))
def test_words_are_refused_just_where_the_layer_that_they_make_is(precision, words):
    if not fits(words, precision):
        return
    entry = with_grids(words, precision)
    weight, activation = Grid(**entry["weight"]), Grid(**entry["activation"])
    if weight.scales_as == "e4m3":
        weight = Grid(**{**entry["weight"], "tensor_scale": 1.0})
    layer = twin(weight, activation)
    expected = [problem for problem in (input_problem(layer.input), weight_problem(layer)) if problem]
    found = list(unsayable({"quantizer": "rtn", **words}, precision))
    assert [problem.partition(";")[0] for problem in found] == expected
    without = list(unsayable({"quantizer": "rtn", **words}, precision, float_weights=True))
    assert [problem.partition(";")[0] for problem in without] == [p for p in expected if not p.startswith(("w", "sc"))]


def test_the_small_floats_of_onnx_are_named_once_more_without_its_packages():
    assert set(FLOATS) == set(TYPES)


def test_factors_of_attention_and_layers_of_another_precision_are_looked_at_too():
    said = {"quantizer": "rtn", "layers": {"attention": {"image": "all", "probabilities": "log_sqrt2"}}}
    (told,) = unsayable(said, "w8a8")
    assert told.partition(";")[0] == input_problem(LogSqrt2(4, 1.0))
    (told,) = unsayable({"quantizer": "rtn", "layers": {"attention": {"image": "all", "precision": "fp4"}}}, "w8a8")
    assert told.startswith("inputs are numbers of e2m1")
    found = list(unsayable({"quantizer": "rtn", "layers": {"other": {"*.out": "mxfp8"}}}, "w8a8"))
    assert [told.partition(";")[0] for told in found] == [
        "inputs have one scale per block of a token, taken from each input",
        "scales are numbers of E8M0, a type that DequantizeLinear does not take in opset 21",
    ]
    assert list(unsayable({"quantizer": "rtn", "layers": {"attention": "all"}}, "w8a8")) == []
