"""The README of an exported folder: what it is, how it is fed, what was measured of it."""

from __future__ import annotations

from typing import Any

from reliquant.report.escaping import markdown


def card_of_export(facts: dict[str, Any], /) -> str:
    """Return the Markdown of a folder's facts (`folder.py`)."""
    pixels, tokens = facts["preprocessing"], facts["tokenizer"]
    scheme = " ".join(f"{word} {value}" for word, value in (facts.get("labels") or {}).items())
    quantizer = (facts.get("entry") or {}).get("quantizer", "none")
    size = f"{pixels['height']} x {pixels['width']}"
    lines = [
        f"# {markdown(facts['name'])}",
        "",
        f"Exported by reliquant for {facts['to']}: quantizer {markdown(str(quantizer))} {markdown(scheme)}.".rstrip(),
        "",
        "| file | input | output |",
        "|---|---|---|",
    ]
    for tower, told in facts["towers"].items():
        shape = (
            f"float32 (n, 3, {size.replace(' x ', ', ')})" if tower == "image" else f"int64 (n, {tokens['context']})"
        )
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
