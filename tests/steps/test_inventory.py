import hashlib

import numpy as np
import pytest

from reliquant.files.artifacts import read_sealed_json, save_array
from reliquant.files.digests import DamagedFile
from reliquant.steps import inventory


def test_arrays_are_checked_and_listed_by_their_digests_and_other_files_by_their_sums(run, prepared, tmp_path):
    images, meta = prepared / "images.npy", prepared / "meta.json"
    corrupted = prepared / "corrupt" / "fog.npy"
    identity = save_array(corrupted, np.zeros((1, 2, 3, 3, 3), np.uint8))
    run(inventory, files=[images, meta, corrupted], output=tmp_path / "list.json")
    assert read_sealed_json(tmp_path / "list.json") == {
        str(images): read_sealed_json(meta)["arrays"]["images.npy"],
        str(meta): hashlib.sha256(meta.read_bytes()).hexdigest(),
        str(corrupted): identity,
    }
    content = bytearray(images.read_bytes())
    content[len(content) // 2] ^= 1
    images.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"images\.npy: changed since it was written"):
        run(inventory, files=[images], output=tmp_path / "list.json")

    content = meta.read_bytes()
    meta.write_bytes(content.replace(b"0.png", b"1.png", 1))
    assert meta.read_bytes() != content
    with pytest.raises(DamagedFile, match=r"meta\.json: changed since it was written"):
        run(inventory, files=[meta], output=tmp_path / "list.json")


def test_a_missing_file_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="meta"):
        run(inventory, files=[tmp_path / "meta.json"], output=tmp_path / "list.json")
    assert not (tmp_path / "list.json").exists()
