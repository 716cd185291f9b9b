"""What a GPU gives: speed, agreement with the CPU and with itself, and how much of the card the product uses.

Under 8 minutes on one card with 80 GB; nothing is downloaded, weights are random or the lab's.
`python benchmarks/gpu.py [--only SECTION ...] [--budget SECONDS] [--output docs/results/gpu_table.md] [--json FILE]`.
A section that fails is reported and the next one runs; `--tiny` runs all of them in tiny shapes, on a CPU too.
"""

from __future__ import annotations

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # harmless, and wanted by `deterministic`

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gpu_agreement
import gpu_speed
import gpu_work
import torch
from gpu_models import TOWERS, Section, Setting, Table, precision, say, shown

TARGET = 0.95
SECTIONS: dict[str, Callable[[Section, Setting], Any]] = {
    "card": gpu_speed.card,
    "evaluation": gpu_work.evaluation,
    "towers": gpu_speed.towers,
    "products": gpu_speed.products,
    "rounding": gpu_speed.rounding,
    "training": gpu_work.training,
    "devices": gpu_agreement.devices,
    "integers": gpu_agreement.integers,
    "ptq": gpu_work.ptq,
    "methods": gpu_agreement.methods,
    "processes": gpu_work.processes,
    "determinism": gpu_agreement.determinism,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--budget", type=float, default=460.0, help="seconds after which no section starts")
    parser.add_argument("--output", type=Path, default=Path("docs/results/gpu_table.md"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="figures of earlier runs, to be shown as well")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each measurement")
    parser.add_argument("--towers", nargs="+", choices=TOWERS, default=list(TOWERS), help="those of towers and ptq")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    setting = Setting(args.device, args.tiny, 0.02 if args.tiny else args.seconds, tuple(args.towers))
    start = time.perf_counter()
    sections = {name: section for path in args.add for name, section in read(path).items()}
    values: dict[str, Any] = {}
    for name in [name for name in SECTIONS if name in args.only]:
        section = sections[name] = Section()
        if time.perf_counter() - start > args.budget:
            section.errors.append(f"left out: {args.budget:.0f} s were over")
            say(f"{name}: left out")
            continue
        values[name] = run(name, section, setting)
        write(args, sections)
    write(args, sections)
    failed = {name: section.errors for name, section in sections.items() if section.errors}
    for name, errors in failed.items():
        for error in errors:
            print(f"FAILED {name}: {error}")
    medians = {name: section.seconds for name, section in sections.items()}
    report = {"name": "gpu", "ratio": values.get("evaluation"), "target": TARGET, "better": "higher"}
    print(json.dumps({**report, "training": values.get("training"), "medians": medians, "failed": list(failed)}))


def run(name: str, section: Section, setting: Setting) -> Any:
    """Run one section, whatever happens in it."""
    say(f"{name}: {title(name)}")
    threads, start, value = torch.get_num_threads(), time.perf_counter(), None
    with section.guard(name):
        value = SECTIONS[name](section, setting)
    section.seconds = time.perf_counter() - start
    torch.set_num_threads(threads)
    precision(False, True)  # as torch starts
    say(f"{name}: {section.seconds:.1f} s")
    return value


def title(name: str) -> str:
    return (SECTIONS[name].__doc__ or name).splitlines()[0].rstrip(".")


def read(path: Path) -> dict[str, Section]:
    """Return the sections of an earlier run."""
    found = {}
    for name, told in json.loads(path.read_text()).items():
        found[name] = Section(**{**told, "tables": [Table(**table) for table in told["tables"]]})
    return found


def write(args: argparse.Namespace, sections: dict[str, Section]) -> None:
    """Write what is known so far."""
    if args.json:
        args.json.write_text(json.dumps({name: asdict(section) for name, section in sections.items()}, indent=1))
    lines = [
        "# On a GPU",
        "",
        f"`python benchmarks/gpu.py`{', in tiny shapes' if args.tiny else ''}: random weights and",
    ]
    lines += ["images, but for the lab's models; medians, warmed up. What failed stands under its section.", ""]
    for name, section in sections.items():
        lines += [f"## {title(name)}", ""]
        for table in section.tables:
            lines += [f"**{table.title}**", "", f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
            lines += [f"| {' | '.join(shown(cell) for cell in row)} |" for row in table.rows]
            lines.append("")
        lines += [f"{note}." for note in section.notes]
        lines += [f"Failed: {error}" for error in section.errors]
        lines += [f"({name}: {section.seconds:.0f} s)", ""]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
