"""Damaged and odd tables of features and probabilities: measured, or refused in one line that names the file.

A refusal that only the last resort of `progress.py` made (it would say `--debug`) counts as a fault: nobody foresaw it.
"""

import random

import numpy as np
import pytest
from safetensors.numpy import save_file

from reliquant.cli.main import main

TYPES = ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", "c8"]


def tables(rng):
    """Return a table of features and one of probabilities that are right."""
    n, c, d = 12, 3, 4
    features = {"image": rng.normal(size=(n, d)), "text": rng.normal(size=(c, d)), "logit_scale": np.array([20.0])}
    features = {name: array.astype(np.float32) for name, array in features.items()}
    probabilities = rng.dirichlet(np.ones(c), n).astype(np.float32)
    label = rng.integers(0, c, n)
    return {**features, "label": label}, {"probabilities": probabilities, "label": label}


def mutate(arrays, rng):
    """Change one array: its type, shape, order, values or name; or leave it out, or empty it."""
    name = rng.choice(sorted(arrays))
    array, change = arrays[name], rng.randrange(10)
    with np.errstate(all="ignore"):
        if change <= 2:
            array = array.real.astype(rng.choice(TYPES))
        elif change == 3:
            array = array.reshape(rng.choice([(-1,), (1, -1), (-1, 1), (1, 1, -1)]))
        elif change == 4:
            array = array[: rng.randrange(len(array) + 1)]
        elif change == 5:
            array = np.concatenate([array, array])
        elif change == 6:
            odd = rng.choice([0, -1, 0.5, 1e30, -1e30, np.nan, np.inf, 2**31, 300])
            array = array.real.astype(np.float64)
            array = array if array.size else np.zeros(1)
            array.reshape(-1)[rng.randrange(array.size)] = odd
        elif change == 7:
            array = np.zeros_like(array)
        elif change == 8:
            return {rng.choice(["x", "images", name]) if key == name else key: a for key, a in arrays.items()}
        else:
            array = array.T
    return {**arrays, name: np.ascontiguousarray(array)}


def damaged(content, rng):
    """Cut a file, flip one of its bits, or put other bytes in the place of some."""
    at = rng.randrange(len(content))
    return rng.choice(
        [
            content[:at],
            content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
            content[:at] + rng.randbytes(rng.randrange(1, 40)) + content[at:],
            b"",
            b"PK\x03\x04" + content,
        ]
    )


def told(path):
    """Measure a file: return what stopped it, empty where nothing did."""
    try:
        main(["measure", str(path), "--resamples", "20"])
    except SystemExit as stop:
        return str(stop.code)
    return ""


@pytest.mark.parametrize("kind", [0, 1], ids=["features", "probabilities"])
@pytest.mark.filterwarnings("error")
def test_a_mutated_table_is_measured_or_refused_by_name(tmp_path, capsys, cases, kind):
    faults, refused = {}, 0
    for seed in range(cases(150)):
        rng = random.Random(f"table-{kind}-{seed}")
        arrays = tables(np.random.default_rng(seed))[kind]
        for _ in range(rng.choice([1, 1, 2])):
            arrays = mutate(arrays, rng)
        path = tmp_path / "table.safetensors"
        try:
            save_file(arrays, path)
        except Exception:  # the library itself cannot write such a type
            continue
        if rng.random() < 0.3:
            path.write_bytes(damaged(path.read_bytes(), rng))
        try:
            message = told(path)
        except Exception as error:
            message = f"{type(error).__name__}: {error} --debug"
        refused += bool(message)
        if (
            "--debug" in message
            or (message and str(path) not in message)
            or "\n" in message
            or "nan" in capsys.readouterr().out
        ):
            faults.setdefault(message.replace(str(path), "FILE"), seed)
    assert faults == {}
    assert refused > 10
