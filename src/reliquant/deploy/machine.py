"""The machine on which times were taken, and what a process holds of its memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

INT8_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_tile", "amx_int8", "asimddp", "i8mm", "sve")


def machine_facts() -> dict[str, Any]:
    """Return the CPU's model, how many cores this process may use, and those of its flags that int8 products use.

    `cpu` is what the system says, "unknown" where it says nothing; `load` is the mean number of running processes over
    the last minute, null where the system does not count them.
    """
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        told = ""
    by_word = dict(_words(line) for line in told.splitlines() if ":" in line)
    flags = (by_word.get("flags") or by_word.get("Features") or "").split()
    return {
        "cpu": by_word.get("model name") or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "int8_flags": [flag for flag in INT8_FLAGS if flag in flags],
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _words(line: str) -> tuple[str, str]:
    word, _, value = line.partition(":")
    return word.strip(), value.strip()


def peak_resident() -> int | None:
    """Return the largest resident memory that this process has had, in bytes; None where the system does not say.

    It is read from Linux' /proc: what `getrusage` gives also counts the process from which this one was started.
    """
    try:
        told = Path("/proc/self/status").read_text()
    except OSError:
        return None
    by_word = dict(_words(line) for line in told.splitlines() if ":" in line)
    return int(by_word["VmHWM"].split()[0]) * 1024 if "VmHWM" in by_word else None


def used() -> str:
    """Say what this process has used: processor time, also of processes that it waited for, and the most memory."""
    times, peak = os.times(), peak_resident()
    told = f"{times.user + times.system + times.children_user + times.children_system:.1f} s of processor time"
    return told if peak is None else f"{told}, at most {peak / 1e6:.0f} MB of memory"
