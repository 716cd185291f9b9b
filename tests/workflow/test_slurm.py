"""The small study through a real Slurm of two nodes on this machine: the same bytes, lost nodes, too little memory.

Needs the extra `cluster`, and a Slurm that answers, or one that is installed and scripts that start and stop it:
slurm_local.sh and slurm_stop.sh of the folder SLURM_LOCAL, ../shared/tools if it does not say, which keep all that they
write in the folder SLURM_LOCAL_DIR. Nodes that are killed here must be processes of this machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from forked_programs import real_path

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / ".test" / "config" / "config.yaml"
TOOLS = Path(os.environ.get("SLURM_LOCAL", ROOT.parent / "shared" / "tools"))
ROWS = Path("results/tiny/rows.parquet")


def answers():
    return shutil.which("sinfo") and subprocess.run(["sinfo"], capture_output=True).returncode == 0


def blind(folder):
    """Whether a job of the Slurm that answers does not see the folder of this test, or not this environment."""
    sees = [sys.executable, "-c", "import reliquant"]
    return any(
        subprocess.run(["srun", "--ntasks=1", *command], capture_output=True, cwd=folder, timeout=120).returncode
        for command in (["test", "-e", str(folder)], sees)
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("the executor plugin is not installed: pip install '.[cluster]'")
    if answers():
        if blind(tmp_path_factory.mktemp("seen")):
            pytest.skip("the jobs of the Slurm that answers do not see this checkout or the folders of its tests")
        yield
        return
    start, stop = TOOLS / "slurm_local.sh", TOOLS / "slurm_stop.sh"
    lacks = {f"{start} is absent": not start.exists(), "slurmctld is not installed": not shutil.which("slurmctld")}
    if any(lacks.values()) or os.getuid() != 0:
        reasons = [reason for reason, true in lacks.items() if true] or ["only root can start one"]
        pytest.skip(f"no Slurm answers: {', '.join(reasons)}")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # nproc heeds it
    if (conf := Path("/etc/slurm/slurm.conf")).is_symlink():  # what a run that was killed has left
        environment["SLURM_LOCAL_DIR"] = str(conf.resolve().parent)
        subprocess.run(["bash", stop], check=True, env=environment)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # its sockets need short paths
        environment["SLURM_LOCAL_DIR"] = folder
        Path(folder, "of-tests").touch()  # its nodes die
        subprocess.run(["bash", start], check=True, capture_output=True, env=environment)
        yield
        subprocess.run(["bash", stop], check=True, env=environment)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The config of the small study with one model and one scheme, measured alone: each job takes ten seconds here."""
    config = yaml.safe_load(TINY.read_text())
    del config["models"]["convnext"], config["schemes"]["lsq"]
    for key in ("explain", "deploy", "sensitivity"):
        del config[key]
    del config["suites"]["retrieval"], config["datasets"]["fresh"]
    config["shards"] = {"most": list(config["suites"])}
    path = tmp_path_factory.mktemp("small") / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def started(config, folder, *words, profile="slurm"):
    """Start Snakemake on a study; its output goes to a file in the folder."""
    command = ["snakemake", "--snakefile", ROOT / "workflow/Snakefile", "--profile", ROOT / "profiles" / profile]
    command += ["--directory", folder, "--configfile", config, "--nocolor", *words]
    if profile == "slurm":
        command += ["--slurm-init-seconds-before-status-checks", "1"]
    with open(folder / "output.txt", "w") as output:
        environment = {**os.environ, "PATH": real_path()}
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environment)


def finished(config, folder, *words, **more):
    code = started(config, folder, *words, **more).wait()
    return code, (folder / "output.txt").read_text()


@pytest.fixture(scope="module")
def local(cluster, small, tmp_path_factory):
    """A run without Slurm."""
    folder = tmp_path_factory.mktemp("local")
    code, output = finished(small, folder, profile="default")
    assert code == 0, output[-4000:]
    return folder


