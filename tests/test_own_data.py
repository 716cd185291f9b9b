"""docs/own_data.md: its commands, entries and programs are run as they stand there."""

import io
import json
import re
import shlex
import sys
import tarfile

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from safetensors.numpy import save_file

from reliquant import open_images, plugins
from reliquant.cli import main
from reliquant.study.entries import entry_problems

PAGE = (plugins.PACKAGE.parents[1] / "docs" / "own_data.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("sh", "yaml", "python", "console")}
FORM = "8-shortest-bicubic"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with twelve images of two classes under every name on the page."""
    rows, lines = [], ["path,label,caption"]
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "pets.tar", "w") as tar:
        for i in range(12):
            file, name = io.BytesIO(), ("cat", "dog")[i % 2]
            Image.fromarray(np.full((40, 44, 3), 20 * i, np.uint8)).save(file, "png")
            for path in (f"photos/{name}/{i}.png", f"others/deep/{i}"):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(file.getvalue())
            rows.append({"image": file.getvalue(), "label": name, "caption": f"a {name}"})
            lines.append(f"photos/{name}/{i}.png,{name},a {name}")
            for suffix, data in (("png", file.getvalue()), ("cls", name.encode())):
                info = tarfile.TarInfo(f"{i}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pl.DataFrame(rows).write_parquet(tmp_path / "pets.parquet")
    pairs = [{"image": row["image"], "caption": f"{row['caption']} {k}"} for k in range(5) for row in rows]
    pl.DataFrame(pairs).write_parquet(tmp_path / "pairs.parquet")
    (tmp_path / "pets.csv").write_text("\n".join(lines))
    (tmp_path / "bare.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines[1:]))
    for name in ("photos", "others", "pets.parquet", "pets.csv"):
        (tmp_path / "data" / name).symlink_to(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def rows_of_the_first_table():
    """List the path and the study's entry of each row that has both."""
    return re.findall(r"^\| .* \| `([^`]+)` \| `(\{dataset: [^`]+)` \|$", PAGE, re.M)


def test_a_path_and_its_entry_read_the_same_images(place):
    table = rows_of_the_first_table()
    assert len(table) == 5
    for path, word in table:
        entry = yaml.safe_load(word)
        assert list(entry_problems("datasets", entry, {})) == []
        role = "ood" if entry.get("classes") is False else "labelled"
        root = str(place if "files" in entry else place / path)
        direct, by_entry = (open_images(way, FORM, role=role) for way in (path, {**entry, "root": root}))
        assert len(direct.images) == 12
        assert np.array_equal(direct.images, by_entry.images)
        assert direct.labels.tolist() == by_entry.labels.tolist()


def test_the_commands_run(place, capsys):
    commands = re.findall(r"^ {4}(reliquant .*)$", PAGE, re.M) + [line.strip() for line in BLOCKS["sh"]]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)[1:]
        main.main(words + (["--resamples", "100"] if words[0] == "evaluate" else []))
        assert capsys.readouterr().out.strip(), command


def test_the_entries_of_a_study_are_right_and_read(place):
    (block,) = BLOCKS["yaml"]
    config = yaml.safe_load(block)
    images = {}
    for name, entry in config["datasets"].items():
        assert list(entry_problems("datasets", entry, {})) == []
        images[name] = open_images({**entry, "root": config["data_root"]}, FORM)
    assert {name: len(found.images) for name, found in images.items()} == {
        "pets": 12,
        "others": 12,
        "table": 10,
        "captions": 12,
    }
    assert images["pets"].meta["classes"] == ["house cat", "dog"]
    assert images["captions"].meta["captions"][0] == "a cat"


def test_arrays_and_tables_are_converted(place):
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8))
    np.save("labels.npy", np.arange(6) % 2)
    for code in BLOCKS["python"][:2]:
        exec(compile(code, "docs/own_data.md", "exec"), {})
    (place / "classes.json").write_text(json.dumps(["cat", "dog"]))
    found = open_images({"dataset": "parquet", "root": ".", "files": ["arrays.parquet"], "native": True}, FORM)
    assert np.array_equal(found.images, np.load("images.npy"))
    assert found.labels.tolist() == [0, 1] * 3
    assert open_images("headed.csv", FORM, role="labelled").labels.tolist() == [0, 1] * 6


def test_a_reader_of_ones_own_is_read(place):
    code = BLOCKS["python"][2]
    (place / "my_sets").mkdir()
    (place / "my_sets" / "__init__.py").write_text("")
    (place / "my_sets" / "greys.py").write_text(code)
    (word,) = re.findall(r"`(\{dataset: my_sets[^`]+)`", PAGE)
    assert open_images(word, FORM, role="labelled").labels.tolist() == [0, 1] * 3


def test_rounded_embeddings_are_measured_beside_fp32(place, capsys):
    rng = np.random.default_rng(0)
    text, label = rng.normal(size=(4, 16)).astype(np.float32), rng.integers(0, 4, 60)
    image = text[label] + rng.normal(size=(60, 16)).astype(np.float32)
    save_file({"image": image, "text": text, "label": label, "logit_scale": np.float32([20])}, "fp32.safetensors")
    exec(compile(BLOCKS["python"][3], "docs/own_data.md", "exec"), {})
    measure, report, compare = re.findall(r"^reliquant (.*)$", BLOCKS["console"][0], re.M)
    for command in (measure, compare):  # tests/cli/test_measure_paired.py draws such a report
        main.main(shlex.split(command))
    shown = capsys.readouterr().out
    assert [f"int{bits} beside fp32.safetensors" in shown for bits in (8, 6, 4, 3)] == [True] * 4
    assert report.split()[1] == measure.split()[-1] == "rounded.parquet"


def test_the_columns_on_the_page_are_those_that_are_looked_for():
    from reliquant.images import columns

    assert f"| {', '.join(columns.LABELS)} |" in PAGE
    assert f"| {', '.join(columns.CAPTIONS)} |" in PAGE
