import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_programs import OF_STEPS, programs

from reliquant import plugins
from reliquant.files.artifacts import load_tensors, read_header
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.models.files import save_model
from reliquant.quantization.identity import run_identity

TOWER = {"tower": "small", "architecture": "lab_vit"}
ENTRY = {"quantizer": "lsq", "iterations": 8, "batch": 4, "weight": {"bits": 4, "granularity": "channel"}}
ENTRY |= {"activation": {"bits": 8}, "snapshots": [2, 5], "lr": 1e-3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a model and of nine prepared images with captions."""
    folder = tmp_path_factory.mktemp("made")
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    captions = [f"a {('red', 'blue')[i % 2]} star" for i in range(9)]
    names = [f"{i}.png" for i in range(9)]
    dataset = Dataset(["red", "blue"], ["a {}"], np.arange(9) % 2, lambda i: images[i], names, captions=captions)
    prepare(dataset, folder / "stars" / "native", form="native", entry={"dataset": "lab"})
    torch.manual_seed(0)
    save_model(folder / "model.safetensors", plugins.load("tower", TOWER)(None), TOWER)
    return folder


@pytest.fixture(scope="module")
def lsq(made):
    """A function that runs the step in a process of its own, killed where it begins some iteration; how that ended."""

    def run(output, at=-1, **other):
        words = {"model": made / "model.safetensors", "entry": json.dumps(ENTRY), "proxy": made / "stars" / "native"}
        words |= {"labels": json.dumps({"scope": "image", "seed": 0}), "tuning": "none", "device": "cpu", "every": 1}
        words |= {"held-out": 0, "output": output} | other
        line = [part for word, value in words.items() for part in (f"--{word}", value)]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "DIES_AT": str(at)}
        return programs(*OF_STEPS).run("killed_quantize", *line, cwd=made, env=env)

    return run


@pytest.fixture(scope="module")
def straight(lsq, tmp_path_factory):
    """The variant of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("straight") / "variant.safetensors"
    assert lsq(output).returncode == 0
    return output


def test_runs_killed_at_any_iteration_end_as_one_that_was_not(lsq, straight, tmp_path):
    output = tmp_path / "variant.safetensors"
    order = np.random.default_rng(0).choice(np.arange(1, 8), 4, replace=False)
    for at in sorted(order.tolist()):
        assert lsq(output, at).returncode == -signal.SIGKILL
    assert lsq(output).returncode == 0
    for ending in (".safetensors", ".snapshots.tar"):
        assert output.with_suffix(ending).read_bytes() == straight.with_suffix(ending).read_bytes()
    assert not output.with_suffix(".checkpoints").exists()


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
def test_a_state_of_another_run_is_left_and_what_differs_is_said(lsq, straight, tmp_path, other):
    output = tmp_path / "variant.safetensors"
    assert lsq(output, 2, **other).returncode == -signal.SIGKILL
    assert output.with_suffix(".checkpoints").exists()
    ended = lsq(output)
    assert ended.returncode == 0
    assert "starts anew" in ended.stderr
    clean, found = (load_tensors(path)[0] for path in (straight, output))
    assert clean.keys() == found.keys()
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


def test_the_header_of_a_variant_is_not_that_of_a_machine(straight):
    assert "machine" not in read_header(straight)
