"""The steps of a study as Snakemake would run them: their commands, what each reads and makes, and ways to run them."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from forked_programs import real_path, run_snakemake

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
ALONE = {name: word for name, word in os.environ.items() if not name.lower().endswith("_proxy") and name[:3] != "HF_"}
ALONE |= {"OMP_NUM_THREADS": "1", "PATH": real_path()}
ALONE["PYTHONPATH"] = str(ROOT / "src")
KINDS = {  # of files, by a pattern of their paths
    "model": r"data/models/.*\.safetensors",
    "record of a model": r"data/models/.*\.made\.json",
    "images": r"data/prepared/.*/images\.npy",
    "labels": r"data/prepared/.*/labels\.npy",
    "photographs": r"data/prepared/.*/photographs\.npy",
    "meta": r"data/prepared/.*/meta\.json",
    "corrupted": r"data/prepared/.*/corrupt/.*",
    "inventory": r"data/prepared/inventory/.*",
    "variant": r"results/.*\.safetensors",
    "snapshots": r"results/.*\.tar",
    "samples": r"results/.*/samples\.parquet",
    "rows of a shard": r"results/[^/]+/evaluate/.*/rows\.parquet",
    "rows of an explanation": r"results/[^/]+/explain/.*/rows\.parquet",
    "rows of the study": r"results/[^/]+/rows\.parquet",
    "facts": r"results/[^/]+/facts\.json",
    "lists of a report": r"reports/[^/]+/(claims|summary|digests)\.json",
    "pieces of a report": r"reports/[^/]+/(report\.html|(figures|tables|plots)/.*)",
}


@dataclass(frozen=True)
class Step:
    """Hold a job: the module that runs, its words, and the paths that its rule names."""

    rule: str
    module: str
    words: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def reads(self, path):
        """Whether the step opens a file: one that its rule names, or one of a prepared folder that its words name."""
        if path in self.inputs:
            return True
        if re.fullmatch(KINDS["record of a model"], path):
            return path.replace(".made.json", ".safetensors") in self.inputs
        said, folder = " ".join(self.words), str(Path(path).parent)
        if re.fullmatch(KINDS["corrupted"], path):
            return self.rule == "evaluate" and f'"corruption": "{Path(path).stem}"' in said
        if re.fullmatch(KINDS["inventory"], path) or not path.startswith("data/prepared"):
            return False
        return self.module not in ("facts", "inventory", "collect") and re.search(rf"{folder}\b", said) is not None


def steps_of(config, folder):
    """Return the jobs of a study that is to be made in a folder, each after those whose files it needs."""
    words = [
        "--snakefile",
        ROOT / "workflow/Snakefile",
        "--profile",
        ROOT / "profiles" / "default",
        "--cores",
        "2",
        "-n",
        "-p",
    ]
    words += ["--directory", folder, "--configfile", config, "--nocolor", "--forceall"]
    done = run_snakemake(*words, cwd=ROOT, env=ALONE)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    found, ready, steps = [], set(), []
    for block in re.split(r"\n\n", done.stdout + done.stderr):
        if told := re.search(r"^Shell command: python -m reliquant\.steps\.(\w+) (.*) 2> \S+$", block, re.M):
            rule = re.search(r"^(?:local)?rule (\w+):", block, re.M)[1]
            named = {key: re.search(rf"^    {key}: (.*)$", block, re.M) for key in ("input", "output")}
            inputs, outputs = (tuple(n[1].split(", ")) if n else () for n in named.values())
            words = shlex.split(re.sub(r"\$\(dirname (\S+)\)", lambda m: str(Path(m[1]).parent), told[2]))
            found.append(Step(rule, told[1], tuple(words), inputs, outputs))
    made = {path for step in found for path in step.outputs}
    while found:
        step = next(step for step in found if set(step.inputs) & made <= ready)
        found.remove(step)
        steps.append(step)
        ready |= set(step.outputs)
    return steps


class Forked:
    """Runs steps by `forking.py`."""

    def __init__(self):
        command = [sys.executable, Path(__file__).with_name("forking.py")]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ALONE)

    def start(self, step, folder, told="told", **limits):
        """Start a step in a folder; return what `end` takes, of which the first item is the process id."""
        (folder / "tmp").mkdir(exist_ok=True)
        path = folder.parent / f"{folder.name}.{told}"
        pid = self._asked(
            {"module": step.module, "words": step.words, "folder": str(folder), "told": str(path), **limits}
        )
        return pid, path

    def end(self, pid, path):
        """Return the exit code and what was said, once the step has ended."""
        return self._asked({"wait": pid}), path.read_text(errors="replace").strip()

    def run(self, step, folder, **limits):
        return self.end(*self.start(step, folder, **limits))

    def close(self):
        self._server.stdin.close()
        self._server.wait()

    def _asked(self, question):
        self._server.stdin.write(json.dumps(question) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def popen(step, folder, *before):
    """Start a step in its real form; what it says goes to a file beside the folder."""
    (folder / "tmp").mkdir(exist_ok=True)
    command = [*before, sys.executable, "-m", f"reliquant.steps.{step.module}", *step.words]
    env = {**ALONE, "TMPDIR": str(folder / "tmp")}
    with open(folder.parent / f"{folder.name}.told", "w") as told:
        return subprocess.Popen(command, cwd=folder, env=env, stdout=told, stderr=told, start_new_session=True)


def said(folder):
    return (folder.parent / f"{folder.name}.told").read_text(errors="replace").strip()


def tree(folder):
    """Return the bytes of every file below a folder, by its path, and None for each folder that is empty."""
    paths = [path for path in sorted(folder.rglob("*")) if path.name != "tmp" and "torchinductor" not in str(path)]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    empty = [path for path in paths if path.is_dir() and not any(path.iterdir())]
    return found | {path.relative_to(folder).as_posix(): None for path in empty}


def left_behind(folder):
    """Name what lies in the folder for temporary files of a copy, but torch's own cache."""
    there = os.listdir(folder / "tmp") if (folder / "tmp").is_dir() else []
    return [name for name in there if not name.startswith("torchinductor")]


def differing(found, wanted):
    """Name the files that two trees do not have in common, or with other bytes."""
    other = [name for name in found.keys() & wanted.keys() if found[name] != wanted[name]]
    return sorted([*other, *(found.keys() ^ wanted.keys())])


def without(folder, outputs):
    """Delete what a step makes."""
    for name in outputs:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def of_session(leader):
    """Return the processes of a session that live."""
    living = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            living.append(int(path.parent.name))
    return living


def has_just_begun(pid):
    """Whether a process would be ended by SIGTERM without a word: it neither catches nor ignores it, yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Ign|Cgt):\s*(\w+)$", status, re.M)
    return "State:\tZ" not in status and not any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks)


def strike(pid, step, folder, moment, number=signal.SIGKILL):
    """Send a signal to a process after so many seconds; where `moment` is negative, as long after its first file.

    SIGTERM is sent to a process that takes it as a step does: before, it has done nothing, and ends at once.
    """
    folders = {(folder / name).parent for name in step.outputs}
    before = {path: set(os.listdir(path)) for path in folders if path.is_dir()}
    last = time.monotonic() + 60
    while moment < 0 and time.monotonic() < last and os.path.exists(f"/proc/{pid}"):
        if any(set(os.listdir(path)) != before.get(path, set()) for path in folders if path.is_dir()):
            break
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.0005)
    while number == signal.SIGTERM and time.monotonic() < last and has_just_begun(pid):
        time.sleep(0.0005)
    time.sleep(abs(moment))
    os.kill(pid, number)  # whoever waits for it has not done so yet: the number is still its own
