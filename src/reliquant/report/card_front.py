"""The front matter of a model card, YAML as Hugging Face's hub reads it, of what is known; free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from reliquant.files.artifacts import UNKNOWN
from reliquant.report.card_lines import FP32, OF_BOTH, Shown
from reliquant.report.escaping import one_line
from reliquant.study.config import RETRIEVAL

ZERO_SHOT = {"type": "zero-shot-image-classification", "name": "Zero-shot image classification"}
TASKS = {  # by suite; the hub has no task of its own for the others
    "ood": {"type": "other", "name": "Out-of-distribution detection"},
    RETRIEVAL: {"type": "other", "name": "Image-text retrieval"},
}
ON_HUB = {"worst_group_accuracy": "accuracy", "top5_accuracy": "accuracy"}  # a metric's type, where it has another name


@dataclass(frozen=True)
class About:
    """What is known of a model beside its rows; what is empty is left out of the card.

    `variant` are the words of a variant that was not measured; `facts` are shown under provenance; `usage` is Markdown
    that stands in the card as it is.
    """

    title: str = ""
    base_model: str = ""  # its name on the hub, owner/name
    license: str = ""
    library: str = ""
    tags: Sequence[str] = ()
    variant: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    usage: str = ""


def front_matter(about: About, measured: Sequence[tuple[str, Mapping[str, Any], Sequence[Shown]]], /) -> str:
    """Write the front matter from variants: a name, its words, and what is shown of its rows.

    Texts that strangers wrote are YAML strings, whatever is in them.
    """
    variants = [words for _, words, _ in measured]
    known: dict[str, Any] = {}
    if about.base_model:
        known["base_model"] = one_line(about.base_model)
        if not all(map(is_fp32, variants)):
            known["base_model_relation"] = "quantized"
    known |= {"license": one_line(about.license)} if about.license else {}
    known |= {"library_name": one_line(about.library)} if about.library else {}
    known["pipeline_tag"] = ZERO_SHOT["type"]
    known["tags"] = _tags(about, variants)
    index = [_model(name, lines) for name, _, lines in measured if lines]
    if index:
        known["metrics"] = ["accuracy"] if _has_accuracy(measured) else []  # of those that the hub has a page for
        known["model-index"] = index
    known = {word: value for word, value in known.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=100)}---\n"


def is_fp32(variant: Mapping[str, Any], /) -> bool:
    """Whether a variant is FP32 itself, in whatever runtime.

    >>> is_fp32({"scheme": "fp32@onnxruntime"}), is_fp32({"scheme": "rtn"})
    (True, False)
    """
    return str(variant.get("scheme") or "").partition("@")[0] == FP32


def _has_accuracy(measured: Sequence[tuple[str, Mapping[str, Any], Sequence[Shown]]]) -> bool:
    return any(ON_HUB.get(line.measure, line.measure) == "accuracy" for _, _, lines in measured for line in lines)


def _tags(about: About, variants: Sequence[Mapping[str, Any]]) -> list[str]:
    words = ["reliquant", *about.tags]
    for variant in variants:
        if not is_fp32(variant):
            named = [str(variant.get(word) or "") for word in ("scheme", "precision")]
            words += ["quantized", *(word for word in named if word not in ("", UNKNOWN))]
    return list(dict.fromkeys(map(one_line, words)))


def _model(name: str, lines: Sequence[Shown]) -> dict[str, Any]:
    """Return a model's entry of the index: a result for each suite and set, a metric for each measured value."""
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        dataset = {"name": one_line(line.dataset), "type": one_line(line.dataset), "config": line.suite}
        task = dict(TASKS.get(line.suite, ZERO_SHOT))
        place = results.setdefault((line.suite, line.dataset), {"task": task, "dataset": dataset, "metrics": []})
        apart = line.set_.removeprefix(line.dataset).removeprefix(", ")
        told = f"{line.measure} ({apart})" if apart else line.measure
        metric = {"type": ON_HUB.get(line.measure, line.measure), "name": one_line(told)}
        place["metrics"].append({**metric, "value": _rounded(line.value), "args": _numbers(line)})
    return {"name": one_line(name), "results": list(results.values())}


def _numbers(line: Shown) -> dict[str, float | int]:
    """Return what else is known of a value: images, its 95 % interval, FP32's value and the change from it."""
    ends = {"low": line.low, "high": line.high}
    if line.measure not in OF_BOTH:
        change = line.change
        ends |= {"fp32": line.fp32, "change": change.value, "change_low": change.low, "change_high": change.high}
    known: dict[str, float | int] = {"n": line.n} if line.n else {}
    return known | {word: _rounded(value) for word, value in ends.items() if value is not None}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
