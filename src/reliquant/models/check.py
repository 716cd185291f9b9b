"""Say what is wrong with a model before anybody rests a figure on it: one image and one caption go through it."""

from __future__ import annotations

import math

import numpy as np
import torch

from reliquant.models.clip import Clip
from reliquant.models.preprocess import batches, pixel_words
from reliquant.study.form import NATIVE

LEAST, MOST = -5.0, 10.0  # of the logit scale, a logarithm: CLIP's ends at log 100 = 4.6, SigLIP's near log 120
CAPTION = "a photo"
UNIT = 1e-2  # how far from 1 the length of an embedding may be that is said to be a unit vector


def check_model(clip: Clip, name: str, /, form: str = NATIVE) -> None:
    """Raise ValueError naming the model and the first thing about it that cannot be right.

    Checked are the contract of `Clip`, that every weight is finite, that the logit scale can be a logarithm, and that
    an image and a caption become unit embeddings of one width; `form` is that in which images will be prepared for the
    model, which must be its own.
    """
    if not isinstance(clip, Clip):
        raise ValueError(f"{name}: its tower returns a {type(clip).__name__}, not a reliquant.models.clip.Clip")
    _check_words(clip, name)
    _check_weights(clip.model, name)
    _check_scale(clip.model, name)
    _check_parts(clip, name)
    image, text = _embedded(clip, name, "image"), _embedded(clip, name, "text")
    if image != text:
        raise ValueError(f"{name}: encode_image gives {image} numbers an image, encode_text {text} a caption")
    if form not in (NATIVE, clip.form):
        raise ValueError(f"{name}: wants images as {clip.form}, not {form}: write `form: {clip.form}` in its entry")


def _check_words(clip: Clip, name: str) -> None:
    """Raise ValueError where a tower plugin filled a field of Clip with what nobody can use."""
    sides = clip.size if isinstance(clip.size, tuple) else (clip.size, clip.size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"{name}: size must be pixels, or a tuple (height, width), not {clip.size!r}")
    allowed = {"resize": ("shortest", "longest", "squash"), "interpolation": ("bicubic", "bilinear")}
    for word, words in allowed.items():
        if getattr(clip, word) not in words:
            raise ValueError(f"{name}: {word} must be {' or '.join(words)}, not {getattr(clip, word)!r}")
    for word in ("mean", "std", "fill"):
        channels = getattr(clip, word)
        if not isinstance(channels, tuple) or len(channels) != 3 or not all(map(_is_number, channels)):
            raise ValueError(f"{name}: {word} must be a tuple of a number for each of the 3 channels, not {channels!r}")
    if not all(clip.std):
        raise ValueError(f"{name}: std must not be 0, but is {clip.std!r}")


def _check_parts(clip: Clip, name: str) -> None:
    """Raise ValueError where a name that a tower plugin gives to a part fits no module; parts that are found are."""
    given = {word: getattr(clip, word) for word in ("image", "text", "blocks")}
    for word, patterns in given.items():
        if not isinstance(patterns, tuple) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError(f"{name}: {word} must be a tuple of names of modules, not {patterns!r}")
    if any(given.values()):
        try:
            clip.parts  # noqa: B018  finds them
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_weights(model: torch.nn.Module, name: str) -> None:
    """Raise ValueError naming the first weights that are not finite, and how many more there are."""
    broken = []
    for key, value in model.state_dict().items():
        if value.dtype.is_floating_point and not torch.isfinite(value).all():
            broken.append(key)
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ValueError(f"{name}: its weights are not finite (NaN or inf): {broken[0]}{more}")


def _check_scale(model: torch.nn.Module, name: str) -> None:
    scale = getattr(model, "logit_scale", None)
    if not isinstance(scale, torch.Tensor):
        what = "has no logit_scale" if scale is None else f"has a logit_scale that is a {type(scale).__name__}"
        raise ValueError(f"{name}: {what}; a tensor, the logarithm of what multiplies cosines, is needed")
    if scale.numel() != 1:
        raise ValueError(f"{name}: logit_scale has the shape {tuple(scale.shape)}; it must be one number")
    value = float(scale.detach())
    if not LEAST <= value <= MOST:
        likely = f"; is it the multiplier? Its logarithm is {math.log(value):.4g}" if value > MOST else ""
        allowed = f"a logarithm from {LEAST:g} to {MOST:g} is expected (log 100 is 4.605)"
        raise ValueError(f"{name}: logit_scale is {value:g}, which multiplies by exp({value:g}); {allowed}{likely}")
    bias = getattr(model, "logit_bias", None)
    if bias is not None and not (isinstance(bias, torch.Tensor) and bias.numel() == 1):
        raise ValueError(f"{name}: logit_bias must be a tensor of one number, or None, not {bias!r:.60}")


def _embedded(clip: Clip, name: str, tower: str) -> int:
    """Embed one input, return how many numbers come out; raise ValueError where that is no unit vector."""
    x = _picture(clip) if tower == "image" else _tokens(clip, name)
    device = next((value.device for value in clip.model.parameters()), x.device)
    call = f"encode_{tower}({'pixels' if tower == 'image' else 'tokens'} {tuple(x.shape)}, normalize=True)"
    try:
        with torch.no_grad():
            out = getattr(clip.model, f"encode_{tower}")(x.to(device), normalize=True)
    except Exception as error:  # whatever a model of somebody else's raises
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"{name}: {call} fails: {type(error).__name__}: {told}") from error
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != 1:
        got = f"the shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
        raise ValueError(f"{name}: {call} gives {got}, not one row of numbers")
    if not torch.isfinite(out).all():
        raise ValueError(f"{name}: {call} gives numbers that are not finite (NaN or inf)")
    length = float(out.float().norm())
    if abs(length - 1) > UNIT:
        raise ValueError(
            f"{name}: {call} gives a vector of length {length:.4g}, not of length 1: it does not normalize"
        )
    return out.shape[1]


def _picture(clip: Clip) -> torch.Tensor:
    """Return an image of many colours: of a black one, a model without biases makes nothing."""
    height, width = clip.shape
    rows, columns, channels = np.ogrid[:height, :width, :3]
    image = ((rows * 7 + columns * 11 + channels * 83) % 256).astype(np.uint8)
    return next(batches(image[None], **pixel_words(clip), batch=1))


def _tokens(clip: Clip, name: str) -> torch.Tensor:
    try:
        tokens = clip.tokenizer([CAPTION])
    except Exception as error:  # whatever a tokenizer of somebody else's raises
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"{name}: its tokenizer fails on [{CAPTION!r}]: {type(error).__name__}: {told}") from error
    wanted = "it must return token ids (n, context), as `tokenizer(texts, ...).input_ids` of transformers"
    if not isinstance(tokens, torch.Tensor):
        raise ValueError(f"{name}: its tokenizer returns a {type(tokens).__name__}; {wanted}")
    if tokens.ndim != 2 or len(tokens) != 1 or tokens.dtype.is_floating_point:
        shape = f"{str(tokens.dtype).removeprefix('torch.')} {tuple(tokens.shape)}"
        raise ValueError(f"{name}: its tokenizer returns {shape} for one caption; {wanted}")
    return tokens
