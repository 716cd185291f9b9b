"""Count the jobs that Snakemake ends in half a minute while thousands are ready: as it comes, and as it is used here.

`python benchmarks/scheduling.py [--jobs 10000] [--seconds 30]`. A job reads a file of its own and one of all, and takes
a fifth of a second; two run at a time, which would be ten a second if choosing the next took no time. The workflow's
side has its rules/scheduler.smk, and how jobs are chosen from profiles/default; between the two sides stands one with
the first alone. Seconds count from the first job on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGET = 4.0
RULES = """
rule all:
    input: [f"out/{{i}}" for i in range({jobs})]
rule one:
    input: "in/{{i}}", "in/common"
    output: "out/{{i}}"
    shell: "sleep 0.2; touch {{output}}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="how many are ready at first")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long jobs run")
    args = parser.parse_args()
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    chosen = [word for key in ("scheduler", "scheduler-subsample") for word in (f"--{key}", str(profile[key]))]
    rules = RULES.format(jobs=args.jobs)
    ours = f'include: "{ROOT / "workflow" / "rules" / "scheduler.smk"}"\n{rules}'
    sides = {"as it comes": (rules, []), "without timers": (ours, []), "here": (ours, chosen)}
    ended = {side: ended_jobs(*of, args) for side, of in sides.items()}
    for side, count in ended.items():
        print(f"{side:>14} {count:6,} jobs in {args.seconds:.0f} s, {args.seconds / max(count, 1):.2f} s a job")
    ratio = ended["here"] / max(ended["as it comes"], 1)
    print(json.dumps({"name": "scheduling", "ratio": ratio, "target": TARGET, "better": "higher", "medians": ended}))


def ended_jobs(snakefile: str, options: list[str], args: argparse.Namespace) -> int:
    """Return how many jobs of a Snakefile have ended so many seconds after the first one began."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(snakefile)
        (folder / "in").mkdir()
        for each in (*range(args.jobs), "common"):
            (folder / "in" / str(each)).touch()
        command = [Path(sys.executable).with_name("snakemake"), "--cores", "2", "--workflow-profile", "none", *options]
        with open(folder / "log", "w") as log:
            environment = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
            run = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
        while not (folder / "out").exists():
            if run.poll() is not None:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            time.sleep(0.1)
        time.sleep(args.seconds)
        ended = len(list((folder / "out").iterdir()))
        run.send_signal(signal.SIGINT)
        run.wait()
        return ended


if __name__ == "__main__":
    main()
