"""Tables under names that are not known, or in a form that is not read: the refusal says what there is, and why."""

import pickle
import zipfile

import numpy as np
import polars as pl
import pytest

from reliquant.files.digests import DamagedFile
from reliquant.stored.beside import kind_of
from reliquant.stored.match import matched
from reliquant.stored.read import read_table

EMB = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
LISTS = pl.Series(EMB.tolist(), dtype=pl.List(pl.Float32))


def refusal(table):
    with pytest.raises(
        ValueError, match="has none of probabilities, logits, image, prediction; there are label"
    ) as stop:
        kind_of([table])
    return str(stop.value)


def parquet(path, **columns):
    pl.DataFrame({"label": [0, 1, 0], **columns}).write_parquet(path)
    return read_table(path)


def csv(path, **columns):
    pl.DataFrame({"label": [0, 1, 0], **columns}).write_csv(path, separator=";")
    return read_table(path)


def test_numbered_columns_of_an_unknown_name_are_told_with_the_words_that_take_them(tmp_path):
    told = refusal(parquet(tmp_path / "x.parquet", e0=EMB[:, 0], e1=EMB[:, 1], note=["a", "b", "c"]))
    assert told.endswith("there are label, and e (3 x 2), note (--names image=e says which it is)")
    path = tmp_path / "x.parquet"
    assert np.array_equal(read_table(path, names={"image": "e"}).arrays["image"][:], EMB)


def test_lists_that_were_written_as_words_are_told_as_such(tmp_path):
    told = refusal(csv(tmp_path / "x.csv", image=[str(row) for row in EMB.tolist()]))
    assert "and image ('[" in told
    assert told.endswith("a list that was written as a word; write its numbers as a column each, or as parquet)")


def test_decimal_commas_are_told_once_for_all_numbered_columns(tmp_path):
    comma = {f"emb_{i}": [str(value).replace(".", ",") for value in EMB[:, i]] for i in range(2)}
    told = refusal(csv(tmp_path / "x.csv", **comma))
    assert told.count("decimal commas") == 1
    assert "and emb_0 and 1 more such ('0,12573" in told
    assert told.endswith("numbers with decimal commas; write them with points)")


def test_columns_of_bytes_and_structs_are_told_and_stand_in_no_way(tmp_path):
    others = {"image": [b"a", b"b", b"c"], "meta": [{"a": 1}] * 3}
    told = refusal(parquet(tmp_path / "x.parquet", **others))
    assert told.endswith("and image (of type Binary, which is not read), meta (of type Struct, which is not read)")
    table = parquet(tmp_path / "y.parquet", **others, img_emb=LISTS)
    assert np.array_equal(table.arrays["image"][:], EMB)
    with pytest.raises(ValueError, match="image is of type Binary"):
        read_table(tmp_path / "y.parquet", names={"image": "image"})


def test_a_bare_emb_is_image(tmp_path):
    table = parquet(tmp_path / "x.parquet", emb_0=EMB[:, 0], emb_1=EMB[:, 1])
    assert np.array_equal(table.arrays["image"][:], EMB)
    assert table.said == (f"{tmp_path / 'x.parquet'}: image is taken from emb",)


def test_beside_a_reference_unknown_names_are_told_not_that_there_are_no_images(tmp_path):
    np.savez(tmp_path / "q.npz", foo=EMB, bar=EMB)
    np.savez(tmp_path / "f.npz", image=EMB)
    with pytest.raises(ValueError, match=r"q.npz: has none of .*and bar \(3 x 2\), foo \(3 x 2\) \(--names image=NAME"):
        matched(read_table(tmp_path / "q.npz"), read_table(tmp_path / "f.npz"))


def test_files_of_torch_and_pickles_are_told_and_never_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.pt", "w") as archive:
        archive.writestr("t/data.pkl", pickle.dumps({"image": 1}))
    with pytest.raises(DamagedFile, match=r"t.pt: was written by torch.save, .*write its tensors by safetensors"):
        read_table(tmp_path / "t.pt")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"image": EMB}))
    with pytest.raises(DamagedFile, match=r"p.pkl: a pickle, as Python and early PyTorch write it, .*no table"):
        read_table(tmp_path / "p.pkl")
