import copy
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from reliquant import plugins
from reliquant.cli.plan_model import open_to_plan, plan_model
from reliquant.cli.plan_text import model_text
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.study.config import with_grids
from reliquant.study.scheme import scheme_entry

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
    if name not in ("raana", "mixed"):  # these deal out bits by layer
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


@pytest.mark.parametrize(
    ("kind", "name"), [*(("vit", name) for name in METHODS), ("convnext", "quarot"), ("convnext", "rtn")]
)
def test_a_plan_by_shapes_is_that_of_a_model_with_values(request, kind, name):
    if name in ("raana", "mixed"):
        pytest.skip("its bits depend on the values of inputs")
    clip = request.getfixturevalue(kind)
    by_shapes = planned(replace(clip, model=copy.deepcopy(clip.model).to("meta")), name, "both")
    found = planned(clip, name, "both")
    assert (by_shapes.pop("by_shapes"), found.pop("by_shapes")) == (True, False)
    assert by_shapes == found


MEASURED = """
import resource, sys
from reliquant.cli.main import main
main(["plan", "--model", "EVA01-g-14", "--precision", "w4a8", "--scope", "both", "--json"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak, file=sys.stderr)
"""


def test_a_model_of_more_than_a_billion_parameters_is_planned_by_its_shapes_in_less_than_two_gib():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)  # its weights: 4.2 GiB
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.splitlines()[-1]) < 2 * 2**30
    assert "random" not in done.stderr
    found = json.loads(done.stdout)
    assert found["by_shapes"]
    assert found["shares"]["share of weights quantized"] == pytest.approx(0.964, abs=0.001)
    assert found["shares"]["share of the weights in blocks quantized"] == 1
    qkv = [p for p in found["products"] if p["module"] == "visual.trunk.blocks.0.attn.qkv"]
    assert [(p["weight"], p["macs"]) for p in qkv] == [("int4 / channel", 257 * 1408 * 3 * 1408)]  # tokens, width
    assert "planned by the model's shapes alone" in model_text(found)


def test_a_folder_without_weights_is_planned_with_random_ones(tmp_path, architectures):
    folder = tmp_path / "mine"
    folder.mkdir()
    config = {"model_cfg": architectures["vit"], "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    clip = open_to_plan(f"local-dir:{folder}")
    assert not any(parameter.is_meta for parameter in clip.model.parameters())
    with pytest.raises(FileNotFoundError):
        open_to_plan(f"local-dir:{tmp_path / 'other'}")


def test_what_is_planned_in_place_is_changed_and_a_copy_is_not(vit):
    plan_model(vit, with_grids({"quantizer": "rtn"}, "w4a8"), "image")
    assert not twins(vit.model)
    plan_model(vit, with_grids({"quantizer": "rtn"}, "w4a8"), "image", in_place=True)
    assert twins(vit.model)


class Multiplied(torch.nn.Module):
    """Multiply by a parameter that is in no layer: no twin reaches it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(48, 4 * 48) * 0.05)
        self.back = torch.nn.Linear(4 * 48, 48)

    def forward(self, x):
        return self.back(x @ self.weight)


def test_a_share_below_what_the_scheme_means_is_warned_of_and_the_scheme_may_mean_less(vit):
    for block in vit.model.visual.transformer.resblocks:
        block.mlp = Multiplied()
    vit = replace(vit)  # which finds its own parts
    found = planned(vit, "rtn")
    share = found["shares"]["share of the weights in blocks quantized"]
    assert share == pytest.approx(2 / 3)  # of 12 width^2, the 4 of the bare parameter stay
    assert found["warning"].startswith("66.7% of the weights in the blocks are quantized, less than the 80% that the")
    assert "2 products in them stayed in floating point, such as visual.transformer.resblocks.0.mlp" in found["warning"]
    assert planned(vit, "rtn", least_share=0.6)["warning"] == ""


def test_a_model_with_nothing_to_quantize_has_no_plan(vit):
    vit.model.visual.transformer.resblocks = torch.nn.ModuleList()
    with pytest.raises(ValueError, match="nothing to quantize: looked for Linear and Conv2d layers in blocks"):
        planned(replace(vit), "rtn")


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


@pytest.mark.parametrize("name", ["rtn", "quarot", "lsq"])
def test_a_plan_names_what_is_rounded_of_attention(vit, architectures, name):
    layers = {
        "keep": ["*1.attn"],
        "attention": {"image": ["q", "k", "probabilities"], "text": "all", "precision": "a6"},
    }
    layers["attention"]["probabilities"] = "log_sqrt2"
    found = planned(vit, name, "both", layers=layers)
    grids = {p["module"]: (p["weight"], p["activation"], p["reason"]) for p in found["products"]}
    of_image, of_text = "visual.transformer.resblocks.0.attn", "transformer.resblocks.0.attn"
    assert grids[f"{of_image}: query x key"] == ("int6 / tensor", "int6 / tensor", "")
    assert grids[f"{of_image}: probabilities x value"] == ("fp32", "log_sqrt2 6 bits", "attention product")
    assert grids[f"{of_text}: probabilities x value"] == ("int6 / tensor", "log_sqrt2 6 bits", "")
    assert grids["visual.transformer.resblocks.1.attn"] == ("fp32", "fp32", "kept by the scheme")
    with torch.device("meta"):
        model = open_clip.CLIP(**copy.deepcopy(architectures["vit"])).eval()
    by_shapes = planned(replace(vit, model=model), name, "both", layers=layers)
    assert by_shapes["products"] == found["products"]


def test_a_compensation_is_planned_as_it_is_stored(vit, proxy):
    entry = scheme_entry({"quantizer": "rtn", "compensation": "qwt", "layers": {"keep": ["*resblocks.0.*"]}}, "w4a8")
    found = plan_model(vit, entry, "image")
    name = "visual.transformer.resblocks.1"
    numbers = 48 * 48 * 16 + 48 * 32
    assert found["compensation"]["blocks"] == [name]
    assert found["compensation"]["bits"] == numbers
    (product,) = [p for p in found["products"] if p["reason"] == "compensation"]
    assert (product["module"], product["weight"]) == (f"{name}.compensation", "fp16")
    plain = plan_model(vit, {word: value for word, value in entry.items() if word != "compensation"}, "image")
    assert plain["compensation"] is None
    other = copy.deepcopy(vit)
    with_it, without = (
        quantize(clip, {**entry, "compensation": word}, "image", proxy, Checkpoints())[1]["measures"]["stored_bits"]
        for clip, word in ((vit, "qwt"), (other, None))
    )
    assert with_it - without == pytest.approx(found["compensation"]["stored_bits"])


def test_the_text_of_a_plan_tells_what_a_compensation_costs(vit):
    text = model_text(plan_model(vit, scheme_entry({"quantizer": "rtn", "compensation": "qwt"}, "w4a8"), "image"))
    assert "compensation of 2 blocks: 9.6 kB, 1.389 stored bits a weight more" in text


def test_a_block_that_gives_other_places_than_it_takes_is_planned_without_a_compensation(vit):
    vit.model.visual.transformer.resblocks[1].register_forward_hook(lambda block, inputs, x: x[:, :1])
    found = plan_model(vit, scheme_entry({"quantizer": "rtn", "compensation": "qwt"}, "w4a8"), "image")
    assert found["compensation"]["without"] == ["visual.transformer.resblocks.1"]
    assert "no compensation of visual.transformer.resblocks.1" in model_text(found)