def busy(node):
    asked = ["squeue", "-h", "-t", "R", "-w", node, "-o", "%i"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.split()


def daemon(node):
    asked = subprocess.run(["pgrep", "-f", f"slurmd -N {node}$"], capture_output=True, text=True)
    return [int(word) for word in asked.stdout.split()]


@pytest.fixture
def lose():
    """A function that lets the first node that is busy die with all that runs on it; it is back after the test."""
    nodes = subprocess.run(["sinfo", "-h", "-N", "-o", "%N"], capture_output=True, text=True).stdout.split()
    lost = []
    if elsewhere := [node for node in nodes if not daemon(node)]:
        pytest.skip(f"node {elsewhere[0]} is another machine")

    def dies(run, folder):
        while not (at_work := {node: jobs for node in nodes if (jobs := busy(node))}):
            assert run.poll() is None, (folder / "output.txt").read_text()[-4000:]
            time.sleep(0.5)
        node, jobs = next(iter(at_work.items()))
        lost.append(node)
        os.kill(daemon(node)[0], signal.SIGKILL)
        for job in jobs:
            subprocess.run(["pkill", "-KILL", "-f", rf"slurmstepd: \[{job}\."])
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed"], check=True)
        return jobs

    yield dies
    for node in lost:
        subprocess.run(["slurmd", "-N", node], check=True)
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])


def test_jobs_of_a_node_that_dies_run_elsewhere_and_the_rows_are_those_of_a_local_run(local, lose, small, tmp_path):
    run = started(small, tmp_path)
    lost = lose(run, tmp_path)
    assert run.wait() == 0, (tmp_path / "output.txt").read_text()[-4000:]
    told = [subprocess.run(["scontrol", "show", "job", j], capture_output=True, text=True).stdout for j in lost]
    assert any("Restarts=1" in text for text in told)  # Slurm itself put it into the queue again
    assert (tmp_path / ROWS).read_bytes() == (local / ROWS).read_bytes()


def test_where_slurm_does_not_requeue_the_lost_job_is_named_and_the_next_run_goes_on(local, lose, small, tmp_path):
    run = started(small, tmp_path, "--retries", "0", "--slurm-no-requeue")
    lose(run, tmp_path)
    assert run.wait() != 0
    output = (tmp_path / "output.txt").read_text()
    assert "NODE_FAIL" in output or "Error in group" in output, output[-4000:]  # of a group the state is not told
    assert "log: logs/tiny/" in output
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("images.npy")}
    assert times
    code, output = finished(small, tmp_path, "--until", "pretrain")
    assert code == 0, output[-4000:]
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())  # nothing finished was lost
    models = sorted((local / "data" / "models").glob("*.safetensors"))
    assert [(tmp_path / m.relative_to(local)).read_bytes() for m in models] == [m.read_bytes() for m in models]


def given(output, resource):
    """All amounts of a resource that jobs of a run were given."""
    return {line.split(f"{resource}=")[1].split(",")[0] for line in output.splitlines() if f"{resource}=" in line}


def test_a_job_over_its_memory_is_tried_again_with_more(local, small, tmp_path):
    little = ["--set-resources", "pretrain:mem_mb=250 * attempt ** 3", "--until", "pretrain"]
    code, output = finished(small, tmp_path, *little)
    assert code == 0, output[-4000:]
    assert "Trying to restart job" in output
    assert {"250", "2000"} <= given(output, "mem_mb")


SLOW = """
import time
from pathlib import Path

from reliquant.grid import Grid
from reliquant.quantization.quantizers.rtn import quantizer as rtn


def quantizer(clip, names, proxy, saved, /, *, weight: Grid, activation: Grid):
    if not Path("begun").exists():
        Path("begun").touch()
        time.sleep(600)
    rtn(clip, names, proxy, saved, weight=weight, activation=activation)
"""


def test_a_job_over_its_time_is_tried_again_with_more(cluster, small, tmp_path, monkeypatch):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "once.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    config = yaml.safe_load(small.read_text())
    config["schemes"] = {"rtn": {"quantizer": "slow.once", "family": "Simple PTQ"}}
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(config))
    little = ["--set-resources", "quantize:runtime=attempt ** 3", "--until", "quantize"]  # a minute is Slurm's least
    code, output = finished(tmp_path / "slow.yaml", tmp_path, *little)
    assert code == 0, output[-4000:]
    assert "TIMEOUT" in output
    assert "Trying to restart job" in output
    assert {"1", "8"} <= given(output, "runtime")


def test_a_job_that_fails_shows_its_log(cluster, small, tmp_path):
    once = ["--retries", "0"]
    code, output = finished(small, tmp_path, *once, "--until", "prepare", "--set-resources", "prepare:runtime=60")
    assert code == 0, output[-4000:]
    images = next((tmp_path / "data/prepared/pairs").rglob("images.npy"))
    images.write_bytes(images.read_bytes()[:1000])
    code, output = finished(small, tmp_path, *once, "--until", "pretrain")
    assert code != 0
    assert "logs/tiny/pretrain/vit.log" in output
    assert "pairs/native/images.npy: truncated" in output  # what the log says, and nothing else
