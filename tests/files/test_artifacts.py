import errno
import json
import os
import resource
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import (
    DamagedFile,
    load_tensors,
    read_header,
    save_array,
    save_frame,
    save_json,
    save_tensors,
    whole,
)


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


WRITERS = {
    "frame": lambda p: save_frame(p, pl.DataFrame({"x": np.random.default_rng(0).random(10**5)}), {}),
    "array": lambda p: save_array(p, np.arange(10**5)),
    "tensors": lambda p: save_tensors(p, {"x": np.arange(10**5)}, {}),
    "json": lambda p: save_json(p, {"x": "y" * 10**5}),
}


@pytest.fixture
def small_files():
    """Let no file grow above 10,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_takes_no_more_is_told_with_the_file(name, small_files, tmp_path):
    path = tmp_path / "some" / "file"
    with pytest.raises(OSError, match=r"File too large|No space left") as told:
        WRITERS[name](path)
    assert told.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_a_file_of_another_folder_is_blamed_itself(tmp_path):
    with pytest.raises(OSError, match="elsewhere"), whole(tmp_path / "a" / "b"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("name", WRITERS)
def test_files_and_folders_have_the_rights_that_the_umask_leaves(name, mask, tmp_path):
    before = os.umask(mask)
    try:
        WRITERS[name](tmp_path / "new" / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_killed_writer_left_is_removed_by_the_next(name, tmp_path):
    """Killed in the middle: while the library writes, or just before the file gets its name."""
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from reliquant.files.artifacts import whole
        with whole(Path({str(tmp_path / "file")!r})) as part:
            part.write_text("half")
            part.with_name(".tmpLibrary").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    WRITERS[name](tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
