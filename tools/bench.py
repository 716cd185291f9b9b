"""Run every benchmark of speed, one after the other, and write the table of docs/results/speed.md: `make bench`.

Each run is a process of its own that ends in a JSON line with its ratio and target. A line is printed for each run, and
then the table: the median ratio of a benchmark's runs, their spread, and whether the target is met. The sizes are those
of BENCHMARKS: they keep the whole within about an hour on two quiet cores. Exit status: 2 if a benchmark failed, else
1 if a target was missed, else 3 if a peer is absent (`pip install 'reliquant[benchmarks]'` brings all), else 0.

`python tools/bench.py [--only NAME ...] [--runs N] [--page FILE] [--tiny]`. With --only or --tiny a page is written
only where --page names it; lines of its table that are of other benchmarks stay, each with the day of its runs, if the
table is of this machine and these versions. --tiny shows that the benchmarks run, in sizes that say nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "speed.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
MET, MISSED, FAILED, ABSENT = 0, 1, 2, 3  # exit statuses; a benchmark's own is 0, 3 (a peer is absent), or a failure
LOADED = 0.5  # load average over cores from which on a machine is called loaded
LIBRARIES = "torch numpy scipy onnxruntime openvino snakemake imagecorruptions clip_benchmark torchmetrics faiss-cpu"
LIBRARIES += " brevitas nncf hqq torchao bitsandbytes"


@dataclass(frozen=True)
class Benchmark:
    """A file of benchmarks/: what it compares, how often it runs, a run's seconds on two quiet cores, and its words."""

    name: str
    what: str
    runs: int
    seconds: int
    words: str = ""
    tiny: str = ""  # words in place of those, for --tiny


BENCHMARKS = [  # the cheapest first
    Benchmark("corruptions", "imagecorruptions / ours, mean of 15 at 224 px", 5, 20, "1", "1 32"),
    Benchmark(
        "retrieval",
        "faiss's flat search for 10 / ours with all measures, 10,000 x 100,000",
        5,
        25,
        tiny="--queries 50 --library 3000 --dimensions 32",
    ),
    Benchmark("integer", "FP32 / integer W8A8, ViT-B/32, batch 64", 5, 25, "1", "1 2 1"),
    Benchmark("ptq_layers", "libraries / ours, codes of a block, the least of six methods", 3, 40, "1", "1"),
    Benchmark("qat_step", "LSQ step / FP32 step, ViT-B/32, batch 64", 3, 50, "1", "1 2"),
    Benchmark(
        "evaluate",
        "bare forward / evaluation of a variant, 160 images",
        3,
        60,
        "--images 160 --repeats 1",
        "--images 32 --repeats 1",
    ),
    Benchmark("starts", "start of a job alone / by the fork server, over the full study", 3, 60),
    Benchmark(
        "dag", "`snakemake -n` of the full study / 90 s and 2 GiB", 3, 70, tiny="--config config/config.yaml --models 1"
    ),
    Benchmark(
        "measures",
        "torchmetrics + scikit-learn + scipy / ours, 50,000 x 1,000, B = 10,000",
        3,
        80,
        "--rounds 1",
        "--images 500 --classes 20 --resamples 100 --theirs 2 --rounds 1",
    ),
    Benchmark("report", "report of 7.5 million rows / 60 s", 3, 90, tiny="--scales 0.1"),
    Benchmark("forward", "simulated W8A8, FP8, MXFP4, NVFP4 over FP32 / what each may take", 2, 120, "1", "1 2 1"),
    Benchmark(
        "scheduling", "jobs ended of 10,000 ready ones, here / as Snakemake comes", 2, 130, tiny="--jobs 50 --seconds 2"
    ),
    Benchmark(
        "zero_shot",
        "CLIP_benchmark's loop / ours, ten variants, 96 JPEGs",
        2,
        200,
        "--images 96 --repeats 1",
        "--images 10 --repeats 1",
    ),
    Benchmark(
        "deploy",
        "the least of speed, size and export over its limit, ViT-B/32",
        1,
        240,
        "--rounds 5 --no-large",
        "--rounds 1 --times-only",
    ),
    Benchmark(
        "ptq",
        "quantizers' time and memory / limits, the most",
        1,
        600,
        tiny="--layers 1 --pairs 64 --methods rtn",
    ),
]
APART = {
    "verdicts, coverage, retrieval_coverage, gate": "they study statistics, not speed, for hours",
    "quantizers": "it studies what quantizers lose, for an hour and a half",
    "gpu": "it needs a GPU, and writes docs/results/gpu.md",
    "stored": "it has no target",
}


