from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize as unit

from reliquant.models.check import check_model
from reliquant.models.clip import Clip


class Towers(nn.Module):
    """The least that a model must have."""

    def __init__(self, scale=2.0, context=6, width=5):
        super().__init__()
        self.image, self.words = nn.Linear(3, 5), nn.Embedding(10, width)
        self.context = context
        self.logit_scale = nn.Parameter(torch.tensor(scale))

    def encode_image(self, x, normalize=False):
        features = self.image(x.mean(dim=(2, 3)))
        return unit(features, dim=-1) if normalize else features

    def encode_text(self, tokens, normalize=False):
        features = (self.words(tokens) + torch.zeros(self.context, 1)).mean(dim=1)
        return unit(features, dim=-1) if normalize else features


def tokens(captions):
    return torch.tensor([[1, len(caption) % 9, 2, 0, 0, 0] for caption in captions])


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return Clip(Towers(), tokens, 8, (0.5,) * 3, (0.25,) * 3)


def refused(clip, form="native"):
    with pytest.raises(ValueError, match=r"^mine: ") as refusal:
        check_model(clip, "mine", form)
    assert "\n" not in str(refusal.value)
    return str(refusal.value).removeprefix("mine: ")


def test_a_model_that_does_what_it_must_is_right(clip):
    check_model(clip, "mine", "8-shortest-bicubic")
    check_model(replace(clip, size=(8, 12), resize="longest", fill=(1, 2, 3)), "mine")


def test_a_logit_scale_may_be_a_buffer_of_one_number(clip):
    del clip.model.logit_scale
    clip.model.register_buffer("logit_scale", torch.tensor([4.6052]))
    check_model(clip, "mine")


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (
            100.0,
            "logit_scale is 100, which multiplies by exp(100); a logarithm from -5 to 10 is expected",
        ),
        (14.2857, "is it the multiplier? Its logarithm is 2.659"),
        (-6.0, "logit_scale is -6, which multiplies by exp(-6); a logarithm from -5 to 10 is expected"),
    ],
)
def test_a_multiplier_in_place_of_the_logarithm_is_refused(clip, scale, said):
    assert said in refused(replace(clip, model=Towers(scale)))


def test_a_logit_scale_that_is_absent_or_no_tensor_is_named(clip):
    del clip.model.logit_scale
    assert refused(clip).startswith("has no logit_scale; a tensor, the logarithm of what multiplies cosines, is needed")
    clip.model.logit_scale = 4.6
    assert refused(clip).startswith("has a logit_scale that is a float")
    clip.model.logit_scale = torch.zeros(2)
    assert refused(clip) == "logit_scale has the shape (2,); it must be one number"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(clip, value):
    with torch.no_grad():
        clip.model.words.weight[3, 1] = value
        clip.model.image.bias[0] = value
    assert refused(clip) == "its weights are not finite (NaN or inf): image.bias and 1 more"


def test_a_text_tower_of_another_context_is_told_with_the_error(clip):
    told = refused(replace(clip, model=Towers(context=7)))
    assert told.startswith(
        "encode_text(tokens (1, 6), normalize=True) fails: RuntimeError: The size of tensor a (6) must"
    )


def test_towers_of_two_widths_are_told(clip):
    assert (
        refused(replace(clip, model=Towers(width=4)))
        == "encode_image gives 5 numbers an image, encode_text 4 a caption"
    )


def test_a_tokenizer_must_return_ids(clip):
    wanted = "it must return token ids (n, context), as `tokenizer(texts, ...).input_ids` of transformers"
    for returned, said in (
        ({"input_ids": torch.zeros(1, 6)}, "its tokenizer returns a dict"),
        (SimpleNamespace(input_ids=1), "its tokenizer returns a SimpleNamespace"),
        (torch.zeros(6, dtype=torch.int64), "its tokenizer returns int64 (6,) for one caption"),
        (torch.zeros(1, 6), "its tokenizer returns float32 (1, 6) for one caption"),
    ):
        assert refused(replace(clip, tokenizer=lambda _, returned=returned: returned)) == f"{said}; {wanted}"

    def broken(captions):
        raise KeyError(captions[0])

    assert refused(replace(clip, tokenizer=broken)) == "its tokenizer fails on ['a photo']: KeyError: 'a photo'"


class Plain(Towers):
    def encode_text(self, tokens):
        return super().encode_text(tokens)


class Long(Towers):
    def encode_image(self, x, normalize=False):
        return super().encode_image(x) + 3


class Pair(Towers):
    def encode_image(self, x, normalize=False):
        return super().encode_image(x), None


class Endless(Towers):
    def encode_text(self, tokens, normalize=False):
        return super().encode_text(tokens) / 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            Plain,
            r"encode_text(tokens (1, 6), normalize=True) fails: TypeError: Plain.encode_text() got",
        ),
        (Long, "encode_image(pixels (1, 3, 8, 8), normalize=True) gives a vector of length "),
        (Pair, "encode_image(pixels (1, 3, 8, 8), normalize=True) gives a tuple, not one row of numbers"),
        (Endless, "encode_text(tokens (1, 6), normalize=True) gives numbers that are not finite (NaN or inf)"),
    ],
)
def test_a_tower_that_does_something_else_is_named_with_what_it_does(clip, model, said):
    assert refused(replace(clip, model=model())).startswith(said)


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        ("size", [8, 8], "size must be pixels, or a tuple (height, width), not [8, 8]"),
        ("size", 0, "size must be pixels"),
        ("mean", 0.5, "mean must be a tuple of a number for each of the 3 channels, not 0.5"),
        ("mean", (0.5, 0.5), "mean must be a tuple of a number for each of the 3 channels"),
        ("std", (0.5, 0.0, 0.5), "std must not be 0, but is (0.5, 0.0, 0.5)"),
        ("resize", "crop", "resize must be shortest or longest or squash, not 'crop'"),
        ("interpolation", "nearest", "interpolation must be bicubic or bilinear, not 'nearest'"),
    ],
)
def test_words_of_a_tower_that_nobody_can_use_are_named(clip, word, value, said):
    assert refused(replace(clip, **{word: value})).startswith(said)


def test_a_form_that_is_not_the_models_is_named(clip):
    told = "wants images as 8-shortest-bicubic, not 224-shortest-bicubic: write `form: 8-shortest-bicubic` in its entry"
    assert refused(clip, "224-shortest-bicubic") == told


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        ("blocks", "visual.*", "blocks must be a tuple of names of modules, not 'visual.*'"),
        ("blocks", ("floors.*",), "blocks: 'floors.*' fits no module; the model's outer modules are "),
        ("image", ("eyes",), "image: 'eyes' fits no module; the model's outer modules are "),
        ("text", [3], "text must be a tuple of names of modules, not [3]"),
    ],
)
def test_names_of_parts_that_are_none_are_told_before_anything_is_embedded(clip, word, value, said):
    assert said in refused(replace(clip, **{word: value}))


def test_what_is_no_clip_at_all_is_named(clip):
    assert refused({"model": clip.model}).endswith("returns a dict, not a reliquant.models.clip.Clip")
