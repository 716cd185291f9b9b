import re

import numpy as np
import pytest

from reliquant.study.form import Form
from reliquant.study.preprocessing import described, differences, read_preprocessing

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)


def refused(config, size=32):
    with pytest.raises(ValueError, match=r"^here: ") as refusal:
        read_preprocessing(config, size, "here")
    return str(refusal.value)


def test_what_a_config_does_not_say_is_open_clips_default():
    found = read_preprocessing({"std": None}, 224, "here")
    assert (found.form, found.mean, found.doubts) == (Form(224, 224), OPENAI_MEAN, ())


@pytest.mark.parametrize("mean", [0.5, [0.1, 0.2, 0.3], [0.4], 0])
@pytest.mark.parametrize("std", [0.5, [0.2, 0.3, 0.4]])
@pytest.mark.parametrize("size", [32, [24, 48]])
@pytest.mark.parametrize("interpolation", ["bilinear", "random"])
@pytest.mark.parametrize(
    ("resize", "fill"), [("shortest", 0), ("squash", 0), ("longest", 0), ("longest", 255), ("longest", [9, 200, 30])]
)
def test_every_config_means_what_open_clip_makes_of_it(mean, std, size, interpolation, resize, fill):
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    config = {"mean": mean, "std": std, "interpolation": interpolation, "resize_mode": resize, "fill_color": fill}
    theirs = image_transform_v2(PreprocessCfg(size=size, **config), is_train=False)
    found = read_preprocessing(config, size, "here")
    height, width = found.form.height, found.form.width
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)  # of the right size already
    normalised = (image.astype(np.float32) / 255 - found.mean) / found.std
    np.testing.assert_allclose(normalised, theirs(Image.fromarray(image)).permute(1, 2, 0).numpy(), atol=1e-5)
    if resize == "longest":
        padded = theirs(Image.new("RGB", (8, 64)))[:, 0, 0]
        expected = (torch.tensor(found.form.fill) / 255 - torch.tensor(found.mean)) / torch.tensor(found.std)
        torch.testing.assert_close(padded, expected)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"interpolation": "nearest"}, "interpolation: must be bicubic, bilinear or random .* got 'nearest'"),
        ({"resize_mode": "pad"}, "resize_mode: must be shortest, longest or squash, as for open_clip, got 'pad'"),
        ({"mean": [0.5, 0.5]}, r"mean: must be a number, or one for each of the 3 channels, got \[0.5, 0.5\]"),
        ({"std": "0.5"}, "std: must be a number"),
        ({"std": [0.5, 0, 0.5]}, "std: must not be 0 in any channel"),
        ({"std": [0.5, float("nan"), 0.5]}, "std: must be a number"),
        ({"resize_mode": "longest", "fill_color": 300}, "fill_color: must be a level from 0 to 255"),
        ({"resize_mode": "longest", "fill_color": [1, 2]}, "fill_color: must be a level from 0 to 255"),
        ({"mode": "L"}, "mode: must be RGB"),
    ],
)
def test_what_open_clip_cannot_do_is_refused_by_name(config, said):
    assert re.match(f"here: {said}", refused(config))


@pytest.mark.parametrize("size", [0, "224", [1, 2, 3], None, 2.5, True])
def test_a_size_that_is_none_is_refused(size):
    assert "image_size: must be pixels, or [height, width]" in refused({}, size)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"resize": "longest"}, "open_clip reads no key 'resize'; it reads mean, std"),
        ({"mean": 0}, "mean: 0 is what open_clip takes for no value: it uses [0.48145466"),
        ({"mean": [123.675, 116.28, 103.53]}, "mean: [123.675, 116.28, 103.53] is above 1; levels are divided by 255"),
        ({"interpolation": "random"}, "interpolation: random is bicubic here, as when open_clip evaluates"),
    ],
)
def test_what_is_likely_a_mistake_is_a_doubt(config, said):
    (doubt,) = read_preprocessing(config, 32, "here").doubts
    assert doubt.startswith(said)


def test_open_clip_resizes_no_field_but_a_square_by_another_interpolation():
    config = {"interpolation": "bilinear"}
    assert read_preprocessing(config, [32, 64], "here").form.interpolation == "bicubic"
    assert read_preprocessing(config, 32, "here").form.interpolation == "bilinear"


def test_differences_are_told_with_both_values_and_spelling_is_none():
    assert differences({"mean": 0.5}, {"mean": (0.5, 0.5, 0.5)}) == []
    told = differences({"mean": 0.5, "resize_mode": "squash"}, {})
    assert told == [f"mean 0.5, not [{', '.join(map(str, OPENAI_MEAN))}]", "resize_mode squash, not shortest"]
    padded = described({"mean": 0.5, "std": 0.5, "resize_mode": "longest"})
    assert padded == "mean: 0.5, std: 0.5, interpolation: bicubic, resize_mode: longest, fill_color: 0"
