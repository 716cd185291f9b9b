import sys

import pytest

from reliquant import fingerprint, plugins


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package with a plugin that imports in every way, beside modules that it does not."""
    folder = tmp_path / "theirs_of_test"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__", "inner/__init__", "inner/deep", "near", "alone", "unused"):
        (folder / f"{name}.py").write_text("")
    (tmp_path / "beside_of_test.py").write_text("")
    (folder / "words.json").write_text("[]")
    (folder / "plugin.py").write_text(
        "import json\nimport numpy\nimport beside_of_test\nfrom . import near\nfrom .inner import deep\n"
        "import theirs_of_test.alone\nWORDS = 'words.json'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("theirs_of_test", None)  # of another folder
    return folder


def test_files_of_the_same_author_are_found_without_an_import(package):
    found = {path.relative_to(package.parent).as_posix() for path in fingerprint.files_used(package / "plugin.py")}
    own = {"__init__.py", "inner/__init__.py", "inner/deep.py", "near.py", "alone.py", "words.json"}
    assert found == {"beside_of_test.py", *(f"theirs_of_test/{name}" for name in own)}


@pytest.mark.parametrize("edited", ["near.py", "inner/deep.py", "words.json", "../beside_of_test.py"])
def test_an_edit_of_any_of_them_changes_the_fingerprint(package, edited):
    def code():
        for kept in (fingerprint._digest, fingerprint._closure, fingerprint.files_used, plugins.file_of):
            kept.cache_clear()
        return fingerprint.code("reliquant.steps.prepare", dataset="theirs_of_test.plugin")

    before = code()
    (package / "unused.py").write_text("1")
    assert code() == before
    (package / edited).write_text("[1]")
    assert code() != before