@dataclass
class Found:
    """What the runs of one benchmark gave: the last lines of those that had one, or why there is none."""

    benchmark: Benchmark
    lines: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    when: str = ""

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each run that has one."""
        return [line["ratio"] for line in self.lines if line["ratio"] is not None]

    @property
    def absent(self) -> list[str]:
        """Return the peers that were not installed."""
        return self.lines[-1].get("absent", []) if self.lines else []

    @property
    def verdict(self) -> int:
        """Return MET, MISSED, FAILED or ABSENT."""
        if self.failure:
            return FAILED
        if self.ratios and misses(median(self.ratios), self.lines[-1]):
            return MISSED
        return ABSENT if self.absent else MET

    def cells(self) -> list[str]:
        """Return the cells of its line of the table."""
        ratio, spread, target, said = "", "", "", f"failed: {self.failure}"
        if self.ratios:
            ratio, spread = f"{median(self.ratios):.3g}", f"{min(self.ratios):.3g} to {max(self.ratios):.3g}"
            target = ("≥ " if self.lines[-1]["better"] == "higher" else "≤ ") + f"{self.lines[-1]['target']:g}"
        if not self.failure:
            said = {MET: "met", MISSED: "missed", ABSENT: ""}[self.verdict]
            missing = f"absent: {', '.join(self.absent)}" if self.absent else ""
            said = "; ".join(each for each in (said, missing) if each)
        what = self.benchmark.what.replace("|", "/")
        verdict = said.replace("|", "/")
        return [f"`{self.benchmark.name}`", what, ratio, spread, str(len(self.ratios)), target, verdict, self.when]


def run(benchmark: Benchmark, runs: int, tiny: bool) -> Found:
    """Run a benchmark so often, in a process each; the first run without a ratio is the last one.

    Of a run that misses its target all that it printed is shown, which says what is over.
    """
    found = Found(benchmark, when=when())
    command = [sys.executable, str(ROOT / "benchmarks" / f"{benchmark.name}.py")]
    command += (benchmark.tiny if tiny else benchmark.words).split()
    for number in range(1, runs + 1):
        start = time.perf_counter()
        words = {"capture_output": True, "text": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
        done = subprocess.run(command, cwd=ROOT, **words)
        took = time.perf_counter() - start
        try:
            if done.returncode not in (0, ABSENT):
                raise ValueError(last_of(done.stderr) or f"exit status {done.returncode}")
            line = json.loads(last_of(done.stdout))
            if line["ratio"] is None and not line.get("absent"):
                raise ValueError("its last line has no ratio")
            found.lines.append(line)
        except (ValueError, KeyError, TypeError) as error:
            found.failure = str(error)
        told = found.failure or f"ratio {line['ratio']}"
        print(f"{benchmark.name:12} run {number} of {runs}, {took:5.0f} s: {told}", flush=True)
        if found.failure or line["ratio"] is None:
            break
        if misses(line["ratio"], line):
            print(done.stdout, end="", flush=True)
    return found


def misses(ratio: float, line: dict[str, Any]) -> bool:
    """Return whether a ratio misses the target that a last line names; one that is no number does."""
    return not (ratio >= line["target"] if line["better"] == "higher" else ratio <= line["target"])


def last_of(text: str) -> str:
    """Return the last line that is not empty; an empty text where there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def machine() -> str:
    """Say on what it runs."""
    cores, model = os.cpu_count() or 1, platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    if names:
        model = names[0].partition(":")[2].strip()
    return f"{model}, {cores} cores"


