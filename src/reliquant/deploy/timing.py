"""How long exported towers take, in turns beside each other, and how much memory each needs; free of torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reliquant.deploy.folder import file_of, read_export
from reliquant.deploy.runtimes import Runtime, Session, opened
from reliquant.files.bounded import parse_json

LEAST = 0.05  # seconds of a turn: shorter ones are made of several calls
CONFIDENCE = 0.95
Seconds = NDArray[np.float64]  # of an image, one number for each round


@dataclass(frozen=True)
class Timed:
    """Name an exported tower in a runtime: `name` is the folder's, `facts` are what the folder says of itself."""

    folder: Path
    facts: dict[str, Any]
    tower: Literal["image", "text"]
    runtime: Runtime

    @property
    def path(self) -> Path:
        """The file of the tower."""
        return file_of(self.folder, self.facts, self.tower)

    @property
    def file_bytes(self) -> int:
        """The bytes of the tower's file, with those of the second file that a large or an OpenVINO model has."""
        others = [self.path.with_suffix(".bin")] if self.path.suffix == ".xml" else []
        others.append(self.path.with_name(f"{self.path.name}.data"))
        return sum(path.stat().st_size for path in [self.path, *others] if path.is_file())

    def inputs(self, batch: int) -> NDArray[Any]:
        """Return a batch of what the tower takes: random pixels, or a caption's tokens again and again."""
        if self.tower == "image":
            height, width = (self.facts["preprocessing"][side] for side in ("height", "width"))
            return np.random.default_rng(0).standard_normal((batch, 3, height, width)).astype(np.float32)
        (tokens, *_) = self.facts["tokenizer"]["check"].values()
        return np.array([tokens] * batch, self.facts["tokenizer"]["type"])


def named(folder: Path, tower: Literal["image", "text"], runtime: Runtime, /) -> Timed:
    """Read an exported folder for timing; raise what `read_export` raises, ValueError where the runtime cannot open it.

    A `torch.export` program runs in no other runtime.
    """
    facts = read_export(folder)
    if facts["to"] == "torch":
        raise ValueError(f"{folder}: is a program of torch, which no runtime opens; export it --to onnx")
    if facts["to"] == "openvino" and runtime != "openvino":
        raise ValueError(f"{folder}: is OpenVINO's, which {runtime} does not open; export it --to onnx")
    file_of(folder, facts, tower)
    return Timed(folder, facts, tower, runtime)


def in_turns(sides: Sequence[Timed], batch: int, rounds: int, /, *, threads: int) -> list[dict[str, Any]]:
    """Time a batch on each side, one after the other in each round, and in the reverse order in each second round.

    Of each side: `seconds` of an image in each round, of the clock, and `processor`, those of the processor, which
    other work disturbs least; `share`, the second over the first times the threads (1 where nothing else ran), and
    `session`, the facts of what ran. A round before the first warms up.
    """
    sessions = [opened(side.path, side.runtime, threads=threads) for side in sides]
    batches = [side.inputs(batch) for side in sides]
    calls = [_calls(session, one) for session, one in zip(sessions, batches, strict=True)]
    clock, processor = np.zeros((2, rounds, len(sides)))
    for number in range(-1, rounds):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for place in order:
            start, busy = time.perf_counter(), time.process_time()
            for _ in range(calls[place]):
                sessions[place].run(batches[place])
            if number >= 0:
                clock[number, place] = (time.perf_counter() - start) / calls[place]
                processor[number, place] = (time.process_time() - busy) / calls[place]
    shares = processor.sum(0) / clock.sum(0) / max(threads, 1)
    return [
        {
            "seconds": clock[:, place] / batch,
            "processor": processor[:, place] / batch,
            "share": float(shares[place]),
            "session": session.facts,
        }
        for place, session in enumerate(sessions)
    ]


def _calls(session: Session, batch: NDArray[Any]) -> int:
    """Warm a session up, and return how many calls make a turn that is long enough for the clock."""
    session.run(batch)
    start = time.perf_counter()
    session.run(batch)
    return int(np.clip(np.ceil(LEAST / (time.perf_counter() - start)), 1, 1000))


def median_interval(values: Sequence[float] | Seconds, /) -> tuple[float, float | None, float | None]:
    """Return the median of rounds, and an interval that holds the true median with a chance of 95 % or more.

    The ends are two of the values themselves, as far from the least and the largest as the signs of independent
    differences from the median allow (order statistics; David & Nagaraja, Order Statistics, 2003, 7.1): it assumes no
    distribution. Fewer than six rounds have no such interval.

    >>> median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    (3.5, 1.0, 9.0)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    outside, cut = 0.0, 0  # the chance that the median lies below the value at `cut`, twice
    while cut < n // 2 and outside + 2 * comb(n, cut) / 2**n <= 1 - CONFIDENCE:
        outside += 2 * comb(n, cut) / 2**n
        cut += 1
    if cut == 0:
        return float(np.median(ordered)), None, None
    return float(np.median(ordered)), float(ordered[cut - 1]), float(ordered[n - cut])


def peak_memory(side: Timed, batch: int, /, *, threads: int) -> int | None:
    """Return the peak resident memory, in bytes, of a process that opens a tower alone and embeds a batch twice.

    It holds Python, numpy and the runtime, too. None where the system does not say (`machine.peak_resident`).
    """
    words = [str(side.path), side.runtime, str(threads), json.dumps(list(side.inputs(batch).shape))]
    command = [sys.executable, "-m", "reliquant.deploy.alone", *words, str(side.inputs(1).dtype)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ValueError(f"{side.path}: {made.stderr.strip().splitlines()[-1] if made.stderr else 'was killed'}")
    return parse_json(made.stdout.splitlines()[-1], "what a process of its own says:")


def by_batch(
    sides: Sequence[Timed], batches: Sequence[int], rounds: int, /, *, threads: int
) -> Mapping[int, list[dict[str, Any]]]:
    """Time each batch size in turns (`in_turns`)."""
    return {batch: in_turns(sides, batch, rounds, threads=threads) for batch in batches}
