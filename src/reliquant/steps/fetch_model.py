"""Get the FP32 weights that a tower entry names: from its hub, a file or the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant import plugins
from reliquant.models import save_model
from reliquant.steps import run


def main() -> None:
    """Parse, build the tower with its own weights, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entry", type=json.loads, required=True, help="tower entry, JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    save_model(args.output, plugins.load("tower", args.entry)(None), args.entry)


if __name__ == "__main__":
    run(main)
