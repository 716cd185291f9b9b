import copy

import pytest
import torch

from reliquant import plugins
from reliquant.cli.plan_model import plan_model
from reliquant.layers.surgery import targets, unpack_attention
from reliquant.study.config import with_grids

METHODS = [name for name in plugins.names("quantizer") if name != "none"]
OWN = {
    "hqq": "uint4 / group 64 + zero",
    **dict.fromkeys(["dorefa", "statsq"], "int4 / channel + zero"),
}  # their own grids


def planned(clip, name, scope="image", precision="w4a8", **words):
    return plan_model(clip, with_grids({"quantizer": name, **words}, precision), scope)


@pytest.mark.parametrize("name", METHODS)
def test_every_quantizer_names_each_product_its_grid_or_its_reason(vit, name):
    before = {k: v.clone() for k, v in vit.model.state_dict().items()}
    found = planned(vit, name, "both")
    unpacked = copy.deepcopy(vit.model)
    unpack_attention(unpacked)
    products = {p["module"]: p for p in found["products"] if not p["reason"]}
    assert set(products) == set(targets(vit.with_model(unpacked), "both"))
    if name != "raana":  # it deals out bits by layer
        assert {p["weight"] for p in products.values()} == {OWN.get(name, "int4 / channel")}
    assert all(p["activation"].startswith("int8") for p in products.values())
    kept = {p["reason"] for p in found["products"]} - {""}
    assert {"attention product", "outside the blocks", "no matrix product"} <= kept
    assert kept <= {
        "attention product", "outside the blocks", "online rotation", "outlier columns", "no matrix product"
    }  # fmt: skip
    if name in ("quarot", "rot_lsq"):  # their norms have handed on their weights
        return
    named = {p["module"] for p in found["products"]}
    assert {name.rpartition(".")[0] for name, _ in unpacked.named_parameters()} <= named  # each that holds a parameter
    assert all(torch.equal(v, before[k]) for k, v in vit.model.state_dict().items())


def test_a_scope_leaves_the_other_tower_in_fp32(vit):
    found = planned(vit, "lsq", "image")
    text = [p for p in found["products"] if p["module"].startswith("transformer.resblocks.0.mlp")]
    assert {p["weight"] for p in text} == {"fp32"}
    assert {p["reason"] for p in text} == {"outside the scope"}


def test_bits_that_depend_on_the_data_are_said_to(vit):
    found = planned(vit, "raana", precision="w4a16")
    weights = {p["weight"] for p in found["products"] if not p["reason"]}
    assert found["from_data"] == (len(weights) > 1)
    assert not planned(vit, "rtn")["from_data"]
    assert planned(vit, "llm_int8", threshold=0.5)["from_data"]


def test_online_rotations_and_activations_in_floating_point_are_named(vit):
    found = planned(vit, "quarot", precision="w4a16")
    assert {p["activation"] for p in found["products"]} == {"fp32"}
    assert any(p["reason"] == "online rotation" for p in found["products"])
