import pytest
import torch
from torch import nn

from reliquant.deploy.tracing import program_of, structure

TEN = [
    ({"quantizer": "rtn"}, precision) for precision in ("w8a8", "w6a6", "w4a8", "w3a16", "fp8")
] + [
    ({"quantizer": "gptq"}, "w4a8"),
    ({"quantizer": "hqq", "weight": {"group": 16}}, "w4a16"),
    ({"quantizer": "llm_int8", "threshold": 1.0}, "w8a8"),
    ({"quantizer": "mse"}, "w4a8"),
    ({"quantizer": "rtn", "activation": {"granularity": "token", "dynamic": True}}, "w8a8"),
]  # fmt: skip


def test_ten_variants_of_a_model_have_one_structure(towers):
    found = {structure(towers.variant("vit", *one), "image") for one in TEN}
    assert len(found) == 1


def test_how_the_factors_of_attention_are_rounded_is_no_part_of_a_structure(towers):
    entry = {"quantizer": "rtn", "layers": {"attention": "all"}}
    token = {"granularity": "token", "dynamic": True}
    static, dynamic = (towers.variant("wide", {**entry, **more}, "w8a8") for more in ({}, {"activation": token}))
    assert structure(static, "image") == structure(dynamic, "image")


@pytest.mark.parametrize(
    "other",
    [
        ("vit", {"quantizer": "quarot"}, "w4a8"),
        ("vit", {"quantizer": "rtn", "layers": {"attention": "all"}}, "w8a8"),
        ("convnext", {"quantizer": "rtn"}, "w8a8"),
        ("vit", {}, None),
    ],
)
def test_what_is_traced_otherwise_has_another_structure(towers, other):
    plain = towers.variant("vit", {"quantizer": "rtn"}, "w8a8")
    assert structure(plain, "image") != structure(towers.variant(*other), "image")
    assert structure(plain, "image") != structure(plain, "text")


def test_a_layer_that_is_called_like_a_piece_of_a_twin_belongs_to_the_structure(towers):
    clip = towers.variant("vit", {"quantizer": "rtn"}, "w8a8")
    before = structure(clip, "image")
    clip.model.visual.input_norm = nn.LayerNorm(4)
    try:
        assert structure(clip, "image") != before
    finally:
        del clip.model.visual.input_norm


def test_towers_that_cannot_be_traced_are_refused_with_the_reason(towers):
    class Asks(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(ValueError, match=r"^the image tower cannot be traced: \w+: .*data-dependent"):
        program_of(Asks(), torch.ones(2, 3), "image")


def test_inputs_and_outputs_are_called_what_readers_expect(towers):
    graph = towers.template(towers.variant("wide", {}, None), "image").graph
    assert [value.name for value in graph.inputs] == ["pixels"]
    assert [value.name for value in graph.outputs] == ["embedding"]
    assert isinstance(graph.inputs[0].shape[0], str) or not isinstance(graph.inputs[0].shape[0], int)
