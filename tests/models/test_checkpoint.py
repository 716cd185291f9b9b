import argparse
import os
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reliquant.files.artifacts import DamagedFile
from reliquant.models.checkpoint import is_arrays, read_checkpoint

STATE = {"visual.proj": torch.arange(6.0).reshape(2, 3), "logit_scale": torch.tensor(2.5)}


def read(path):
    found = read_checkpoint(path)
    assert all(torch.equal(found.state[name], value) for name, value in STATE.items())
    assert found.state.keys() == STATE.keys()
    return list(found.notes)


def refused(path):
    with pytest.raises(DamagedFile) as refusal:
        read_checkpoint(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400
    assert "weights_only" not in message  # torch advises to turn it off
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.safetensors", "a.ckpt", "a"])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_state_dict_is_read_whatever_its_files_name(tmp_path, name, kind):
    if kind == "safetensors":
        save_file(STATE, tmp_path / name)
    else:
        torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    assert read(tmp_path / name) == []


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("saved", "notes"),
    [
        ({"state_dict": STATE, "epoch": 3, "optimizer": OPTIMIZER}, ["the weights under 'state_dict'"]),
        ({"model": STATE, "rng_state": torch.zeros(4, dtype=torch.uint8)}, ["the weights under 'model'"]),
        ({"model": {"state_dict": STATE}}, ["the weights under 'model'", "the weights under 'state_dict'"]),
        ({"ema": STATE, "epoch": 3}, ["the weights under 'ema'"]),
        (
            {"state_dict": STATE, "state_dict_ema": {"logit_scale": torch.zeros(1)}},
            ["the weights under 'state_dict', not those under state_dict_ema"],
        ),
        ({**STATE, "epoch": 3, "name": "x"}, ["without epoch, name, which are no tensors"]),
    ],
)
def test_what_trainers_wrap_around_weights_is_taken_off_and_said(tmp_path, saved, notes):
    torch.save(saved, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt") == notes


class Evil:
    """Pickles as a call: what opens it without care makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new", [True, False])
def test_objects_beside_weights_are_named_and_never_made(tmp_path, new):
    saved = {
        "numpy._core.multiarray.scalar": np.float64(0.5),
        "argparse.Namespace": argparse.Namespace(lr=1),
        "posix.mkdir": Evil(tmp_path / "made"),
        "torch.nn.modules.linear.Linear": torch.nn.Linear(2, 2),
    }
    for named, value in saved.items():
        torch.save({"state_dict": STATE, "best": value}, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
        told = refused(tmp_path / "a.pt")
        assert told.startswith("holds ")
        assert named in told
        assert "save the weights alone: torch.save(model.state_dict(), path), or safetensors.torch.save_file" in told
    assert not (tmp_path / "made").exists()


def test_what_holds_no_weights_says_what_it_holds(tmp_path):
    saved = {
        "holds nothing: an empty mapping": {},
        "holds a list, not names and tensors": [torch.zeros(2)],
        "holds a Tensor, not names and tensors": torch.zeros(2),
        "which of its keys hold weights is not known: epoch, teacher, student": {
            "epoch": 1, "teacher": dict(STATE), "student": dict(STATE),
        },
    }  # fmt: skip
    for said, value in saved.items():
        torch.save(value, tmp_path / "a.pt")
        assert refused(tmp_path / "a.pt").startswith(said) or said in refused(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; fetch or save it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is no checkpoint, but a Git LFS pointer, not"),
        (b"<!DOCTYPE html><html>404</html>", "is no checkpoint, but a web page; save the weights alone"),
        (b"just words", "is no checkpoint, but text; save"),
        (np.random.default_rng(1).bytes(400), "is no checkpoint, but of no known kind; save"),
        (
            b"\x80\x02}q\x00(K\x01K\x02u",
            "is no checkpoint, or truncated or damaged (torch.load cannot follow its",
        ),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, content, said):
    (tmp_path / "a.pt").write_bytes(content)
    assert refused(tmp_path / "a.pt").startswith(said)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_truncated_file_is_named(tmp_path, kind, share):
    path = tmp_path / "a.bin"
    state = {"a": torch.zeros(4000), **STATE}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "truncated" in refused(path)


def test_a_zip_a_program_and_a_folder_are_no_checkpoints(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("notes.txt", "x")
    assert refused(tmp_path / "a.pt").startswith("is a zip of 1 files (notes.txt), no checkpoint")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "b.pt")
    assert refused(tmp_path / "b.pt").startswith(
        "is a TorchScript program, not weights alone; torch.save(torch.jit.load"
    )
    assert refused(tmp_path) == f"is a folder; name the file in it, or open it as local-dir:{tmp_path}"
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such file"):
        read_checkpoint(tmp_path / "none.pt")


def test_a_part_of_a_checkpoint_and_an_index_are_told_how_to_be_joined(tmp_path):
    state = {"a": torch.ones(2)}
    for name in ("model-00002-of-00003.safetensors", "model-00001-of-00001.safetensors"):
        save_file(state, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    assert "is part 2 of 3 of a sharded checkpoint; join its parts: " in refused(
        tmp_path / "model-00002-of-00003.safetensors"
    )
    assert "is the index of a sharded checkpoint; join" in refused(tmp_path / "model.safetensors.index.json")
    assert list(read_checkpoint(tmp_path / "model-00001-of-00001.safetensors").state) == ["a"]


def test_arrays_of_numpy_are_told_from_other_zips(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(2))
    torch.save(STATE, tmp_path / "a.pt")
    (tmp_path / "text").write_text("x")
    assert [is_arrays(tmp_path / name) for name in ("a.npz", "a.pt", "text")] == [True, False, False]


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bytes_end_in_one_line_or_in_tensors(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.pt"
    if seed % 3 == 2:
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=seed % 3 == 0)
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 1 + seed % 5):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    try:
        found = read_checkpoint(path)
    except DamagedFile:
        refused(path)
    else:
        assert all(isinstance(value, torch.Tensor) for value in found.state.values())
