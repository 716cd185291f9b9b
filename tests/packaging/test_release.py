"""tools/release.py: each check refuses what it is there for, and both distributions are built whole."""

import subprocess

import pytest
from forked_programs import OF_DVC, programs

from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]


@pytest.fixture
def tool(imported_tool):
    """The tool itself, over this repository."""
    return imported_tool("release")


@pytest.fixture
def release(tool, tmp_path, monkeypatch):
    """The tool, over a small repository of its own with one commit."""
    (tmp_path / "docs").mkdir()
    for name in ("CITATION.cff", "codemeta.json", "CHANGELOG.md", "docs/module.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b.c")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        git(tmp_path, *words)
    return tool


def git(folder, *words):
    subprocess.run(["git", *words], cwd=folder, check=True)


def refusal(release, check):
    with pytest.raises(release.Failed) as caught:
        check()
    return str(caught.value)


def test_this_version_is_told_alike_and_has_a_date(release):
    assert release.versions().startswith(release.VERSION)
    assert release.changelog().startswith(f"{release.VERSION} of 20")
    assert release.clean().startswith("every file is as in")


def test_another_version_in_one_place_is_refused(release):
    path = release.ROOT / "codemeta.json"
    path.write_text(path.read_text().replace(f'"{release.VERSION}"', '"9.9.9"'))
    assert "'codemeta.json': '9.9.9'" in refusal(release, release.versions)
    assert refusal(release, release.clean) == "1 files differ from the last commit, such as codemeta.json"


@pytest.mark.parametrize(
    ("heading", "told"), [("## Unreleased", "Unreleased, has no date"), ("## {} (2020-01-01)", "2020")]
)
def test_a_change_log_without_this_release_is_refused(release, heading, told):
    path = release.ROOT / "CHANGELOG.md"
    _, _, rest = path.read_text().partition(")\n")
    path.write_text(f"# Changelog\n\n{heading.format(release.VERSION)}\n{rest}")
    assert told in refusal(release, release.changelog)


def test_a_tag_may_name_this_commit_and_no_other(release):
    assert release.tagged().endswith("is not there yet")
    git(release.ROOT, "tag", f"v{release.VERSION}")
    assert release.tagged().endswith("is this commit")
    git(release.ROOT, "commit", "-q", "--allow-empty", "-m", "two")
    assert "names another commit" in refusal(release, release.tagged)


def test_every_check_is_made_and_a_failed_one_is_a_line_and_the_exit_code(release, capsys):
    git(release.ROOT, "tag", f"v{release.VERSION}")
    git(release.ROOT, "commit", "-q", "--allow-empty", "-m", "two")
    with pytest.raises(SystemExit, match=f"^release {release.VERSION}: failed: tagged$"):
        release.require([release.clean, release.tagged, release.versions])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines] == [["ok", "clean"], ["FAILED", "tagged"], ["ok", "versions"]]


@pytest.mark.slow
def test_both_distributions_are_built_whole(tool, tmp_path, monkeypatch, capsys):
    """That they run in fresh environments `make wheel` tries: minutes, and gigabytes of packages."""
    for name in ("WHEEL", "SDIST", "LAB_WHEEL", "LAB_SDIST"):
        monkeypatch.setattr(tool, name, tmp_path / getattr(tool, name).name)
    monkeypatch.setattr(tool, "BUILT", [tool.WHEEL, tool.SDIST, tool.LAB_WHEEL, tool.LAB_SDIST])
    monkeypatch.setattr(tool, "DIST", tmp_path)
    tool.require([tool.built, tool.metadata, tool.contents, tool.weights])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ok"] * 4


def test_a_lab_that_ran_on_other_code_is_no_release(release, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    (release.ROOT / "code").write_text("1")
    (release.ROOT / "dvc.yaml").write_text("stages: {study: {cmd: cp code made, deps: [code], outs: [made]}}")
    for words in (["init", "-q"], ["repro", "-q"]):
        assert programs(*OF_DVC).run("dvc", *words, cwd=release.ROOT).returncode == 0
    assert "released.py" in refusal(release, release.released)  # nothing of it is kept here: asked for after DVC
    (release.ROOT / "code").write_text("2")
    told = refusal(release, release.released)
    assert told.startswith("`dvc status` finds")
    assert '"code": "modified"' in told
