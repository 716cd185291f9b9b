"""A file system of its own in memory, as small as a test wants it: where the tests are root's, and may mount one."""

import os
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(folder, words):
    """Mount one in a folder, with words such as size=200m; yield what mounts it anew with other words."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", words, "tmpfs", folder]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield lambda words: subprocess.run(["mount", "-o", f"remount,{words}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, mount, spare):
    """Leave so many bytes of a disk; return the file that takes the rest."""
    used = int(subprocess.run(["du", "-sk", folder], capture_output=True, text=True).stdout.split()[0])
    mount(f"size={used + spare // 1024 + 64}k")
    rest, filled = folder / "rest", 0
    with open(rest, "wb", buffering=0) as file:
        try:
            while True:
                filled += file.write(b"x" * 4096)
        except OSError:
            pass
    os.truncate(rest, max(0, filled - spare))
    return rest
