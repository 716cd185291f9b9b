import numpy as np
import pytest
import torch

from reliquant.files.artifacts import save_tensors
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


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "folder"])
def test_a_damaged_state_is_not_taken_for_a_good_one_but_said_and_dropped(tmp_path, capfd, how):
    saved = Checkpoints(tmp_path / "run", 1, {})
    saved.save(1, {"x": torch.arange(100.0)})
    path = tmp_path / "run" / "latest.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    if how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"flipped": content, "truncated": content[:300], "emptied": b""}[how])
    assert saved.latest() == (0, {})
    assert not path.exists()
    if how != "folder":
        told = capfd.readouterr().err
        assert told.startswith("training: starts anew: ")
        assert str(path) in told
        assert told.count("\n") == 1


def test_what_differs_from_another_run_is_said_and_its_snapshots_go(tmp_path, capfd):
    Checkpoints(tmp_path, 1, {"pairs": {"sha256": "ab"}, "seed": 0}).save(3, {"x": torch.ones(1)})
    (tmp_path / "2.safetensors").write_bytes(b"a snapshot of the other run")
    assert Checkpoints(tmp_path, 1, {"pairs": {"sha256": "cd"}, "seed": 0}).latest() == (0, {})
    assert "is of another run (pairs.sha256 was ab, now cd)" in capfd.readouterr().err
    assert not tmp_path.exists()


@pytest.mark.parametrize("damage", [None, b"", b"{}"])
def test_a_state_counts_only_with_the_snapshots_before_it(tmp_path, damage):
    saved = Checkpoints(tmp_path, 1, {"seed": 0}, snapshots=[2, 9])
    saved.save(3, {"x": torch.ones(1)})
    _keep_snapshot(saved, 2)
    assert saved.latest()[0] == 3
    saved.snapshot_path(2).unlink()
    if damage is not None:
        saved.snapshot_path(2).write_bytes(damage)
    assert saved.latest() == (0, {})


@pytest.mark.parametrize("header", [{}, {"run": "of another", "iteration": 2}, {"iteration": 4}])
def test_a_snapshot_of_another_run_or_iteration_ends_a_run_that_goes_on(tmp_path, capfd, header):
    saved = Checkpoints(tmp_path, 1, {"seed": 0}, snapshots=[2])
    saved.save(3, {"x": torch.ones(1)})
    whole = {"run": saved.name_of_run, "iteration": 2} | header if header else {}
    save_tensors(saved.snapshot_path(2), {"x": np.ones(1, np.float32)}, whole)
    assert saved.latest() == (0, {})
    told = capfd.readouterr().err
    assert f"{saved.snapshot_path(2)} is a snapshot of another run, or of another iteration" in told
    assert not tmp_path.exists()


@pytest.mark.parametrize("kind", ["a file", "a link that leads nowhere"])
def test_something_else_in_the_folders_place_is_named_before_any_training(tmp_path, kind):
    place = tmp_path / "v.checkpoints"
    place.write_text("mine") if kind == "a file" else place.symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"v\.checkpoints: is no folder, .*; delete it"):
        Checkpoints(place, 1, {}).latest()


def test_a_training_has_its_folder_alone_and_leaves_none(tmp_path):
    saved = Checkpoints(tmp_path / "v.checkpoints", 1, {})
    with saved.alone():
        assert saved.folder.is_dir()
        saved.save(1, {"x": torch.ones(1)})
        saved.clear()
    with saved.alone():
        pass
    assert list(tmp_path.iterdir()) == []
    with saved.alone():
        saved.save(1, {"x": torch.ones(1)})
    assert saved.latest()[0] == 1
    saved.folder.rename(tmp_path / "other")
    saved.folder.write_text("mine")
    with pytest.raises(ValueError, match=r"v\.checkpoints: is no folder"), saved.alone():
        pass


def _keep_snapshot(saved, iteration):
    header = {"run": saved.name_of_run, "iteration": iteration}
    save_tensors(saved.snapshot_path(iteration), {"x": np.ones(1, np.float32)}, header)
