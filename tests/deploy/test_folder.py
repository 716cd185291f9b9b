import json

import pytest

from reliquant.deploy import folder as module
from reliquant.deploy.folder import BEGUN, CARD, FACTS, ROWS, emptied, file_of, finished, read_export, require_free
from reliquant.files.artifacts import DamagedFile, provenance, save_frame, save_json
from reliquant.report.synthetic import Shape, rows

A, B = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "image.onnx").write_bytes(b"a tower" * 100)
    (tmp_path / CARD).write_text("---\ntags:\n- reliquant\n---\n")
    seal(tmp_path)
    return tmp_path


def seal(folder, **changed):
    files = {name: module.sha256_of(folder / name) for name in ("image.onnx", CARD)}
    towers = {"image": {"file": "image.onnx", "input": "pixels", "output": "embedding"}}
    facts = {"kind": "export", "to": "onnx", "files": files, "towers": towers, "model_sha256": A, "variant_sha256": B}
    facts |= changed
    save_json(folder / FACTS, {**facts, "sha256": module.digest_of_facts(facts)})


def test_a_folder_as_it_was_written_is_read(folder):
    assert file_of(folder, read_export(folder), "image") == folder / "image.onnx"


@pytest.mark.parametrize("data", [b"a tower" * 99, b"", b"a tower" * 99 + b"a power", b"a tower" * 101])
def test_a_file_that_was_cut_or_changed_is_refused_by_name(folder, data):
    (folder / "image.onnx").write_bytes(data)
    with pytest.raises(DamagedFile, match=r"image\.onnx: is not the file that was exported.*; export it again"):
        read_export(folder)


def test_a_file_that_is_missing_is_refused_by_name(folder):
    (folder / "image.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"image\.onnx: no such file, though export\.json names it"):
        read_export(folder)


def test_facts_that_were_changed_or_cut_are_refused_by_name(folder):
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps({**facts, "to": "openvino"}))
    with pytest.raises(DamagedFile, match=r"export\.json: was changed after it was written; export it again"):
        read_export(folder)
    (folder / FACTS).write_text(json.dumps(facts)[:-20])
    with pytest.raises(DamagedFile, match=r"export\.json"):
        read_export(folder)
    (folder / FACTS).write_text(json.dumps({word: value for word, value in facts.items() if word != "sha256"}))
    with pytest.raises(DamagedFile, match=r"export\.json.*sha256"):
        read_export(folder)


def test_folders_and_files_that_are_no_export_are_refused(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(FileNotFoundError, match=r"export\.json: no such file: .* is no exported folder"):
        read_export(empty)
    seal(folder, kind="variant")
    with pytest.raises(DamagedFile, match="is a 'variant', not an export"):
        read_export(folder)
    seal(folder, towers=[])
    with pytest.raises(DamagedFile, match="towers"):
        read_export(folder)


@pytest.mark.parametrize("name", ["../image.onnx", "/etc/passwd", "sub/image.onnx", "..", ".", "", "image.onnx\0"])
def test_names_that_lead_out_of_the_folder_are_refused_even_where_the_digest_fits(folder, name):
    seal(folder, files={name: A})
    with pytest.raises(DamagedFile, match="which is not in the folder"):
        read_export(folder)


@pytest.mark.parametrize("file", ["../image.onnx", "/etc/passwd", "other.onnx", "", None, ["image.onnx"], {}])
def test_towers_that_name_no_file_of_the_export_are_refused(folder, file):
    seal(folder, towers={"image": {"file": file}})
    with pytest.raises(DamagedFile, match="the tower 'image' has no file of the export"):
        read_export(folder)


@pytest.mark.parametrize("towers", [{"sound": {"file": "image.onnx"}}, {"image": "image.onnx"}, {"image": {}}])
def test_other_towers_than_those_of_images_and_texts_are_refused(folder, towers):
    seal(folder, towers=towers)
    with pytest.raises(DamagedFile, match="has no file of the export"):
        read_export(folder)


def test_a_tower_that_was_not_exported_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="holds no text tower, only image"):
        file_of(folder, read_export(folder), "text")


def test_what_is_of_no_export_is_not_overwritten(tmp_path):
    require_free(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file: is a file; name a folder"):
        require_free(tmp_path / "file")
    (tmp_path / CARD).write_text("# My project\n")
    with pytest.raises(FileExistsError, match=r"README\.md: is of no export, and would be overwritten"):
        emptied(tmp_path)
    assert (tmp_path / CARD).exists()
    (tmp_path / CARD).unlink()
    shape = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())
    save_frame(tmp_path / ROWS, rows(shape), provenance())
    with pytest.raises(FileExistsError, match=r"rows\.parquet: is of no export, and would be overwritten"):
        emptied(tmp_path)


@pytest.mark.parametrize("name", ["image.onnx", "text.bin", "classes.npy", "export.json"])
def test_files_of_the_same_names_that_no_export_wrote_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text('{"kind": "of another program"}')
    with pytest.raises(FileExistsError, match=rf"{name}: is of no export, and would be overwritten"):
        emptied(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_an_export_left_that_was_killed_or_damaged_is_overwritten(folder):
    (folder / FACTS).write_text((folder / FACTS).read_text()[:40])
    emptied(folder)
    (folder / "image.onnx").write_bytes(b"half a tower")
    emptied(folder)
    finished(folder)
    assert list(folder.iterdir()) == []


def test_an_earlier_export_is_taken_away_and_nothing_else(folder):
    (folder / "mine.txt").touch()
    emptied(folder)
    assert sorted(path.name for path in folder.iterdir()) == [BEGUN, "mine.txt"]
