"""Time collecting and reporting rows shaped like the full study: 8,640 variants, 87 evaluations, 10 measures.

`python benchmarks/report.py [--scales 0.1 1 10]` writes synthetic shards to a temporary folder, then times the two
steps as their own processes and reads their peak memory. A scale of 0.1 is a tenth of the variants; several show the
curve.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import psutil

from reliquant.files.artifacts import ROW_SCHEMA, save_frame
from reliquant.report.synthetic import Shape, Truth, rows

MEASURES = ["accuracy", "ece", "nll", "brier", "confidence_gap"]
MEASURES += [f"{m}_change" for m in ("accuracy", "ece", "brier")] + ["accuracy_delta", "ece_relative_change"]
OTHERS = ["auroc", "auroc_change", "rsg", "rsg_change", "vuln_add", "bytes", "bytes_fp32"]
FAMILIES = [("ptq", "Simple PTQ")] * 8 + [("qat", "QAT (Contr.)")] * 4 + [("rot", "Rot+LSQ")] * 4
SECONDS = ("collect_s", "report_s", "total_s", "cpu_s")
TARGET = 60.0  # seconds for 7.5 million rows


def shape(models: int) -> Shape:
    sources = ["wit", "laion", "dfn"]
    return Shape(
        models=[(f"model-{i}", sources[i % 3]) for i in range(models)],
        schemes=[(f"{name}-{i}", family) for i, (name, family) in enumerate(FAMILIES)],
        proxies=["cc3m", "yfcc", "sbu"],
        seeds=[0, 1, 2],
        clean=[f"set-{i}" for i in range(5)],
        shift=["imagenet-a", "imagenet-r", "imagenet-v2", "imagenet-sketch"],
        ood=[("ninco", "near"), ("textures", "far")],
        scores=["mcm"],
        corruptions=[f"corruption_{i}" for i in range(15)],
        scales=["native"],
        iterations=[],
        ranks=[],
    )


def write(folder: Path, scale: float) -> tuple[int, int]:
    """Write one shard per variant, one model at a time; return the counts of rows and shards."""
    whole = shape(max(1, round(10 * scale)))
    count = shards = 0
    for i, model in enumerate(whole.models):
        own = {k: getattr(whole, k) for k in whole.__dataclass_fields__} | {"models": [model]}
        frame = rows(Shape(**own), Truth(), seed=i).filter(pl.col("measure").is_in(MEASURES + OTHERS))
        for part in frame.partition_by("scheme", "precision", "scope", "proxy", "seed", maintain_order=True):
            save_frame(folder / f"{shards:06d}.parquet", part.select(ROW_SCHEMA.names()), {"step": "measure"})
            count, shards = count + part.height, shards + 1
    return count, shards


def timed(*command: str) -> tuple[float, float]:
    """Run a module; return its seconds, and the largest memory of it and its children at one moment, GiB."""
    start = time.perf_counter()
    child = psutil.Popen([sys.executable, "-m", *command])
    peak = 0
    while child.poll() is None:
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, sum(p.memory_full_info().uss for p in [child, *child.children(recursive=True)]))
        time.sleep(0.2)
    if child.returncode:
        raise SystemExit(f"{command[0]} ended with {child.returncode}")
    return time.perf_counter() - start, peak / 2**30


def measure(scale: float) -> dict[str, float]:
    """Time both steps on synthetic shards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shards").mkdir()
        count, shards = write(folder / "shards", scale)
        (folder / "list").write_text("\n".join(str(p) for p in sorted((folder / "shards").iterdir())))
        facts = {"study": "synthetic", "title": "Benchmark", "note": "Synthetic.", "models": {}, "datasets": {}}
        (folder / "facts.json").write_text(json.dumps(facts | {"config": "", "versions": {}, "commit": ""}))
        table = str(folder / "rows.parquet")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        listed, facts_of_it, output = (str(folder / name) for name in ("list", "facts.json", "report"))
        two = ["--processes", "2"]
        collect, collecting = timed("reliquant.steps.collect", "--shards-from", listed, "--output", table, *two)
        words = ["--rows", table, "--facts", facts_of_it, "--output", output]
        report, reporting = timed("reliquant.steps.report", *words, *two)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    found = {"rows": count, "shards": shards, "collect_s": collect, "report_s": report, "total_s": collect + report}
    return found | {"cpu_s": processor, "peak_gib": max(collecting, reporting)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], help="1: 7.5 million rows of 8,640 variants")
    args = parser.parse_args()
    print(f"{'rows':>12} {'shards':>8} {'collect s':>10} {'report s':>10} {'total s':>9} {'cpu s':>8} {'peak GiB':>9}")
    curve = {}
    for scale in sorted(args.scales):
        found = curve[scale] = measure(scale)
        seconds = " ".join(f"{found[k]:{w}.1f}" for k, w in zip(SECONDS, (10, 10, 9, 8), strict=True))
        print(f"{found['rows']:12,} {found['shards']:8,} {seconds} {found['peak_gib']:9.2f}", flush=True)
    scale = 1.0 if 1.0 in curve else max(curve)
    ratio = curve[scale]["total_s"] / (TARGET * scale)
    print(json.dumps({"name": "report", "ratio": ratio, "target": 1.0, "better": "lower", "medians": curve[scale]}))


if __name__ == "__main__":
    main()