def when() -> str:
    """Say when it runs, and whether other work runs beside it."""
    load = os.getloadavg()[0]
    state = "loaded" if load > LOADED * (os.cpu_count() or 1) else "quiet"
    return f"{date.today().isoformat()}, {state} ({load:.1f})"


def versions() -> str:
    """Return the version of each library that is installed."""
    found = [f"Python {platform.python_version()}"]
    for name in LIBRARIES.split():
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def row(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def table(lines: Iterable[str]) -> str:
    """Return the part of the page that is written here."""
    names = ["benchmark", "what", "ratio (median)", "spread", "runs", "target", "", "run (load at its start)"]
    head = [row(names), row(["---"] * len(names))]
    return "\n".join([f"{machine()}.", "", *head, *lines, "", f"Versions: {versions()}."])


def lines_of_others(page: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the lines of a page's table that are of other benchmarks, by their names.

    Ends with a line where the page has no marks, or its table is of another machine or of other versions.
    """
    inside = parts(page)[1]
    lines = {line.split("`")[1]: line for line in inside.splitlines() if line.startswith("| `")}
    others = {name: line for name, line in lines.items() if name not in names}
    for same in (f"{machine()}.", f"Versions: {versions()}."):
        if others and same not in inside.splitlines():
            raise SystemExit(f"{page}: its table is not of `{same}`; run all of it, without --only")
    return others


def parts(page: Path) -> tuple[str, str, str]:
    """Return what stands before, between and after the two marks of a page; end with a line where it has none."""
    whole = page.read_text() if page.is_file() else ""
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        raise SystemExit(f"{page}: needs one line `{BEGIN}` and, after it, one line `{END}`")
    head, _, rest = whole.partition(BEGIN)
    inside, _, tail = rest.partition(END)
    return head, inside, tail


def write(page: Path, text: str) -> None:
    """Put a text between the two marks of a page."""
    head, _, tail = parts(page)
    part = page.with_name(page.name + ".part")
    part.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")
    part.replace(page)


def main() -> int:
    """Run, print, write, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[each.name for each in BENCHMARKS])
    parser.add_argument("--runs", type=int, help="of each; without it as many as BENCHMARKS says")
    parser.add_argument("--page", type=Path, help=f"whose table is written; {PAGE.relative_to(ROOT)} if all run")
    parser.add_argument("--tiny", action="store_true", help="in tiny sizes, once")
    args = parser.parse_args()
    if args.runs is not None and args.runs < 1:
        parser.error(f"--runs {args.runs}: must be 1 or more")
    page = args.page or (None if args.only or args.tiny else PAGE)
    planned = [each for each in BENCHMARKS if not args.only or each.name in args.only]
    lines: dict[str, str] = {}
    if page:  # what is wrong with it is told now, not in an hour
        lines = lines_of_others(page, [each.name for each in planned])
    runs = {each.name: 1 if args.tiny else args.runs or each.runs for each in planned}
    print(f"{machine()}, {when()}")
    if not args.tiny:
        minutes = sum(runs[each.name] * each.seconds for each in planned) / 60
        print(f"about {minutes:.0f} minutes on two quiet cores")
    for names, reason in APART.items():
        print(f"not part of it: {names}: {reason}")
    found = [run(each, runs[each.name], args.tiny) for each in planned]
    lines |= {each.benchmark.name: row(each.cells()) for each in found}
    text = table(lines[each.name] for each in BENCHMARKS if each.name in lines)
    print(f"\n{text}")
    if page:
        write(page, text)
    verdicts = {each.verdict for each in found}
    return next((status for status in (FAILED, MISSED, ABSENT) if status in verdicts), MET)


if __name__ == "__main__":
    sys.exit(main())
