"""A study under real DVC and Git, in throw-away clones, with real remotes: what `make check-clone` runs."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from getpass import getuser
from pathlib import Path
from pwd import getpwnam

import polars as pl
import pytest
import yaml
from dry_run import job_counts
from forked_programs import OF_STEPS, forked_path, programs, real_path

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / ".test" / "config" / "config.yaml"
LAB_VIT = ROOT / "src" / "reliquant" / "models" / "architectures" / "lab_vit.json"


def run(*command, cwd, check=True, **more):
    env = {**os.environ, "PATH": forked_path(), "PYTHONPATH": str(Path(cwd) / "src"), "DVC_NO_ANALYTICS": "1", **more}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == 0 or not check, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def released(*words, cwd, code=0):
    """Run a clone's `tools/released.py`, and return what it says."""
    env = {**os.environ, "PYTHONPATH": f"{cwd}/src{os.pathsep}{cwd}/tools"}
    done = programs(*OF_STEPS).run("released", *words, cwd=cwd, env=env)
    assert done.returncode == code, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def jobs(cwd):
    """Return what Snakemake would run in a folder: rule -> count."""
    counts = job_counts(run("snakemake", "-n", cwd=cwd))
    return {rule: count for rule, count in counts.items() if rule != "all"}


def fresh(clone, folder, *words):
    """Clone and pull."""
    run("git", "clone", "-q", *words, str(clone), str(folder), cwd=clone)
    run("dvc", "pull", "-q", cwd=folder)
    return folder


