"""Words that several subcommands take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reliquant.plugins import ConfigError
from reliquant.study.scheme import scheme_entry

MODEL = (
    "a .safetensors file of ours, a model of the lab (lab-vit-curated), an open_clip name with a pretrained tag or"
    " file (ViT-B-32/laion2b_e16, ViT-B-32/mine.pt), hf-hub:owner/name, local-dir:folder, the module of a tower plugin,"
    " or a model's entry as in a study's config (YAML)"
)
RANDOM_WEIGHTS = "draw the weights of a model that is named without any; its figures mean nothing"
TOWER = (
    "the module of a tower plugin (my_models.pocket) that a .safetensors file of yours names: to open it is to run it"
)
IMAGES = (
    "a folder, a parquet file, a WebDataset tar, a .csv of paths, or a dataset's entry as in a study's config"
    " (YAML, with its root)"
)
UNREADABLE = "at an image that cannot be read: stop, or skip and count it"


def add_model_words(parser: argparse.ArgumentParser, /) -> None:
    """Add a model, and how it is quantized."""
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--tower", help=TOWER)
    parser.add_argument("--scheme", default="rtn", help="a quantizer, or an entry such as '{quantizer: lsq, lr: 1e-5}'")
    parser.add_argument("--precision", default="w8a8")
    parser.add_argument("--scope", choices=["image", "both"], default="image")


def positive(word: str, /) -> int:
    """Read a whole number above 0; raise ArgumentTypeError for anything else."""
    if not (word.isdecimal() and int(word) > 0):
        raise argparse.ArgumentTypeError(f"{word!r} is no whole number above 0")
    return int(word)


def writable(path: Path, word: str, /, *read: Path) -> None:
    """Raise IsADirectoryError naming the word of the command line for a folder: before hours of work, not after.

    Raises ValueError where it is one of the files that are `read`.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{word} {path}: is a folder; name a file in it")
    if any(path.resolve() == one.resolve() for one in read):
        raise ValueError(f"{word} {path}: is what is read, and would be overwritten; name another file")


def read_scheme(scheme: str, precision: str, /) -> dict[str, Any]:
    """Read `--scheme` and `--precision`; raise ConfigError naming the word of the command line."""
    try:
        return scheme_entry(scheme, precision)
    except ConfigError as error:
        raise ConfigError(f"--{problem}" for problem in error.problems) from error
