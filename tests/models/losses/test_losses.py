"""Every loss against its formula written out."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from reliquant import plugins
from reliquant.models.embedded import Embedded
from reliquant.models.losses import contrastive, distillation, feature_mse, sigmoid


def pairs(seed, n=6, d=5, captions=None, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    image, text = (normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    caption = torch.arange(n) if captions is None else torch.tensor(captions)
    scalars = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
    return Embedded(image.requires_grad_(requires_grad), text, *scalars, caption)


def softmax(row):
    exps = [math.exp(v) for v in row]
    return [e / sum(exps) for e in exps]


def test_contrastive_is_the_cross_entropy_of_the_diagonal_both_ways():
    batch = pairs(0)
    logits = (10 * batch.image @ batch.text.T - 1).tolist()
    rows = [-math.log(softmax(row)[i]) for i, row in enumerate(logits)]
    columns = [-math.log(softmax(row)[i]) for i, row in enumerate(zip(*logits, strict=True))]
    assert contrastive.loss(batch, None).item() == pytest.approx((sum(rows) + sum(columns)) / 12)


def test_a_repeated_caption_is_right_wherever_it_stands():
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


def test_sigmoid_judges_every_image_with_every_caption():
    batch = pairs(0, n=3, captions=[7, 7, 9])
    logits = (10 * batch.image @ batch.text.T - 1).tolist()
    right = [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]
    total = sum(
        math.log(1 + math.exp(-s * x))
        for ss, xs in zip(right, logits, strict=True)
        for s, x in zip(ss, xs, strict=True)
    )
    assert sigmoid.loss(batch, None).item() == pytest.approx(total / 3)


def test_sigmoid_with_distinct_captions_is_siglips_loss():
    from reliquant.models.openclip import open_clip

    batch = pairs(1)
    theirs = open_clip.loss.SigLipLoss()(batch.image, batch.text, batch.logit_scale, batch.logit_bias)
    assert sigmoid.loss(batch, None, weight=2.0).item() == pytest.approx(2 * theirs.item())


def test_feature_mse_is_two_minus_two_cosines():
    student, teacher = pairs(0), pairs(1)
    cosines = [(getattr(student, k) * getattr(teacher, k)).sum(1).mean().item() for k in ("image", "text")]
    assert feature_mse.loss(student, teacher).item() == pytest.approx(4 - 2 * sum(cosines))
    assert distillation.loss(student, teacher, of="embeddings").item() == pytest.approx(2 - sum(cosines))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_the_divergence_from_the_teacher_both_ways(temperature):
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


@pytest.mark.parametrize("name", ["feature_mse", "distillation"])
def test_a_student_like_its_teacher_loses_nothing_and_one_needs_a_teacher(name):
    loss = plugins.load("loss", {"loss": name})
    assert loss(pairs(0), pairs(0)).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match=f"{name} compares with the FP32 model: it needs a teacher"):
        loss(pairs(0), None)


@pytest.mark.parametrize("name", plugins.names("loss"))
def test_weights_multiply_and_gradients_are_slopes(name):
    loss = plugins.load("loss", {"loss": name, "weight": 2.5})
    single = plugins.load("loss", {"loss": name})
    student, teacher = pairs(0, requires_grad=True), pairs(1)
    assert loss(student, teacher).item() == pytest.approx(2.5 * single(student, teacher).item())

    def of(image):
        return loss(Embedded(image, student.text, student.logit_scale, student.logit_bias, student.caption), teacher)

    assert torch.autograd.gradcheck(of, student.image)
