"""From a variant with a tuned logit scale and snapshots to its rows, through the steps' own command lines."""

import json
import sys
import tarfile

import numpy as np
import polars as pl
import pytest
import torch

from reliquant.files.artifacts import DamagedFile, load_tensors, read_facts, read_header
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.layers.int8 import takes_unsigned
from reliquant.models.files import save_model
from reliquant.models.towers.small import tower
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.steps import evaluate, measure, quantize

ENTRY = {"quantizer": "lsq", "weight": {"bits": 4}, "activation": {"bits": 8}, "iterations": 3, "batch": 16}


def run(step, monkeypatch, **words):
    words = {f"--{k.replace('_', '-')}": v if isinstance(v, list) else [v] for k, v in words.items()}
    flat = [str(x) if not isinstance(x, dict) else json.dumps(x) for k, v in words.items() for x in (k, *v)]
    monkeypatch.setattr(sys, "argv", ["step", *flat])
    step.main()


@pytest.fixture
def world(tmp_path):
    """A fresh small model, and sixty labelled images with a caption of their own each."""
    entry = {"tower": "small", "architecture": "small_vit"}
    save_model(tmp_path / "model.safetensors", tower(None, architecture="small_vit"), entry)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    captions = [f"a {('red', 'blue')[i % 2]} {('star', 'circle')[i % 3 % 2]} {i}" for i in range(60)]
    names = [f"{i}.png" for i in range(60)]
    labels = rng.integers(0, 2, 60)
    data = Dataset(["red", "blue"], ["a {} star"], labels, lambda i: images[i], names, captions=captions)
    prepare(data, tmp_path / "native", form="native", entry={"dataset": "x"})
    return tmp_path


def test_pairs_of_another_entry_are_refused(world, monkeypatch):
    labels = {"model": "m", "scheme": "lsq", "precision": "w4a8", "scope": "image", "proxy": "p", "seed": 0}
    words = {"model": world / "model.safetensors", "labels": labels, "device": "cpu", "output": world / "v.safetensors"}
    other = {"folder": str(world / "native"), "entry": {"dataset": "y"}, "pairs": 60, "held_out": 0.2}
    ways = {"entry": ENTRY, "proxy": world / "native", "proxy_entry": {"dataset": "y"}}, {"tune_on": {"p": other}}
    for way in ways:
        with pytest.raises(DamagedFile, match=r'its images are of {"dataset": "x"}, not of {"dataset": "y"}'):
            run(quantize, monkeypatch, **words, **{"entry": {"quantizer": "none"}, **way})


