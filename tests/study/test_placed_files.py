from pathlib import Path

import polars as pl
import pytest

from reliquant.study import placed

TABLE = "path,label\na.png,0\nb.png,1\n"


def write(folder, **files):
    for name, content in {"a.png": "one", "b.png": "two", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("table", "text", "changed"),
    [
        ("t.csv", TABLE, "a.png"),
        ("notes", TABLE, "a.png"),
        ("lists/t.csv", TABLE.replace("a.png", "../a.png"), "a.png"),
        ("lists/t.tsv", TABLE.replace(",", "\t").replace("a.png", "near.png"), "lists/near.png"),
        ("lists/t.csv", TABLE.replace("b.png", r"deep\near.png"), "lists/deep/near.png"),
        ("lists/t.csv", TABLE.replace("b.png", "near.png"), "lists/classes.json"),
        ("t.csv", TABLE, "classnames.txt"),
    ],
)
def test_images_and_classes_beside_a_named_table_count(root, table, text, changed):
    write(root, **{table: text, "lists/near.png": "near", "lists/deep/near.png": "deep"})
    entry = {"dataset": "csv", "files": [table]}
    first = placed.dataset_digest(entry, "set")
    (root / "of_nobody.png").write_text("new")
    assert placed.dataset_digest(entry, "set") == first
    (root / changed).write_text("changed")
    assert placed.dataset_digest(entry, "set") != first


@pytest.mark.parametrize("words", [{}, {"files": ["t.parquet"]}])
@pytest.mark.parametrize("plugin", ["parquet", "cc3m"])
def test_images_that_a_parquet_file_names_count(root, words, plugin):
    write(root, **{"../away.png": "away", "../other.png": "other"})
    images = pl.Series([{"bytes": None, "path": "../away.png"}, {"bytes": None, "path": "b.png"}])
    pl.DataFrame({"image": images, "caption": ["x", "y"]}).write_parquet(root / "t.parquet")
    entry = {"dataset": plugin, **words}
    first = placed.dataset_digest(entry, "set")
    Path("other.png").write_text("changed")
    assert placed.dataset_digest(entry, "set") == first
    Path("away.png").write_text("changed")
    assert placed.dataset_digest(entry, "set") != first


def test_an_empty_class_folder_counts(root):
    write(root, **{"x/1.png": "x", "y/1.png": "y"})
    entry = {"dataset": "image_folder"}
    first = placed.dataset_digest(entry, "set")
    (root / "z").mkdir()
    second = placed.dataset_digest(entry, "set")
    assert second != first
    (root / "z" / ".hidden").write_text("no data")
    assert placed.dataset_digest(entry, "set") == second


def test_what_is_no_table_names_nothing(root):
    write(root, **{"t.csv": "", "t.tsv": "\0\0"})
    (root / "t.parquet").write_bytes(b"PAR1 and nothing else")
    assert placed.dataset_digest({"dataset": "csv"}, "set")
