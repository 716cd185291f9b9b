import json

import pytest

from reliquant.files.artifacts import save_frame, save_sealed_json
from reliquant.files.digests import DamagedFile
from reliquant.files.exported import FACTS, ROWS, require_exported, rows_of, sha256_of_file
from reliquant.report.synthetic import Shape, rows

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=()))


@pytest.fixture
def folder(tmp_path):
    save_frame(tmp_path / ROWS, FRAME, {})
    (tmp_path / "image.onnx").write_bytes(b"a model")
    save_sealed_json(tmp_path / FACTS, {"files": {n: sha256_of_file(tmp_path / n) for n in (ROWS, "image.onnx")}})
    return tmp_path


def test_a_known_digest():
    import hashlib
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as where:
        file = Path(where) / "abc"
        file.write_bytes(b"abc")
        assert sha256_of_file(file) == hashlib.sha256(b"abc").hexdigest()
        assert sha256_of_file(file).startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1


def test_the_rows_of_a_folder_are_those_of_its_table(folder):
    assert rows_of(folder).equals(rows_of(folder / ROWS))
    assert require_exported(folder, "image.onnx") == folder / "image.onnx"


def test_a_file_that_was_changed_or_swapped_is_refused_by_name(folder):
    (folder / "image.onnx").write_bytes(b"another model")
    with pytest.raises(DamagedFile, match=r"image.onnx: does not match the sha256 in export.json"):
        require_exported(folder, "image.onnx")
    save_frame(folder / ROWS, FRAME.head(100), {})  # whole, and of another measurement
    with pytest.raises(DamagedFile, match=r"rows.parquet: does not match the sha256"):
        rows_of(folder)


def test_a_folder_without_rows_says_that_nothing_was_measured(folder):
    (folder / ROWS).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no rows.parquet; nothing was measured of it"):
        rows_of(folder)


def test_rows_that_the_facts_do_not_name_are_refused(folder):
    save_sealed_json(folder / FACTS, {"files": {}})
    with pytest.raises(DamagedFile, match=r"export.json: does not name rows.parquet"):
        rows_of(folder)


@pytest.mark.parametrize("text", ['{"files": 3}', "{}", "[", "[1]"])
def test_facts_that_are_none_are_refused_by_name(folder, text):
    (folder / FACTS).write_text(text)
    with pytest.raises(DamagedFile, match=r"export.json"):
        rows_of(folder)


def test_altered_facts_are_refused(folder):
    facts = json.loads((folder / FACTS).read_text())
    facts["files"][ROWS] = "0" * 64
    (folder / FACTS).write_text(json.dumps(facts))
    with pytest.raises(DamagedFile, match=r"export.json"):
        rows_of(folder)


def test_another_folder_is_no_export(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is a folder without export.json, so no export"):
        rows_of(tmp_path)
