import pytest

from reliquant.deploy.folder import FACTS, digest_of_facts, sha256_of
from reliquant.deploy.measured import ROWS, rows_of, table_of
from reliquant.files.artifacts import save_frame, save_json
from reliquant.files.digests import DamagedFile
from reliquant.report.synthetic import Shape, rows

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=()))


def seal(folder, *names):
    """Write the facts of an exported folder with these files."""
    facts = {"kind": "export", "to": "onnx", "towers": {}, "model_sha256": "", "variant_sha256": ""}
    facts["files"] = {name: sha256_of(folder / name) for name in names}
    save_json(folder / FACTS, {**facts, "sha256": digest_of_facts(facts)})


@pytest.fixture
def folder(tmp_path):
    save_frame(tmp_path / ROWS, FRAME, {})
    (tmp_path / "image.onnx").write_bytes(b"a model")
    seal(tmp_path, ROWS, "image.onnx")
    return tmp_path


def test_the_rows_of_a_folder_are_those_of_its_table(folder):
    assert rows_of(folder).equals(rows_of(folder / ROWS))
    assert table_of(folder) == folder / ROWS == table_of(folder / ROWS)


def test_rows_beside_another_model_or_of_another_measurement_are_refused_by_name(folder):
    (folder / "image.onnx").write_bytes(b"another model")
    with pytest.raises(DamagedFile, match=r"image.onnx: is not the file that was exported"):
        rows_of(folder)
    (folder / "image.onnx").write_bytes(b"a model")
    save_frame(folder / ROWS, FRAME.head(100), {})  # whole in itself
    with pytest.raises(DamagedFile, match=r"rows.parquet: is not the file that was exported"):
        rows_of(folder)


def test_a_folder_without_rows_says_that_nothing_was_measured(folder):
    seal(folder, "image.onnx")
    with pytest.raises(DamagedFile, match=r"export.json: does not name rows.parquet, which lies beside it"):
        rows_of(folder)
    (folder / ROWS).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no rows.parquet: nothing was measured of this export"):
        rows_of(folder)


def test_another_folder_is_no_export(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no exported folder"):
        rows_of(tmp_path)
