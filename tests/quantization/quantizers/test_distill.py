import copy

import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantizers import distill, lsq


def trained(clip, proxy, module=distill, **words):
    """Train at 4 bits and return the scales that weights have come to."""
    clip = copy.deepcopy(clip)
    unpack_attention(clip.model)
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    words = {**grids, "iterations": 3, "batch": 16, "lr": 1e-3, **words}
    module.quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **words)
    return torch.cat([layer.weight_scale[:, 0] for layer in twins(clip.model).values()])


def test_it_is_lsq_on_the_loss_of_distillation(vit, proxy):
    found = trained(vit, proxy)
    assert torch.equal(found, trained(vit, proxy, lsq, losses=[{"loss": "distillation"}]))
    assert not torch.equal(found, trained(vit, proxy, lsq))
    assert not torch.equal(found, trained(vit, proxy, losses=[{"loss": "distillation", "of": "embeddings"}]))


def test_which_caption_belongs_to_which_image_does_not_matter_to_embeddings(vit, proxy):
    swapped = Proxy(proxy.images, proxy.captions[::-1])
    losses = [{"loss": "distillation", "of": "embeddings"}]
    assert torch.equal(trained(vit, proxy, losses=losses), trained(vit, swapped, losses=losses))
    assert not torch.equal(trained(vit, proxy, lsq), trained(vit, swapped, lsq))
