"""`docs/module.md`: the workflow as a module of another one, from a clone and from git, and what the catalog reads."""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest
import yaml
from forked_programs import forked_path, run_snakemake

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "module.md").read_text()
HOST = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
DEPLOYED = """
configfile: "config/config.yaml"


module reliquant:
    snakefile:
        github("someone/reliquant", path="workflow/Snakefile", tag="{tag}")
    config:
        config


use rule * from reliquant
"""  # as snakedeploy 0.17 writes it


def small():
    """The small study's clean suite alone, of one model and one scheme."""
    config = yaml.safe_load((ROOT / ".test" / "config" / "config.yaml").read_text())
    for section, kept in (
        ("models", ["vit"]),
        ("schemes", ["rtn"]),
        ("scores", ["mcm"]),
        ("datasets", ["pairs", "shapes"]),
    ):
        config[section] = {name: config[section][name] for name in kept}
    for section in ("explain", "deploy", "sensitivity", "negatives", "fits", "shards"):
        del config[section]
    return config | {"suites": {"clean": ["shapes"]}}


def snakemake(folder, *words, **environment):
    env = {**os.environ, "PATH": forked_path(), **environment}
    env.pop("PYTHONPATH", None)
    command = ["--nocolor", "--cores", "2", *words]
    done = run_snakemake(*command, cwd=folder, env=env)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def host(tmp_path):
    """The workflow of the page, whose module is this clone."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump({"greeting": "hello", "reliability": small()}))
    (tmp_path / "Snakefile").write_text(HOST.replace("path/to/reliquant", str(ROOT)))
    return tmp_path


def test_another_workflow_runs_a_study_as_its_module(host):
    text = (host / "Snakefile").read_text()
    (host / "Snakefile").write_text(text.replace("reliquant_report.output.summary", "reliquant_collect.output"))
    code, output = snakemake(host)
    assert code == 0, output[-4000:]
    rows = pl.read_parquet(host / "answer.txt")
    assert set(rows["scheme"]) == {"fp32", "rtn"}
    assert "rule reliquant_evaluate:" in output
    code, output = snakemake(host, "-n")
    assert "Nothing to be done" in output


def test_the_example_of_the_page_plans_the_report(host):
    code, output = snakemake(host, "-n")
    assert code == 0, output[-4000:]
    assert re.search(r"^reliquant_report +1$", output, re.M)


def test_a_problem_of_the_modules_config_is_told_in_one_line(host):
    config = yaml.safe_load((host / "config" / "config.yaml").read_text())
    config["reliability"]["schemes"]["rtn"]["dampp"] = 1
    (host / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = snakemake(host, "-n")
    assert code == 1
    assert "dampp: unknown word; rtn takes" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("line", ['    prefix: "other"', '    replace_prefix: {"results": "other"}'])
def test_a_prefix_is_refused(host, line):
    text = (host / "Snakefile").read_text().replace("    config:\n", f"{line}\n    config:\n", 1)
    (host / "Snakefile").write_text(text)
    code, output = snakemake(host, "-n")
    assert code == 1
    assert "`prefix` and `replace_prefix` would not reach the paths" in output


@pytest.fixture
def hosted(tmp_path):
    """A git repository with the workflow alone, which git takes for github.com's; returns the environment for that."""
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "workflow", repository / "workflow", symlinks=True)
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*own, "commit", "-qm", "all"], ["tag", f"v{version('reliquant')}"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    subprocess.run(["git", "tag", "v99.1.0"], cwd=repository, check=True)
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{repository}.insteadOf"}
    return {
        **instead,
        "GIT_CONFIG_VALUE_0": "https://github.com/someone/reliquant",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def deployed(folder, tag):
    for part in ("workflow", "config"):
        (folder / part).mkdir(parents=True)
    (folder / "workflow" / "Snakefile").write_text(DEPLOYED.replace("{tag}", tag))
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(small()))
    return folder


def test_a_deployed_workflow_runs_the_installed_package(tmp_path, hosted):
    folder = deployed(tmp_path / "study", f"v{version('reliquant')}")
    code, output = snakemake(folder, "--until", "prepare", **hosted)
    assert code == 0, output[-4000:]
    assert len(list(folder.glob("data/prepared/*/native/images.npy"))) == 2
    link = folder / ".snakemake" / "reliquant" / "reliquant"
    assert {each.name for each in link.parent.iterdir()} == {"reliquant", "reliquant_lab"}
    assert (link / "steps" / "prepare.py").is_file()


def test_a_deployed_workflow_of_another_release_is_refused(tmp_path, hosted):
    code, output = snakemake(deployed(tmp_path / "study", "v99.1.0"), "-n", **hosted)
    assert code == 1
    found = version("reliquant")
    assert f"the workflow is release 99.1.0, the installed package {found}: pip install reliquant==99.1.0" in output
    assert "Traceback" not in output


def test_the_catalog_finds_what_it_reads(tmp_path):
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    assert (ROOT / "config" / "README.md").is_file()
    assert re.search(r"snakemake", (ROOT / "README.md").read_text(), re.I)
    assert re.search(r"workflow", (ROOT / "README.md").read_text(), re.I)
    shutil.copytree(ROOT / ".test" / "config", tmp_path / "config")
    code, output = snakemake(tmp_path, "--forceall", "-s", ROOT / "workflow/Snakefile", "-d", tmp_path, "--rulegraph")
    assert code == 0, output[-4000:]
    assert "digraph snakemake_dag" in output
    assert 'label = "report"' in output
