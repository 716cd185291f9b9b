import pytest

from reliquant.models.losses import distillation, feature_mse


def test_feature_mse_is_two_minus_two_cosines(pairs):
    student, teacher = pairs(0), pairs(1)
    cosines = [(getattr(student, k) * getattr(teacher, k)).sum(1).mean().item() for k in ("image", "text")]
    assert feature_mse.loss(student, teacher).item() == pytest.approx(4 - 2 * sum(cosines))
    assert distillation.loss(student, teacher, of="embeddings").item() == pytest.approx(2 - sum(cosines))
