from pathlib import Path

import pytest
import yaml

from reliquant.cli.plan_layers import layer_problems
from reliquant.study.check import read_study

ROOT = Path(__file__).resolve().parents[2]


def problems(schemes):
    """Return what is wrong with schemes on the layers of the lab's models."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["models"] = {name: config["models"][name] for name in ("lab-vit-curated", "lab-convnext-curated")}
    config |= {"schemes": schemes, "precisions": ["w4a8"], "scopes": ["image", "both"], "seeds": [0]}
    for word in ("explain", "sensitivity"):
        config.pop(word, None)
    config["suites"].pop("retrieval", None)
    return list(layer_problems(read_study(config)))


def test_a_pattern_that_fits_no_layer_is_told_once_a_model():
    found = problems({"rtn": {"quantizer": "rtn", "layers": {"keep": ["visual.transformer*.c_proj"]}}})
    assert len(found) == 1
    assert found[0].startswith("schemes.rtn: w4a8, scope image, of models.lab-convnext-curated: layers: keep: ")
    assert "fits none of the 15 layers there" in found[0]


def test_blocks_that_divide_no_width_are_told():
    found = problems({"fours": {"quantizer": "rtn", "precisions": ["nvfp4"]}})
    assert len(found) == 1
    assert "models.lab-convnext-curated: visual.trunk.stages.0.blocks.0.conv_dw: blocks of 16 do not divide" in found[0]


def test_schemes_that_fit_and_schemes_that_ask_nothing_are_silent(monkeypatch):
    depthwise = {"quantizer": "rtn", "precisions": ["nvfp4"], "layers": {"other": {"*.c_fc": "w8a8"}}}
    assert all("lab-vit" not in problem for problem in problems({"rtn": depthwise}))
    monkeypatch.setattr("reliquant.models.open.shapes_of", lambda entry: pytest.fail("opens a model"))
    assert problems({"rtn": {"quantizer": "rtn"}}) == []
