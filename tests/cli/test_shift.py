"""`shift`: a list of models, or two lists of tables; what it prints, keeps as rows, and refuses."""

import json

import numpy as np
import polars as pl
import pytest

from reliquant.cli.main import main
from reliquant.files.stored_frames import read_rows
from reliquant.measures.shift import effective_robustness
from reliquant.report.tables.effective_robustness import table

MODELS = (("a", "fp32", 0.9, 0.7), ("b", "fp32", 0.8, 0.55), ("c", "fp32", 0.65, 0.4), ("b", "int4", 0.75, 0.4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of predictions of three models and of a variant, on clean and on shifted images, and their list."""
    place, rng, lines = tmp_path_factory.mktemp("shift"), np.random.default_rng(0), []
    sets = {"clean": rng.integers(0, 6, 400), "shifted": rng.integers(0, 6, 300)}
    hard = {name: rng.random(len(label)) for name, label in sets.items()}
    for model, scheme, *accuracies in MODELS:
        for (name, label), accuracy in zip(sets.items(), accuracies, strict=True):
            prediction = np.where(hard[name] < accuracy, label, (label + 1) % 6)
            table_of = pl.DataFrame({"id": np.arange(len(label)), "label": label, "prediction": prediction})
            table_of.sample(fraction=1, shuffle=True, seed=1).write_csv(place / f"{model}-{scheme}-{name}.csv")
        line = {"model": model, "scheme": scheme, "precision": "w4a16" if scheme == "int4" else ""}
        lines.append(line | {name: f"{model}-{scheme}-{name}.csv" for name in sets})
    pl.DataFrame(lines).write_csv(place / "models.csv")
    (place / "models.yaml").write_text(json.dumps([{k: v for k, v in line.items() if v} for line in lines]))
    return place


@pytest.fixture
def run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def ran(*words):
        main(["shift", *map(str, words), "--resamples", "300"])
        return capsys.readouterr()

    return ran


def test_a_list_gives_each_model_its_robustness_with_interval_and_a_variant_its_change(run):
    data = json.loads(run("models.csv", "--json").out)
    x, y = (np.array([one[name]["value"] for one in data["models"]]) for name in ("clean", "shifted"))
    expected = effective_robustness(x, y, x[:3], y[:3])
    for one, value in zip(data["models"], expected, strict=True):
        assert one["effective_robustness"]["value"] == pytest.approx(value, abs=1e-6)
    int4 = data["models"][3]
    assert int4["change"]["value"] == pytest.approx(expected[3] - expected[1], abs=1e-6)
    assert int4["change"]["low"] < int4["change"]["value"] < int4["change"]["high"]
    assert [one["baseline"] for one in data["models"]] == [True, True, True, False]
    assert json.loads(run("models.yaml", "--json").out)["models"] == data["models"]


def test_two_lists_in_the_same_order_give_what_a_list_gives(run):
    pairs = [[f"{model}-fp32-{name}.csv" for model in "abc"] for name in ("clean", "shifted")]
    data = json.loads(run("--clean", *pairs[0], "--shifted", *pairs[1], "--json").out)
    listed = json.loads(run("models.csv", "--json").out)
    assert data["line"] == listed["line"]
    assert [one["model"] for one in data["models"]] == ["a-fp32-clean", "b-fp32-clean", "c-fp32-clean"]


def test_the_terminal_gets_a_line_a_model_that_fits_and_a_legend(run, monkeypatch):
    out = run("models.csv").out
    assert max(map(len, out.splitlines())) <= 100
    assert any(line.startswith("b int4 ") for line in out.splitlines())
    assert "line through the baselines (3), on logit axes" in " ".join(out.split())
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, run("models.csv").out.splitlines())) <= 50


def test_rows_give_the_table_of_a_report_the_same_numbers(run, folder):
    data = json.loads(run("models.csv", "--rows", "shift.parquet", "--json").out)
    rows = read_rows(folder / "shift.parquet")
    assert set(rows.select("model", "scheme").unique().rows()) == {one[:2] for one in MODELS}
    assert set(rows["suite"]) == {"clean", "shift"}
    shown = table(rows).filter(scheme="int4").row(0, named=True)
    assert shown["shifted set"] == "shifted"
    for column, measure in (("effective robustness", "effective_robustness"), ("change", "change")):
        value = float(shown[column].split()[0])
        assert value == pytest.approx(100 * data["models"][3][measure]["value"], abs=0.06)
    accuracy = rows.filter(model="b", scheme="int4", suite="shift", measure="accuracy")["value"].item()
    assert accuracy == pytest.approx(data["models"][3]["shifted"]["value"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,clean\na,x.csv\n", "model 1: has no shifted"),
        ("model,clean,shifted,modle\na,x,y,z\n", "model 1: 'modle' is unknown; there are model, clean, shifted"),
        ("model,clean,shifted\na,x,y,z\n", "model 1: 'more' is unknown"),
        ("model,clean,shifted\na,x,y\na,x,y\n", "a is there twice; each needs a model or a scheme of its own"),
        ("model,clean,shifted,scheme\na,x,y,int4\n", "a int4 is quantized, and a of scheme fp32 is not there"),
        ("model,clean,shifted,baseline\na,x,y,perhaps\n", "baseline must be yes or no, not 'perhaps'"),
        ("model,clean,shifted,precision\na,x,y,8bit\n", "a: precision '8bit' must read"),
        ("model,clean,shifted\n", "names no models"),
        ("model,clean,shifted\na,none.csv,y\n", "none.csv: no such file"),
        ("model,clean,shifted\na,a-fp32-clean.csv,a-fp32-shifted.csv\n", "at least two different clean accuracies"),
        (
            "model,clean,shifted\na,a-fp32-clean.csv,a-fp32-shifted.csv\nb,b-fp32-shifted.csv,b-fp32-shifted.csv\n",
            "b-fp32-shifted.csv and .*a-fp32-clean.csv",
        ),
    ],
)
def test_a_list_that_is_none_is_refused_in_one_line_that_names_it(run, folder, text, message):
    (folder / "bad.csv").write_text(text)
    with pytest.raises(SystemExit, match=message) as stop:
        run("bad.csv")
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a list of models, or their tables by --clean and --shifted"),
        (("models.csv", "--clean", "a", "--shifted", "b"), "name a list of models, or their tables"),
        (("--clean", "a.csv", "b.csv", "--shifted", "c.csv"), "--clean names 2 tables and --shifted 1"),
        (("nowhere.csv",), "nowhere.csv: no such file"),
    ],
)
def test_words_that_do_not_fit_are_refused(run, words, message):
    with pytest.raises(SystemExit, match=message):
        run(*words)


def test_an_accuracy_at_an_end_is_said_to_be_moved_and_what_stands_on_it_has_no_interval(run, folder):
    label = pl.read_csv(folder / "a-fp32-clean.csv").with_columns(prediction=pl.col("label"))
    label.write_csv(folder / "z-fp32-clean.csv")
    every = [
        [f"{model}-fp32-{name}.csv" for model in names] for name, names in (("clean", "abcz"), ("shifted", "abca"))
    ]
    found = run("--clean", *every[0], "--shifted", *every[1], "--json")
    data = json.loads(found.out)
    (told,) = (line for line in data["assumed"] if "axes" in line)
    assert told.startswith("z-fp32-clean: the accuracy on clean images, 100.00%, is taken as 99.99% on logit axes, and")
    assert told in " ".join(found.err.split())
    perfect = data["models"][3]
    assert 0.98 < perfect["clean"]["low"] < perfect["clean"]["high"] == 1
    assert perfect["effective_robustness"]["low"] is None
    text = run("--clean", *every[0], "--shifted", *every[1]).out
    (line,) = (line for line in text.splitlines() if line.startswith("z-fp32-clean"))
    assert "*" not in line


def test_two_baselines_are_said_to_draw_a_line_through_themselves(run):
    pairs = [[f"{model}-fp32-{name}.csv" for model in "ab"] for name in ("clean", "shifted")]
    shown = run("--clean", *pairs[0], "--shifted", *pairs[1])
    assert "two baselines: every line passes through both" in shown.err