def test_rows_have_the_tuned_scale_beside_the_native_one_from_one_forward(world, monkeypatch):
    model, data, variant = world / "model.safetensors", world / "native", world / "v.safetensors"
    common = {"study": "s", "model": "m", "source": "", "scheme": "lsq", "family": "", "proxy": "p", "seed": 0}
    labels = {**common, "precision": "w4a8", "scope": "image"}
    words = {"model": model, "entry": {**ENTRY, "snapshots": [0, 2]}, "labels": labels, "proxy": data, "device": "cpu"}
    run(quantize, monkeypatch, **words, output=variant)
    header = read_header(variant)
    tuned = header["logit_scale_tuned"]
    held = header["pairs"]["held_out"]
    assert (len(held["indices"]), header["tuned"]["pairs"], header["tuned"]["captions"]) == (12, 12, 12)
    assert len(header["pairs"]["indices"]) == 60
    with tarfile.open(world / "v.snapshots.tar") as tar:
        assert tar.getnames() == ["0.safetensors", "2.safetensors"]
        (world / "2.safetensors").write_bytes(tar.extractfile("2.safetensors").read())
    assert read_header(world / "2.safetensors")["iteration"] == 2
    assert not (world / "v.checkpoints").exists()

    cell = {"suite": "clean", "dataset": "x", "reference": "x", "group": "", "corruption": "", "severities": [0]}
    cells = json.dumps([{**cell, "images": None, "folder": str(data), "head": str(data)}])
    samples = world / "samples.parquet"
    run(evaluate, monkeypatch, model=model, variant=variant, cells=cells, device="cpu", output=samples)
    frame = pl.read_parquet(samples)
    logits = np.log(frame["confidence"]) - np.log1p(-frame["confidence"])  # two classes: the gap of their logits
    scaled = np.log(frame["confidence_tuned"]) - np.log1p(-frame["confidence_tuned"])
    native = tower(None, architecture="small_vit").model.logit_scale.exp().item()
    np.testing.assert_allclose(scaled, logits * tuned / native, rtol=1e-3, atol=1e-4)

    rows = world / "rows.parquet"
    words = {"samples": samples, "variant": variant, "labels": labels, "suites": "clean", "resamples": 100}
    run(measure, monkeypatch, **words, output=rows)
    found = pl.read_parquet(rows).filter(pl.col("suite") == "clean")
    value = {(s, m): v for s, m, v in found.select("scale", "measure", "value").rows()}
    assert value["tuned", "nll"] == pytest.approx(frame["nll_tuned"].mean(), rel=1e-5)
    assert value["native", "nll"] == pytest.approx(frame["nll"].mean(), rel=1e-5)
    assert ("tuned", "accuracy") not in value
    assert {"ece", "brier", "confidence_gap"} <= {m for s, m in value if s == "tuned"}

    assert (read_facts(rows)["dtype"], read_facts(rows)["device"]) == ("float32", "cpu")
    backends = {"auto": read_facts(samples)["backend"], "rows": read_facts(rows)["backend"]}
    assert (
        backends["rows"]
        == backends["auto"]["used"]
        == ("integer" if takes_unsigned(torch.device("cpu")) else "simulate")
    )
    for backend in ("simulate", "integer"):
        again = {"model": model, "variant": variant, "cells": cells, "device": "cpu", "backend": backend}
        run(evaluate, monkeypatch, **again, output=samples)
        told = read_facts(samples)["backend"]
        assert (told["asked"], told["used"]) == (backend, backend)
        np.testing.assert_allclose(pl.read_parquet(samples)["confidence"], frame["confidence"], rtol=0.01)

    kept, exact = world / "kept.parquet", world / "exact.safetensors"
    run(evaluate, monkeypatch, model=model, variant=world / "v.snapshots.tar", cells=cells, device="cpu", output=kept)
    none = {"entry": {"quantizer": "none"}, "labels": labels | {"scheme": "fp32", "scope": "none", "proxy": "none"}}
    proxy = {"folder": str(data), "pairs": None, "held_out": 0.2}
    run(quantize, monkeypatch, model=model, **none, tune_on={"p": proxy}, device="cpu", output=exact)
    assert read_header(exact)["tuned_on"]["p"]["scale"] == pytest.approx(header["logit_scale_tuned_fp32"])
    run(evaluate, monkeypatch, model=model, variant=exact, cells=cells, device="cpu", output=world / "f.parquet")
    words |= {"samples": kept, "baseline": world / "f.parquet"}
    run(measure, monkeypatch, **words, output=rows)
    part = pl.read_parquet(kept).filter(iteration=2)
    found = pl.read_parquet(rows).filter(measure="nll", scale="native").sort("iteration")
    assert found["iteration"].to_list() == [0, 2]
    assert found["value"][1] == pytest.approx(part["nll"].mean(), rel=1e-5)
    assert found["value"][0] != found["value"][1]

    fp32 = pl.read_parquet(world / "f.parquet")
    run(measure, monkeypatch, samples=samples, variant=variant, baseline=world / "f.parquet", labels=labels,
        suites="clean", resamples=100, output=rows)  # fmt: skip
    found, frame = pl.read_parquet(rows), pl.read_parquet(samples)
    value = {(s, m): v for s, m, v in found.filter(suite="clean").select("scale", "measure", "value").rows()}
    expected = frame["nll_tuned"].mean() - fp32["nll_tuned:p"].mean()
    assert value["both_tuned", "nll_change"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert value["tuned", "nll_change"] == pytest.approx(frame["nll_tuned"].mean() - fp32["nll"].mean(), rel=1e-3)
    assert value["temperature", "nll"] == pytest.approx(frame["nll_temperature"].mean(), rel=1e-5)
    scale = found.filter(measure="logit_scale").row(0, named=True)
    assert (scale["scale"], scale["value"], scale["n"], scale["proxy"]) == ("tuned", tuned, 12, "p")

    exact_labels = labels | {"scheme": "fp32", "scope": "none", "proxy": "none"}
    run(measure, monkeypatch, samples=world / "f.parquet", variant=exact, labels=exact_labels, suites="clean",
        resamples=100, output=rows)  # fmt: skip
    found = pl.read_parquet(rows)
    assert set(found.filter(scale="tuned")["proxy"]) == {"p"}
    assert set(found.filter(scale="native")["proxy"]) == {"none"}
    assert found.filter(scale="tuned", measure="nll")["value"].item() == pytest.approx(fp32["nll_tuned:p"].mean())


def test_too_few_held_out_pairs_end_the_step_before_anything_is_quantized(world, monkeypatch):
    labels = {"scheme": "lsq", "scope": "image", "proxy": "p", "seed": 0}
    words = {"model": world / "model.safetensors", "entry": ENTRY, "labels": labels, "proxy": world / "native"}
    with pytest.raises(ValueError, match=r"held_out: 0\.1 of 60 pairs are 6 with 6 captions"):
        run(quantize, monkeypatch, **words, held_out=0.1, device="cpu", output=world / "v.safetensors")
    assert not (world / "v.safetensors").exists()
    run(quantize, monkeypatch, **words, held_out=0.1, tuning="none", device="cpu", output=world / "v.safetensors")
    assert read_header(world / "v.safetensors")["logit_scale_tuned"] is None


def test_a_killed_training_does_not_go_on_with_other_pairs(world, monkeypatch):
    labels = {"scheme": "lsq", "scope": "image", "proxy": "p", "seed": 0}
    words = {"model": world / "model.safetensors", "entry": ENTRY, "labels": labels, "proxy": world / "native"}
    words |= {"device": "cpu", "every": 1, "tuning": "none"}
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "clear", lambda self: None)  # as if it was killed when it was all but done
        run(quantize, patch, **words, output=world / "v.safetensors")
    run(quantize, monkeypatch, **words, held_out=0.5, output=world / "v.safetensors")
    run(quantize, monkeypatch, **words, held_out=0.5, output=world / "fresh.safetensors")
    after, fresh = load_tensors(world / "v.safetensors")[0], load_tensors(world / "fresh.safetensors")[0]
    assert all(np.array_equal(after[name], fresh[name]) for name in fresh)
