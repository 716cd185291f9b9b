import subprocess
import sys

SCRIPT = """
import sys
import torch
from reliquant.models.dispatch import DispatchMode

class Counting(DispatchMode):
    count = 0
    def __torch_dispatch__(self, function, types, arguments=(), words=None):
        self.count += 1
        return function(*arguments, **(words or {}))

with Counting() as counting:
    torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
assert counting.count == 3, counting.count
print("torch._dynamo" in sys.modules)
"""


def test_a_mode_sees_operations_without_the_import_of_the_compiler():
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
