"""Open one tower in a process of its own, embed twice, and print the peak of its resident memory in bytes.

`python -m reliquant.deploy.alone FILE RUNTIME THREADS SHAPE TYPE`, as `timing.peak_memory` starts it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import numpy as np

from reliquant.deploy.machine import peak_resident
from reliquant.deploy.runtimes import Runtime, opened
from reliquant.files.bounded import parse_json


def main(file: str, runtime: str, threads: str, shape: str, kind: str, /) -> None:
    """Print the peak; null where the system does not say."""
    session = opened(Path(file), cast(Runtime, runtime), threads=int(threads), explained=False)
    batch = np.zeros(parse_json(shape, "shape:"), kind)
    for _ in range(2):
        session.run(batch)
    print(json.dumps(peak_resident()))


if __name__ == "__main__":
    main(*sys.argv[1:])
