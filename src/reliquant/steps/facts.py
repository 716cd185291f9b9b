"""Gather what stands behind a study's rows: its models, datasets, config and versions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from reliquant.files.artifacts import provenance, read_header, require_words, save_sealed_json
from reliquant.images.meta import read_meta
from reliquant.steps import run
from reliquant.study import paths, placed, retrieval
from reliquant.study.check import read_study
from reliquant.study.study import Study


def main() -> None:
    """Parse, read the headers of models and datasets, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=json.loads, required=True, help="the study's config, JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    study = read_study(args.study)
    models = {name: _model(study, name) for name in study.config.models}
    datasets = {name: _dataset(folder) for name, folder in _folders(study).items()}
    facts = {"study": study.name, "title": study.config.title, "note": study.config.note}
    text = yaml.safe_dump(args.study, sort_keys=False, allow_unicode=True)
    save_sealed_json(args.output, provenance(**facts, models=models, datasets=datasets, config=text, commit=""))


def _folders(study: Study) -> dict[str, str]:
    """Return, for each dataset that is evaluated, a folder of its prepared images (of the last model's form)."""
    folders = {}
    for model in study.config.models:
        for shard in study.shards:
            folders |= {cell["dataset"]: cell["folder"] for cell in study.cells(model, shard)}
        folders |= {each["dataset"]: each["folder"] for each in retrieval.sets_of(study, model)}
    return folders


def _model(study: Study, name: str) -> dict[str, object]:
    path = Path(paths.model(name))
    placed.require_as_made(path)
    header = read_header(path)
    require_words(header, {"sha256": str, "parameters": int}, f"{path}: its header")
    entry = study.tower_entry(name)
    return {
        "source": study.config.models[name].get("source", ""),
        "architecture": entry.get("architecture", entry["tower"]),
        "pretrained": entry.get("pretrained"),
        "sha256": header["sha256"],
        "n_parameters": header["parameters"],
        "recipe": header.get("recipe"),
    }


def _dataset(folder: str) -> dict[str, object]:
    meta = read_meta(Path(folder))
    counts = {"n": meta["n"], "classes": len(meta["classes"]), "skipped": len(meta["skipped"])}
    return {**counts, "entry": meta["entry"]}


if __name__ == "__main__":
    run(main)
