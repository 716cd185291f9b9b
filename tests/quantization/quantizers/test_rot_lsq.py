import copy

import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.transforms import RootMeanSquare, Rotation
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed_all
from reliquant.quantization.quantizers import lsq, rot_lsq


def distance(clip, proxy, module, **words):
    """Quantize and return the model and the mean squared distance of its image embeddings from FP32."""
    exact = embed_all(clip, proxy).image
    clip = copy.deepcopy(clip)
    unpack_attention(clip.model)
    words = {"iterations": 2, "batch": 16, **words}
    module.quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **words)
    return clip.model, (embed_all(clip, proxy).image - exact).square().sum(1).mean().item()


def test_without_rounding_the_rotated_model_is_the_fp32_model(vit, proxy):
    grids = {"weight": Grid(bits=16), "activation": Grid(bits=16)}
    model, found = distance(vit, proxy, rot_lsq, **grids, iterations=0)
    assert any(isinstance(module, RootMeanSquare) for module in model.modules())
    assert any(isinstance(layer.transform, Rotation) for layer in twins(model).values())
    assert found < 1e-9


def test_outliers_hurt_it_less_than_lsq(vit, proxy):
    with torch.no_grad():
        for block in vit.model.visual.transformer.resblocks:
            block.ln_1.weight[3] *= 60
            block.ln_2.weight[7] *= 60
            block.attn.in_proj_weight[:, 3] /= 60
            block.mlp.c_fc.weight[:, 7] /= 60
    grids = {"weight": Grid(bits=8, granularity="channel"), "activation": Grid(bits=5)}
    plain, rotated = (distance(vit, proxy, module, **grids)[1] for module in (lsq, rot_lsq))
    assert rotated < 0.5 * plain
