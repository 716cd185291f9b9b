"""`reliquant time`: how fast exported towers run, beside FP32 in the same runtime, and what memory they need."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from reliquant.cli.columns import columns, window
from reliquant.cli.output import Output
from reliquant.cli.words import positive, writable
from reliquant.deploy.machine import machine_facts
from reliquant.deploy.runtimes import RUNTIMES, Runtime
from reliquant.deploy.timing import Timed, by_batch, named, peak_memory
from reliquant.deploy.timing_rows import Values, labels_of, measures_of, rows_of
from reliquant.files.artifacts import provenance, save_frame
from reliquant.progress import say

EXAMPLE = "reliquant time exported --batch 1 32 --rows times.parquet"
QUIET = 0.9  # of the clock, the least that the processor must have worked for us


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("folders", type=Path, nargs="+", help="exported folders, of `reliquant export`")
    parser.add_argument("--reference", type=Path, help="the exported folder of FP32, which is timed in turns with them")
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES), dest="runtimes")
    parser.add_argument("--tower", choices=["image", "text"], default="image")
    parser.add_argument("--batch", type=positive, nargs="+", default=[1, 32], dest="batches")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--rounds", type=positive, default=15, help="six or more give intervals")
    parser.add_argument("--rows", type=Path, help="write the measures there, as rows of a study (suite deploy)")
    for word in ("study", "model", "source"):
        parser.add_argument(f"--{word}", default="", help=f"the {word} in the rows; by default what the export says")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    folders: Sequence[Path],
    reference: Path | None,
    runtimes: Sequence[Runtime],
    tower: Literal["image", "text"],
    batches: Sequence[int],
    threads: int,
    rounds: int,
    rows: Path | None,
    **given: str,
) -> Output:
    """Time exported towers in turns, each runtime apart."""
    if rows is not None:
        writable(rows, "--rows")
    machine = machine_facts()
    found: list[dict[str, Any]] = []
    frames: list[pl.DataFrame] = []
    for runtime in dict.fromkeys(runtimes):
        sides = _sides(folders, reference, tower, runtime, given)
        timed = by_batch(sides, sorted(set(batches)), rounds, threads=threads)
        _warn(timed, threads)
        first = next(iter(timed.values()))
        for place, side in enumerate(sides):
            measures = measures_of(timed, place, 0 if reference else None)
            measures |= _sizes(side, max(batches), threads, first[place]["session"]["layers"])
            frames.append(rows_of(side, measures, rounds, given))
            found.append(_told(side, measures, first[place]["session"], given))
    data = {"machine": machine, "threads": threads, "rounds": rounds, "tower": tower, "times": found}
    if rows is not None:
        save_frame(rows, pl.concat(frames), provenance(**{**data, "times": [_short(each) for each in found]}))
    return Output(data, _text(data, rows))


def _sides(
    folders: Sequence[Path],
    reference: Path | None,
    tower: Literal["image", "text"],
    runtime: Runtime,
    given: dict[str, str],
) -> list[Timed]:
    """Open all folders, FP32 first; raise ValueError where two are the same in rows, or FP32 is of another model."""
    others = [folder for folder in folders if reference is None or folder.resolve() != reference.resolve()]
    sides = [named(folder, tower, runtime) for folder in [*([reference] if reference else []), *others]]
    if reference and sides[0].facts["variant_sha256"]:
        raise ValueError(f"--reference {reference}: is a variant, {sides[0].facts['name']}, not FP32")
    seen: dict[tuple[Any, ...], Path] = {}
    for side in sides:
        if reference and side.facts["model_sha256"] != sides[0].facts["model_sha256"]:
            raise ValueError(f"{side.folder}: was made from another model than --reference {reference}")
        other = seen.setdefault(tuple(labels_of(side, given).values()), side.folder)
        if other != side.folder:
            raise ValueError(f"{other} and {side.folder} are the same variant in rows; time one of them")
    return sides


def _sizes(side: Timed, batch: int, threads: int, layers: dict[str, int]) -> dict[str, Values]:
    """Return what is known without turns: bytes, peak memory at the largest batch, how many products are int8."""
    peak = peak_memory(side, batch, threads=threads)
    values: dict[str, float | None] = {
        "file_bytes": side.file_bytes,
        "peak_memory_mb": None if peak is None else peak / 1e6,
        "threads": threads,
        "int8_products": layers.get("int8", 0),
        "products": sum(layers.values()),
    }
    return {name: (float(value), None, None) for name, value in values.items() if value is not None}


def _warn(timed: Any, threads: int) -> None:
    """Say where other work took the processor: of one thread that is sure, of several it may be the runtime's wait."""
    share = min(side["share"] for sides in timed.values() for side in sides)
    if threads == 1 and share < QUIET:
        told = f"the processor worked for them in {share:.0%} of the time alone: other work ran"
        say("reliquant time", f"{told}; trust ratios, those of the processor's time most, not milliseconds")


def _told(side: Timed, measures: dict[str, Values], session: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    values = {name: dict(zip(("value", "low", "high"), each, strict=True)) for name, each in measures.items()}
    facts = {word: session[word] for word in ("runtime", "version", "provider", "threads", "layers")}
    return {"folder": str(side.folder), **labels_of(side, given), **facts, "measures": values}


def _short(told: dict[str, Any]) -> dict[str, Any]:
    return {word: told[word] for word in ("scheme", "runtime", "version", "provider", "layers")}


def _text(data: dict[str, Any], rows: Path | None) -> str:
    """Lay out a line for each variant and runtime."""
    names = [name for name in data["times"][0]["measures"] if name.startswith("latency") and name.endswith("_ms")]
    batches = [name.split("_")[2] for name in names]
    head = ["variant", *(f"ms at {batch}" for batch in batches)]
    head += [f"{word} at {batch}" for batch in batches for word in ("of FP32", "processor's")]
    head += ["MB", "peak MB", "int8"]
    lines = []
    for told in data["times"]:
        measures = told["measures"]
        cells = [_cell(measures.get(f"latency_batch_{batch}_ms"), 2) for batch in batches]
        for batch in batches:
            cells += [_cell(measures.get(f"{word}_batch_{batch}_ratio"), 3) for word in ("latency", "processor")]
        peak = f"{measures['peak_memory_mb']['value']:.0f}" if "peak_memory_mb" in measures else "?"
        int8 = f"{measures['int8_products']['value']:.0f} of {measures['products']['value']:.0f}"
        lines.append([told["scheme"], *cells, f"{measures['file_bytes']['value'] / 1e6:.1f}", peak, int8])
    machine, many = data["machine"], f"{data['rounds']} rounds"
    flags = ", ".join(machine["int8_flags"]) or "no int8 instructions that are known"
    below = [
        "",
        f"ms: of one {data['tower'].replace('text', 'caption')}, median of {many}; of FP32: over FP32's in the same"
        " round, by the clock and by the processor's time. In brackets intervals by order statistics, of 95 % or more"
        " (of six rounds or more).",
        f"{machine['cpu']} ({flags}); {data['threads']} of {machine['cores']} cores; load {machine['load']}.",
    ]
    below += [f"{rows}: {len(data['times'])} variants"] if rows else []
    return "\n".join([*columns(head, lines, right=head[1:], width=window()), *below])


def _cell(value: dict[str, float | None] | None, decimals: int) -> str:
    if value is None:
        return ""
    ends = "" if value["low"] is None else f" [{value['low']:.{decimals}f}, {value['high']:.{decimals}f}]"
    return f"{value['value']:.{decimals}f}{ends}"
