import numpy as np
import pytest
import torch
from torch.nn.functional import linear, normalize

from reliquant.evaluation.local_features import local_features
from reliquant.evaluation.zero_shot import features_with_local, image_features
from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, unpack_attention


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_patches_of_a_vit_are_the_unmixed_values_of_its_last_block(vit, pixels):
    visual = vit.model.visual
    with torch.no_grad():  # the published code, written out on the packed attention
        x = visual._embeds(pixels)
        *before, last = visual.transformer.resblocks
        for block in before:
            x = block(x)
        y = linear(last.ln_1(x), last.attn.in_proj_weight, last.attn.in_proj_bias)
        y = linear(y.chunk(3, dim=-1)[2], last.attn.out_proj.weight, last.attn.out_proj.bias) + x
        y = y + last.mlp(last.ln_2(y))
        wanted = normalize(visual.ln_post(y)[:, 1:] @ visual.proj, dim=-1)
        with local_features(vit.model) as local:
            vit.model.encode_image(pixels)
            found = local()
    assert found.shape == (3, 16, 24)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_places_of_a_convnext_go_the_way_of_the_pooled_feature(convnext, pixels):
    with torch.no_grad(), local_features(convnext.model) as local:
        whole = convnext.model.encode_image(pixels, normalize=True)
        found = local()
    assert found.shape == (3, 1, 24)  # 32 pixels leave one place: it is the whole image
    torch.testing.assert_close(found[:, 0], whole, atol=1e-5, rtol=1e-4)


def test_a_quantized_block_gives_quantized_patches(vit, pixels):
    with torch.no_grad():
        with local_features(vit.model) as local:
            vit.model.encode_image(pixels)
            full = local()
        unpack_attention(vit.model)
        weight = Grid(bits=2, granularity="channel")
        for twin in insert_twins(vit.model, targets(vit, "image"), weight, Grid(bits=16)).values():
            twin.freeze_absmax()
        with local_features(vit.model) as local:
            vit.model.encode_image(pixels)
            coarse = local()
    assert (full * coarse).sum(-1).max() < 0.999


def test_batches_with_patches_have_the_same_features_as_without(clip):
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    plain = image_features(clip, images, batch=3)
    parts = list(features_with_local(clip, images, batch=3))
    np.testing.assert_allclose(np.concatenate([image for image, _ in parts]), plain, atol=1e-5)
    assert [len(patches) for _, patches in parts] == [3, 3, 1]
    assert not clip.model.visual._forward_pre_hooks


def test_a_tower_without_local_features_is_refused(vit):
    vit.model.visual.pool_type = "none"
    with pytest.raises(ValueError, match=r"image tower \(VisionTransformer\) has none"), local_features(vit.model):
        pass
