import numpy as np
import pytest
import torch

from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head, text_heads
from reliquant.models.openclip import open_clip

CLASSES = ["cat", "dog", "tree frog"]
TEMPLATES = ["a photo of a {}.", "a {} in the wild"]


def test_text_heads_equal_open_clips(clip):
    ours = text_head(clip, CLASSES, TEMPLATES)
    theirs = open_clip.build_zero_shot_classifier(clip.model, clip.tokenizer, CLASSES, TEMPLATES)
    np.testing.assert_allclose(ours, theirs.T.numpy(), atol=1e-6)


def test_some_templates_alone_come_from_the_same_pass(clip):
    templates = [*TEMPLATES, "art of a {}"]
    together, alone = text_heads(clip, CLASSES, templates, [2, 0], prompts=4)
    np.testing.assert_allclose(together, text_head(clip, CLASSES, templates), atol=1e-6)
    assert alone.shape == (2, *together.shape)
    for head, place in zip(alone, (2, 0), strict=True):
        np.testing.assert_allclose(head, text_head(clip, CLASSES, [templates[place]]), atol=1e-6)
    assert text_heads(clip, CLASSES, templates, [])[1].shape == (0, *together.shape)


def test_image_features_equal_a_plain_forward_whatever_the_batch(clip):
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        plain = clip.model.encode_image(pixels, normalize=True).numpy()
    for batch in (1, 3, 7):
        np.testing.assert_allclose(image_features(clip, images, batch=batch), plain, atol=1e-5)


def test_the_models_own_scale_and_bias_are_used(vit):
    with torch.no_grad():
        vit.model.logit_scale.fill_(np.log(37.0))
    assert logit_scale_and_bias(vit) == (pytest.approx(37.0), 0.0)
    vit.model.logit_bias = torch.nn.Parameter(torch.tensor(-12.0))
    assert logit_scale_and_bias(vit)[1] == -12.0
