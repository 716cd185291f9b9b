import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from reliquant.quantization.proxy import Proxy
from reliquant.quantization.proxy_loss import MEASURES, ProxyLoss, _shuffled


def embedded(clip, proxy):
    with torch.no_grad():
        pixels, tokens, _ = proxy.take(clip, np.arange(len(proxy.captions)))
        image = clip.model.encode_image(pixels, normalize=True)
        return image.double().numpy(), clip.model.encode_text(tokens, normalize=True).double().numpy()


def perturbed(clip):
    other = clip.with_model(__import__("copy").deepcopy(clip.model))
    with torch.no_grad():
        for parameter in other.model.visual.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
    return other


@pytest.fixture
def logits_of(proxy):
    """A function: scaled cosines of images to the distinct captions, and which of these is each image's own."""
    captions, own = np.unique(proxy.captions, return_inverse=True)
    first = [proxy.captions.index(text) for text in captions]

    def of(clip):
        image, text = embedded(clip, proxy)
        return image @ text[first].T, clip.model.logit_scale.exp().item(), own

    return of


def test_the_output_error_is_that_of_both_towers_embeddings(vit, proxy):
    other = perturbed(vit)
    loss = ProxyLoss(vit, proxy, "output_error", pairs=40, batch=16)
    (image, _), (exact, _) = embedded(other, proxy), embedded(vit, proxy)
    expected = np.square(image - exact).sum() / 40  # the text tower is the same
    assert loss.of(other) == pytest.approx((expected, expected), rel=1e-4)
    assert loss.of(other, ["image"])[0] == pytest.approx(expected, rel=1e-4)
    assert loss.of(other, ["text"])[0] == 0
    assert expected > 1e-4


def test_losses_are_those_of_the_nearest_caption(vit, proxy, logits_of):
    other = perturbed(vit)
    cosine, scale, own = logits_of(other)
    found = {m: ProxyLoss(vit, proxy, m, pairs=40, batch=16).of(other, ["image"])[0] for m in MEASURES}
    log_p = log_softmax(cosine * scale, axis=1)
    assert found["accuracy"] == pytest.approx((cosine.argmax(1) != own).mean())
    assert found["nll"] == pytest.approx(-log_p[np.arange(40), own].mean(), rel=1e-4)
    confidence, right = np.exp(log_p.max(1)), cosine.argmax(1) == own
    bins = np.clip(np.ceil(confidence * 15), 1, 15)
    gaps = [abs(right[bins == b].sum() - confidence[bins == b].sum()) for b in np.unique(bins)]
    assert found["calibration"] == pytest.approx(sum(gaps) / 40, rel=1e-3)


def test_the_gap_is_that_of_mcm_between_images_and_their_shuffled_tiles(vit, proxy, logits_of):
    other = perturbed(vit)
    captions = np.unique(proxy.captions)
    first = [proxy.captions.index(text) for text in captions]

    def mcm(given):
        image, text = embedded(other, given)
        cosine = image @ text[first].T
        return np.exp(log_softmax(cosine, axis=1).max(1))

    expected = 1 - roc_auc_score([1] * 40 + [0] * 40, np.concatenate([mcm(proxy), mcm(_shuffled(proxy))]))
    found = ProxyLoss(vit, proxy, "ood_gap", pairs=40, batch=16).of(other, ["image"])[0]
    assert found == pytest.approx(expected, abs=2e-3)


def test_shuffled_images_hold_the_same_tiles_in_another_order(proxy):
    shuffled = _shuffled(proxy)
    assert not np.array_equal(shuffled.images, proxy.images)
    for one, other in zip(proxy.images[:5], shuffled.images[:5], strict=True):
        tiles = [{image[y : y + 8, x : x + 8].tobytes() for y in range(0, 32, 8) for x in range(0, 32, 8)}
                 for image in (one, other)]  # fmt: skip
        assert tiles[0] == tiles[1]


def test_a_seeming_gain_counts_as_none_and_the_output_error_decides(vit, proxy):
    loss, other = ProxyLoss(vit, proxy, "nll", pairs=40, batch=16), perturbed(vit)
    loss.of_fp32 = 100.0
    assert loss.added(other, ["image"]) == pytest.approx(1e-6 * loss.of(other, ["image"])[1])


def test_one_caption_alone_and_embeddings_that_are_not_finite_are_refused(vit, proxy):
    with pytest.raises(ValueError, match="measure: nll needs two captions to tell apart; the 40 pairs have one"):
        ProxyLoss(vit, Proxy(proxy.images, ["a photo"] * 40), "nll", pairs=40, batch=16)
    loss = ProxyLoss(vit, proxy, "output_error", pairs=40, batch=16)
    with torch.no_grad():
        next(vit.model.visual.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        loss.of(vit)
