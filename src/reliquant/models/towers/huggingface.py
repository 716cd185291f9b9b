"""ALIGN (Jia et al. 2021) through Hugging Face transformers, an optional dependency: `reliquant[huggingface]`.

`architecture` is a hub repository such as `kakaobrain/align-base`, or a local folder. The image tower is an
EfficientNet, the text tower a BERT. open_clip does not have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize as unit

from reliquant.download.hub import TRANSFORMERS, hub_folder, weights_in
from reliquant.files.bounded import read_json
from reliquant.models.checkpoint import first
from reliquant.models.clip import Clip
from reliquant.models.state import load_state
from reliquant.study.form import Interpolation

NEEDS = "transformers"
FILTERS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def tower(
    state: dict[str, torch.Tensor] | None,
    /,
    *,
    architecture: str,
    cache: str | None = None,
    revision: str | None = None,
) -> Clip:
    """Build the ALIGN model of a hub repository or local folder and load `state`, else its weights.

    `revision` is a commit of the repository. Raises ValueError without transformers, for another kind of model, or when
    the weights do not fit; FetchError when they cannot be fetched.
    """
    transformers = _transformers()
    folder = _folder(architecture, revision, cache)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.model_type != "align":
        raise ValueError(f"architecture {architecture!r} is a {config.model_type} model; this tower opens align only")
    facts = read_json(folder / "preprocessor_config.json")
    size, crop, interpolation = _sizes(facts, f"{architecture}: preprocessor_config.json")
    model = transformers.AlignModel(config) if state is not None else _with_weights(transformers, folder, architecture)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    context = min(tokenizer.model_max_length, config.text_config.max_position_embeddings)

    def tokens(texts: list[str]) -> torch.Tensor:
        words = {"padding": "max_length", "max_length": context, "truncation": True, "return_tensors": "pt"}
        return tokenizer(texts, **words).input_ids

    align = Align(model, tokenizer.pad_token_id, crop)
    if state is not None:
        load_state(align, state, f"architecture {architecture!r}")
    pixels = {"resize": "squash", "interpolation": interpolation}
    return Clip(align.eval(), tokens, size, *_mean_and_std(facts), **pixels)


def weights(*, architecture: str, cache: str | None = None, revision: str | None = None) -> Path | None:
    """Fetch the published weights of an entry and return their path; None for a local folder's.

    Raises ValueError without transformers, before anything is fetched.
    """
    _transformers()
    return None if Path(architecture).is_dir() else weights_in(_folder(architecture, revision, cache), TRANSFORMERS)


class Align(nn.Module):
    """Give an AlignModel of transformers the methods of an open_clip model.

    `logit_scale` is the negative logarithm of ALIGN's temperature. Padding is not attended to. Images come resized to a
    square, of which the model sees the centre, `crop` pixels wide, as after ALIGN's own preprocessing.
    """

    def __init__(self, model: Any, padding: int, crop: int, /) -> None:
        super().__init__()
        self.padding, self.crop = padding, crop
        self.visual, self.text, self.text_projection = model.vision_model, model.text_model, model.text_projection
        self.text.pooler = None  # BERT's, which ALIGN does not use
        self.logit_scale = nn.Parameter(-model.temperature.detach().log())

    def encode_image(self, image: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Embed normalised pixels (n, 3, s, s) as (n, d)."""
        edge = (image.shape[-1] - self.crop) // 2
        image = image[..., edge : edge + self.crop, edge : edge + self.crop]  # (n, 3, crop, crop)
        features = self.visual(pixel_values=image).pooler_output
        return unit(features, dim=-1) if normalize else features

    def encode_text(self, text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Embed token ids (n, l) as (n, d)."""
        states = self.text(input_ids=text, attention_mask=(text != self.padding).long()).last_hidden_state
        features = self.text_projection(states[:, 0])
        return unit(features, dim=-1) if normalize else features


def _transformers() -> Any:
    import reliquant.models.openclip  # noqa: F401  imports torchvision where that cannot be done alone; so before

    try:
        import transformers
    except ImportError as error:
        raise ValueError("tower huggingface needs transformers: pip install 'reliquant[huggingface]'") from error
    return transformers


def _folder(architecture: str, revision: str | None, cache: str | None) -> Path:
    """Return a local folder as it is, else that of the hub's repository."""
    local = Path(architecture)
    return local if local.is_dir() else hub_folder(architecture, names=TRANSFORMERS, revision=revision, cache=cache)


def _with_weights(transformers: Any, folder: Path, architecture: str) -> Any:
    """Return the model with the weights of a folder; raise ValueError where transformers would draw some of them."""
    words = {"local_files_only": True, "dtype": torch.float32, "output_loading_info": True}
    model, told = transformers.AlignModel.from_pretrained(folder, **words)
    lacking = sorted({*told["missing_keys"], *(str(key) for key in told["mismatched_keys"])})
    if lacking:
        what = f"{len(lacking)} weights are missing or of another shape ({first(lacking)})"
        raise ValueError(f"{architecture}: {what}; transformers would draw them at random")
    return model


def _sizes(facts: dict[str, Any], where: str) -> tuple[int, int, Interpolation]:
    """Return to how many pixels images are resized, how many the model sees, and how they are interpolated.

    Raises ValueError naming what ALIGN's own preprocessing does not do.
    """
    size = facts.get("size")
    crop = facts.get("crop_size") if facts.get("do_center_crop") else size
    for word, value in (("size", size), ("crop_size", crop)):
        if not isinstance(value, dict) or value.get("height") != value.get("width") or not value.get("height"):
            raise ValueError(f"{where}: {word}: must be {{height: n, width: n}}, of a square, got {value!r}")
    for word in ("do_resize", "do_rescale"):
        if not facts.get(word, True):
            raise ValueError(f"{where}: {word}: must be true")
    if facts.get("resample", 3) not in FILTERS:
        raise ValueError(f"{where}: resample: must be 2 (bilinear) or 3 (bicubic), got {facts['resample']!r}")
    return size["height"], crop["height"], FILTERS[facts.get("resample", 3)]


def _mean_and_std(facts: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the one mean and std, of levels in [0, 1], that do what ALIGN's preprocessing does in two steps.

    The steps are x = pixel * rescale_factor - rescale_offset, then (x - image_mean) / image_std.
    """
    std = 1 / (255 * facts.get("rescale_factor", 1 / 255))
    mean = std if facts.get("rescale_offset") else 0.0
    if not facts.get("do_normalize", True):
        return (mean,) * 3, (std,) * 3
    means = tuple(mean + channel * std for channel in facts["image_mean"])
    stds = tuple(channel * std for channel in facts["image_std"])
    return means, stds
