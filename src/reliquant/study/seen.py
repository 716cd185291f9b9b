"""Which pairs a study's variants and models have seen, and whether a set that is searched draws from the same ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypedDict

from reliquant import plugins
from reliquant.study.study import Study
from reliquant.study.variants import Variant

SAME_PAIRS = {  # words that choose no other images: how many, which of their captions, what classes are called
    "images", "part", "hub", "captions", "caption", "lines", "label", "name", "classes", "templates", "prompts",
    "things",
}  # fmt: skip
TOLD = "no pair that is searched may be one that a variant or a model has seen; take others, such as of another seed"


class SeenSet(TypedDict):
    """Name pairs that were seen: by whom, the prepared folder that they are of, and its entry."""

    who: str
    folder: str
    entry: dict[str, Any]


def seen_problems(study: Study, name: str, /) -> Iterator[str]:
    """Say that the pairs of a captioned dataset were seen: by variants as their proxy, or by a model in its training.

    What cannot be known from a config, such as files that hold the same photographs under other names, is counted when
    the images are embedded (`evaluation/seen_pairs.py`).
    """
    for proxy, of in study.config.proxies.items():
        if of.of in study.config.datasets and _may_share(study, name, of.of):
            yield f"{name}: has the pairs of proxy {proxy}: {TOLD}"
    for model, entry in study.config.models.items():
        pairs = entry.get("pretrain", {}).get("pairs")
        if pairs in study.config.datasets and _may_share(study, name, pairs):
            yield f"{name}: has the pairs that model {model} is trained on: {TOLD}"


def seen_sets(study: Study, variant: Variant, /) -> list[SeenSet]:
    """List the prepared pairs that a variant has seen: its proxy's, or those that the workflow trains FP32 on."""
    if variant.scheme != "fp32":
        found = [] if variant.proxy == "none" else [(f"proxy {variant.proxy}", study.config.proxies[variant.proxy].of)]
    else:
        trains = study.trains(variant.model)
        found = [(f"the training of {variant.model}", study.pretrain_words(variant.model)[0])] if trains else []
    return [
        {"who": who, "folder": study.prepared(name, variant.model), "entry": dict(study.dataset_entry(name))}
        for who, name in found
    ]


def _may_share(study: Study, one: str, other: str) -> bool:
    """Whether two datasets draw from the same pairs, as their entries say with the defaults of their plugins.

    Datasets that are read from files share pairs where they read the same folder, by whatever plugin, unless a word
    that both take chooses others, such as another split or other files. Generated ones have no folder: they share
    pairs where one generator has the same words. How many images are taken, and which of their captions, tells no
    pairs apart.
    """
    if one == other:
        return True
    (plugin, mine), (theirs_by, theirs) = (_words(study, name) for name in (one, other))
    with suppress(plugins.ConfigError):  # an unknown plugin is told elsewhere
        generated = [plugins.place("dataset", name) is None for name in (plugin, theirs_by)]
        if any(generated):
            same = plugin == theirs_by
        else:
            same = os.path.realpath(study.root(one)) == os.path.realpath(study.root(other))
        only_captions = {str(word) for name in (plugin, theirs_by) for word in _caption_words(name)}
        words = (mine.keys() & theirs.keys()) - SAME_PAIRS - only_captions
        return same and not any(_apart(mine[word], theirs[word]) for word in words)
    return False


def _words(study: Study, name: str) -> tuple[str, dict[str, Any]]:
    """Return the plugin of a dataset and all its words, those that the entry leaves out with their defaults."""
    entry = dict(study.dataset_entry(name))
    plugin = str(entry.pop("dataset"))
    known: dict[str, Any] = {}
    with suppress(plugins.ConfigError):
        own = plugins.words(plugins.source("dataset", plugin), "dataset")
        known = {word: default for word, (_, default) in own.items()}
    return plugin, known | entry


def _caption_words(plugin: str) -> tuple[str, ...]:
    """Return the words that change only what a plugin's captions say: its literal SAME_IMAGES."""
    return tuple(plugins.literal("dataset", plugin, "SAME_IMAGES") or ())


def _apart(one: Any, other: Any) -> bool:
    """Whether two values of a word choose different images: None takes all, and lists choose what they name."""
    if one is None or other is None:
        return False
    if isinstance(one, list) and isinstance(other, list):
        return not {os.path.normpath(str(each)) for each in one} & {os.path.normpath(str(each)) for each in other}
    return bool(one != other)
