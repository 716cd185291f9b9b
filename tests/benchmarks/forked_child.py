"""Be benchmarks/gpu_child.py, forked from a server of forked_programs.py, whose place is in FORKED_FROM."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from forked_client import ask

FOLDER = Path(__file__).parents[2] / "benchmarks"
os._exit(ask(os.environ["FORKED_FROM"], "gpu_child", sys.argv[1:], str(FOLDER), dict(os.environ), [0, 1, 2]))
