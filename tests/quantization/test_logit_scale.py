import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from reliquant.quantization.logit_scale import scale_error, tune_logit_scale


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def pairs(seed=0, n=60, d=16, noise=0.8, captions=40):
    """Image embeddings scattered around those of their captions."""
    rng = np.random.default_rng(seed)
    ids = np.unique(rng.integers(0, captions, n), return_inverse=True)[1]
    text = rng.normal(size=(ids.max() + 1, d))
    return unit(text[ids] + noise * rng.normal(size=(n, d))), unit(text)[ids], ids


def best_of_grid(loss, around):
    scales = around * np.geomspace(0.1, 10, 4001)
    return scales[np.argmin([loss(s) for s in scales])]


def over_captions(image, text, ids):
    """Cosines of images with the distinct captions, (n, captions), in the order of their numbers."""
    rows = [text[list(ids).index(i)] for i in range(max(ids) + 1)]
    return torch.from_numpy(image @ np.stack(rows).T).double()


@pytest.mark.parametrize("noise", [0.7, 0.9])
def test_contrastive_finds_what_a_grid_search_finds(noise):
    image, text, ids = pairs(noise=noise)
    cosine, right = over_captions(image, text, ids), torch.from_numpy(ids)
    expected = best_of_grid(lambda s: cross_entropy(s * cosine, right).item(), 14.0)
    assert tune_logit_scale(image, text, ids, 14.0) == pytest.approx(expected, rel=2e-3)


def test_match_fp32_finds_what_a_grid_search_finds():
    image, text, ids = pairs()
    better = pairs(noise=0.6)[0]
    cosine, exact = over_captions(image, text, ids), 30 * over_captions(better, text, ids)

    def loss(scale):
        return kl_div(log_softmax(scale * cosine, 1), log_softmax(exact, 1), log_target=True, reduction="sum").item()

    found = tune_logit_scale(image, text, ids, 14.0, objective="match_fp32", fp32=(better, text, 30.0))
    assert found == pytest.approx(best_of_grid(loss, 14.0), rel=2e-3)


def test_matching_a_model_with_itself_gives_its_own_scale_back():
    image, text, ids = pairs()
    found = tune_logit_scale(image, text, ids, 20.0, objective="match_fp32", fp32=(image, text, 37.0))
    assert found == pytest.approx(37.0, rel=1e-4)


def test_captions_drawn_at_a_scale_give_that_scale_back():
    rng = np.random.default_rng(0)
    image, captions = unit(rng.normal(size=(3000, 8))), np.eye(8, dtype=np.float32)[:6]
    odds = np.exp(6.0 * image @ captions.T)
    drawn = (rng.random((3000, 1)) < np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)).argmax(axis=1)
    assert tune_logit_scale(image, captions[drawn], drawn, 20.0) == pytest.approx(6.0, rel=0.05)


def test_the_start_does_not_matter():
    found = {round(tune_logit_scale(*pairs(), start), 2) for start in (5.0, 14.0, 60.0)}
    assert len(found) == 1


def drawn(rng, captions=30, each=4):
    """Images (captions x each, 8) of captions that are drawn anew, each image a noisy copy of its caption."""
    text = rng.normal(size=(captions, 8))
    ids = np.repeat(np.arange(captions), each)
    shared = 0.8 * rng.normal(size=(captions, 8))[ids]  # images of a caption resemble each other
    return unit(text[ids] + shared + 0.8 * rng.normal(size=(len(ids), 8))), unit(text)[ids], ids


@pytest.mark.parametrize("objective", ["contrastive", "match_fp32"])
def test_the_error_of_a_tuned_scale_is_its_spread_over_fresh_draws(objective):
    rng, scales, errors = np.random.default_rng(0), [], []
    for _ in range(200):
        image, text, ids = drawn(rng)
        words = {"objective": objective}
        if objective == "match_fp32":
            words["fp32"] = (unit(image + 0.2 * rng.normal(size=image.shape)), text, 8.0)
        scales.append(tune_logit_scale(image, text, ids, 8.0, **words))
        errors.append(scale_error(image, text, ids, 8.0, scales[-1], **words))
    assert np.mean(errors) == pytest.approx(np.std(scales), rel=0.2)


def test_a_scale_at_the_end_of_its_range_has_no_error():
    text = unit(np.ones((6, 6)) + np.eye(6))  # without a mistake no scale is large enough
    tuned = tune_logit_scale(text, text, np.arange(6), 5.0)
    assert tuned == pytest.approx(50.0, rel=1e-4)
    assert scale_error(text, text, np.arange(6), 5.0, tuned) is None


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"image": np.nan}, {}, "hold NaN or infinite values"),
        ({"ids": 0}, {}, "the pairs have one caption only"),
        ({}, {"objective": "match_fp32"}, "match_fp32 needs the embeddings of the FP32 model"),
    ],
)
def test_bad_input_is_refused_by_name(change, words, message):
    image, text, ids = pairs()
    if "image" in change:
        image[3, 2] = change["image"]
    if "ids" in change:
        ids[:] = change["ids"]
    with pytest.raises(ValueError, match=message):
        tune_logit_scale(image, text, ids, 10.0, **words)
