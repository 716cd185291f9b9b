"""The words of a scheme that say where in a model it quantizes; free of torch.

What they find in a model is in `quantization/where.py` and `quantization/attention.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from reliquant.grid import FLOAT_BITS, attention_precision, parse_precision

Factor = Literal["q", "k", "v", "probabilities"]
FACTORS: tuple[Factor, ...] = get_args(Factor)


def _factors(value: object) -> object:
    if isinstance(value, list):
        return value
    if value != "all":
        raise PydanticCustomError("factors", "must be all, or a list of {some}", {"some": ", ".join(FACTORS)})
    return list(FACTORS)


def _precision(word: object) -> object:
    if isinstance(word, str):
        try:
            attention_precision(word)
        except ValueError as error:
            raise PydanticCustomError("precision", "{problem}", {"problem": str(error)}) from error
    return word


def _something(value: object) -> object:
    if value is None:
        raise PydanticCustomError("attention", "must be all, or a mapping; leave it out to round nothing of attention")
    return value


Factors = Annotated[list[Factor], BeforeValidator(_factors, json_schema_input_type=Literal["all"] | list[Factor])]


class Attention(BaseModel):
    """Which factors of attention products are rounded, by tower: a list of them or `all`.

    `precision` is one of activations, the scheme's own if None; `probabilities` says on which levels those lie.
    """

    model_config = ConfigDict(extra="forbid")

    image: Factors = []
    text: Factors = []
    precision: Annotated[str | None, BeforeValidator(_precision)] = None
    probabilities: Literal["uniform", "log_sqrt2"] = "uniform"

    @model_validator(mode="before")
    @classmethod
    def _of_both(cls, value: object) -> object:
        if value == "all":
            return {"image": "all", "text": "all"}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("attention", "must be all, or a mapping of image and text to lists of factors")
        return value

    @model_validator(mode="after")
    def _of_some(self) -> Attention:
        rounded = {*self.image, *self.text}
        if not rounded:
            raise PydanticCustomError("attention", "names no factors; give image or text all, or some of q, k, v, ...")
        if self.probabilities != "uniform" and "probabilities" not in rounded:
            raise PydanticCustomError("attention", "probabilities: log_sqrt2 is for probabilities, which are not named")
        return self

    @property
    def towers(self) -> dict[str, list[Factor]]:
        """Return the factors of each tower that has some."""
        return {tower: factors for tower, factors in (("image", self.image), ("text", self.text)) if factors}

    def words(self, precision: str, /) -> dict[str, Any]:
        """Return what this says of a grid in a scheme's variant of a precision."""
        return attention_precision(self.precision) if self.precision else parse_precision(precision)[1]


class Layers(BaseModel):
    """Where a scheme quantizes, by name patterns (`*`, `?`) and by `first` and `last`, the end blocks of each tower.

    `keep`: layers, and attention if it is rounded, that stay in floating point; `other`: those of another precision;
    `also`: layers outside the blocks; `attention`: which factors of attention products are rounded.
    """

    model_config = ConfigDict(extra="forbid")

    keep: list[str] = []
    other: dict[str, str] = {}
    also: list[str] = []
    attention: Annotated[
        Attention | None, BeforeValidator(_something, json_schema_input_type=Literal["all"] | Attention)
    ] = None


def attention_problems(entry: Mapping[str, Any], precision: str, /) -> Iterator[str]:
    """Say where a scheme's words for attention contradict a precision."""
    attention = attention_of(entry)
    if attention is None:
        return
    where = "layers: attention"
    if parse_precision(precision)[1]["bits"] >= FLOAT_BITS:
        told = f"{precision} leaves activations in floating point, and with them what attention multiplies"
        yield f"{where}: {told}; leave attention out, or give the scheme `precisions` without {precision}"
    elif attention.probabilities == "log_sqrt2" and len(attention.words(precision)) > 1:
        yield f"{where}: probabilities: log_sqrt2 takes plain bits, such as a8, not a format; leave one of them out"


def attention_of(entry: Mapping[str, Any], /) -> Attention | None:
    """Return what a scheme's entry, whose keys have been checked, says of attention; None if it says nothing."""
    return Layers.model_validate(entry.get("layers", {})).attention


def scope_problems(entry: Mapping[str, Any], scopes: list[str], /) -> Iterator[str]:
    """Say if a scheme's words for attention name no tower that one of its scopes quantizes."""
    attention = attention_of(entry)
    if attention is not None and not attention.image and "image" in scopes:
        told = "names the text tower alone, which scope image does not quantize"
        yield f"layers: attention: {told}; name the image tower, or give the scheme `scopes: [both]`"


def told(error: ValidationError, /) -> str:
    """Return what is first wrong with the words of `layers`, and where among them."""
    first = error.errors()[0]
    where = "".join(f"{part}: " for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = Attention if first["loc"][0] == "attention" and len(first["loc"]) > 1 else Layers
        return f"{where}unknown word; there are {', '.join(known.model_fields)}"
    return where + first["msg"]
