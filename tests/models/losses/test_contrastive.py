import math

import pytest

from reliquant.models.losses import contrastive


def test_contrastive_is_the_cross_entropy_of_the_diagonal_both_ways(pairs, softmax):
    batch = pairs(0)
    logits = (10 * batch.image @ batch.text.T - 1).tolist()
    rows = [-math.log(softmax(row)[i]) for i, row in enumerate(logits)]
    columns = [-math.log(softmax(row)[i]) for i, row in enumerate(zip(*logits, strict=True))]
    assert contrastive.loss(batch, None).item() == pytest.approx((sum(rows) + sum(columns)) / 12)


def test_a_repeated_caption_is_right_wherever_it_stands(pairs, softmax):
    batch = pairs(0, n=3, captions=[7, 7, 9])
    logits = (10 * batch.image @ batch.text.T - 1).tolist()
    target = [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]

    def entropy(rows):
        return (
            -sum(
                t * math.log(p)
                for ts, row in zip(target, rows, strict=True)
                for t, p in zip(ts, softmax(row), strict=True)
            )
            / 3
        )

    expected = (entropy(logits) + entropy(list(zip(*logits, strict=True)))) / 2
    assert contrastive.loss(batch, None).item() == pytest.approx(expected)
