import copy

import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed
from reliquant.quantization.quantizers import distill, lsq, lsq_mse


def distance(clip, proxy, module):
    """Train at 4 bits and return the mean squared distance of the image embeddings from FP32."""
    with torch.no_grad():
        exact = embed(clip, *next(proxy.in_order(clip, 40))).image
    trained = copy.deepcopy(clip)
    unpack_attention(trained.model)
    grids = {"weight": Grid(bits=3, granularity="channel"), "activation": Grid(bits=8)}
    words = {"iterations": 30, "batch": 20, "lr": 1e-3}
    module.quantizer(trained, targets(trained, "image"), proxy, Checkpoints(), **grids, **words)
    with torch.no_grad():
        return (embed(trained, *next(proxy.in_order(trained, 40))).image - exact).square().sum(1).mean().item()


def test_the_teacher_holds_the_embeddings_near_fp32(vit, proxy):
    contrastive, both, distilled = (distance(vit, proxy, module) for module in (lsq, lsq_mse, distill))
    assert both < contrastive
    assert distilled < contrastive


def test_by_default_both_losses_train_it(vit, proxy):
    def trained(**words):
        clip = copy.deepcopy(vit)
        unpack_attention(clip.model)
        grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
        names = targets(clip, "image")
        lsq_mse.quantizer(clip, names, proxy, Checkpoints(), **grids, iterations=2, batch=16, lr=1e-3, **words)
        return torch.cat([layer.weight_scale[:, 0] for layer in twins(clip.model).values()])

    contrastive, mse = {"loss": "contrastive"}, {"loss": "feature_mse"}
    found = trained()
    assert torch.equal(found, trained(losses=[contrastive, mse]))
    assert not any(torch.equal(found, trained(losses=[alone])) for alone in (contrastive, mse))
