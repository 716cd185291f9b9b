"""What a study takes before it is run: jobs, bytes, hours, and what is missing; downloads nothing, torch-free."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from reliquant import plugins
from reliquant.config import Entry
from reliquant.expected import expected_rows
from reliquant.fetch import sources_of
from reliquant.grid import parse_precision
from reliquant.images import Source
from reliquant.study import Study, Variant
from reliquant.weights import Pin, name_of, read_lock

COSTS = yaml.safe_load((plugins.PACKAGE / "costs.yaml").read_text())
FLOAT = 4  # bytes
TOWERS = {"image": ("image",), "both": ("image", "text")}  # by scope
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
    jobs, rows = _jobs(study), expected_rows(study)
    return {
        "study": study.name,
        "models": len(study.config.models),
        "schemes": len(study.config.schemes),
        "variants": len(study.variants),
        "jobs": {**jobs, "total": sum(jobs.values())},
        "evaluations": evaluations,
        "rows": rows,
        "bytes": _bytes(study, rows),
        "hours": _hours(study),
        "missing": {**_missing_extras(study), **_missing_models(study, read_lock(lock)), **_missing_data(study)},
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


def _bytes(study: Study, rows: int) -> dict[str, int]:
    """Estimate what is downloaded, and what lies on disk at rest, and at peak, while archives are unpacked.

    Nothing deletes data as published or prepared, nor the hub's cache: weights are there and in `data/models`. Unpacked
    files are taken to be as large as their archives. What people place by hand is not in it.
    """
    prepared = sum(_images(study, d) * 3 * _side(form) ** 2 for d, form in _prepared(study))
    corrupted = 0
    for name in {f for f in _files(study) if "/corrupt/" in f}:
        dataset, form = Path(name).parts[2:4]
        noise = study.config.suites.noise[dataset]
        corrupted += len(noise.severities) * (noise.images or _images(study, dataset)) * 3 * _side(form) ** 2
    fetched = [m for m in study.config.models if not study.trains(m)]
    weights = sum(FLOAT * 10**6 * part["parameters"] for m in fetched for part in _parts(study, m).values())
    sources = list({s.url: s for found in _fetched(study).values() for s in found}.values())  # each file once
    raw = sum(s.bytes or 0 for s in sources)
    variants = sum(_held(study, v) * (1 + len(study.snapshots(v))) for v in study.variants.values())
    records = sum(
        len(study.variants) * (c["images"] or _images(study, c["dataset"])) * len(c["severities"])
        for s in study.shards
        for c in study.cells(_any(study), s)
    )
    results = variants + records * COSTS["record_bytes"] + rows * COSTS["row_bytes"]
    kept = 2 * weights + raw + prepared + corrupted + results
    return {
        "to download": int(weights + raw),
        "at peak": int(kept + sum(s.bytes or 0 for s in sources if s.unpack)),
        "at rest": int(kept),
        "of it variants": int(variants),
    }


def _held(study: Study, variant: Variant) -> float:
    if variant.scheme == "fp32":
        return 0
    towers = [part for name, part in _parts(study, variant.model).items() if name in TOWERS[variant.scope]]
    return variant_bytes(towers, parse_precision(variant.precision)[0])


def variant_bytes(towers: Iterable[Mapping[str, float]], bits: int, /) -> float:
    """Return the bytes of a variant's towers, each with millions of `parameters` and how many of them are `quantized`.

    The matrices inside the blocks are codes, the rest stays FP32. Scales come on top: less than a percent where a
    channel has one, up to a tenth where each 64 weights have one.

    >>> variant_bytes([{"parameters": 88, "quantized": 80}], bits=4)
    72000000.0
    """
    return sum(10**6 * (t["quantized"] * bits / 8 + (t["parameters"] - t["quantized"]) * FLOAT) for t in towers)


def _parts(study: Study, model: str) -> Mapping[str, Mapping[str, float]]:
    return COSTS["models"].get(study.tower_entry(model).get("architecture", ""), {})


def _hours(study: Study) -> Found:
    """Estimate device hours: multiply-accumulates of all forwards (training: three times) at one measured rate."""
    gflop = {"quantize": 0.0, "evaluate": 0.0}
    for variant in study.variants.values():
        gflop["quantize"] += sum(_gflop(study, variant.model).values()) * _pairs_seen(study, variant)
    forwards = {m: _forwards(study, m) for m in study.config.models}
    each = len(study.variants) / len(study.config.models)
    gflop["evaluate"] = sum(each * n * _gflop(study, m).get("image", 0) for m, n in forwards.items())
    rate = COSTS["throughput"]
    hours = {name: work / rate["gflop_per_second"] / 3600 for name, work in gflop.items()}
    basis = f"{rate['gflop_per_second']} GFLOP/s, measured with {rate['measured_with']}"
    return {**hours, "on": rate["device"], "measured": basis, "GFLOP": sum(gflop.values())}


def _gflop(study: Study, model: str) -> dict[str, float]:
    return {name: part["gflop"] for name, part in _parts(study, model).items() if "gflop" in part}


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


def _published(study: Study) -> dict[str, tuple[str, Entry, str]]:
    """Return (family, entry, folder of its files) of each dataset that is decoded, and of the lexicon."""
    names = sorted({d for d, _ in _prepared(study)})
    found = {f"dataset {d}": ("dataset", study.dataset_entry(d), study.root(d)) for d in names}
    entry, folder = study.negatives()
    return {**found, f"lexicon {entry['lexicon']}": ("lexicon", entry, folder)} if entry else found


def _fetched(study: Study) -> dict[str, list[Source]]:
    """Return what is published of each dataset and lexicon that the workflow downloads."""
    return {
        name: list(sources_of(family, entry))
        for name, (family, entry, _) in _published(study).items()
        if not study.config.data_root and plugins.published(family, entry[family])
    }


def _missing_extras(study: Study) -> dict[str, str]:
    models = ", ".join(m for m in study.config.models if _needs_transformers(study.tower_entry(m)))
    if not models or find_spec("transformers"):
        return {}
    return {"extra huggingface": f"transformers, for {models}: pip install 'reliquant[huggingface]'"}


def _needs_transformers(entry: Entry) -> bool:
    """Whether a tower's file says so, or open_clip's description of the architecture, read without importing it."""
    if plugins.needs("tower", entry["tower"]) == "transformers":
        return True
    folder = Path(find_spec("open_clip").origin).parent / "model_configs"
    described = folder / f"{entry.get('architecture')}.json"
    if entry["tower"] != "openclip" or not described.is_file():
        return False
    return bool(json.loads(described.read_text())["text_cfg"].keys() & {"hf_tokenizer_name", "hf_model_name"})


def _missing_models(study: Study, lock: Mapping[str, Pin]) -> dict[str, str]:
    found = {}
    for model in study.config.models:
        if study.trains(model) or Path(f"data/models/{model}.safetensors").is_file():
            continue
        if (name := name_of(entry := study.tower_entry(model))) is None:
            continue
        revision = (lock.get(name, {}).get("revision") or "")[:12]
        state = f"revision {revision}" if revision else "not pinned yet: the first fetch records it"
        tag = entry.get("pretrained")
        licence = COSTS["licences"].get(tag) if tag else f"see huggingface.co/{name}"
        terms = f"; licence: {licence}" if licence else ""
        found[f"model {model}"] = f"weights {name}, fetched by the workflow; {state}{terms}"
    return found


def _missing_data(study: Study) -> dict[str, str]:
    found, fetched = {}, _fetched(study)
    for name, (family, entry, folder) in _published(study).items():
        if name in fetched:
            if not Path(folder, "fetched.json").is_file():
                terms = "; ".join(dict.fromkeys(s.licence for s in fetched[name]))
                found[name] = f"{_size(fetched[name])}, fetched by the workflow; licence: {terms}"
            continue
        told = plugins.described(family, entry[family])
        lacks = "" if "Nothing is read" in told else _lacks(Path(folder), _place(Path(folder), family, entry))
        if lacks:
            how = plugins.how(family, entry[family]) or told.splitlines()[0]
            found[name] = f"not downloaded by the workflow, and {lacks}: {how}"
    return found


def _lacks(*folders: Path) -> str:
    """Say which is the first of some folders that is missing, or holds no file but hidden ones."""
    for folder in folders:
        if not folder.is_dir():
            return f"{folder} is missing"
        if not any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*")):
            return f"{folder} is empty"
    return ""


def _place(root: Path, family: str, entry: Entry) -> Path:
    """Return the folder that a plugin asks people to fill, as in `placed(root / split, HOW)`; else `root`."""
    path = plugins.source(family, entry[family])
    words = {"root": root, **{w: default for w, (_, default) in plugins.words(path, family).items()}, **entry}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp):
            return value(node.left) / str(value(node.right))
        if isinstance(node, ast.Call):  # str(severity)
            return value(node.args[0])
        return node.value if isinstance(node, ast.Constant) else words[node.id]

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "placed":
            with suppress(LookupError, AttributeError):  # a plugin from elsewhere may put it in other words
                return value(node.args[0])
    return root


def _size(sources: list[Source]) -> str:
    known = sum(s.bytes for s in sources if s.bytes is not None)
    size = f"{known / 2**30:.2f} GiB" if known > 0.1 * 2**30 else f"{known / 2**20:.2f} MiB"
    unknown = any(s.bytes is None for s in sources)
    return " and ".join([size] * bool(known) + ["files of unknown size"] * unknown)


def _unknown(study: Study) -> set[str]:
    models = {f"model {m}" for m in study.config.models if not study.trains(m) and not _parts(study, m)}
    unsized = {name for name, found in _fetched(study).items() if any(s.bytes is None for s in found)}
    uncounted = {f"dataset {d}" for d, _ in _prepared(study) if not _images(study, d)}
    return models | {f"download of {name}" for name in unsized} | uncounted
