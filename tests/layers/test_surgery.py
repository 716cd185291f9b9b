import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention


def forward(model):
    torch.manual_seed(1)
    with torch.no_grad():
        return model.encode_image(torch.randn(3, 3, 32, 32)), model.encode_text(torch.randint(1, 127, (3, 16)))


def test_unpacking_attention_keeps_the_outputs(clip):
    before = forward(clip.model)
    unpack_attention(clip.model)
    for a, b in zip(before, forward(clip.model), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(m, torch.nn.MultiheadAttention) for m in clip.model.modules())


def test_unpacking_shares_the_parameters_of_self_attention(vit):
    packed = vit.model.visual.transformer.resblocks[0].attn.in_proj_weight
    unpack_attention(vit.model)
    assert vit.model.visual.transformer.resblocks[0].attn.qkv.weight is packed


def test_targets_are_every_matrix_inside_the_blocks(vit):
    unpack_attention(vit.model)
    found = targets(vit, "image")
    assert len(found) == 2 * 4
    assert all(name.startswith("visual.transformer.resblocks.") for name in found)
    assert len(targets(vit, "both")) == 2 * 4 + 2 * 4


def test_targets_of_a_convnext_leave_out_stem_and_downsampling(convnext):
    found = targets(convnext, "image")
    assert any("conv_dw" in name for name in found)
    assert any("mlp.fc1" in name for name in found)
    assert not any("stem" in name or "downsample" in name or "head" in name for name in found)


def test_the_logit_scale_belongs_to_no_tower(vit):
    assert not vit.parts.in_scope("logit_scale", "both")
    assert vit.parts.in_scope("visual.conv1.weight", "image")
    assert not vit.parts.in_scope("token_embedding.weight", "image")
    assert vit.parts.in_scope("token_embedding.weight", "both")


def test_fresh_twins_change_nothing(clip):
    unpack_attention(clip.model)
    before = forward(clip.model)
    made = insert_twins(clip.model, targets(clip, "both"), Grid(bits=4, granularity="channel"), Grid(bits=8))
    assert made == twins(clip.model)
    for a, b in zip(before, forward(clip.model), strict=True):
        assert torch.equal(a, b)
