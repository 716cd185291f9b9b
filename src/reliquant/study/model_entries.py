"""What is wrong with a model's entry that is known before its weights are read; free of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from reliquant import plugins
from reliquant.download import published
from reliquant.study.form import NATIVE, parse_form
from reliquant.study.own_preprocessing import known_preprocessing, small_description

RANDOM = "random"  # the word `pretrained` of a model whose weights are drawn, which somebody must ask for
NO_WEIGHTS = (
    "no weights: `pretrained` must name a tag of its architecture or a file; `pretrained: random`, or --random-weights"
    " on the command line, draws them for whoever asks"
)
SCHEMES = ("hf-hub:", "local-dir:")  # what open_clip reads architectures from, with their weights


def names_weights(entry: Mapping[str, Any], /) -> bool:
    """Whether a tower's entry says which weights the model has, be they drawn at random.

    It does not where its plugin takes a word `pretrained` that it can do without, and the entry has none. A folder or a
    hub's repository brings its weights along. Raises ConfigError where there is no such tower.
    """
    name = entry.get("tower", "")
    _, default = plugins.words(plugins.source("tower", name), "tower").get("pretrained", ("", ""))
    if default is not None or entry.get("pretrained") is not None:
        return True
    return name == "openclip" and str(entry.get("architecture", "")).startswith(SCHEMES)


def tower_problems(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say what is wrong with the words of a tower's entry whose types are right, a line each."""
    architecture, pretrained = entry.get("architecture"), entry.get("pretrained")
    if not isinstance(architecture, str) or not isinstance(pretrained, str | None):
        return  # told elsewhere
    if entry.get("tower") == "small":
        try:
            if small_description(architecture) is None:
                yield unknown_small(architecture)
        except ValueError as error:
            yield str(error)
    elif entry.get("tower") == "openclip":
        problem = openclip_problem(architecture, pretrained)
        if problem:
            yield problem


def openclip_problem(architecture: str, pretrained: str | None, /) -> str | None:
    """Say what is wrong with an open_clip architecture, its tag, or the two together; None where nothing is."""
    scheme = next((scheme for scheme in SCHEMES if architecture.startswith(scheme)), None)
    if scheme:
        if pretrained not in (None, RANDOM):
            return f"pretrained {pretrained!r}: {scheme} brings its own weights; leave the word out"
        return None
    if published.description(architecture) is None:
        if ":" in architecture:
            return f"architecture {architecture!r}: must be a name of open_clip, or begin with {' or '.join(SCHEMES)}"
        if architecture and os.path.isdir(architecture):
            return f"architecture {architecture!r} is a folder: write local-dir:{architecture}"
        told = plugins.unknown("architecture", architecture, published.architectures())
        return told.replace(" is unknown", " is unknown to open_clip", 1)
    if pretrained in (None, RANDOM):
        return None
    if published.tag(architecture, pretrained):
        return activation_problem(architecture, pretrained)
    if os.path.exists(pretrained) or "/" in pretrained or "." in pretrained:
        return None  # a file, which whoever reads it looks at
    return _unknown_tag(architecture, pretrained)


def activation_problem(architecture: str, tag: str, /) -> str | None:
    """Say which architecture a tag was trained with, where it is not this one but its twin with another activation.

    A tag that is published for no twin belongs to the architecture, whatever the table says of its activation.
    """
    own = (published.description(architecture) or {}).get("quick_gelu", False)
    if published.tag(architecture, tag).get("quick_gelu", False) == own:
        return None
    twin = _twin(architecture)
    if published.description(twin) is None or not published.tag(twin, tag):
        return None
    return (
        f"architecture {architecture!r}: these weights were trained with the activation of {twin!r}: name {twin}/{tag}"
    )


def activation_note(architecture: str, pretrained: str, /) -> str | None:
    """Say which activation is used, where neither the tag nor the file of the weights says it; else None."""
    description = published.description(architecture)
    if description is None:
        return None
    own = "QuickGELU" if description.get("quick_gelu", False) else "GELU"
    tag, twin = published.tag(architecture, pretrained), _twin(architecture)
    if tag and tag.get("quick_gelu", False) != description.get("quick_gelu", False):
        return f"the tag {pretrained} does not say its activation; that of {architecture}, {own}, is used"
    if not tag and published.description(twin) is not None:
        return f"a file does not say its activation: {own} is used; {twin} has the other one"
    return None


def unknown_small(architecture: str, /) -> str:
    """Say that tower small has no such architecture, and which there are."""
    known = ", ".join(sorted(file.stem for file in (plugins.PACKAGE / "models" / "architectures").glob("*.json")))
    return f"architecture {architecture!r} is unknown; there are {known}, or give a path to a .json"


def _twin(architecture: str) -> str:
    plain = architecture.removesuffix("-quickgelu")
    return plain if plain != architecture else f"{architecture}-quickgelu"


def _unknown_tag(architecture: str, pretrained: str) -> str:
    told = f"architecture {architecture!r}, pretrained {pretrained!r}: neither a tag of open_clip nor a file"
    if published.tag(_twin(architecture), pretrained):
        return f"{told}; {_twin(architecture)}/{pretrained} is published"
    there = published.tags(architecture)
    return f"{told}; {plugins.unknown('tag', pretrained, [*there, RANDOM])}" if there else f"{told}; it has no tag"


def known_form(entry: Mapping[str, Any], /) -> str | None:
    """Name the form in which a model wants its images, None where only its weights, or nobody, can tell."""
    try:
        own = known_preprocessing(entry)
    except (ValueError, OSError, LookupError, TypeError, AttributeError):
        return None  # `preprocessing_problems` says what, or whoever opens the model
    return own.form.name if own else None


def preprocessing_problems(entry: Mapping[str, Any], form: str | None, /) -> Iterator[str]:
    """Say which words of preprocessing open_clip does not know, and that a form of the config is not the model's."""
    try:
        known_preprocessing(entry)
    except ValueError as error:
        yield str(error)
    except (OSError, LookupError, TypeError, AttributeError):
        return
    own = known_form(entry)
    if own is None or form in (None, NATIVE, own):
        return
    with suppress(ValueError):  # a name that is no form is told with the entry
        yield f"form: {parse_form(str(form)).name} is not what the model wants: write `form: {own}`, or leave it out"
