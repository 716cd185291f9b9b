"""Damaged and odd tables in every layout that is read: the same numbers, or one line that names the file."""

import random
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from reliquant.stored.features import features_of
from reliquant.stored.match import matched
from reliquant.stored.read import read_table


def arrays_of(seed):
    rng = np.random.default_rng(seed)
    n, c, d = 12, 3, 4
    image, text = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(c, d)).astype(np.float32)
    return {"image": image, "text": text, "label": rng.integers(0, c, n), "logit_scale": np.float32([20])}


def mutate(arrays, rng):
    """Change the type, shape, length or values of one array, or leave it out."""
    name = rng.choice(sorted(arrays))
    array = arrays[name].copy()
    if array.dtype.kind not in "fiu":
        return arrays
    with np.errstate(all="ignore"):
        kind = rng.choice(["f2", "f8", "i1", "u8", "?", "c8", "U5", "M8[s]"])
        odd = array.astype(np.float64)
        odd.reshape(-1)[:1] = rng.choice([np.nan, np.inf, -1, 1e30, 0.5, 2**40])
        changed = [array.astype(np.int64).astype(kind), array[:0], array[:-1], array[None], array.reshape(-1), odd]
    changed += [np.zeros_like(array), np.array(array.reshape(-1)[:1].sum()), np.concatenate([array, array])]
    changed = rng.choice([*changed, None])
    rest = {key: value for key, value in arrays.items() if key != name}
    return rest if changed is None else {**rest, name: np.ascontiguousarray(changed)}


def safetensors(path, arrays):
    save_file(arrays, path)


def npz(path, arrays):
    np.savez(path, **arrays)


def compressed(path, arrays):
    np.savez_compressed(path, **arrays)


def of_images(arrays):
    rows = arrays["image"].shape[0] if "image" in arrays and arrays["image"].ndim else 0
    return {name: array for name, array in arrays.items() if array.ndim and len(array) == rows and array.ndim < 3}


def parquet(path, arrays):
    pl.DataFrame(of_images(arrays)).write_parquet(path)


def csv(path, arrays):
    columns = {}
    for name, array in of_images(arrays).items():
        columns |= {name: array} if array.ndim == 1 else {f"{name}_{j}": part for j, part in enumerate(array.T)}
    pl.DataFrame(columns).write_csv(path)


def npy(path, arrays):
    with open(path, "wb") as file:
        np.save(file, arrays.get("image", np.ones(3)))


def faiss(path, arrays):
    image = np.atleast_2d(arrays.get("image", np.ones((2, 2)))).astype(np.float32)
    facts = np.int32(image.shape[1]).tobytes() + np.int64([len(image), 2**20, 2**20]).tobytes() + b"\1" + bytes(4)
    path.write_bytes(b"IxFI" + facts + np.int64(image.size).tobytes() + image.tobytes())


LAYOUTS = {"safetensors": safetensors, "npz": npz, "compressed": compressed, "parquet": parquet, "csv": csv}
LAYOUTS |= {"npy": npy, "faiss": faiss}


def looked_at(path):
    """Read all there is of a table, as features too; return what its columns hold."""
    table = read_table(path)
    found = {name: column[:] for name, column in table.arrays.items()}
    table.rows()
    if {"image", "text", "label", "logit_scale"} <= set(found):
        features_of(table, held=0).logits[:5]
    matched(table, table)
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_mutated_table_is_read_or_refused_in_a_line(tmp_path, cases, damaged, layout, capfd):
    faults, refused, path = {}, 0, tmp_path / "image.table"
    for seed in range(cases(120)):
        rng = random.Random(f"{layout}-{seed}")
        arrays = arrays_of(seed)
        for _ in range(rng.choice([0, 1, 2])):
            arrays = mutate(arrays, rng)
        written = tmp_path / ("written.npz" if layout in ("npz", "compressed") else "written")
        try:
            LAYOUTS[layout](written, arrays)
        except BaseException as error:  # the library itself cannot write such arrays, and polars panics
            if isinstance(error, KeyboardInterrupt):
                raise
            capfd.readouterr()
            continue
        shutil.move(written, path)
        if rng.random() < 0.6:
            path.write_bytes(damaged(path.read_bytes(), rng)[1])
        try:
            looked_at(path)
        except (ValueError, OSError) as error:
            refused += 1
            if str(path) not in str(error) or "\n" in str(error):
                faults.setdefault(f"{type(error).__name__}: {error}".replace(str(path), "FILE"), seed)
        except BaseException as error:
            faults.setdefault(f"{type(error).__name__}: {error}".replace(str(path), "FILE"), seed)
    assert faults == {}
    assert refused > 10
    assert capfd.readouterr() == ("", "")  # nor does a library print


@pytest.mark.filterwarnings("error")
def test_a_folder_with_a_harmed_file_is_read_or_refused_in_a_line(tmp_path, cases, damaged, capfd):
    faults, refused = {}, 0
    for seed in range(cases(120)):
        rng, arrays, folder = random.Random(f"folder-{seed}"), arrays_of(seed), tmp_path / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("img_emb", "text_emb", "metadata"):
            (folder / name).mkdir(parents=True)
        for part, rows in enumerate((slice(0, 5), slice(5, 12))):
            np.save(folder / "img_emb" / f"img_emb_{part}.npy", arrays["image"][rows])
            np.save(folder / "text_emb" / f"text_emb_{part}.npy", arrays["image"][rows])
            paths = pl.DataFrame({"image_path": list("abcdefghijkl")[rows], "label": arrays["label"][rows]})
            paths.write_parquet(folder / "metadata" / f"metadata_{part}.parquet")
        for name in ("text", "logit_scale"):
            np.save(folder / f"{name}.npy", arrays[name])
        harmed = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        if rng.random() < 0.2:
            harmed.unlink()
        else:
            harmed.write_bytes(damaged(harmed.read_bytes(), rng)[1])
        try:
            looked_at(folder)
        except (ValueError, OSError) as error:
            refused += 1
            if str(folder) not in str(error) or "\n" in str(error):
                faults.setdefault(f"{type(error).__name__}: {error}".replace(str(folder), "FOLDER"), seed)
        except BaseException as error:
            faults.setdefault(f"{type(error).__name__}: {error}".replace(str(folder), "FOLDER"), seed)
    assert faults == {}
    assert refused > 10
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_an_unharmed_table_is_read_as_it_was_written(tmp_path, layout):
    arrays, path = arrays_of(0), tmp_path / "image.npz"
    LAYOUTS[layout](path, arrays)
    found = looked_at(path)
    assert "image" in found
    for name, values in found.items():
        assert np.array_equal(values, arrays[name])
