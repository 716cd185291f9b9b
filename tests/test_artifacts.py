import json

import numpy as np
import polars as pl
import pytest

from reliquant.artifacts import DamagedFile, load_tensors, read_header, save_array, save_frame, save_tensors, whole


def test_tensors_and_header_come_back(tmp_path):
    path = tmp_path / "a" / "x.safetensors"
    save_tensors(path, {"codes": np.arange(5, dtype=np.uint8), "empty": np.zeros((0, 3), np.float32)}, {"kind": "test"})
    tensors, header = load_tensors(path)
    assert tensors["codes"].tolist() == [0, 1, 2, 3, 4]
    assert tensors["empty"].shape == (0, 3)
    assert header["kind"] == read_header(path)["kind"] == "test"


def test_equal_tensors_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_tensors(tmp_path / name, {"x": np.ones(3, np.float32)}, {"z": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"x": np.arange(100, dtype=np.float32)}, {})
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"x\.safetensors.*sha256"):
        load_tensors(path)


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"x": np.arange(100, dtype=np.float32)}, {})
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DamagedFile, match=r"x\.safetensors: truncated"):
        load_tensors(path)


def test_a_foreign_safetensors_file_is_named(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DamagedFile, match=r"foreign\.safetensors: no reliquant header"):
        load_tensors(tmp_path / "foreign.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        load_tensors(tmp_path / "gone")


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "out.txt"

    def write():
        with whole(path) as part:
            part.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole(path) as part:
        part.with_name("gone").read_text()
    assert path.read_text() == "old"


def test_a_frame_carries_its_provenance(tmp_path):
    save_frame(tmp_path / "f.parquet", pl.DataFrame({"a": [1]}), {"seed": 3})
    assert json.loads(pl.read_parquet_metadata(tmp_path / "f.parquet")["reliquant"]) == {"seed": 3}


@pytest.mark.parametrize(
    "write",
    [lambda p: save_frame(p, pl.DataFrame({"x": np.arange(10**5)}), {}), lambda p: save_array(p, np.arange(10**5))],
)
def test_a_full_disk_names_the_file(write, tmp_path, monkeypatch):
    path = tmp_path / "some" / "file"
    monkeypatch.setattr("reliquant.artifacts.os.getpid", lambda: "full")
    path.parent.mkdir()
    (path.parent / ".file.full.part").symlink_to("/dev/full")  # a device on which nothing fits
    with pytest.raises(OSError, match="No space left on device") as told:
        write(path)
    assert told.value.filename == str(path)
    assert not path.exists()
