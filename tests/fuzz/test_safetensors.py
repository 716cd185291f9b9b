"""Damaged and odd safetensors files: models, variants, checkpoints of others and stored features."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from reliquant.files.artifacts import DamagedFile
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import prepare
from reliquant.layers.variant import load_variant
from reliquant.models.checkpoint import read_checkpoint
from reliquant.models.files import load_model, save_model
from reliquant.models.towers.small import tower
from reliquant.steps import evaluate, quantize

ODD = [None, True, 0, -1, 2.5, "", "x", [], {}, [None], {"a": 1}, 10**25, float("nan")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model, and a variant of it."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    entry = {"tower": "small", "architecture": "small_vit"}
    save_model(folder / "model.safetensors", tower(None, architecture="small_vit"), entry)
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    captions, names = [f"a star {i % 3}" for i in range(12)], [f"{i}.png" for i in range(12)]
    data = Dataset(["a", "b"], ["a {}"], np.arange(12) % 2, lambda i: images[i], names, captions=captions)
    prepare(data, folder / "set" / "native", form="native", entry={"dataset": "x"})
    return folder


@pytest.fixture
def variant(files, stopped):
    path = files / "variant.safetensors"
    if not path.exists():
        entry = {"quantizer": "rtn", "weight": {"bits": 4}, "activation": {"bits": 8}}
        labels = {"seed": 0, "scope": "both"}
        words = ["--entry", json.dumps(entry), "--labels", json.dumps(labels), "--proxy", files / "set" / "native"]
        words += ["--model", files / "model.safetensors", "--device", "cpu", "--tuning", "none", "--output", path]
        assert stopped(quantize, *words)[0] == ""
    return path


def parts(path):
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def holder_in(value, rng):
    """Choose an object or list somewhere inside that has entries."""
    while inner := [
        v for v in (value.values() if isinstance(value, dict) else value) if isinstance(v, dict | list) and v
    ]:
        if rng.random() < 0.4:
            break
        value = rng.choice(inner)
    return value


def mutated(path, source, rng, damaged):
    """Write a changed copy of a file: its bytes, one of its tensors, or something in its header; say which."""
    change = rng.choice(["bytes", "bytes", "tensor", "header", "header"])
    if change == "bytes":
        kind, content = damaged(source.read_bytes(), rng)
        path.write_bytes(content)
        return kind
    arrays, metadata = parts(source)
    if change == "tensor":
        name, how = rng.choice(sorted(arrays)), rng.randrange(5)
        array = arrays.pop(name)
        other = {
            0: array.astype(np.float16),
            1: array[:0] if array.ndim else array + 1,
            2: np.zeros_like(array),
            3: array.astype(np.int64),
        }
        if how < 4:
            arrays[name] = other[how]
        elif rng.random() < 0.5:
            arrays[f"{name}_"] = array
    else:
        header = json.loads(metadata["reliquant"])
        holder = holder_in(header, rng)
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if rng.random() < 0.5:
            del holder[key]
        else:
            holder[key] = rng.choice(ODD)
        metadata["reliquant"] = rng.choice([json.dumps(header)] * 9 + ["[" * 10**5, "{", "3", "null", ""])
    save_file(arrays, path, metadata=metadata if rng.random() < 0.97 else None)
    return change


def same(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", ["model", "variant"])
def test_a_mutated_model_or_variant_is_the_same_or_refused(tmp_path, files, variant, cases, damaged, what, capsys):
    path, source = tmp_path / "odd.safetensors", {"model": files / "model.safetensors", "variant": variant}[what]
    read = load_model if what == "model" else lambda odd: load_variant(files / "model.safetensors", odd)
    right, faults, refused, unseen = read(source)[0].model, {}, 0, 0
    for seed in range(cases(60)):
        kind = mutated(path, source, random.Random(f"{what}-{seed}"), damaged)
        try:
            model = read(path)[0].model
        except (DamagedFile, ValueError) as error:
            refused += 1
            if str(path) not in str(error):
                faults.setdefault(f"unnamed: {error}", seed)
            continue
        except Exception as error:
            faults.setdefault(f"{type(error).__name__}: {error}", seed)
            continue
        if not same(model, right):
            unseen += 1
            if kind not in ("flip", "header"):  # a number in the header is none of the tensors' sum
                faults.setdefault(f"{kind}: differs without a word", seed)
    with capsys.disabled():
        print(f"{what}: {cases(60)} files, {refused} refused, unseen {unseen}")
    assert faults == {}
    assert refused > 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [evaluate, None])
def test_commands_refuse_a_mutated_variant_in_a_line(
    tmp_path, files, variant, cases, damaged, stopped, faults_of, step
):
    path, faults = tmp_path / "odd.safetensors", {}
    model = files / "model.safetensors"
    for seed in range(cases(30)):
        rng = random.Random(f"command-{seed}")
        mutated(path, variant if rng.random() < 0.5 else model, rng, damaged)
        if step is None:
            word = {"model": path} if rng.random() < 0.5 else {"model": model, "variant": path}
            words = [x for name, value in word.items() for x in (f"--{name}", value)]
            said, _, _ = stopped(None, "evaluate", *words, "--data", tmp_path / "gone.parquet")
            named = tmp_path / "gone.parquet" if str(path) not in said else path
        else:
            words = [
                "--model",
                model,
                "--variant",
                path,
                "--cells",
                "[]",
                "--device",
                "cpu",
                "--output",
                tmp_path / "s",
            ]
            said, _, _ = stopped(step, *words)
            named = path
            if said.endswith("cannot concat empty list"):  # the variant was read; there are no cells
                continue
        if fault := faults_of(said, named):
            faults.setdefault(fault, seed)
    assert faults == {}


def test_a_damaged_checkpoint_of_others_is_read_or_refused_by_name(tmp_path, cases, damaged):
    path, faults, refused = tmp_path / "weights.safetensors", {}, 0
    rng = np.random.default_rng(0)
    right = {f"visual.{i}.weight": rng.normal(size=(3, i + 1)).astype(np.float32) for i in range(4)}
    save_file(right, path, metadata={"format": "pt"})
    content = path.read_bytes()
    for seed in range(cases(400)):
        kind, changed = damaged(content, random.Random(f"checkpoint-{seed}"))
        path.write_bytes(changed)
        try:
            state = read_checkpoint(path).state
        except (DamagedFile, ValueError) as error:
            refused += 1
            if str(path) not in str(error):
                faults.setdefault(f"unnamed: {error}", seed)
            continue
        except Exception as error:
            faults.setdefault(f"{type(error).__name__}: {error}", seed)
            continue
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        if shapes != {name: value.shape for name, value in right.items()} and kind not in ("flip", "other"):
            faults.setdefault(f"{kind}: other shapes {shapes}", seed)
    assert faults == {}
    assert refused > 100
