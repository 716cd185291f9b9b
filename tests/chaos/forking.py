"""Run steps in forked processes: each a process of its own, without the seconds that its imports take.

Reads a JSON object a line: {"module", "words", "folder", "told", ...limits} starts a step and answers its process id,
{"wait": id} answers its exit code, negative for a signal.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

STEPS = ["collect", "corrupt", "evaluate", "explain", "facts", "fetch", "inventory", "measure", "prepare", "pretrain"]
STEPS += ["quantize", "report"]
LONGEST = 120  # seconds that a step may take


def serve():
    from reliquant.steps import run

    modules = {name: importlib.import_module(f"reliquant.steps.{name}") for name in STEPS}
    modules["main"] = importlib.import_module("reliquant.cli.main")
    importlib.import_module("reliquant.cli.verify")
    import_plugins()
    importlib.import_module("torch._dynamo")  # which the first optimizer of a process imports
    gc.freeze()  # children leave these pages alone
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        else:
            answer = os.fork() or become(asked, run, modules)
        print(answer, flush=True)


def import_plugins():
    from reliquant import plugins

    for family in plugins.FAMILIES:
        for name in plugins.names(family):
            with contextlib.suppress(plugins.ConfigError):  # one that needs a package which is not installed
                plugins.module(family, name)


def become(asked, run, modules):
    """Run a step in this process, and end it as the interpreter would."""
    os.setsid()
    os.chdir(asked["folder"])
    for number, name, how in ((0, os.devnull, os.O_RDONLY), (2, asked["told"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
        os.dup2(os.open(name, how, 0o666), number)
    os.dup2(2, 1)
    tempfile.tempdir = os.environ["TMPDIR"] = str(Path(asked["folder"], "tmp"))
    sys.argv = [asked["module"], *asked["words"]]
    code = 0
    try:
        limit(asked)
        run(modules[asked["module"]].main, last=True)
    except SystemExit as stop:
        code = 1 if isinstance(stop.code, str) else stop.code or 0
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def limit(asked):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LONGEST)
    if "file_bytes" in asked:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_bytes"],) * 2)
    if "descriptors" in asked:
        resource.setrlimit(resource.RLIMIT_NOFILE, (asked["descriptors"],) * 2)
    if "more_memory" in asked:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + asked["more_memory"],) * 2)
    if "bare" in asked:  # root without its powers: what may not be written may not be written by it, either
        version = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if ctypes.CDLL(None, use_errno=True).capset(version, (ctypes.c_uint32 * 6)()):
            raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    serve()
