import hashlib
import json

import pytest

from reliquant.steps import inventory


def test_images_are_listed_by_the_sum_of_their_preparation_and_other_files_by_their_own(run, prepared, tmp_path):
    images, meta = prepared / "images.npy", prepared / "meta.json"
    corrupted = prepared / "corrupt" / "fog.npy"
    corrupted.parent.mkdir()
    corrupted.write_bytes(b"foggy")
    run(inventory, files=[images, meta, corrupted], output=tmp_path / "list.json")
    assert json.loads((tmp_path / "list.json").read_text()) == {
        str(images): json.loads(meta.read_text())["sha256"],
        str(meta): hashlib.sha256(meta.read_bytes()).hexdigest(),
        str(corrupted): hashlib.sha256(b"foggy").hexdigest(),
    }


def test_a_missing_file_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="meta"):
        run(inventory, files=[tmp_path / "meta.json"], output=tmp_path / "list.json")
    assert not (tmp_path / "list.json").exists()
