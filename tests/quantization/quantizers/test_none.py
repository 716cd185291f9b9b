import copy

import torch

from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize


def test_the_model_stays_as_it_is_and_the_variant_says_that_nothing_is_quantized(clip):
    before = copy.deepcopy(clip.model.state_dict())
    arrays, facts = quantize(clip, {"quantizer": "none"}, "image", None, Checkpoints())
    after = clip.model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all((arrays[name] == after[name].numpy()).all() for name in arrays)
    assert (facts["modules"], facts["coverage"], facts["words"]) == ({}, [], {})
    size = sum(value.nbytes for value in after.values())
    assert facts["measures"] == {"bytes": size, "bytes_fp32": size}
