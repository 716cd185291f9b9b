"""Digests inside files: every bit of a small file, and each kind of access to a large one."""

import json
import os
from contextlib import suppress

import numpy as np
import polars as pl
import pytest

from reliquant.files import digests
from reliquant.files.artifacts import (
    open_array,
    read_header,
    read_sealed_json,
    save_array,
    save_frame,
    save_sealed_json,
    save_tensors,
)
from reliquant.files.digests import DamagedFile, Seal, require_parquet

BLOCK = digests.BLOCK


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def overwrite(path, content):
    """Write into a file that stays as long: one that is cut to nothing first may wait for the disk each time."""
    with open(path, "r+b") as file:
        assert file.write(content) == path.stat().st_size


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(digests, "BLOCK", 64)


def test_any_bit_of_a_sealed_array_is_missed(tmp_path, small_blocks):
    path = tmp_path / "x.npy"
    save_array(path, np.arange(40, dtype=np.int64), {"of": "y"})
    content = path.read_bytes()
    assert np.array_equal(np.load(path), np.arange(40))  # as other programs read it
    for bit in range(8 * len(content)):
        overwrite(path, flipped(content, bit))
        with pytest.raises(DamagedFile, match=r"x\.npy: "):
            np.asarray(open_array(path, np.int64, 1))


@pytest.mark.parametrize("write", ["write", "sink"])
def test_any_bit_of_a_parquet_file_is_missed_or_takes_its_digest_away(tmp_path, write):
    path = tmp_path / "x.parquet"
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    if write == "write":
        save_frame(path, frame, {"made": "here"})
    else:
        frame.lazy().sink_parquet(path, metadata={"reliquant": "{}", digests.KEY: digests.NO_DIGEST})
        digests.seal_parquet(path)
    assert require_parquet(path)
    content, silent = path.read_bytes(), 0
    for bit in range(8 * len(content)):
        overwrite(path, flipped(content, bit))
        with suppress(DamagedFile):
            silent += require_parquet(path)
    assert silent == 0


def test_any_bit_of_a_sealed_json_is_missed_but_where_it_means_the_same(tmp_path):
    path = tmp_path / "x.json"
    save_sealed_json(path, {"n": 3, "classes": ["cat", "dog"], "part": (1, 2)})
    right, content = read_sealed_json(path), path.read_bytes()
    assert right == {"n": 3, "classes": ["cat", "dog"], "part": [1, 2]}
    for bit in range(8 * len(content)):
        overwrite(path, flipped(content, bit))
        with suppress(DamagedFile):
            assert read_sealed_json(path) == right  # a space that became another one


def test_any_bit_of_a_header_is_missed_or_means_the_same(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"w": np.arange(3.0)}, {"scale": 3.5, "made": "here"})
    right, content = read_header(path), path.read_bytes()
    start, stop = content.index(b"{"), content.rindex(b"}") + 1
    for bit in range(8 * start, 8 * stop):
        overwrite(path, flipped(content, bit))
        try:
            found = read_header(path)
        except DamagedFile:
            continue
        assert {name: found[name] for name in right if name in found} == {n: right[n] for n in right if n in found}
        assert len(found) >= len(right)  # the word "digest" itself became another one


def test_a_part_of_an_array_is_checked_alone_and_once(tmp_path, small_blocks):
    path = tmp_path / "x.npy"
    save_array(path, np.arange(400, dtype=np.int64).reshape(100, 4))  # 32 bytes a row, two rows a block
    content = bytearray(path.read_bytes())
    content[128 + 32 * 50] ^= 1  # row 50
    path.write_bytes(content)
    for index in (slice(0, 50), 49, np.array([3, 70, -1]), np.arange(100) < 40, slice(52, None), slice(0, 50, 7)):
        array = open_array(path, np.int64, 2)
        assert np.array_equal(array[index], np.arange(400).reshape(100, 4)[index])
    for index in (
        slice(None),
        50,
        -50,
        np.array([2, 50]),
        np.arange(100) == 50,
        slice(50, 10, -1),
        (slice(49, 52), 0),
        ...,
    ):
        with pytest.raises(DamagedFile, match="changed since it was written"):
            open_array(path, np.int64, 2)[index]
    array = open_array(path, np.int64, 2)
    array[:10]
    path.write_bytes(b"\0" * len(content))
    array.seal.require(128, 128 + 320)  # already seen


