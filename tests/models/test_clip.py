import dataclasses

import pytest
import torch

from reliquant.models.clip import Clip


@pytest.fixture
def small():
    return Clip(torch.nn.Identity(), lambda captions: torch.zeros(len(captions), 4), 224, (0.5,) * 3, (0.25,) * 3)


def test_the_form_names_the_preparation_of_large_images(small):
    assert small.form == "224-shortest-bicubic"
    other = dataclasses.replace(small, size=32, resize="squash", interpolation="bilinear")
    assert other.form == "32-squash-bilinear"


def test_a_model_and_its_preparation_stay_together(small):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.size = 32
