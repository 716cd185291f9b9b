import math

import pytest

from reliquant.models.losses import sigmoid


def test_sigmoid_judges_every_image_with_every_caption(pairs):
    batch = pairs(0, n=3, captions=[7, 7, 9])
    logits = (10 * batch.image @ batch.text.T - 1).tolist()
    right = [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]
    total = sum(
        math.log(1 + math.exp(-s * x))
        for ss, xs in zip(right, logits, strict=True)
        for s, x in zip(ss, xs, strict=True)
    )
    assert sigmoid.loss(batch, None).item() == pytest.approx(total / 3)


def test_sigmoid_with_distinct_captions_is_siglips_loss(pairs):
    from reliquant.models.openclip import open_clip

    batch = pairs(1)
    theirs = open_clip.loss.SigLipLoss()(batch.image, batch.text, batch.logit_scale, batch.logit_bias)
    assert sigmoid.loss(batch, None, weight=2.0).item() == pytest.approx(2 * theirs.item())
