import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, unpack_attention
from reliquant.models.losses.contrastive import loss
from reliquant.quantization.proxy import embed
from reliquant.quantization.sensitivity import sensitivities


def test_sensitivity_is_the_product_of_three_norms(vit, proxy):
    unpack_attention(vit.model)
    name = "visual.transformer.resblocks.1.mlp.c_proj"
    layer = vit.model.get_submodule(name)
    seen = {}

    def look(module, inputs, output):
        output.retain_grad()
        seen.update(x=inputs[0], h=output)

    handle = layer.register_forward_hook(look)
    loss(embed(vit, *next(proxy.in_order(vit, 8))), None).backward()
    handle.remove()
    expected = seen["h"].grad.norm() * seen["x"].norm() * layer.weight.norm() / 192**0.5
    made = insert_twins(vit.model, [name], Grid(bits=4), Grid(bits=8))
    assert sensitivities(vit, made, proxy, 8)[0] == pytest.approx(expected.item(), rel=1e-4)
    assert all(p.requires_grad for p in vit.model.parameters())


def test_a_layer_that_the_loss_does_not_feel_gets_nothing(vit, proxy):
    vit.model.visual.unused = torch.nn.Linear(3, 3)
    name = "visual.transformer.resblocks.1.mlp.c_fc"
    made = insert_twins(vit.model, ["visual.unused", name], Grid(bits=4), Grid(bits=8))
    unused, used = sensitivities(vit, made, proxy, 8)
    assert unused == 0
    assert used > 0
    assert not any(layer._forward_hooks for layer in made.values())
