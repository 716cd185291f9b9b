"""Names of columns that hold one coordinate each."""

import pytest

from reliquant.stored.frames import numbered_groups


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["e_1", "e_0", "x"], {"e": ["e_0", "e_1"]}),
        (["e1", "e2", "e3"], {"e": ["e1", "e2", "e3"]}),
        (["e_0", "e_2"], {}),
        (["e_2", "e_3"], {}),
        (["e_0"], {}),
        (["image", "image_0", "image_1"], {"image_0..image_1": ["image_0", "image_1"]}),
        ([f"p.{i}" for i in range(12)], {"p": [f"p.{i}" for i in range(12)]}),
        (["2024123456789", "2024123456790"], {}),
    ],
)
def test_numbers_go_on_from_0_or_1(names, groups):
    assert numbered_groups(names) == groups