def test_an_item_of_an_array_is_checked_part_by_part(tmp_path, small_blocks):
    path, right = tmp_path / "x.npy", np.arange(400, dtype=np.int64).reshape(5, 20, 4)
    save_array(path, right)
    content = bytearray(path.read_bytes())
    content[128 + 32 * 50] ^= 1  # row 10 of item 2
    path.write_bytes(content)
    array = open_array(path, np.int64, 3)
    for number in range(5):
        assert array.item(number).shape == (20, 4)
        assert np.array_equal(array.item(number)[:10], right[number, :10])
        assert np.array_equal(array.item(number)[12:], right[number, 12:])
        if number != 2:
            assert np.array_equal(np.asarray(array.item(number)), right[number])
    for taken in (lambda item: item[9:11], np.asarray, lambda item: item[-10]):
        with pytest.raises(DamagedFile, match="changed since it was written"):
            taken(array.item(2))


def test_the_identity_of_a_file_is_of_its_content_and_what_it_is_about(tmp_path):
    made = [
        save_array(tmp_path / name, array, about)
        for name, array, about in (
            ("a.npy", np.zeros(3), {"x": 1}),
            ("b.npy", np.zeros(3), {"x": 1}),
            ("c.npy", np.zeros(3), {"x": 2}),
            ("d.npy", np.ones(3), {"x": 1}),
        )
    ]
    assert made[0] == made[1] == Seal(tmp_path / "a.npy").identity
    assert len(set(made)) == 3
    assert Seal(tmp_path / "c.npy").about == {"x": 2}


def test_files_without_digests_are_told_by_name(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(DamagedFile, match=r"plain\.npy: truncated, or of an earlier version"):
        open_array(tmp_path / "plain.npy", np.float64, 1)
    (tmp_path / "plain.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(DamagedFile, match=r"plain\.json: has no digest"):
        read_sealed_json(tmp_path / "plain.json")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "plain.parquet")
    assert not require_parquet(tmp_path / "plain.parquet")
    save_array(tmp_path / "cut.npy", np.zeros(300))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-9])
    with pytest.raises(DamagedFile, match=r"cut\.npy: truncated"):
        open_array(tmp_path / "cut.npy", np.float64, 1)


def test_digests_that_are_longer_than_those_of_the_blocks_are_not_read(tmp_path):
    save_array(tmp_path / "x.npy", np.arange(3.0), {"of": "y"})
    assert Seal(tmp_path / "x.npy").about == {"of": "y"}
    save_array(tmp_path / "x.npy", np.arange(3.0), {"of": "y" * 2**21})
    with pytest.raises(DamagedFile, match=r"x\.npy: truncated, or its digests are damaged"):
        Seal(tmp_path / "x.npy")


@pytest.mark.parametrize("harm", [{"xxh3_128": []}, {"xxh3_128": "ab"}, {"about": []}], ids=str)
def test_forged_digests_of_another_form_are_damage_and_no_error_of_ours(tmp_path, harm):
    path = tmp_path / "a.npy"
    save_array(path, np.zeros(9, np.uint8))
    size = Seal(path).bytes
    facts = {"block": BLOCK, "bytes": size, "xxh3_128": ["0" * 32], "about": {}, **harm}
    text = json.dumps({**facts, "digest": digests.digest_of(facts)}).encode()
    path.write_bytes(path.read_bytes()[:size] + text + digests.LENGTH.pack(len(text)) + digests.END)
    with pytest.raises(DamagedFile, match=r"a\.npy: truncated, or its digests are damaged"):
        open_array(path, np.uint8, 1)


def test_a_pipe_has_no_digest_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rows.parquet")
    with pytest.raises(FileNotFoundError):
        digests.digest_in_parquet(tmp_path / "rows.parquet")
