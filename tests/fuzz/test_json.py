"""Damaged and odd JSON: what prepared images, locks and facts say is read as it is, or refused by name."""

import copy
import json
import random
from contextlib import suppress

import numpy as np
import pytest

from reliquant.download.lock import check_or_record
from reliquant.files.artifacts import DamagedFile
from reliquant.files.digests import with_digest
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import load, prepare
from reliquant.report.facts import require_facts
from reliquant.steps import corrupt, evaluate, quantize, report

ODD = [None, True, 0, -1, 2.5, 1e400, "", "x", "\ud800", [], {}, [None], [[]], {"a": 1}, "a" * 3000, 10**25]
PIN = {"sha256": "a" * 64, "bytes": 3, "revision": "r", "file": "f"}


def places(value, path=()):
    """List the paths to everything inside."""
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(inner, (*path, key))
    return found


def mutated(value, rng, damaged):
    """Write a value as JSON with a place changed, left out or renamed, or with damaged bytes; say how."""
    if rng.random() < 0.4:
        return damaged(json.dumps(value).encode(), rng)
    if rng.random() < 0.1:
        return "other", rng.choice([b"[" * 10**5, b"\xff\xfe{}", b'{"a": 1, "a": 2}', b"null", b"3", b"NaN", b"\x00"])
    value = copy.deepcopy(value)
    path = rng.choice(places(value))
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    change = rng.choice(["odd", "drop", "rename"])
    if change == "odd":
        holder[path[-1]] = copy.deepcopy(rng.choice(ODD))
    elif change == "drop":
        del holder[path[-1]]
    elif isinstance(holder, dict):
        holder[f"{path[-1]}_"] = holder.pop(path[-1])
    return change, json.dumps(sealed(value)).encode()


def sealed(value):
    """Give an object that has a digest the one that it should have: what follows is not left to the digest alone."""
    if isinstance(value, dict) and "digest" in value:
        with suppress(ValueError):  # an infinite number, half a letter
            return with_digest({name: inner for name, inner in value.items() if name != "digest"})
    return value


@pytest.fixture
def prepared(tmp_path):
    """Nine prepared images with captions."""
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    names, captions = [f"{i}.png" for i in range(9)], [f"a photo {i}" for i in range(9)]
    words = {"captions": captions, "groups": ["a"] * 9}
    data = Dataset(["cat", "dog"], ["a {}"], np.arange(9) % 2, lambda i: images[i], names, **words)
    prepare(data, tmp_path / "set" / "native", form="native", entry={"dataset": "x"})
    return tmp_path / "set" / "native"


def test_a_mutated_meta_is_what_it_was_or_refused(prepared, cases, damaged):
    path, faults, refused = prepared / "meta.json", {}, 0
    right = json.loads(path.read_text())
    for seed in range(cases(400)):
        kind, content = mutated(right, random.Random(f"meta-{seed}"), damaged)
        path.write_bytes(content)
        try:
            found = load(prepared).meta
        except DamagedFile as error:
            refused += 1
            if str(prepared) not in str(error):
                faults.setdefault(f"unnamed: {error}", seed)
            continue
        except Exception as error:
            faults.setdefault(f"{type(error).__name__}: {error}", seed)
            continue
        # a set without groups has none, and what earlier versions prepared has no form
        optional = {"groups", "digest"} | ({"form"} - found.keys())
        words = [word for word in right if word not in optional]
        if [type(found[word]) for word in words] != [type(right[word]) for word in words]:
            faults.setdefault(f"{kind}: other words or types", seed)
    assert faults == {}
    assert refused > 100


def test_steps_refuse_a_mutated_meta_in_a_line(prepared, tmp_path, cases, damaged, stopped, faults_of):
    path, faults = prepared / "meta.json", {}
    right = json.loads(path.read_text())
    missing = tmp_path / "no.safetensors"
    for seed in range(cases(40)):
        _, content = mutated(right, random.Random(f"steps-{seed}"), damaged)
        path.write_bytes(content)
        try:
            load(prepared)
            refused = False
        except DamagedFile:
            refused = True
        asked = ["--corruption", "brightness", "--severities", "1", "--output", tmp_path / "c.npy"]
        said, _, _ = stopped(corrupt, "--prepared", prepared, *asked)
        if fault := faults_of(said, prepared) or (f"{seed}" if refused != bool(said) else ""):
            faults.setdefault(fault, seed)
        for step, words in ((evaluate, ["--variant", missing, "--cells", "[]"]), (quantize, ["--entry", "{}"])):
            labels = ["--labels", '{"seed": 0}', "--proxy", prepared] if step is quantize else []
            said, _, _ = stopped(step, "--model", missing, *words, *labels, "--output", tmp_path / "out")
            if fault := faults_of(said, missing):
                faults.setdefault(fault, seed)
    assert faults == {}


def test_a_mutated_lock_is_refused_or_keeps_its_pins(tmp_path, cases, damaged):
    path, faults, refused, unpinned = tmp_path / "weights.lock.json", {}, 0, 0
    right = {"vit": PIN, "other": {**PIN, "sha256": "b" * 64}}
    for seed in range(cases(400)):
        _, content = mutated(right, random.Random(f"lock-{seed}"), damaged)
        path.write_bytes(content)
        try:
            check_or_record(path, "vit", {**PIN, "sha256": "c" * 64})  # another file than was pinned
            unpinned += 1
            pins = json.loads(path.read_text())
            assert pins["vit"]["sha256"] == "c" * 64
        except DamagedFile as error:
            refused += 1
            if path.name not in str(error):
                faults.setdefault(f"unnamed: {error}", seed)
        except Exception as error:
            faults.setdefault(f"{type(error).__name__}: {error}", seed)
    print(f"lock: {cases(400)} files, {refused} refused, {unpinned} had lost the pin")
    assert faults == {}
    assert unpinned < refused / 4


def test_mutated_facts_are_refused_by_name_or_whole(tmp_path, cases, damaged, stopped, faults_of):
    path, faults, refused = tmp_path / "facts.json", {}, 0
    model = {"source": "", "architecture": "a", "pretrained": None, "sha256": "s", "n_parameters": 3, "recipe": None}
    sets = {"shapes": {"n": 3, "classes": 2, "skipped": 0, "entry": {"dataset": "lab"}}}
    about = {"study": "s", "title": "t", "note": "", "config": "", "versions": {"python": "3"}, "commit": ""}
    right = {**about, "models": {"vit": model}, "datasets": sets}
    require_facts(right, "facts")
    rows = tmp_path / "no.parquet"
    for seed in range(cases(200)):
        _, content = mutated(right, random.Random(f"facts-{seed}"), damaged)
        path.write_bytes(content)
        said, _, _ = stopped(report, "--rows", rows, "--facts", path, "--output", tmp_path / "out")
        refused += str(path) in said
        if fault := faults_of(said, path if str(path) in said else rows):
            faults.setdefault(fault, seed)
    assert faults == {}
    assert refused > 50
