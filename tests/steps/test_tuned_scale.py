"""From a variant with a tuned logit scale and snapshots to its rows, through the steps' own command lines."""

import json
import sys
import tarfile

import numpy as np
import polars as pl
import pytest
import torch

from reliquant.artifacts import read_facts, read_header
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.layers.int8 import takes_unsigned
from reliquant.models.files import save_model
from reliquant.models.towers.small import tower
from reliquant.steps import evaluate, measure, quantize

ENTRY = {"quantizer": "lsq", "weight": {"bits": 4}, "activation": {"bits": 8}, "iterations": 3, "batch": 16}


def run(step, monkeypatch, **words):
    words = {f"--{k}": v if isinstance(v, list) else [v] for k, v in words.items()}
    flat = [str(x) if not isinstance(x, dict) else json.dumps(x) for k, v in words.items() for x in (k, *v)]
    monkeypatch.setattr(sys, "argv", ["step", *flat])
    step.main()


@pytest.fixture
def world(tmp_path):
    """A fresh small model, and forty labelled and captioned images."""
    entry = {"tower": "small", "architecture": "small_vit"}
    save_model(tmp_path / "model.safetensors", tower(None, architecture="small_vit"), entry)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    captions = [f"a {('red', 'blue')[i % 2]} {('star', 'circle')[i % 3 % 2]}" for i in range(40)]
    names = [f"{i}.png" for i in range(40)]
    labels = rng.integers(0, 2, 40)
    data = Dataset(["red", "blue"], ["a {} star"], labels, lambda i: images[i], names, captions=captions)
    prepare(data, tmp_path / "native", form="native", entry={"dataset": "x"})
    return tmp_path


def test_rows_have_the_tuned_scale_beside_the_native_one_from_one_forward(world, monkeypatch):
    model, data, variant = world / "model.safetensors", world / "native", world / "v.safetensors"
    common = {"study": "s", "model": "m", "source": "", "scheme": "lsq", "family": "", "proxy": "p", "seed": 0}
    labels = {**common, "precision": "w4a8", "scope": "image"}
    words = {"model": model, "entry": {**ENTRY, "snapshots": [0, 2]}, "labels": labels, "proxy": data, "device": "cpu"}
    run(quantize, monkeypatch, **words, output=variant)
    tuned = read_header(variant)["logit_scale_tuned"]
    with tarfile.open(world / "v.snapshots.tar") as tar:
        assert tar.getnames() == ["0.safetensors", "2.safetensors"]
        tar.extractall(world / "kept", filter="data")
    assert read_header(world / "kept" / "2.safetensors")["iteration"] == 2
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
    none = {"entry": {"quantizer": "none"}, "labels": labels | {"scope": "none"}}
    run(quantize, monkeypatch, model=model, **none, device="cpu", output=exact)
    run(evaluate, monkeypatch, model=model, variant=exact, cells=cells, device="cpu", output=world / "f.parquet")
    words |= {"samples": kept, "variant": world / "v.snapshots.tar", "baseline": world / "f.parquet"}
    run(measure, monkeypatch, **words, output=rows)
    part = pl.read_parquet(kept).filter(iteration=2)
    found = pl.read_parquet(rows).filter(measure="nll", scale="native").sort("iteration")
    assert found["iteration"].to_list() == [0, 2]
    assert found["value"][1] == pytest.approx(part["nll"].mean(), rel=1e-5)
    assert found["value"][0] != found["value"][1]
