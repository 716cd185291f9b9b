import hashlib
import json

import numpy as np
import pytest

from reliquant.files.artifacts import read_sealed_json, save_array, save_sealed_json
from reliquant.files.digests import DamagedFile, digest_of
from reliquant.images.inventory import require_as_listed
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


def test_prepared_images_of_another_entry_or_form_are_refused(run, prepared, tmp_path):
    meta = prepared / "meta.json"
    found = read_sealed_json(meta)
    words = {"files": [meta], "output": tmp_path / "list.json"}
    run(inventory, **words, entries=json.dumps({str(meta): found["entry"], "other/meta.json": {}}))
    with pytest.raises(
        DamagedFile, match=r"meta\.json: its images are of .*, not of {.*999}: another folder lies in its"
    ):
        run(inventory, **words, entries=json.dumps({str(meta): found["entry"] | {"images": 999}}))
    save_sealed_json(meta, found | {"form": "32-squash-bicubic"})
    with pytest.raises(DamagedFile, match=rf"its images have the form 32-squash-bicubic, not {prepared.name}"):
        run(inventory, **words, entries=json.dumps({str(meta): found["entry"]}))


def test_files_that_are_others_than_the_inventory_tells_of_are_named(run, prepared, tmp_path):
    files, output = [prepared / "images.npy", prepared / "meta.json"], tmp_path / "list.json"
    run(inventory, files=files, output=output)
    assert require_as_listed(output) == digest_of(read_sealed_json(output))
    with pytest.raises(DamagedFile, match=r"list\.json: does not list other\.npy: it is of another study"):
        require_as_listed(output, ["other.npy"])
    save_array(files[0], np.zeros((1, 2, 3, 3), np.uint8))
    require_as_listed(output, [str(files[1])])
    with pytest.raises(
        DamagedFile, match=r"images\.npy: is another file than .*list\.json tells of, of which all records"
    ):
        require_as_listed(output)
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"images\.npy: no such file, and .*list\.json tells of it"):
        require_as_listed(output)
    save_sealed_json(output, {"a": 1})
    with pytest.raises(DamagedFile, match=r"list\.json: must hold a text for each file"):
        require_as_listed(output)
