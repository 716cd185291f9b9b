from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.neglabel import mine, score


def with_negatives(features, words=70, seed=5):
    field = np.random.default_rng(seed).normal(size=(words, features.image.shape[1]))
    return replace(features, negatives=(field / np.linalg.norm(field, axis=1, keepdims=True)).astype(np.float32))


def test_neglabel_equals_the_formula_written_as_loops(world):
    features = with_negatives(world(10))
    near = [np.quantile(features.text.astype(float) @ word, 0.8) for word in features.negatives.astype(float)]
    kept = sorted(range(70), key=near.__getitem__)[: int(70 * 0.4)]  # 28 words: 3 groups of 9, one left over
    slow = []
    for image in features.image.astype(float):
        inside = sum(np.exp(20.0 * text @ image) for text in features.text.astype(float))
        parts = []
        for group in range(3):
            words = features.negatives[kept[:27][group::3]].astype(float)
            parts.append(inside / (inside + sum(np.exp(20.0 * word @ image) for word in words)))
        slow.append(np.mean(parts))
    ours = score(features, None, percentile=80.0, share=0.4, groups=3)
    np.testing.assert_allclose(ours, slow, rtol=1e-9)


def test_mine_keeps_the_words_farthest_from_all_classes():
    classes = np.eye(3, dtype=np.float32)[:2]
    words = np.array([[1, 0, 0], [0, 0, 1], [0, 0.6, 0.8], [0.6, 0, 0.8]], np.float32)
    assert mine(classes, words, 100, 0.5).tolist() == [1, 2]
    assert mine(classes, words, 100, 1.0).tolist() == [1, 2, 3, 0]


def test_a_percentile_forgives_a_word_one_near_class():
    classes = np.eye(21, dtype=np.float32)[:20]
    twin, far = np.eye(21, dtype=np.float32)[[0, 20]]
    middling = np.full(21, 1 / np.sqrt(21), np.float32)
    words = np.stack([middling, twin])
    assert mine(classes, words, 90, 0.5).tolist() == [1]  # near to one class in twenty only
    assert mine(classes, words, 100, 0.5).tolist() == [0]
    assert mine(classes, np.stack([middling, far]), 90, 0.5).tolist() == [1]


def test_neglabel_separates_what_negative_words_name(world):
    features = with_negatives(world(100, spread=0.1))
    outside = replace(features, image=features.negatives[np.arange(100) % 70])
    inside, other = score(features, None, share=1.0, groups=5), score(outside, None, share=1.0, groups=5)
    assert np.mean(inside[:, None] > other) > 0.99


def test_neglabel_does_not_depend_on_a_bias_or_on_its_blocks(world):
    features = with_negatives(world(60))
    whole = score(features, None)
    np.testing.assert_allclose(score(replace(features, logit_bias=-9.0), None), whole, rtol=1e-12)
    part = replace(features, image=features.image[40:], label=features.label[40:])
    np.testing.assert_allclose(score(part, None), whole[40:], rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"percentile": 101.0}, "percentile must be in 0 .. 100"),
        ({"share": 0.0}, "share in 0 .. 1"),
        ({"share": 0.001}, "a share of 0.001 of 70 negative words is none"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
    ],
)
def test_neglabel_refuses_words_out_of_range(world, given, message):
    with pytest.raises(ValueError, match=message):
        score(with_negatives(world(3)), None, **given)


def test_neglabel_says_that_negative_words_are_missing(world):
    with pytest.raises(ValueError, match="'neglabel' needs text features of negative words, and there are none"):
        score(world(3), None)


def test_neglabel_with_real_words_tells_held_out_cifar_classes_apart(shared_data):
    held = load_file(shared_data / "clip_vit_b_32_openai_cifar10" / "embeddings.safetensors")
    image, label, text = held["image"].astype(np.float32), held["label"], held["text"].astype(np.float32)
    words = held["lvis_text"].astype(np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    known = label < 6
    features = Features(image, text[:6], np.where(known, label, -1), 100.0, negatives=words)
    ours = score(features, None, groups=10)
    assert np.mean(ours[known][:, None] > ours[~known]) > 0.6


def test_negative_words_without_a_number_are_refused(world):
    features = with_negatives(world(3))
    features.negatives[5, 2] = np.nan
    with pytest.raises(ValueError, match="negatives features hold NaN or infinite values"):
        replace(features)
