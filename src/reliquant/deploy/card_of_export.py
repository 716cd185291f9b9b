"""The model card of an exported folder: how its files are fed, what was measured of them, and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report.card import About, card
from reliquant.report.escaping import markdown

LIBRARY = {"onnx": "onnx", "openvino": "openvino", "torch": "pytorch"}  # as the hub calls it
VARIANT = ("model", "scheme", "precision", "scope")


def card_of_export(
    facts: Mapping[str, Any], rows: pl.DataFrame | None = None, known: Mapping[str, Any] | None = None, /
) -> str:
    """Return the Markdown of a folder's facts (`folder.py`), with front matter as Hugging Face's hub reads it.

    `rows` are those of the variant and of FP32; without them the card says that nothing was measured. `known` are the
    facts of the table that they came from; `hub` among the facts holds `base_model` and `license`.
    """
    labels, entry = facts.get("labels") or {}, facts.get("entry") or {}
    quantizer = str(entry.get("quantizer", "none"))
    variant = {word: labels[word] for word in VARIANT if word in labels}
    if "scheme" not in variant:
        variant |= {"scheme": "fp32" if quantizer == "none" else quantizer}
    sources = {"FP32 weights (sha256)": facts["model_sha256"], "variant (sha256)": facts["variant_sha256"]}
    versions = (known or {}).get("versions") or facts["versions"]
    about = About(
        title=facts["name"],
        **facts.get("hub", {}),
        library=LIBRARY[facts["to"]],
        tags=[facts["to"]],
        variant=variant,
        facts={**sources, **(known or {}), "versions": versions},
        usage=_usage(facts),
    )
    return card(rows, about)


def _usage(facts: Mapping[str, Any]) -> str:
    """Say in Markdown which files there are, and how they are fed."""
    pixels, tokens = facts["preprocessing"], facts["tokenizer"]
    size = f"{pixels['height']} x {pixels['width']}"
    lines = [
        f"Exported by reliquant for {facts['to']}. `export.json` says all that stands here to programs.",
        "",
        "## How to feed it",
        "",
        "| file | input | output |",
        "|---|---|---|",
    ]
    for tower, told in facts["towers"].items():
        shape = f"int64 (n, {tokens['context']})"
        if tower == "image":
            shape = f"float32 (n, 3, {pixels['height']}, {pixels['width']})"
        lines.append(f"| `{told['file']}` | `{told['input']}` {shape} | `{told['output']}` float32 (n, d), length 1 |")
    lines += [
        "",
        f"**Pixels**: RGB, resized to {size} (`{pixels['resize']}`, antialiased {pixels['interpolation']}), divided by "
        f"255, less {pixels['mean']}, divided by {pixels['std']}, channels first.",
        "",
        f"**Tokens**: `{markdown(tokens['class'])}`, {tokens['context']} of them; `export.json` has captions and their "
        "tokens to check a tokenizer by.",
        "",
        f"**Logits**: {facts['logit_scale']:.6g} x cosine + {facts['logit_bias']:.6g}.",
    ]
    if "prompts" in facts:
        lines += ["", f"**Classes**: `classes.npy`, one unit embedding for each of {len(facts['prompts']['classes'])}."]
    for reason, layers in facts["float_weights"].items():
        lines += ["", f"**Weights in float32** in {len(layers)} layers: {markdown(reason)}."]
    return "\n".join(lines) + "\n"
