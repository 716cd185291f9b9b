"""Measure the processor time in which a job starts, alone and by a fork server, and what it sums up to in a study.

`python benchmarks/starts.py [--config config/paper.yaml]` starts each kind of step with `--help`, which ends when
everything is imported, and multiplies by the study's jobs; kinds of jobs that are never forked count the same twice.
On a machine with an NVIDIA driver, and for the one job of a cluster's submission, both columns are the first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from reliquant.cli.plan_study import estimate
from reliquant.forking.client import FORKED, OWNER
from reliquant.study.check import read_study

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "paper.yaml")
    args = parser.parse_args()
    jobs = estimate(read_study(yaml.safe_load(args.config.read_text())))["jobs"]
    jobs["quantize"] += jobs.pop("quantize_snapshots")
    hours = {"alone": 0.0, "forked": 0.0}
    print(f"{'step':>16} {'jobs':>8} {'alone s':>8} {'forked s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for step, count in jobs.items():
            if step == "total" or not count:
                continue
            alone = seconds(step, {OWNER: "0"})
            forked = shared(step, folder) if step in FORKED else alone
            print(f"{step:>16} {count:8,} {alone:8.2f} {forked:8.2f}", flush=True)
            hours["alone"] += count * alone / 3600
            hours["forked"] += count * forked / 3600
    print(f"hours of processor time in which {jobs['total']:,} jobs start: {hours['alone']:.1f}, {hours['forked']:.1f}")
    ratio = hours["alone"] / hours["forked"]
    print(json.dumps({"name": "starts", "ratio": ratio, "target": 4.0, "better": "higher", "medians": hours}))


def shared(step: str, folder: str) -> float:
    """Return the seconds of a client and of the child that this process' fork server forks for it."""
    environment = {OWNER: str(os.getpid()), "TMPDIR": folder}
    start(step, environment)  # the first one starts the server
    (server,) = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and serves(path)]
    before = children_of(server)
    clients = seconds(step, environment)
    return clients + (children_of(server) - before) / TIMES


def seconds(step: str, environment: dict[str, str]) -> float:
    """Return the mean seconds of processor time of a command line and those that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(TIMES):
        start(step, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / TIMES


def start(step: str, environment: dict[str, str]) -> None:
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, "-m", f"reliquant.steps.{step}", "--help"]
    subprocess.run(command, env={**os.environ, **threads, **environment}, check=True, capture_output=True)


def serves(process: Path) -> bool:
    """Whether a process is the fork server of this one."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"reliquant.forking.server" in words and str(os.getpid()).encode() in words


def children_of(server: int) -> float:
    """Return the seconds of processor time of a server and of the children that have ended."""
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


if __name__ == "__main__":
    main()