def cheap():
    """The small study's config with few jobs, of each kind but corruptions and snapshots, a smaller model, few images
    and one figure."""
    config = {**yaml.safe_load(TINY.read_text()), "study": "lab", "resamples": 100}
    config["models"]["vit"]["architecture"] = "config/smaller.json"
    del config["models"]["convnext"], config["schemes"]["lsq"], config["negatives"], config["fits"]
    for suite in ("noise", "shift", "spurious"):
        del config["suites"][suite]
    config["suites"]["ood"]["shapes"] = {"far": ["digits"]}
    config["datasets"] = {name: config["datasets"][name] for name in ("pairs", "fresh", "shapes", "digits")}
    for entry in config["datasets"].values():
        entry["images"] = 50
    config["proxies"]["captions"]["pairs"] = 50
    config["scores"] = {"mcm": config["scores"]["mcm"]}
    config["shards"] = {"most": ["clean", "ood"]}
    config["explain"] |= {"images": 20, "waves": 1, "wave_images": 10}
    config["deploy"] |= {"runtimes": ["onnxruntime"], "towers": "image", "suites": ["clean", "ood"]}
    return config | {"report": {"figures": ["accuracy_by_bits"], "tables": ["main"]}}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of this tree whose lab is one small model, reproduced and pushed to a folder."""
    folder = tmp_path_factory.mktemp("dvc")
    repo = folder / "repo"
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, repo / name)
    (repo / "config" / "config.yaml").write_text(yaml.safe_dump(cheap()))
    architecture = json.loads(LAB_VIT.read_text())
    for tower in ("vision_cfg", "text_cfg"):
        architecture[tower]["layers"] = 1  # tracing takes longest
    (repo / "config" / "smaller.json").write_text(json.dumps(architecture))
    run("git", "init", "-q", cwd=repo)
    run("git", "config", "user.email", "tests@example.org", cwd=repo)
    run("git", "config", "user.name", "tests", cwd=repo)
    run("dvc", "remote", "add", "-d", "store", str(folder / "store"), cwd=repo)
    run("dvc", "repro", "-q", cwd=repo)
    run("git", "add", "-A", cwd=repo)
    run("git", "commit", "-qm", "a study", cwd=repo)
    run("dvc", "push", "-q", cwd=repo)
    return repo


@pytest.mark.parametrize("name", ["cifar", "clip-v1", "paper"])
def test_two_words_make_the_stage_that_of_another_study(tmp_path, name):
    run("dvc", "init", "-q", "--no-scm", cwd=tmp_path)
    config = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    stage = (ROOT / "dvc.yaml").read_text().replace("config/config.yaml", f"config/{name}.yaml")
    (tmp_path / "dvc.yaml").write_text(stage.replace("study: lab", f"study: {config['study']}"))
    made = re.findall(r'"(.*)"', run("dvc", "dag", "--outs", "--dot", cwd=tmp_path))
    assert {f"results/{config['study']}", f"reports/{config['study']}/report.html", "data/models"} <= set(made)


def test_after_a_run_both_tools_have_nothing_to_do(clone):
    assert "up to date" in run("dvc", "status", cwd=clone)
    assert "didn't change, skipping" in run("dvc", "repro", cwd=clone)
    assert "Nothing to be done" in run("snakemake", cwd=clone)


def test_metrics_and_plots_show_something(clone):
    assert "reports/lab/summary.json" in run("dvc", "metrics", "show", cwd=clone)
    assert "file://" in run("dvc", "plots", "show", cwd=clone)


def test_the_page_on_reproducing_tells_commands_that_work(clone, tmp_path):
    """From a clone of a release to an experiment, its differences and a release of its own."""
    run("git", "tag", "-f", "v1", cwd=clone)
    page = (ROOT / "docs" / "reproduce.md").read_text()
    commands = [line.removeprefix("    ") for line in page.splitlines() if line.startswith("    ")]
    inside = "cd study; export PYTHONPATH=$PWD/src; git config user.email t@example.org; git config user.name t"
    script = "set -ex\n" + "\n".join(commands).replace("cd study", inside)
    told = run("bash", "-c", script, cwd=tmp_path, REPO=str(clone))
    assert all(f"+ {words.split()[0]}" in told for words in commands)
    for words in ("up to date", "didn't change, skipping", "reports/lab/report.html"):
        assert words in told
    assert told.count("Nothing to be done") == 1
    assert "change.w2a8.accuracy" in told
    assert "change.w4a8.accuracy" in told
    assert told.count("file://") == 1  # of dvc plots diff
    second = fresh(clone, tmp_path / "second", "--branch", "v2")
    assert "up to date" in run("dvc", "status", cwd=second)
    assert jobs(second) == {}
    assert "w2a8" in (second / "reports/lab/summary.json").read_text()
    run("git", "tag", "-d", "v2", cwd=clone)


def test_a_clone_without_a_remote_has_the_released_numbers_and_can_be_compared_with_them(clone, tmp_path):
    released("keep", "lab", cwd=clone)
    run("git", "add", "-A", cwd=clone)
    run("git", "commit", "-qm", "kept", cwd=clone)
    run("git", "tag", "-a", "-m", "a model", "lab-vit-curated@v0.3.0", cwd=clone)  # DVC reads annotated tags alone
    folder = tmp_path / "bare"
    run("git", "clone", "-q", str(clone), str(folder), cwd=clone)
    status = run("dvc", "status", cwd=folder)
    assert "changed deps" not in status  # code, config and parameters are those of the release
    assert "not in cache:       results/lab" in status
    assert "change.w4a8.accuracy" in run("dvc", "metrics", "show", "--md", cwd=folder).replace("_", ".")
    assert run("dvc", "metrics", "diff", cwd=folder) == ""
    summary = folder / "reports" / "lab" / "summary.json"
    summary.write_text(summary.read_text().replace('"variants": ', '"variants": 1'))
    assert "variants" in run("dvc", "metrics", "diff", cwd=folder)
    run("git", "checkout", "-q", "reports", cwd=folder)
    run("dvc", "artifacts", "get", f"file://{clone}", "lab-vit-curated", "-o", "got.safetensors", cwd=folder)
    shipped = ROOT / "src" / "reliquant_lab" / "lab-vit-curated.safetensors"
    assert (folder / "got.safetensors").read_bytes() == shipped.read_bytes()
    assert "no such file" in released("compare", "lab", cwd=folder, code=1).lower()
    run("dvc", "pull", "-q", cwd=folder)
    told = run("python", "tools/released.py", "compare", "lab", cwd=folder)  # it starts as `make verify` starts it
    assert "here: the same processor, versions, config and code" in told
    assert told.endswith("holds: all lines are the same\n")


def test_a_changed_parameter_reruns_what_it_touches_in_both_tools(clone, tmp_path):
    folder = fresh(clone, tmp_path / "fresh")
    config = folder / "config" / "config.yaml"
    config.write_text(config.read_text().replace("resamples: 100", "resamples: 110"))
    assert "config/config.yaml" in run("dvc", "status", cwd=folder)
    measured = {"measure", "measure_exported", "sensitivity", "retrieve"}
    assert set(jobs(folder)) == {*measured, "collect", "deployed", "facts", "report"}
    run("dvc", "repro", "-q", cwd=folder)
    assert "up to date" in run("dvc", "status", cwd=folder)
    assert jobs(folder) == {}


TOUCHED = {
    "models/losses/mine.py": {},  # new, and nobody's yet
    "report/figures/flips.py": {"report": 1},
    "quantization/quantizers/rtn.py": {
        "quantize": 1,
        "evaluate": 1,
        "measure": 1,
        "explain": 1,
        "sensitivity": 1,
        "embed": 1,
        "retrieve": 1,
        "export": 1,
        "run_exported": 1,
        "measure_exported": 1,
        "deployed": 1,
        "collect": 1,
        "report": 1,
    },
}


@pytest.mark.parametrize("file", TOUCHED)
def test_a_changed_source_file_reruns_what_it_touches_in_both_tools(clone, tmp_path, file):
    folder = fresh(clone, tmp_path / "fresh")
    with (folder / "src" / "reliquant" / file).open("a") as source:
        source.write("\n\nNOTHING = None\n")
    assert "src" in run("dvc", "status", cwd=folder)
    assert jobs(folder) == TOUCHED[file]
    told = run("dvc", "repro", cwd=folder)
    assert told.count("Finished jobid") == sum(TOUCHED[file].values()) + bool(TOUCHED[file])  # and `all`
    assert "up to date" in run("dvc", "status", cwd=folder)
    assert jobs(folder) == {}
    rows = [pl.read_parquet(f / "results" / "lab" / "rows.parquet") for f in (clone, folder)]
    assert rows[0].equals(rows[1])  # the change changes nothing


def test_a_killed_run_loses_no_finished_job(clone, tmp_path):
    folder = tmp_path / "fresh"
    run("git", "clone", "-q", str(clone), str(folder), cwd=tmp_path)  # nothing pulled: all is to be done
    config = cheap()
    del config["deploy"]  # which begins after the kill
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    every = jobs(folder)
    env = {**os.environ, "PYTHONPATH": str(folder / "src"), "PATH": real_path()}
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(["snakemake"], cwd=folder, env=env, stderr=log, stdout=log, start_new_session=True)
        while not list(folder.glob("results/lab/quantize/*/*/*.safetensors")) and child.poll() is None:
            time.sleep(0.2)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    done = (tmp_path / "log").read_text().count("Finished jobid")
    assert done
    assert "Directory cannot be locked" in run("snakemake", cwd=folder, check=False)
    run("snakemake", "--unlock", cwd=folder)
    left = jobs(folder)
    assert sum(every.values()) - sum(left.values()) in (done, done + 1)  # one may have ended without being told
    run("dvc", "repro", "-q", cwd=folder)
    assert jobs(folder) == {}
    run("reliquant", "verify", "config/config.yaml", cwd=folder)
    rows = [pl.read_parquet(f / "results" / "lab" / "rows.parquet") for f in (clone, folder)]
    assert rows[0].equals(rows[1])


@pytest.fixture
def ssh(tmp_path):
    """A real SSH server on loopback for this user, and the words that make a DVC remote of it."""
    pytest.importorskip("dvc_ssh", reason="dvc-ssh is not installed")
    if not (sshd := shutil.which("sshd", path="/usr/sbin:/usr/bin")):
        pytest.skip("no sshd here")
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name), cwd=tmp_path)
    shutil.copy(tmp_path / "user.pub", tmp_path / "allowed")
    Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"HostKey={tmp_path / 'host'}", f"AuthorizedKeysFile={tmp_path / 'allowed'}", "StrictModes=no"]
    options += ["ListenAddress=127.0.0.1", f"Port={port}", "UsePAM=no", f"PidFile={tmp_path / 'pid'}"]
    options += ["PermitRootLogin=yes"]
    words = [w for o in options for w in ("-o", o)]
    server = subprocess.Popen([sshd, "-D", "-f", "/dev/null", *words, "-o", "Subsystem=sftp internal-sftp"])
    time.sleep(0.5)
    yield f"ssh://127.0.0.1:{port}{tmp_path / 'store'}", {"keyfile": str(tmp_path / "user"), "user": getuser()}
    server.terminate()


@pytest.fixture
def s3(monkeypatch):
    """A real S3-compatible server on loopback, and the words that make a DVC remote of it."""
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3

    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="store")
    yield "s3://store/dvc", {"endpointurl": address}
    server.stop()


@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_a_remote_elsewhere_serves_a_fresh_clone(clone, tmp_path, request, kind):
    url, words = request.getfixturevalue(kind)
    folder = fresh(clone, tmp_path / "first")
    run("dvc", "remote", "add", "away", url, cwd=folder)
    for name, value in words.items():
        run("dvc", "remote", "modify", "away", name, value, cwd=folder)
    run("dvc", "push", "-q", "-r", "away", cwd=folder)
    run("git", "clone", "-q", str(folder), str(tmp_path / "second"), cwd=tmp_path)
    shutil.copy(folder / ".dvc" / "config", tmp_path / "second" / ".dvc" / "config")
    run("dvc", "pull", "-q", "-r", "away", cwd=tmp_path / "second")
    assert "up to date" in run("dvc", "status", cwd=tmp_path / "second")
    assert "Nothing to be done" in run("snakemake", cwd=tmp_path / "second")


@pytest.fixture
def ordinary(clone):
    """A folder with the repository and its store that belong to an ordinary user, and the words to run as that user."""
    words, owner = [], os.getuid()
    if owner == 0:
        owner = getpwnam("nobody").pw_uid
        words = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups"]
        asked = [*words, "sh", "-c", '"$0" -c ""', sys.executable]  # setpriv itself may start what its user may not
        if not shutil.which("setpriv") or subprocess.run(asked, capture_output=True).returncode:
            pytest.skip("an ordinary user may not start this Python")
    with tempfile.TemporaryDirectory(prefix="ordinary-") as folder:
        shutil.copytree(clone.parent, folder, dirs_exist_ok=True, symlinks=True)
        run("dvc", "remote", "modify", "store", "url", f"{folder}/store", cwd=f"{folder}/repo")
        run("git", "commit", "-qam", "where the store is", cwd=f"{folder}/repo")
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)
        yield Path(folder), words


@pytest.mark.parametrize("kind", ["hardlink", "copy", "reflink"])
def test_an_ordinary_user_may_have_any_kind_of_cache(ordinary, kind):
    base, words = ordinary
    own = {"HOME": str(base), "DVC_SITE_CACHE_DIR": str(base / "site"), "XDG_CACHE_HOME": str(base / "xdg")}
    if words:  # another user, who may not see the processes from which programs are forked
        own["PATH"] = real_path()

    def as_user(*command, cwd=base / "fresh", check=True):
        return run(*words, *command, cwd=cwd, check=check, **own)

    as_user("git", "clone", "-q", str(base / "repo"), str(base / "fresh"), cwd=base)
    as_user("dvc", "config", "--local", "cache.type", kind)
    linked = ["cp", "--reflink=always", str(base / "repo/dvc.yaml"), str(base / "linked")]
    if kind == "reflink" and subprocess.run(linked, capture_output=True).returncode:
        pytest.skip("this file system has no reflinks; TMPDIR on XFS or Btrfs has")
    as_user("dvc", "pull", "-q")
    rows = base / "fresh/results/lab/rows.parquet"
    assert os.access(rows, os.R_OK)
    assert (rows.stat().st_nlink > 1) == (kind == "hardlink")
    assert "up to date" in as_user("dvc", "status")
    assert "Nothing to be done" in as_user("snakemake")
    config = base / "fresh/config/config.yaml"
    config.write_text(config.read_text().replace("resamples: 100", "resamples: 110"))
    before = rows.read_bytes()
    as_user("dvc", "repro", "-q")
    assert rows.read_bytes() != before
    assert "up to date" in as_user("dvc", "status")
    cached = [p for p in (base / "fresh/.dvc/cache/files/md5").rglob("*") if p.is_file() and p.suffix != ".dir"]
    assert cached
    assert all(
        hashlib.md5(p.read_bytes()).hexdigest() == p.parent.name + p.name for p in cached
    )  # none written through
