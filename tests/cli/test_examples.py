"""Every command of the console that README, docs and `--help` show is run, as it stands there."""

import importlib
import io
import re
import shlex
import shutil
from contextlib import nullcontext

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant import plugins
from reliquant.cli.main import SUBCOMMANDS, main
from reliquant.models.open import tower_entry
from reliquant.report import synthetic
from reliquant.study.model_entries import tower_problems

pytestmark = pytest.mark.usefixtures("one_trace_of_each_structure")
ROOT = plugins.PACKAGE.parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STANDS_FOR = dict.fromkeys(["ViT-B-32/laion2b_s34b_b79k", "ViT-B-32"], "lab-vit-curated")  # a test fetches no weights


def shown():
    """List the commands of the pages in their order, then those of the help texts."""
    commands = []
    for page in PAGES:
        joined = re.sub(r" \\\n +", " ", page.read_text())  # of lines that end in a backslash
        commands += re.findall(r"^ {4}(?:\$ )?(reliquant .*?)(?: {2,}.*)?$", joined, re.M)
    examples = [importlib.import_module(f"reliquant.cli.{name}").EXAMPLE for name in SUBCOMMANDS]
    return list(dict.fromkeys([*commands, *examples]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that holds what the commands name: photographs, captioned pairs, and the rows of two studies."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(24):
        name = ["circle", "square"][i % 2]
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(file, "PNG")
        for top in ("photos", "others"):
            path = folder / top / name / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())
        pairs.append({"image": file.getvalue(), "caption": f"a photo of a {name} {i}"})
    pl.DataFrame(pairs).write_parquet(folder / "pairs.parquet")
    sets = {"clean": ("shapes",), "shift": (), "ood": (("digits", "far"),), "spurious": (), "corruptions": ()}
    axes = {"precisions": ("w8a8",), "scopes": ("image",), "seeds": (0,), "iterations": (), "ranks": ()}
    few = synthetic.Shape(models=(("vit-wit", "wit"),), **sets, **axes)
    rows = synthetic.rows(few, synthetic.Truth(), seed=0)
    for name in ("old/rows.parquet", "results/lab/rows.parquet"):
        (folder / name).parent.mkdir(parents=True)
        rows.write_parquet(folder / name)
    (folder / "config").symlink_to(ROOT / "config")
    lines, label = ["model,clean,shifted"], rng.integers(0, 5, 200)
    for model, accuracies in {"a": (0.9, 0.7), "b": (0.7, 0.5), "c": (0.8, 0.6)}.items():
        for name, accuracy in zip(("clean", "shifted"), accuracies, strict=True):
            answers = {"label": label, "prediction": np.where(rng.random(200) < accuracy, label, label + 1)}
            pl.DataFrame(answers).write_csv(folder / f"{model}-{name}.csv")
        lines.append(f"{model},{model}-clean.csv,{model}-shifted.csv")
    (folder / "models.csv").write_text("\n".join(lines))
    image_of = np.repeat(np.arange(20), 2)
    for name in ("int8-pairs", "fp32-pairs"):
        image, text = rng.normal(size=(20, 16)), rng.normal(size=(40, 16))
        np.savez(folder / f"{name}.npz", image=image, text=text + image[image_of], image_of=image_of)
    return folder


@pytest.mark.parametrize("word", STANDS_FOR)
def test_a_model_that_another_stands_for_is_one_that_open_clip_has(word):
    assert list(tower_problems(tower_entry(word))) == []


def test_there_are_commands_to_run():
    verbs = {command.split()[1] for command in shown()}
    assert verbs == set(SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_help_of_a_subcommand_shows_an_example(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    example = importlib.import_module(f"reliquant.cli.{name}").EXAMPLE
    assert " ".join(example.split()) in " ".join(capsys.readouterr().out.split())
    assert example.startswith(f"reliquant {name} ")


def test_the_commands_run_one_after_the_other(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    for command in shown():
        words = shlex.split(command, comments=True)[1:]
        words = [STANDS_FOR.get(word, word) for word in words]
        if words[0] in ("evaluate", "measure", "search", "sensitivity", "shift") and "--resamples" not in words:
            words += ["--resamples", "100"]
        if words[0] == "time":  # of which a round is as good as another here
            words += ["--rounds", "1"]
        if words[0] == "measure":  # what `evaluate --save` wrote, also under the names of the help text
            for name in ("features.safetensors", "other.safetensors", "int8.safetensors"):
                shutil.copyfile("f.safetensors", name)
        whole = words[0] != "verify"  # of the study that it checks only the rows lie here
        with nullcontext() if whole else pytest.raises(SystemExit, match="1"):
            main(words)
        assert capsys.readouterr().out.strip(), command
