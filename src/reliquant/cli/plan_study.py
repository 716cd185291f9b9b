"""What a study takes before it is run: jobs, bytes, hours, and what is missing; downloads nothing; free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.cli.count_rows import expected_rows
from reliquant.cli.missing import files_read, images_read, missing, sources_fetched, trusted
from reliquant.cli.plan_searches import embed_gflop, embedding_bytes, search_rows
from reliquant.cli.units import size_in_words, time_in_words
from reliquant.files.bounded import load_yaml
from reliquant.grid import bits_of
from reliquant.study import deployment, paths
from reliquant.study.form import NATIVE, parse_form
from reliquant.study.retrieval import searched
from reliquant.study.sensitivity import tried
from reliquant.study.study import Study
from reliquant.study.variants import Variant

COSTS = load_yaml((plugins.PACKAGE / "cli" / "costs.yaml").read_bytes())
FLOAT = 4  # bytes
CHANGES_ALONE = 4  # of a clean set by one layer: accuracy, ECE, squared CE, NLL
TRUSTED = "trusted on first use"  # a key of a plan
TOWERS = {"image": ("image",), "both": ("image", "text")}  # by scope
TAKES_HOURS = ("quantize", "evaluate", "embed")
Plan = dict[str, Any]


def estimate(study: Study, /, *, lock: Path = Path("config/weights.lock.json")) -> Plan:
    """Return what a study expands to, what it needs and what of it is not here; every figure but counts is an estimate.

    Counts of jobs, evaluations and rows (without those of `explain`, `sensitivity` and `deploy`; those of searches
    stand alone) are exact for a fresh tree.
    Bytes and hours follow from `costs.yaml`: `unknown` names what is not in it, and downloads whose size nobody
    publishes.
    """
    cells = {}  # of each shard, every severity on its own
    for shard in {shard for _, shard in study.evaluations}:
        cells[shard] = sum(len(cell["severities"]) for cell in study.cells(_any(study), shard))
    evaluations = 0
    for variant, shard in study.evaluations:
        states = len(study.snapshots(study.variants[variant])) if shard == study.SNAPSHOTS else 1
        evaluations += cells[shard] * states
    rows = expected_rows(study)
    return {
        "study": study.name,
        "models": len(study.config.models),
        "schemes": len(study.config.schemes),
        "variants": len(study.variants),
        "jobs": jobs_of(study),
        "evaluations": evaluations,
        "rows": rows,
        **_rows_alone(study),
        **search_rows(study),
        "bytes": _bytes(study, rows),
        **_hours(study),
        "missing": missing(study, lock),
        TRUSTED: trusted(study, lock),
        "unknown": sorted(_unknown(study)),
    }


def as_text(plan: Plan, /) -> str:
    """Lay out an estimate for a terminal."""
    lines = [f"{name}: {_number(value)}" for name, value in plan.items() if not _nested(value)]
    lines += ["jobs:", *(f"  {rule}: {count:,}" for rule, count in plan["jobs"].items())]
    lines += ["bytes:", *(f"  {name}: {size_in_words(size)}" for name, size in plan["bytes"].items())]
    for section in COSTS["throughputs"]:
        lines.append(f"{section}:")
        for name, value in plan[section].items():
            lines.append(f"  {name}: {_work(name, value)}")
    if plan["missing"]:
        lines += ["missing:", *(f"  {name}: {how}" for name, how in plan["missing"].items())]
    if plan[TRUSTED]:
        lines += [f"{TRUSTED}:", *(f"  {name}: {why}" for name, why in plan[TRUSTED].items())]
    if plan["unknown"]:
        lines.append(f"not known, left out of bytes and hours: {', '.join(plan['unknown'])}")
    return "\n".join(lines)


def _work(name: str, value: Any) -> str:
    if value is None:
        return "not known"
    return time_in_words(value) if name in TAKES_HOURS else _number(value)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _any(study: Study) -> str:
    return next(iter(study.config.models))


def jobs_of(study: Study, /) -> dict[str, int]:
    """Count the jobs of a fresh tree by rule, and their total."""
    trained = sum(study.trains(m) for m in study.config.models)
    variants, kept = len(study.variants), sum(bool(study.snapshots(v)) for v in study.variants.values())
    prepared, read = images_read(study), [Path(file) for file in files_read(study)]
    fetched = {study.root(d) for d, _ in prepared if study.is_fetched(d)}
    jobs = {
        "fetch": len(fetched) + sum(file.name == paths.FETCHED for file in read),
        "prepare": len(prepared),
        "corrupt": sum(file.parent.name == paths.CORRUPT for file in read),
        "fetch_model": len(study.config.models) - trained,
        "pretrain": trained,
        "inventory": len({(study.variants[v].model, s) for v, s in study.evaluations}),
        "quantize": variants - kept,
        "quantize_snapshots": kept,
        "evaluate": len(study.evaluations),
        "measure": len(study.evaluations),
        "explain": len(study.explained),
        "sensitivity": len(tried(study)),
        "embed": len(searched(study)),
        "retrieve": len(searched(study)),
        "export": len(deployment.exported(study)),
        "run_exported": len(deployment.runs(study)),
        "measure_exported": len(deployment.runs(study)),
        "time_exported": len(deployment.timed(study)),
        "deployed": int(study.config.deploy is not None),
        "collect": 1,
        "facts": 1,
        "report": 1,
    }
    return {**jobs, "total": sum(jobs.values())}


def _rows_alone(study: Study) -> dict[str, int]:
    """Count the rows of each layer (or block) that is quantized alone: how many there are, open models tell."""
    asked = study.config.sensitivity
    if asked is None:
        return {}
    each = 1 + CHANGES_ALONE * len(asked.datasets) + sum(map(len, asked.ood.values()))  # 1: the error of embeddings
    return {f"rows of each {asked.by} alone": each * len(tried(study))}


def _images(study: Study, dataset: str) -> int:
    entry = study.dataset_entry(dataset)
    return entry.get("images") or COSTS["images"].get(entry["dataset"], 0)


def _pixels(form: str) -> int:
    if form == NATIVE:
        return 32**2
    fit = parse_form(form)
    return fit.height * fit.width


def _bytes(study: Study, rows: int) -> dict[str, int]:
    """Estimate what is downloaded, and what lies on disk at rest, and at peak, while archives are unpacked.

    Nothing deletes data as published or prepared, nor the hub's cache: weights are there and in `data/models`. Unpacked
    files are taken to be as large as their archives. What people place by hand is not in it.
    """
    prepared = sum(_images(study, d) * 3 * _pixels(form) for d, form in images_read(study))
    corrupted = 0
    for file in map(Path, files_read(study)):
        if file.parent.name != paths.CORRUPT:
            continue
        dataset, form = paths.dataset_and_form(file.parents[1])
        noise = study.config.suites.noise[dataset]
        corrupted += len(noise.severities) * (noise.images or _images(study, dataset)) * 3 * _pixels(form)
    fetched = [m for m in study.config.models if not study.trains(m)]
    weights = 0
    for model in fetched:
        weights += sum(FLOAT * 10**6 * tower["parameters"] for tower in _parts(study, model).values())
    by_url = {}  # each file once
    for published in sources_fetched(study).values():
        by_url |= {source.url: source for source in published}
    sources = list(by_url.values())
    raw = sum(s.bytes or 0 for s in sources)
    variants = sum(_held(study, v) * (1 + len(study.snapshots(v))) for v in study.variants.values())
    records = 0
    for shard in study.shards:
        for cell in study.cells(_any(study), shard):
            images = cell["images"] or _images(study, cell["dataset"])
            records += len(study.variants) * images * len(cell["severities"])
    results = variants + records * COSTS["record_bytes"] + rows * COSTS["row_bytes"] + embedding_bytes(study, _images)
    kept = 2 * weights + raw + prepared + corrupted + results
    return {
        "to download": int(weights + raw),
        "at peak": int(kept + sum(s.bytes or 0 for s in sources if s.unpack)),
        "at rest": int(kept),
        "of it variants": int(variants),
    }


def _held(study: Study, variant: Variant) -> float:
    if variant.scheme == "fp32":
        return sum(_held_out(proxy) for proxy in study.tuned_on(variant).values())
    towers = [part for name, part in _parts(study, variant.model).items() if name in TOWERS[variant.scope]]
    return variant_bytes(towers, bits_of(variant.precision)[0])


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


def _hours(study: Study) -> Plan:
    """Estimate hours by device: multiply-accumulates of all forwards (training: three times) at its measured rate."""
    gflop = {"quantize": 0.0, "evaluate": 0.0}
    for variant in study.variants.values():
        gflop["quantize"] += sum(_gflop(study, variant.model).values()) * _pairs_seen(study, variant)
    forwards = {m: _forwards(study, m) for m in study.config.models}
    each = len(study.variants) / len(study.config.models)
    gflop["evaluate"] = sum(each * n * _gflop(study, m).get("image", 0) for m, n in forwards.items())
    if searched(study):
        gflop["embed"] = embed_gflop(study, _images, _gflop)
    models, uncounted = len(study.config.models), _uncounted(study)
    known = len(uncounted) < models  # no figure is better than that of nothing
    of = {"of": f"{models - len(uncounted)} of {models} models; without {', '.join(uncounted)}"} if uncounted else {}
    total = sum(gflop.values()) if known else None
    found = {}
    for section, rate in COSTS["throughputs"].items():
        hours = {name: work / rate["gflop_per_second"] / 3600 if known else None for name, work in gflop.items()}
        basis = f"{rate['gflop_per_second']} GFLOP/s, measured with {rate['measured_with']}"
        found[section] = {**hours, "on": rate["device"], "measured": basis, "GFLOP": total, **of}
    return found


def _uncounted(study: Study) -> list[str]:
    """Name the models whose work nobody counted; those that a study trains itself are small."""
    return [m for m in study.config.models if not study.trains(m) and not _parts(study, m)]


def _gflop(study: Study, model: str) -> dict[str, float]:
    return {name: part["gflop"] for name, part in _parts(study, model).items() if "gflop" in part}


def _forwards(study: Study, model: str) -> int:
    """Count the images that one variant of a model forwards: a dataset once, however many cells share it."""
    forwarded: dict[tuple[str, str], int] = {}
    for shard in study.shards:
        for cell in study.cells(model, shard):
            images = _images(study, cell["dataset"])
            if cell["corruption"] and cell["images"]:
                images = cell["images"]
            forwarded[cell["folder"], cell["corruption"]] = images * len(cell["severities"])
    return sum(forwarded.values())


def _pairs_seen(study: Study, variant: Variant) -> int:
    """Count the pairs that quantizing forwards; a trained pair counts three times, for its gradient."""
    if variant.scheme == "fp32":
        return sum(_held_out(proxy) for proxy in study.tuned_on(variant).values())
    entry = study.scheme_entry(variant)
    defaults = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
    value = {name: entry.get(name, default) for name, (_, default) in defaults.items()}
    proxy = study.proxy(variant.proxy, variant.model)
    tuning = 2 * _held_out(proxy) if study.config.tuning != "none" else 0  # by FP32, and by the variant
    if "losses" in value:
        return 3 * value["iterations"] * value["batch"] + tuning
    if "steps" in value:  # of each block alone
        return 3 * value["steps"] * value["batch"] + value["pairs"] + tuning
    return value.get("pairs", 0) + tuning


def _held_out(proxy: Mapping[str, Any]) -> int:
    return round(proxy["held_out"] * proxy["pairs"])


def _unknown(study: Study) -> set[str]:
    models = {f"model {m}" for m in _uncounted(study)}
    unsized = {name for name, found in sources_fetched(study).items() if any(s.bytes is None for s in found)}
    uncounted = {f"dataset {d}" for d, _ in images_read(study) if not _images(study, d)}
    alone = {"hours of sensitivity"} if tried(study) else set()  # by how many layers or blocks a model has
    alone |= {"hours and bytes of deploy"} if deployment.exported(study) else set()  # nobody measured runtimes here
    return models | {f"download of {name}" for name in unsized} | uncounted | alone
