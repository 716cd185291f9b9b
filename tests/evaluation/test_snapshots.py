import io
import tarfile

import numpy as np
import pytest

from reliquant.evaluation.snapshots import unpacked
from reliquant.files.artifacts import read_header, save_tensors

ENTRY = {"quantizer": "lsq", "snapshots": [0, 10, 4]}


def state(path, iteration):
    save_tensors(path, {"w": np.full(3, iteration)}, {"iteration": iteration, "entry": ENTRY})
    return path.read_bytes()


def packed(path, members, kind="w"):
    with tarfile.open(path, kind) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def members(tmp_path):
    return {f"{iteration}.safetensors": state(tmp_path / "state", iteration) for iteration in (0, 4, 10)}


def test_snapshots_come_in_the_order_of_their_iterations_and_are_gone_afterwards(tmp_path, members):
    with unpacked(packed(tmp_path / "v.tar", members)) as files:
        assert [read_header(file)["iteration"] for file in files] == [0, 4, 10]
    assert not files[0].parent.exists()


def without(name):
    return lambda members, _: {other: content for other, content in members.items() if other != name}


HARMS = {  # what happens to the members, and what is told
    "the last is gone": (without("10.safetensors"), "has no 10.safetensors"),
    "one is another": (lambda m, _: {**m, "4.safetensors": m["0.safetensors"]}, "holds the state after 0 iterations"),
    "one is no snapshot": (lambda m, _: {**m, "4.safetensors": b"text"}, "4.safetensors is no snapshot"),
    "none is left": (lambda m, _: {}, "it is empty"),
    "one leads out": (lambda m, _: {**m, "../out": b"x"}, "points outside the folder"),
    "one is asked for by nobody": (lambda m, folder: {**m, "7.safetensors": state(folder / "s", 7)}, "7.safetensors"),
}


@pytest.mark.parametrize(("harm", "told"), HARMS.values(), ids=HARMS)
def test_an_archive_whose_snapshots_are_not_all_there_is_refused_by_name(tmp_path, members, harm, told):
    archive = packed(tmp_path / "v.tar", harm(members, tmp_path))
    with pytest.raises(ValueError, match=told) as refusal, unpacked(archive):
        pass
    assert str(refusal.value).startswith(f"{archive}: ")


@pytest.mark.parametrize("place", [0, 150, "second header", "cut"])
def test_a_damaged_archive_is_refused_by_name(tmp_path, members, place):
    archive = packed(tmp_path / "v.tar", members)
    with tarfile.open(archive) as tar:
        second = tar.getmembers()[1].offset
    content = bytearray(archive.read_bytes())
    if place == "cut":
        content = content[:second]
    else:
        content[second + 130 if place == "second header" else place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"v\.tar: truncated or damaged"), unpacked(archive):
        pass


def test_an_archive_that_unpacks_to_more_than_it_is_stops_at_once(tmp_path, members):
    archive = packed(tmp_path / "v.tar", {**members, "4.safetensors": bytes(10**6)}, "w:xz")
    with pytest.raises(ValueError, match="unpacks to more than"), unpacked(archive):
        pass
