"""Words that several subcommands take."""

from __future__ import annotations

import argparse

MODEL = (
    "a .safetensors file of ours, a shipped lab model (lab-vit-curated), an open_clip name with or without a"
    " pretrained tag or file (ViT-B-32, ViT-B-32/openai), or hf-hub:owner/name"
)


def add_model_words(parser: argparse.ArgumentParser, /) -> None:
    """Add a model, and how it is quantized."""
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--scheme", default="rtn", help="a quantizer, or an entry such as '{quantizer: lsq, lr: 1e-5}'")
    parser.add_argument("--precision", default="w8a8")
    parser.add_argument("--scope", choices=["image", "both"], default="image")
