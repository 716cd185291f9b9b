"""Run programs that are written in Python as processes of their own that have the slow imports already.

`python forked_programs.py DESCRIPTOR MODULE...` imports the modules and listens on a socket; for each program that
`forked_client.py` asks for it forks a child that runs a module as `python -m` would. The project's own modules are
among the imports of steps and Snakemake; a child that would find others by its folder or its PYTHONPATH, as one in a
clone does, drops them, and imports its own. With `forked_path()` as PATH, shells, DVC and Snakemake find programs that
ask in this way, too.
"""

import ast
import atexit
import gc
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from glob import glob
from pathlib import Path

from forked_client import ask

from reliquant.forking import server

SOURCES = Path(__file__).resolve().parents[2] / "src"
CLIENT = Path(__file__).with_name("forked_client.py")
ANEW = ("reliquant.forking.client", "reliquant.forking.server", "reliquant.steps")  # they look at their process
THREADS = ("jemalloc_bg_thd", "polars-ooc-clea")  # of polars, which a child of a fork can do without
OF_SNAKEMAKE = ("snakemake.cli", "snakemake.report", "smart_open", "requests", "pydantic.dataclasses", "PIL.Image")
OF_SNAKEMAKE += ("safetensors.numpy", "scipy.optimize", "reliquant.fingerprint")
OF_SNAKEMAKE += tuple(f"reliquant.study.{name}" for name in ("check", "deployment", "made_of", "placed", "slices"))
OF_DVC = ("dvc.cli.parser", "dvc.repo", "dvc.repo.reproduce", "dvc.dvcfile", "dvc.data_cloud", "dvc.cachemgr")
OF_DVC += ("dvc.api", "networkx", "ruamel.yaml", "platformdirs", "pyparsing", "configobj", "dulwich.worktree")
OF_DVC += ("tabulate", "pygit2")
TRANSLATIONS = "torch.onnx._internal.exporter._registration"  # of torch's operators to ONNX
OF_STEPS = (*server.IMPORTED, "onnx_ir", "onnxscript", TRANSLATIONS, "matplotlib.pyplot", "jinja2")
OF_STEPS += tuple(
    f"reliquant.{room}.{path.stem}"
    for room in ("steps", "cli")
    for path in (SOURCES / "reliquant" / room).glob("[a-z]*.py")
)
SETS = {"snakemake": OF_SNAKEMAKE, "dvc": OF_DVC, "steps": OF_STEPS}


class Programs:
    """A process that has imported some modules; each program is forked from it."""

    def __init__(self, place, *modules):
        self.place = str(place)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.place)
            listening.listen(128)
            command = [sys.executable, __file__, str(listening.fileno()), *modules]
            env = {**os.environ, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}  # its reports have a thread
            self._server = subprocess.Popen(command, env=env, pass_fds=[listening.fileno()])
        atexit.register(self.close)

    def run(self, module, *words, cwd, env=None, patience=600):
        """Run a module with words in a folder; return what subprocess.run would, with both streams as text.

        Raises TimeoutError after `patience` seconds; the program is ended then.
        """
        environment = dict(os.environ if env is None else env)
        with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            streams = [stream.fileno() for stream in (nothing, out, err)]
            code = ask(self.place, module, list(map(str, words)), str(cwd), environment, streams, patience)
            assert code is not None, f"the server that forks {module} has ended"
            told = [stream.seek(0) or stream.read().decode(errors="replace") for stream in (out, err)]
        return subprocess.CompletedProcess([module, *words], code, *told)

    def close(self):
        self._server.terminate()
        self._server.wait()


@cache
def folder():
    """The folder of the servers' sockets and of the programs; its path is short, as a socket's must be.

    Not a TemporaryDirectory: since Python 3.13 a child of multiprocessing drops the exit handlers, and would delete it.
    """
    made = tempfile.mkdtemp(prefix="forked-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@cache
def programs(*modules):
    """Start a server that imports modules, the first time that they are asked for; it lives as long as this process."""
    name = next((name for name, of in SETS.items() if of == modules), f"{len(list(folder().iterdir()))}")
    return Programs(folder() / name, *modules)


def real_path():
    """Return a PATH whose programs start as everybody's do, this environment's before all others."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@cache
def forked_path():
    """Return a PATH whose `dvc`, `snakemake`, `reliquant` and `python -m` of steps are forked; all else is real."""
    for modules in SETS.values():
        programs(*modules)
    place = folder() / "bin"
    place.mkdir()
    for name in ("dvc", "snakemake", "reliquant", "python"):
        script = f'#!/bin/sh\nexec "{sys.executable}" -IS "{CLIENT}" "{folder()}" {name} "$@"\n'
        (place / name).write_text(script)
        (place / name).chmod(0o755)
    return os.pathsep.join([str(place), real_path()])


def run_snakemake(*words, cwd, env=None):
    """Run Snakemake in a folder, as subprocess.run would, without the second that its imports take."""
    return programs(*OF_SNAKEMAKE).run("snakemake", *words, cwd=cwd, env=env)


def serve(descriptor, modules):
    own = {each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}
    installed = [each for each in sys.path[1:] if each not in own]  # with what an editable install adds
    gc.disable()  # nothing of what is made here goes
    kept = [importlib.import_module(name) for name in modules]
    ours = {name: sys.modules[name] for name in sys.modules if name.partition(".")[0] == "reliquant"}
    ours = {name: module for name, module in ours.items() if not name.startswith(ANEW)}
    become = server.become
    server.become = lambda asked, streams: run(asked, streams, installed, ours, become)
    if "snakemake.cli" in modules:  # a plan asks what each of the project's files imports: no test changes these files
        ast.parse = cache(ast.parse)  # which clones, that import our modules anew, ask for the same texts
        for path in SOURCES.rglob("*.py"):
            sys.modules["reliquant.fingerprint"].imports(path)
        sys.modules["snakemake.cli"].get_argument_parser()  # it keeps the plugins that it finds among all packages
    if "dvc.cli.parser" in modules:
        sys.modules["dvc.cli.parser"].get_main_parser()  # it keeps the parser
    if TRANSLATIONS in modules:  # their table, which is made for every export, is made once
        registry = sys.modules[TRANSLATIONS].ONNXRegistry
        registry.from_torchlib = staticmethod(cache(registry.from_torchlib))
        registry.from_torchlib(opset_version=importlib.import_module("reliquant.deploy.nodes").OPSET)
    if "reliquant.steps.sensitivity" in modules:  # whose steps hash the sources that they rest on
        sys.modules["reliquant.fingerprint"].code("reliquant.steps.sensitivity")
    server.leave_alone()
    gc.enable()
    with socket.socket(fileno=descriptor) as listening:
        threads = [Path(each).read_text().strip() for each in glob("/proc/self/task/*/comm")]
        alone = len([name for name in threads if name not in THREADS]) == 1  # with others it is not forked safely
        server.Server(listening, os.getppid(), forks=alone).serve()
    del kept


def run(asked, streams, installed, ours, become):
    """Become the program, in a child of the server."""
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [asked["folder"], *given, *installed]
    forget = server.forget
    server.forget = lambda: forget_others(ours, asked["module"], forget)
    become(asked, streams)


def forget_others(ours, module, forget):
    """Drop the project's modules; they come back, but the one that is run, where the same ones would be found."""
    forget()
    found = importlib.util.find_spec("reliquant")
    if found and found.origin == ours["reliquant"].__file__:
        sys.modules.update({name: each for name, each in ours.items() if name != module})


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
