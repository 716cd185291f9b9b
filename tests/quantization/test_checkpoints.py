import pytest
import torch

from reliquant.artifacts import DamagedFile
from reliquant.quantization.checkpoints import Checkpoints


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path):
    Checkpoints(tmp_path, 1, {"entry": 1}).save(3, {"x": torch.ones(1)})
    assert Checkpoints(tmp_path, 1, {"entry": 1}).latest()[0] == 3
    assert Checkpoints(tmp_path, 1, {"entry": 2}).latest() == (0, {})


def test_the_latest_state_comes_back_and_replaces_the_one_before(tmp_path):
    saved = Checkpoints(tmp_path / "run", 1, {"entry": 1})
    assert saved.latest() == (0, {})
    for iteration in (3, 7):
        saved.save(iteration, {"x": torch.full((2,), float(iteration)), "step": torch.tensor(5)})
    iteration, state = saved.latest()
    assert iteration == 7
    assert state["x"].tolist() == [7.0, 7.0]
    assert state["step"].item() == 5
    assert len([*(tmp_path / "run").iterdir()]) == 1
    saved.clear()
    assert saved.latest() == (0, {})
    saved.clear()  # a second time: nothing to forget


def test_saves_are_due_after_every_so_many_iterations(tmp_path):
    assert [i for i in range(10) if Checkpoints(tmp_path, 3).is_due(i)] == [3, 6, 9]
    assert not Checkpoints(None, 3).is_due(3)


def test_without_a_folder_nothing_is_kept():
    saved = Checkpoints()
    saved.clear()
    assert saved.latest() == (0, {})


def test_a_damaged_state_is_not_taken_for_a_good_one(tmp_path):
    saved = Checkpoints(tmp_path, 1, {})
    saved.save(1, {"x": torch.arange(100.0)})
    path = tmp_path / "latest.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile):
        saved.latest()
