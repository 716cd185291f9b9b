"""What a study takes before it is run: jobs, bytes, hours, and what is missing; downloads nothing, torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from reliquant import plugins
from reliquant.expected import expected_rows
from reliquant.fetch import sources_of
from reliquant.grid import parse_precision
from reliquant.images import Source
from reliquant.study import Study, Variant
from reliquant.weights import Pin, name_of, read_lock

COSTS = yaml.safe_load((plugins.PACKAGE / "costs.yaml").read_text())
FLOAT = 4  # bytes
Found = dict[str, Any]


def estimate(study: Study, /, *, lock: Path = Path("config/weights.lock.json")) -> Found:
    """Return what a study expands to, what it needs and what of it is not here; every figure is an estimate but counts.

    Counts of jobs, evaluations and rows (without those of `explain`) are exact for a fresh tree. Bytes and hours follow
    from `costs.yaml`: `unknown` names what is not in it, and downloads whose size nobody publishes.
    """
    shards = {s for _, s in study.evaluations}
    cells = {s: sum(len(c["severities"]) for c in study.cells(_any(study), s)) for s in shards}
    runs = {v: len(study.snapshots(variant)) for v, variant in study.variants.items()}
    evaluations = sum(cells[s] * (runs[v] if s == study.SNAPSHOTS else 1) for v, s in study.evaluations)
    jobs = _jobs(study)
    return {
        "study": study.name,
        "models": len(study.config.models),
        "schemes": len(study.config.schemes),
        "variants": len(study.variants),
        "jobs": {**jobs, "total": sum(jobs.values())},
        "evaluations": evaluations,
        "rows": expected_rows(study),
        "bytes": _bytes(study),
        "hours": _hours(study),
        "missing": {**_missing_models(study, read_lock(lock)), **_missing_data(study)},
        "unknown": sorted(_unknown(study)),
    }


def as_text(found: Found, /) -> str:
    """Lay out an estimate for a terminal."""
    sizes = {name: f"{size / 2**30:,.1f} GiB" for name, size in found["bytes"].items()}
    hours = {**found["hours"], **{k: f"{v:,.1f}" for k, v in found["hours"].items() if isinstance(v, float)}}
    lines = [f"{k}: {v:,}" if isinstance(v, int) else f"{k}: {v}" for k, v in found.items() if not _nested(v)]
    for name, part in (("jobs", found["jobs"]), ("bytes", sizes), ("hours", hours)):
        lines += [f"{name}:", *(f"  {k}: {v:,}" if isinstance(v, int) else f"  {k}: {v}" for k, v in part.items())]
    lines += ["missing:", *(f"  {name}: {how}" for name, how in found["missing"].items())] if found["missing"] else []
    lines += [f"not known, left out of bytes and hours: {', '.join(found['unknown'])}"] * bool(found["unknown"])
    return "\n".join(lines)


def _nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _any(study: Study) -> str:
    return next(iter(study.config.models))


def _files(study: Study) -> set[str]:
    return {f for m in study.config.models for s in study.shards for f in study.inputs(m, s)}


def _prepared(study: Study) -> set[tuple[str, str]]:
    """Return (dataset, form) of everything that is decoded: for suites, proxies and pre-training."""
    folders = {str(Path(f).parent) for f in _files(study) if f.endswith("/meta.json")}
    for model in study.config.models:
        folders |= (
            {study.prepared(p.of, model) for p in study.config.proxies.values()} if study.config.schemes else set()
        )
        folders |= {study.prepared(study.pretrain_words(model)[0], model)} if study.trains(model) else set()
    return {(Path(f).parent.name, Path(f).name) for f in folders}


def _jobs(study: Study) -> dict[str, int]:
    trained = sum(study.trains(m) for m in study.config.models)
    variants, kept = len(study.variants), sum(bool(study.snapshots(v)) for v in study.variants.values())
    prepared = _prepared(study)
    fetched = {study.root(d) for d, _ in prepared if study.is_fetched(d)}
    return {
        "fetch": len(fetched | {f for f in _files(study) if f.endswith("fetched.json")}),
        "prepare": len(prepared),
        "corrupt": sum("/corrupt/" in f for f in _files(study)),
        "fetch_model": len(study.config.models) - trained,
        "pretrain": trained,
        "inventory": len({(study.variants[v].model, s) for v, s in study.evaluations}),
        "quantize": variants - kept,
        "quantize_snapshots": kept,
        "evaluate": len(study.evaluations),
        "measure": len(study.evaluations),
        "explain": len(study.explained),
        "collect": 1,
        "facts": 1,
        "report": 1,
    }


def _images(study: Study, dataset: str) -> int:
    entry = study.dataset_entry(dataset)
    return entry.get("images") or COSTS["images"].get(entry["dataset"], 0)


def _side(form: str) -> int:
    return 32 if form == "native" else int(form.split("-")[0])


def _bytes(study: Study) -> dict[str, int]:
    """Estimate what is downloaded, and what lies on disk at peak (with archives) and at rest (results and models)."""
    prepared = sum(_images(study, d) * 3 * _side(form) ** 2 for d, form in _prepared(study))
    corrupted = 0
    for name in {f for f in _files(study) if "/corrupt/" in f}:
        dataset, form = Path(name).parts[2:4]
        noise = study.config.suites.noise[dataset]
        corrupted += len(noise.severities) * (noise.images or _images(study, dataset)) * 3 * _side(form) ** 2
    weights = sum(FLOAT * 10**6 * sum(_parameters(study, m)) for m in study.config.models if not study.trains(m))
    archives = sum(s.bytes or 0 for s in _sources(study))
    held = {v: _held(study, v) for v in study.variants.values()}
    records = sum(
        len(study.variants) * (c["images"] or _images(study, c["dataset"])) * len(c["severities"])
        for s in study.shards
        for c in study.cells(_any(study), s)
    )
    results = int(sum(held.values())) + records * COSTS["record_bytes"]
    return {
        "to download": int(weights + archives),
        "at peak": int(2 * weights + 2 * archives + prepared + corrupted + results),
        "at rest": int(weights + results),
        "of it variants": int(sum(held.values())),
    }


def _held(study: Study, variant: Variant) -> float:
    """Return the bytes of a variant's file: the towers in its scope, at its bits."""
    if variant.scheme == "fp32":
        return 0
    image, text, _ = _parameters(study, variant.model)
    return 10**6 * (image + (text if variant.scope == "both" else 0)) * parse_precision(variant.precision)[0] / 8


