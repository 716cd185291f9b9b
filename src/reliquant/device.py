"""Which device a step runs on."""

from __future__ import annotations

import argparse
import os

import torch


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add the words of `chosen` to a step's."""
    parser.add_argument("--device", default="auto")
    parser.add_argument("--deterministic", action="store_true", help="kernels that give the same figures on every run")
    parser.add_argument("--threads", type=int, default=1)


def chosen(args: argparse.Namespace, /) -> str:
    """Set threads and kernels for this process; return the device, see `choose`."""
    torch.set_num_threads(args.threads)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS wants it before its first call
        torch.use_deterministic_algorithms(True)
    return choose(args.device)


def choose(word: str, /) -> str:
    """Return the device for `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`; raise ValueError if absent.

    From here on float32 is float32 in this process: on a GPU torch starts with convolutions, in some containers also
    with products, in TF32, whose mantissa has 10 bits in place of 23.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=word)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {word!r} is not available here: {str(error).splitlines()[0]}") from error
    return word
