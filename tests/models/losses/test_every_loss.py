import pytest
import torch

from reliquant import plugins
from reliquant.models.embedded import Embedded


@pytest.mark.parametrize("name", ["feature_mse", "distillation"])
def test_a_student_like_its_teacher_loses_nothing_and_one_needs_a_teacher(name, pairs):
    loss = plugins.load("loss", {"loss": name})
    assert loss(pairs(0), pairs(0)).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match=f"{name} compares with the FP32 model: it needs a teacher"):
        loss(pairs(0), None)


@pytest.mark.parametrize("name", plugins.names("loss"))
def test_weights_multiply_and_gradients_are_slopes(name, pairs):
    loss = plugins.load("loss", {"loss": name, "weight": 2.5})
    single = plugins.load("loss", {"loss": name})
    student, teacher = pairs(0, requires_grad=True), pairs(1)
    assert loss(student, teacher).item() == pytest.approx(2.5 * single(student, teacher).item())

    def of(image):
        return loss(Embedded(image, student.text, student.logit_scale, student.logit_bias, student.caption), teacher)

    assert torch.autograd.gradcheck(of, student.image)
