"""Get the FP32 weights that a tower entry names: from a hub, a file or the package."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.download.hub import facts_of, name_of
from reliquant.download.lock import check_or_record, read_lock
from reliquant.models.check import check_model
from reliquant.models.files import save_model
from reliquant.progress import say
from reliquant.steps import run
from reliquant.study import placed
from reliquant.study.form import NATIVE
from reliquant.study.model_entries import NO_WEIGHTS, names_weights


def main() -> None:
    """Parse, build the tower with its own weights, run it once, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entry", type=json.loads, required=True, help="tower entry, JSON")
    parser.add_argument("--lock", type=Path, required=True, help="JSON of the revisions and sha256 that are known")
    parser.add_argument("--form", default=NATIVE, help="the form in which the study prepares images for the model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--placed", default="", help="digest of the files that the entry names, empty without any")
    args = parser.parse_args()
    if not names_weights(args.entry):
        raise ValueError(f"{args.output.stem}: {NO_WEIGHTS}")
    entry = {**args.entry, **_pinned(args.entry, args.lock)}
    clip = plugins.load("tower", entry)(None)
    check_model(clip, args.output.stem, args.form)
    if args.placed:
        placed.require(args.placed, placed.model_digest(args.entry), args.output.stem)
    with placed.recorded(args.output):
        save_model(args.output, clip, entry)
    placed.record(str(args.output.with_suffix(".placed.json")), args.placed)


def _pinned(entry: Mapping[str, Any], lock: Path) -> dict[str, str]:
    """Fetch published weights, check or record them in the lock; return the words that fix their revision."""
    name = name_of(entry)
    tower = plugins.module("tower", entry["tower"])
    if name is None or not hasattr(tower, "weights"):
        return {}
    taken = inspect.signature(tower.weights).parameters
    words = {word: value for word, value in entry.items() if word in taken}
    known = read_lock(lock).get(name, {}).get("revision")
    if known:
        words = {"revision": known, **words}
    path = tower.weights(**words)
    if path is None:
        return {}
    facts = facts_of(path)
    if check_or_record(lock, name, facts):
        say(
            name,
            f"trusted as it first comes; its sha256 {facts['sha256']} is recorded, from now on asked for by {lock}",
        )
    return {"revision": facts["revision"]} if facts["revision"] else {}


if __name__ == "__main__":
    run(main)
