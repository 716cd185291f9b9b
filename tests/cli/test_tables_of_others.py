"""Tables that other people's programs wrote: the same numbers give the same figures, or the file is refused by name."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from reliquant.cli.main import main
from reliquant.stored.features import features_of
from reliquant.stored.read import read_table


def table(n=60, c=5, d=16, seed=0):
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(c, d))
    label = rng.integers(0, c, n)
    image = text[label] + 1.5 * rng.normal(size=(n, d))
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    scale = np.float32([20])
    return {"image": image.astype(np.float32), "text": text.astype(np.float32), "label": label, "logit_scale": scale}


def measured(capsys, path, arrays):
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    main(["measure", str(path), "--resamples", "100", "--json"])
    return json.loads(capsys.readouterr().out)[path.stem]


def refused(path, arrays):
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    with pytest.raises(SystemExit) as stop:
        main(["measure", str(path), "--resamples", "100"])
    assert "\n" not in str(stop.value)
    assert str(path) in str(stop.value)
    return str(stop.value)


def same(a, b, tolerance):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name]["value"] == pytest.approx(b[name]["value"], abs=tolerance), name


def write_bfloat16(path, arrays):
    """Write every floating array as bfloat16, by the layout of the format: a JSON header, then the bytes."""
    header, content = {}, b""
    for name, array in arrays.items():
        halves = array.dtype.kind == "f"
        data = (array.view(np.uint32) >> 16).astype("<u2").tobytes() if halves else array.astype("<i8").tobytes()
        kind, offsets = "BF16" if halves else "I64", [len(content), len(content) + len(data)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        content += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


@pytest.mark.parametrize("factor", [1.0, 300.0])
def test_features_in_half_precision_measure_as_the_same_numbers_in_float32(capsys, tmp_path, factor):
    arrays = table()
    half = {**arrays, "image": (arrays["image"] * factor).astype(np.float16), "text": arrays["text"].astype(np.float16)}
    full = {**half, "image": half["image"].astype(np.float32), "text": half["text"].astype(np.float32)}
    same(measured(capsys, tmp_path / "a.safetensors", half), measured(capsys, tmp_path / "a.safetensors", full), 0)


def test_probabilities_in_half_precision_measure_as_the_same_numbers_in_float32(capsys, tmp_path):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(1000, 0.01), 40).astype(np.float16)
    half = {"probabilities": probabilities, "label": rng.integers(0, 1000, 40)}
    full = {**half, "probabilities": probabilities.astype(np.float32)}
    same(measured(capsys, tmp_path / "a.safetensors", half), measured(capsys, tmp_path / "a.safetensors", full), 0)


def test_bfloat16_is_read_as_torch_reads_it(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    arrays = table()
    write_bfloat16(tmp_path / "b.safetensors", arrays)
    ours, theirs = read_table(tmp_path / "b.safetensors").arrays, load_file(tmp_path / "b.safetensors")
    assert theirs["image"].dtype == torch.bfloat16
    for name in arrays:
        assert np.array_equal(ours[name], theirs[name].to(torch.float64 if name != "label" else torch.int64).numpy())


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, np.float16, np.float32, np.float64])
def test_labels_of_any_type_are_class_numbers(capsys, tmp_path, kind):
    arrays = table()
    plain = measured(capsys, tmp_path / "a.safetensors", arrays)
    for label in (arrays["label"].astype(kind), arrays["label"].astype(kind)[:, None]):
        same(measured(capsys, tmp_path / "a.safetensors", {**arrays, "label": label}), plain, 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": np.full(60, 0.5)}, "label 0.5 of image 0 is no class number: 60 such images"),
        ({"label": np.full(60, np.nan)}, "label nan of image 0"),
        ({"label": np.zeros((60, 5))}, "labels must be one class number per image, (n,), not shape (60, 5)"),
        ({"label": np.zeros(59, np.int64)}, "59 labels for 60 images"),
        ({"label": np.full(60, 5)}, "label 5 of image 0 is outside the 5 classes"),
        ({"image": np.zeros((60, 16), np.float32)}, "row 0 of image holds zeros only"),
        ({"text": np.full((5, 16), np.nan, np.float32)}, "text holds NaN"),
        ({"image": np.ones((60, 16), np.int64)}, "image must hold floating point numbers, not int64"),
        ({"image": np.ones((60, 16, 1), np.float32)}, "image must have two axes, not shape (60, 16, 1)"),
        ({"logit_scale": np.float32([1, 2])}, "logit_scale must hold one number, not shape (2,)"),
        ({"logit_scale": np.float32([-3])}, "logit_scale must be above 0: the multiplier, exp of the parameter"),
        ({"logit_scale": np.float32([np.inf])}, "logit_scale is inf"),
        ({"text": np.ones((5, 17), np.float32)}, "differ in width"),
        ({"photograph": np.arange(60.0)}, "photograph must hold whole numbers, not float64"),
        ({"image": np.ones((0, 16), np.float32), "label": np.ones(0, np.int64)}, "holds no images"),
        ({"photograph": np.arange(59, dtype=np.uint64)}, "keys of photographs (59,) for 60 images"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, change, told):
    assert told in refused(tmp_path / "x.safetensors", {**table(), **change})


def test_keys_of_photographs_are_taken_from_where_they_are_stored(tmp_path):
    arrays, path, keys = table(), tmp_path / "x.safetensors", np.arange(60, dtype=np.uint64) + 2**63
    save_file(arrays, path)
    assert features_of(read_table(path)).photographs is None
    for stored in (keys, np.arange(60) // 2):
        save_file({**arrays, "photograph": stored}, path)
        assert features_of(read_table(path)).photographs.tolist() == stored.tolist()


def test_a_type_without_a_meaning_here_is_refused_by_name(tmp_path):
    assert "image is of type C64" in refused(tmp_path / "x.safetensors", {**table(), "image": np.ones((60, 16), "c8")})


def test_a_scale_that_is_likely_a_logarithm_is_said(capsys, tmp_path):
    path = tmp_path / "log.safetensors"
    save_file({**table(), "logit_scale": np.float32([4.6052])}, path)
    main(["measure", str(path), "--resamples", "100"])
    told = capsys.readouterr().err
    assert told.startswith(f"reliquant measure: warning: {path}: logit_scale 4.6052 is taken as the multiplier")
    assert "store its exponential, 100" in told
    save_file(table(), path)
    main(["measure", str(path), "--resamples", "100"])
    assert capsys.readouterr().err == ""


def test_a_scale_below_1_may_be_a_temperature(capsys, tmp_path):
    save_file({**table(), "logit_scale": np.float32([0.07])}, tmp_path / "x.safetensors")
    main(["measure", str(tmp_path / "x.safetensors"), "--resamples", "100"])
    assert "if it is a temperature, its reciprocal, 14.29" in capsys.readouterr().err


def test_features_beside_probabilities_are_said_not_to_be_read(capsys, tmp_path):
    arrays = {**table(), "probabilities": np.full((60, 5), 0.2)}
    save_file(arrays, tmp_path / "x.safetensors")
    main(["measure", str(tmp_path / "x.safetensors"), "--resamples", "100"])
    assert "image, text and logit_scale are not read" in capsys.readouterr().err
