"""Peers, the libraries that benchmarks compare with: one that is absent is named, and the exit status says so."""

from __future__ import annotations

import importlib.util
import json
import sys

ABSENT = 3  # the exit status


def absent(*modules: str) -> list[str]:
    """Return those of the modules that are not installed, and print which they are and how to install them."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}; `pip install 'reliquant[benchmarks]'` brings every peer")
    return missing


def require(benchmark: str, *modules: str) -> None:
    """End the process with status 3 unless all modules are installed; the last line has no ratio and names the rest."""
    missing = absent(*modules)
    if missing:
        print(json.dumps({"name": benchmark, "ratio": None, "absent": missing}))
        sys.exit(ABSENT)
