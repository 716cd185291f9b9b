import math

import pytest

from reliquant.models.losses import distillation


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_the_divergence_from_the_teacher_both_ways(temperature, pairs, softmax):
    student, teacher = pairs(0), pairs(1)

    def divergence(s, t):
        total = 0.0
        for row_s, row_t in zip(s, t, strict=True):
            p, q = softmax([v / temperature for v in row_t]), softmax([v / temperature for v in row_s])
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        return total / len(s) * temperature**2

    s, t = student.logits, teacher.logits
    expected = (divergence(s.tolist(), t.tolist()) + divergence(s.T.tolist(), t.T.tolist())) / 2
    assert distillation.loss(student, teacher, temperature=temperature).item() == pytest.approx(expected)
