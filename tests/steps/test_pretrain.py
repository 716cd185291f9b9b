import json

import pytest
import torch

from reliquant.files.artifacts import DamagedFile, read_header
from reliquant.steps import pretrain


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_training_is_recorded_and_its_repetition_gives_the_same_bytes(run, prepared, tmp_path):
    entry = {"tower": "small", "architecture": "small_vit"}
    words = {"entry": entry, "recipe": {"steps": 2, "batch": 4, "seed": 3}, "pairs": prepared}
    for name in ("one", "two"):
        run(pretrain, **words, output=tmp_path / name)
    other = {**words, "recipe": {**words["recipe"], "seed": 4}}
    run(pretrain, **other, output=tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    header = read_header(tmp_path / "one")
    assert (header["tower"], header["recipe"], header["pairs"]) == (entry, words["recipe"], {"dataset": "lab"})
    assert header["pairs_sha256"] == json.loads((prepared / "meta.json").read_text())["sha256"]
    assert header["sha256"] != read_header(tmp_path / "three")["sha256"]


def test_pairs_of_another_entry_are_refused_before_anything_is_trained(run, prepared, tmp_path):
    entry = {"tower": "small", "architecture": "small_vit"}
    words = {"entry": entry, "recipe": {"steps": 1, "batch": 4}, "pairs": prepared, "output": tmp_path / "one"}
    with pytest.raises(DamagedFile, match=r'meta\.json: its images are of {"dataset": "lab"}, not of {"dataset": "x"}'):
        run(pretrain, **words, **{"pairs-entry": {"dataset": "x"}})
    assert not (tmp_path / "one").exists()
    run(pretrain, **words, **{"pairs-entry": {"dataset": "lab"}})
