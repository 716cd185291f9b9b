import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._dynamo  # a training imports it, in a second or two: here once for all children

from reliquant import plugins
from reliquant.files.artifacts import load_tensors, read_header
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.models.files import save_model
from reliquant.quantization.identity import run_identity
from reliquant.quantization.proxy import Proxy
from reliquant.steps import quantize
from reliquant.steps import run as run_step

TOWER = {"tower": "small", "architecture": "lab_vit"}
ENTRY = {"quantizer": "lsq", "iterations": 8, "batch": 4, "weight": {"bits": 4, "granularity": "channel"}}
ENTRY |= {"activation": {"bits": 8}, "snapshots": [2, 5], "lr": 1e-3}


@pytest.fixture
def prepared(tmp_path):
    """The folder of nine prepared images with captions."""
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    captions = [f"a {('red', 'blue')[i % 2]} star" for i in range(9)]
    names = [f"{i}.png" for i in range(9)]
    dataset = Dataset(["red", "blue"], ["a {}"], np.arange(9) % 2, lambda i: images[i], names, captions=captions)
    prepare(dataset, tmp_path / "stars" / "native", form="native", entry={"dataset": "lab"})
    return tmp_path / "stars" / "native"


@pytest.fixture
def lsq(tmp_path, prepared, monkeypatch):
    """A function that runs the step in a process of its own, killed where it begins some iteration; its exit status."""
    torch.manual_seed(0)
    save_model(tmp_path / "model.safetensors", plugins.load("tower", TOWER)(None), TOWER)

    def run(name, at=None, **other):
        words = {"model": tmp_path / "model.safetensors", "entry": json.dumps(ENTRY), "proxy": prepared, "every": 1}
        words |= {"labels": json.dumps({"scope": "image", "seed": 0}), "tuning": "none", "device": "cpu"}
        words |= {"held-out": 0, "output": tmp_path / f"{name}.safetensors"} | other
        line = [str(part) for word, value in words.items() for part in (f"--{word}", value)]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                monkeypatch.setattr("sys.argv", ["quantize", *line])
                monkeypatch.setattr(Proxy, "chosen", _deadly(Proxy.chosen, at))
                run_step(quantize.main)
                status = 0
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1]

    return run


def _deadly(chosen, at):
    def or_die(self, iteration, size, /):
        if iteration == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return chosen(self, iteration, size)

    return or_die


def test_runs_killed_at_any_iteration_end_as_one_that_was_not(lsq, tmp_path):
    assert lsq("straight") == 0
    order = np.random.default_rng(0).choice(np.arange(1, 8), 4, replace=False)
    for at in sorted(order.tolist()):
        assert lsq("killed", at) == signal.SIGKILL
    assert lsq("killed") == 0
    for ending in ("safetensors", "snapshots.tar"):
        assert (tmp_path / f"killed.{ending}").read_bytes() == (tmp_path / f"straight.{ending}").read_bytes()
    assert not (tmp_path / "killed.checkpoints").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"pairs": 6},
        {"threads": 2},
        {"entry": json.dumps(ENTRY | {"lr": 2e-3})},
        {"labels": '{"scope": "image", "seed": 1}'},
    ],
    ids=["pairs", "threads", "words", "seed"],
)
def test_a_state_of_another_run_is_left_and_what_differs_is_said(lsq, tmp_path, capfd, other):
    assert lsq("clean", **other) == 0
    assert lsq("other", 6) == signal.SIGKILL
    assert lsq("other", **other) == 0
    assert "starts anew" in capfd.readouterr().err
    clean, found = (load_tensors(tmp_path / f"{name}.safetensors")[0] for name in ("clean", "other"))
    assert all(np.array_equal(clean[name], found[name]) for name in clean)


def test_code_versions_words_and_machine_are_part_of_the_identity(vit, monkeypatch):
    made = run_identity(vit, "cpu", ENTRY, "small", pairs={"sha256": "ab"})
    assert made == run_identity(vit, "cpu", ENTRY, "small", pairs={"sha256": "ab"})
    assert made["words"]["clip_norm"] == "1.0"  # left to its default
    assert {"torch", "reliquant", "python"} <= made["versions"].keys()
    for target in ("reliquant.fingerprint.code", "torch.get_num_threads", "torch.backends.cpu.get_cpu_capability"):
        with monkeypatch.context() as patch:
            patch.setattr(target, lambda *_, **__: "other")
            assert run_identity(vit, "cpu", ENTRY, "small", pairs={"sha256": "ab"}) != made


def test_what_a_model_is_beside_its_tensors_is_part_of_the_identity():
    clip = plugins.load("tower", TOWER)(None)
    made = run_identity(clip, "cpu", ENTRY, "small")
    assert run_identity(replace(clip, mean=(0.1, 0.1, 0.1)), "cpu", ENTRY, "small") != made
    heads = next(module for module in clip.model.modules() if hasattr(module, "num_heads"))
    heads.num_heads *= 2
    assert run_identity(clip, "cpu", ENTRY, "small") != made


def test_the_header_of_a_variant_is_not_that_of_a_machine(lsq, tmp_path):
    assert lsq("straight") == 0
    assert "machine" not in read_header(tmp_path / "straight.safetensors")