def _cost(study: Study, model: str) -> Mapping[str, float]:
    return COSTS["models"].get(study.tower_entry(model).get("architecture", ""), {})


def _parameters(study: Study, model: str) -> tuple[float, float, float]:
    cost = _cost(study, model)
    return tuple(cost.get(f"{part}_parameters", 0) for part in ("image", "text", "other"))  # type: ignore[return-value]


def _hours(study: Study) -> Found:
    """Estimate device hours: multiply-accumulates of all forwards (training: three times) at one measured rate."""
    gflop = {"quantize": 0.0, "evaluate": 0.0}
    for variant in study.variants.values():
        cost = _cost(study, variant.model)
        if not cost:
            continue
        both = cost["image"] + cost["text"]
        gflop["quantize"] += both * _pairs_seen(study, variant)
    forwards = {m: _forwards(study, m) for m in study.config.models}
    each = len(study.variants) / len(study.config.models)
    gflop["evaluate"] = sum(each * n * _cost(study, m).get("image", 0) for m, n in forwards.items())
    rate = COSTS["throughput"]
    hours = {name: work / rate["gflop_per_second"] / 3600 for name, work in gflop.items()}
    basis = f"{rate['gflop_per_second']} GFLOP/s, measured with {rate['measured_with']}"
    return {**hours, "on": rate["device"], "measured": basis, "GFLOP": sum(gflop.values())}


def _forwards(study: Study, model: str) -> int:
    """Count the images that one variant of a model forwards: a dataset once, however many cells share it."""
    found: dict[tuple[str, str], int] = {}
    for cell in (c for s in study.shards for c in study.cells(model, s)):
        n = (
            (cell["images"] or _images(study, cell["dataset"]))
            if cell["corruption"]
            else _images(study, cell["dataset"])
        )
        found[cell["folder"], cell["corruption"]] = n * len(cell["severities"])
    return sum(found.values())


def _pairs_seen(study: Study, variant: Variant) -> int:
    """Count the pairs that quantizing forwards; a trained pair counts three times, for its gradient."""
    if variant.scheme == "fp32":
        return 0
    entry = study.scheme_entry(variant)
    defaults = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
    value = {name: entry.get(name, default) for name, (_, default) in defaults.items()}
    tuning = study.config.proxies[variant.proxy].pairs if study.config.tuning != "none" else 0
    if "losses" in value:
        return 3 * value["iterations"] * value["batch"] + tuning
    return value.get("pairs", 0) + tuning


def _fetched(study: Study) -> dict[str, list[Source]]:
    """Return what is published for each dataset that the workflow downloads."""
    names = sorted({d for d, _ in _prepared(study) if study.is_fetched(d)})
    return {d: list(sources_of("dataset", study.dataset_entry(d))) for d in names}


def _sources(study: Study) -> list[Source]:
    """List what is downloaded for the datasets, each file once."""
    return list({s.url: s for sources in _fetched(study).values() for s in sources}.values())


def _missing_models(study: Study, lock: Mapping[str, Pin]) -> dict[str, str]:
    found = {}
    for model in study.config.models:
        if study.trains(model) or Path(f"data/models/{model}.safetensors").is_file():
            continue
        if (name := name_of(study.tower_entry(model))) is None:
            continue
        revision = (lock.get(name, {}).get("revision") or "")[:12]
        state = f"revision {revision}" if revision else "not pinned yet: the first fetch records it"
        found[f"model {model}"] = f"weights {name}, fetched by the workflow; {state}"
    return found


def _missing_data(study: Study) -> dict[str, str]:
    found, fetched = {}, _fetched(study)
    for dataset in sorted({d for d, _ in _prepared(study)}):
        plugin, root = study.dataset_entry(dataset)["dataset"], Path(study.root(dataset))
        if dataset in fetched:
            if not (root / "fetched.json").is_file():
                terms = "; ".join(dict.fromkeys(s.licence for s in fetched[dataset]))
                found[f"dataset {dataset}"] = f"{_size(fetched[dataset])}, fetched by the workflow; licence: {terms}"
        elif not root.is_dir() and "Nothing is read" not in (told := plugins.described("dataset", plugin)):
            how = plugins.how("dataset", plugin) or told.splitlines()[0]
            found[f"dataset {dataset}"] = f"not downloaded by the workflow, and {root} is missing: {how}"
    return found


def _size(sources: list[Source]) -> str:
    known = [s.bytes for s in sources if s.bytes is not None]
    words = [f"{sum(known) / 2**30:.2f} GiB"] * bool(known) + ["files of unknown size"] * (len(known) < len(sources))
    return " and ".join(words)


def _unknown(study: Study) -> set[str]:
    models = {f"model {m}" for m in study.config.models if not study.trains(m) and not _cost(study, m)}
    downloads = {
        f"download of dataset {d}" for d, sources in _fetched(study).items() if any(s.bytes is None for s in sources)
    }
    return models | downloads | {f"dataset {d}" for d, _ in _prepared(study) if not _images(study, d)}
