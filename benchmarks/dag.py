"""Time `snakemake -n` on the full study: every job planned in a fresh folder, nothing run.

`python benchmarks/dag.py [--config config/paper.yaml] [--models 10]` prints jobs, seconds and peak memory. With fewer
models the targets shrink in proportion; Snakemake's own start (about 2 s) does not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from reliquant.cli.plan_study import estimate
from reliquant.study.check import read_study

ROOT = Path(__file__).resolve().parents[1]
SECONDS, GIB = 90.0, 2.0  # for the whole study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "paper.yaml")
    parser.add_argument("--models", type=int, help="how many of the study's models; all if left out")
    args = parser.parse_args()
    whole = yaml.safe_load(args.config.read_text())
    names = list(whole["models"])[: args.models]
    jobs = estimate(read_study({**whole, "models": {n: whole["models"][n] for n in names}}))["jobs"]["total"]
    with tempfile.TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("snakemake"), "-n", "-q", "--snakefile", ROOT / "workflow/Snakefile"]
        command += ["--profile", ROOT / "profiles" / "default", "--directory", folder]
        command += ["--configfile", args.config.resolve()]
        start = time.perf_counter()
        subprocess.run([*command, "--config", f"models=[{','.join(names)}]"], check=True, capture_output=True)
        seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = usage.ru_maxrss / 2**20
    print(f"{'models':>7} {'jobs':>8} {'seconds':>8} {'cpu s':>8} {'peak GiB':>9}")
    print(f"{len(names):7} {jobs:8,} {seconds:8.1f} {usage.ru_utime + usage.ru_stime:8.1f} {peak:9.2f}")
    share = len(names) / len(whole["models"])
    facts = {"jobs": jobs, "seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_gib": peak}
    ratio = max(seconds / (SECONDS * share), peak / GIB)
    print(json.dumps({"name": "dag", "ratio": ratio, "target": 1.0, "better": "lower", "medians": facts}))


if __name__ == "__main__":
    main()
