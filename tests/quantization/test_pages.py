import subprocess
import sys

import pytest

RESIDENT = """
import resource
from pathlib import Path
import torch
from reliquant.quantization.pages import LARGE, SMALL, give_back, pages_of_their_own

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
"""

FREED = """
with pages_of_their_own(SMALL):
    with pages_of_their_own(LARGE):  # ends, and leaves the outer one as it is
        pass
    before = resident()
    gone, stay = [], []
    for _ in range(80):
        gone.append(torch.ones(2**19))
        stay.append(torch.ones(2**10))
    assert resident() - before > 150e6
    gone.clear()
    assert resident() - before < 20e6
"""

HOLES = """
before = resident()
gone, stay = [], []
for _ in range(2000):
    gone.append(torch.ones(2**14))
    stay.append(torch.ones(2**8))
gone.clear()
assert resident() - before > 100e6
give_back()
assert resident() - before < 20e6
assert all((tensor == 1).all() for tensor in stay)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is asked")
@pytest.mark.parametrize("program", [FREED, HOLES], ids=["pages of their own", "holes given back"])
def test_memory_of_tensors_that_are_gone_returns_to_the_system_between_those_that_stay(program):
    """In a process of its own, whose heap has no room from tests before."""
    subprocess.run([sys.executable, "-c", RESIDENT + program], check=True)
