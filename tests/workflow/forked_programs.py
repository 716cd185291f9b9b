"""Run programs that are written in Python as processes of their own that have the slow imports already.

`python forked_programs.py MODULE...` imports the modules; then it reads a JSON object a line, {"module", "words",
"folder", "environment", "streams"}, forks a child that runs the module as `python -m` would, and answers its exit code.
What is imported is not of this project: a child imports the project's own modules anew, from its PYTHONPATH.
"""

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCES = Path(__file__).resolve().parents[2] / "src"
OF_SNAKEMAKE = ("snakemake.cli", "snakemake.report", "smart_open", "requests", "pydantic.dataclasses", "PIL.Image")
OF_SNAKEMAKE += ("safetensors.numpy", "scipy.optimize")
WRITTEN = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Programs:
    """Runs programs one after another, each forked from a process that has imported some modules."""

    def __init__(self, *modules):
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, *modules]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self._folder = TemporaryDirectory()  # of what programs write
        atexit.register(self.close)

    def run(self, module, *words, cwd, env=None):
        """Run a module with words in a folder; return what subprocess.run would, with both streams as text."""
        streams = [str(Path(self._folder.name, name)) for name in ("out", "err")]
        asked = {"module": module, "words": list(map(str, words)), "folder": str(cwd), "streams": streams}
        asked["environment"] = dict(os.environ if env is None else env)
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        out, err = (Path(path).read_text(errors="replace") for path in streams)
        return subprocess.CompletedProcess([module, *words], code, out, err)

    def close(self):
        self._server.stdin.close()
        self._server.wait()
        self._folder.cleanup()


@cache
def programs(*modules):
    """Start a server that imports modules, the first time that they are asked for; it lives as long as this process."""
    return Programs(*modules)


def run_snakemake(*words, cwd, env=None):
    """Run Snakemake in a folder, as subprocess.run would, without the second that its imports take."""
    return programs(*OF_SNAKEMAKE).run("snakemake", *words, cwd=cwd, env=env)


def serve(modules):
    own = {each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}
    installed = [each for each in sys.path[1:] if each not in own]  # with what an editable install adds
    sys.path.insert(1, str(SOURCES))
    from reliquant.forking.server import become

    kept = [importlib.import_module(name) for name in modules]
    gc.collect()
    gc.freeze()  # children leave these pages alone
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork() or run(asked, installed, become)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    del kept


def run(asked, installed, become):
    """Become the program, in a child."""
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [asked["folder"], *given, *installed]
    become(asked, [os.open(os.devnull, os.O_RDONLY), *(os.open(path, WRITTEN) for path in asked["streams"])])


if __name__ == "__main__":
    serve(sys.argv[1:])
