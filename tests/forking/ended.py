"""Whether processes that tests of forking see have ended."""

import time
from pathlib import Path


def gone(pid, seconds=20):
    """Whether a process ends, within the seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
