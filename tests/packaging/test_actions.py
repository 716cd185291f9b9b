"""What .github asks of a machine: nothing but targets of the Makefile, and pinned actions."""

import re
import subprocess
import tomllib

import pytest
import yaml

from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs():
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            yield path, job


def commands():
    """Return each command that a job runs, with each word of its matrix."""
    found = []
    for path, job in jobs():
        words = job["strategy"]["matrix"]["target"]
        for step in job["steps"]:
            if "run" in step:
                found += [(path.name, step["run"].replace("${{ matrix.target }}", word)) for word in words]
    return found


@pytest.mark.parametrize(("path", "command"), commands())
def test_every_command_is_a_target_of_the_makefile(path, command):
    program, target, *words = command.split()
    assert program == "make"
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.M), f"{path}: {command}"
    assert all(re.fullmatch(r"SHARD=\d/\d", word) for word in words)


def test_ci_runs_what_actions_run():
    ours = set(re.findall(r"^make (\S+)$", (ROOT / ".ci" / "run").read_text(), re.M))
    theirs = {command.split()[1] for _, command in commands()}
    assert {"lint", "test"} <= ours <= theirs


def test_the_oldest_and_the_newest_python_that_the_package_names_are_tried():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [each.rpartition(" ")[2] for each in classifiers if "Python :: 3." in each]
    matrix = next(job["strategy"]["matrix"] for path, job in jobs() if path.name == "ci.yml")
    assert matrix["python"] == [named[0], named[-1]]


def test_the_shards_hold_every_test_file_once():
    shards = [command.partition("SHARD=")[2] for _, command in commands() if "SHARD=" in command]
    assert shards == [f"{i}/{len(shards)}" for i in range(1, len(shards) + 1)]
    files = []
    for shard in shards:
        recipe = subprocess.run(["make", "-n", "test", f"SHARD={shard}"], cwd=ROOT, capture_output=True, text=True)
        listed = re.search(r"\$\((find .+)\)$", recipe.stdout, re.M)[1]
        files += subprocess.run(["bash", "-c", listed], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert sorted(files) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def test_actions_are_pinned_by_commit():
    uses = [step["uses"] for _, job in jobs() for step in job["steps"] if "uses" in step]
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each), each


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name)
def test_a_form_of_an_issue_has_what_the_host_asks_for(path):
    form = yaml.safe_load(path.read_text())
    if path.name != "config.yml":
        assert {"name", "description", "body"} <= form.keys()
        assert all({"type", "attributes"} <= each.keys() for each in form["body"])
