import copy

import pytest
import torch

from reliquant.layers.surgery import targets, unpack_attention
from reliquant.quantization.fold import divide_output, layer_norm_readers, shift_output


def outputs(model):
    with torch.no_grad():
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return model.encode_image(x), model.encode_text(torch.full((2, 16), 5))


def test_readers_in_a_vit_are_qkv_and_the_first_mlp_layer(vit, proxy):
    unpack_attention(vit.model)
    found = layer_norm_readers(vit, targets(vit, "both"), proxy)
    expected = {}
    for stack in ("transformer", "visual.transformer"):
        for i in (0, 1):
            block = f"{stack}.resblocks.{i}"
            expected |= {f"{block}.ln_1": [f"{block}.attn.qkv"], f"{block}.ln_2": [f"{block}.mlp.c_fc"]}
    assert found == expected  # ln_pre, ln_post and ln_final feed other things


def test_readers_in_a_convnext_are_the_first_mlp_layers(convnext, proxy):
    found = layer_norm_readers(convnext, targets(convnext, "image"), proxy)
    assert len(found) == 5
    assert all(readers == [norm.replace("norm", "mlp.fc1")] for norm, readers in found.items())


def test_a_layer_norm_that_feeds_the_residual_too_is_left_out(vit, proxy):
    class PostNorm(torch.nn.Module):
        def __init__(self, block):
            super().__init__()
            self.ln, self.fc = block.ln_2, torch.nn.Linear(48, 48)

        def forward(self, x, attn_mask=None):
            x = self.ln(x)
            return x + self.fc(x)

    blocks = vit.model.visual.transformer.resblocks
    blocks[1] = PostNorm(blocks[1])
    unpack_attention(vit.model)
    found = layer_norm_readers(vit, targets(vit, "image"), proxy)
    assert [n.split("visual.transformer.resblocks.")[1] for n in found] == ["0.ln_1", "0.ln_2"]


def test_a_layer_that_is_not_named_keeps_its_layer_norm_out(vit, proxy):
    unpack_attention(vit.model)
    names = [n for n in targets(vit, "image") if "0.attn.qkv" not in n]
    assert "visual.transformer.resblocks.0.ln_1" not in layer_norm_readers(vit, names, proxy)


@pytest.mark.parametrize("fold", [divide_output, shift_output])
def test_folding_changes_the_parts_but_not_the_outputs(clip, proxy, fold):
    unpack_attention(clip.model)
    before, model = outputs(clip.model), copy.deepcopy(clip.model)
    for norm, readers in layer_norm_readers(clip, targets(clip, "both"), proxy).items():
        layer = model.get_submodule(norm)
        amount = torch.rand(layer.normalized_shape) * 3 + 0.2
        fold(layer, amount, [model.get_submodule(r) for r in readers])
        assert not torch.equal(layer.bias, clip.model.get_submodule(norm).bias)
    for a, b in zip(before, outputs(model), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
