import itertools

import pytest

from reliquant.study.form import Form, parse_form

SHAPES = [(1, 1), (40, 81), (81, 40), (37, 41), (64, 32), (500, 333), (15, 32), (17, 400)]
FIELDS = [(32, 32), (32, 64), (64, 32), (7, 93)]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("224-shortest-bicubic", Form(224, 224)),
        ("32x64-squash-bilinear", Form(32, 64, "squash", "bilinear")),
        ("336-longest-bicubic-fill0", Form(336, 336, "longest")),
        ("8-longest-bilinear-fill12.200.3", Form(8, 8, "longest", "bilinear", (12, 200, 3))),
    ],
)
def test_a_form_is_read_from_the_name_it_writes(name, form):
    assert parse_form(name) == form
    assert form.name == name


@pytest.mark.parametrize(
    "name",
    [
        "native", "224", "0-shortest-bicubic", "224-shortest-nearest", "224-longest-bicubic",
        "224-squash-bicubic-fill0", "224-longest-bicubic-fill256", "224-longest-bicubic-fill7.7.7",
        "224-longest-bicubic-fill007",
        "224x224-shortest-bicubic", "224-Shortest-bicubic", "224-shortest-bicubic\n", "",
    ],
)  # fmt: skip
def test_a_name_that_is_no_form_says_how_one_reads(name):
    with pytest.raises(ValueError, match=r"must read native, <size>-<shortest\|squash>-<bicubic\|bilinear> or "):
        parse_form(name)


@pytest.mark.parametrize(("resize", "field"), list(itertools.product(["shortest", "longest", "squash"], FIELDS)))
def test_an_image_has_the_size_that_open_clip_gives_it_before_it_crops_or_pads(resize, field):
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    first = image_transform_v2(PreprocessCfg(size=field, resize_mode=resize), is_train=False).transforms[0]
    for height, width in SHAPES:
        theirs = first(Image.new("RGB", (width, height)))
        assert Form(*field, resize).scaled(height, width) == (theirs.height, theirs.width)


def test_the_field_lies_in_the_middle():
    assert Form(32, 32).offset(32, 65) == (0, 16)  # as torchvision: round(33 / 2), to the even number
    assert Form(32, 32, "longest").offset(17, 32) == (-7, 0)  # as open_clip: the odd row goes below


def test_a_side_that_would_vanish_is_named():
    with pytest.raises(ValueError, match="500x3 pixels: nothing is left of the shorter side in the form 32-longest"):
        Form(32, 32, "longest").scaled(3, 500)
