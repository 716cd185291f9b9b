import re
import zipfile

import numpy as np
import pytest
import torch

from reliquant.deploy.program import program, save_program
from reliquant.layers.surgery import twins

ENTRIES = {
    "eight bits": ({"quantizer": "rtn"}, "w8a8"),
    "an odd number of codes": ({"quantizer": "rtn"}, "w3a16"),
    "unsigned": ({"quantizer": "rtn", "weight": {"symmetric": False, "signed": False}}, "w4a8"),
    "mx": ({"quantizer": "rtn"}, "mxfp4"),
    "hqq": ({"quantizer": "hqq", "weight": {"group": 16}}, "w4a16"),
    "held": ({"quantizer": "raana"}, "w3a8"),
    "spared": ({"quantizer": "llm_int8", "threshold": 1.0}, "w8a8"),
    "half octaves": (
        {"quantizer": "repq", "layers": {"attention": {"image": "all", "probabilities": "log_sqrt2"}}},
        "w8a8",
    ),
    "offsets": ({"quantizer": "lsq_plus", "iterations": 2, "batch": 16}, "w8a8"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_program_equals_the_simulation_to_the_bit_for_any_batch(towers, inputs, simulated, name):
    clip = towers.variant("wide", *ENTRIES[name])
    made = program(clip, "image").module()
    for count in (1, 3, 17):
        batch = inputs(clip, "image", count)
        with torch.no_grad():
            np.testing.assert_array_equal(made(torch.from_numpy(batch)).numpy(), simulated(clip, "image", batch))


def test_text_towers_and_convolutions_are_programs_too(towers, inputs, simulated):
    for kind, tower in (("wide", "text"), ("convnext", "image")):
        clip = towers.variant(kind, {"quantizer": "rtn"}, "w4a8")
        batch = inputs(clip, tower)
        with torch.no_grad():
            got = program(clip, tower).module()(torch.from_numpy(batch)).numpy()
        np.testing.assert_array_equal(got, simulated(clip, tower, batch))


def test_a_saved_program_is_read_back_holds_packed_codes_and_nothing_of_this_machine(
    towers, inputs, simulated, tmp_path
):
    clip = towers.variant("wide", {"quantizer": "rtn"}, "w4a8")
    path = tmp_path / "image.pt2"
    save_program(path, clip, "image")
    batch = inputs(clip, "image")
    made = torch.export.load(path)
    with torch.no_grad():
        got = made.module()(torch.from_numpy(batch)).numpy()
    np.testing.assert_array_equal(got, simulated(clip, "image", batch))
    codes = {name: value for name, value in made.state_dict.items() if name.endswith(".codes")}
    layers = {name: layer for name, layer in twins(clip.model).items() if clip.parts.in_tower(name, "image")}
    assert {name.removeprefix("model.").removesuffix(".codes") for name in codes} == set(layers)
    assert sum(value.nbytes for value in codes.values()) == sum(one.codes.numel() for one in layers.values()) // 2
    with zipfile.ZipFile(path) as file:
        texts = b"".join(file.read(name) for name in file.namelist() if not name.endswith(".pt"))
    assert not re.search(rb"/(home|root|tmp|usr|work)/|site-packages|File \\?\"", texts)
