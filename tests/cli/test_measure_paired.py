"""`measure` beside a reference, as people run it: a line for each measure, rows that every reader takes, refusals."""

import io
import json
import re
from contextlib import redirect_stdout

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from reliquant.cli.main import main
from reliquant.cli.paired_output import NUMBERS, Line, cells_of, wrapped
from reliquant.files.artifacts import read_facts
from reliquant.files.stored_frames import read_rows
from reliquant.measures.stats import holm
from reliquant.report.tabling import Change


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of a reference, of it rounded to 8 and 2 bits per vector, and of other images, likewise."""
    place, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    text, label = rng.normal(size=(5, 24)), rng.integers(0, 5, 300)
    image, far = text[label] + 1.4 * rng.normal(size=(300, 24)), rng.normal(size=(120, 24))
    head = {"text": text.astype(np.float32), "label": label, "logit_scale": np.float32([20])}

    def rounded(x, bits):
        scale = np.abs(x).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        return (np.round(x / scale) * scale).astype(np.float32)

    for name, bits in (("fp32", 24), ("int8", 8), ("int2", 2)):
        save_file(head | {"image": rounded(image, bits)}, place / f"{name}.safetensors")
        save_file({"image": rounded(far, bits)}, place / f"{name}-far.safetensors")
    right = {"label": label, "prediction": np.where(rng.random(300) < 0.8, label, (label + 1) % 5)}
    save_file(right, place / "answers.safetensors")
    save_file({"img_emb": rounded(image, 8)}, place / "bare.safetensors")
    return place


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Run a command in the folder of tables; return what it prints, on both streams."""
    monkeypatch.chdir(folder)

    def ran(*words):
        main([str(word) for word in words])
        return capsys.readouterr()

    return ran


WHOLE = (
    *("measure", "int8.safetensors", "int2.safetensors", "--reference", "fp32.safetensors", "--resamples", "300"),
    *("--ood", "int8-far.safetensors", "--ood", "int2-far.safetensors", "--reference-ood", "fp32-far.safetensors"),
    *("--rows", "rows.parquet", "--precision", "w8a8", "w2a8", "--bytes", "100", "40", "--reference-bytes", "400"),
)


@pytest.fixture(scope="module")
def whole(folder):
    """What that prints; it leaves rows.parquet in the folder."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        patch.delenv("COLUMNS", raising=False)
        main(list(WHOLE))
    return printed.getvalue()


def test_each_measure_has_a_line_of_at_most_100_columns(whole):
    lines = whole.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("  accuracy  ") for line in lines) == 2
    (line,) = (line for line in lines[lines.index("int2 beside fp32.safetensors") :] if line.startswith("  accuracy  "))
    match = re.fullmatch(r"  accuracy +(\S+) +(\S+)  %  +([-+]\S+) \[(\S+), (\S+)\]\*+ points", line)
    value, reference, change, low, high = map(float, match.groups())
    assert low < change < high < 0
    assert change == pytest.approx(value - reference, abs=0.11)
    assert any("Holm's correction for the" in line for line in lines)
    assert "fp32-far: 120 other images beside the 300 labelled" in lines
    assert any(line.startswith("  mcm_auroc ") for line in lines)


def test_a_small_divergence_is_shown_with_its_digits():
    kl = dict.fromkeys(NUMBERS) | {"value": 2.34e-6, "low": 1.2e-6, "high": 1.4e-4, "n": 10}
    nll = dict.fromkeys(NUMBERS) | {"value": -1e-17, "low": -2e-5, "high": 3e-5}
    line = {"kl_to_fp32": Line(value=kl), "nll": Line(value=kl | {"value": 1.25}, reference=kl, change=nll)}
    assert cells_of("kl_to_fp32", line["kl_to_fp32"])[1:] == ("2.3e-06", "", "nats", "interval [1.2e-06, 0.0001]")
    assert cells_of("nll", line["nll"])[-1] == "0.0000 [-2e-05, +3e-05] nats"


def test_what_is_no_share_is_not_shown_in_percent():
    of = {"stored_bits": 4.25, "dead_channels": 3.0, "logit_scale": 26.7, "quantized_weight_share": 0.944}
    shown = {name: cells_of(name, Line(value=dict.fromkeys(NUMBERS) | {"value": value})) for name, value in of.items()}
    said = {name: (value, unit) for name, (_, value, _, unit, _) in shown.items()}
    assert said["stored_bits"] == ("4.25", "bits")
    assert said["dead_channels"] == ("3", "")
    assert said["logit_scale"] == ("26.7", "")
    assert said["quantized_weight_share"] == ("94.4", "%")


def test_in_a_narrow_window_nothing_is_wider_than_it(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "46")
    lines = run(*WHOLE).out.splitlines()
    assert max(len(line) for line in lines if "rows" not in line) <= 46
    at = lines.index("  accuracy")
    assert re.match(r"    value \d+\.\d %, reference \d+\.\d %, change", lines[at + 1])
    at = lines.index("  agreement")
    assert re.fullmatch(r"    value \d+\.\d %, interval \[\S+, \S+\]", lines[at + 1])
    assert "change interval" not in " ".join(" ".join(lines).split())
    assert wrapped("a bb ccc", 4) == "a bb\nccc"


def test_stars_are_those_of_holms_correction_over_all_changes_that_are_shown(run, whole):
    data = json.loads(run(*WHOLE, "--json").out)
    changes, told = [], whole
    for variant in data["variants"].values():
        for measures in variant.values():
            changes += [m["change"] for m in measures.values() if "change" in m]
    p = holm([Change(change["value"], change["low"], change["high"]).p for change in changes])
    assert f"correction for the {np.isfinite(p).sum()} changes" in " ".join(told.split())
    marks = re.findall(r"\](\*+)", told)
    assert len(marks) == (p < 0.05).sum() > 5
    assert marks.count("***") == (p < 0.001).sum()


def test_what_was_assumed_is_said_kept_in_the_rows_and_in_json(run, folder):
    shown = run("measure", "bare.safetensors", "--reference", "fp32.safetensors", "--rows", "b.parquet", "--json")
    said = [line.removeprefix("reliquant: ") for line in shown.err.splitlines() if line.startswith("reliquant: ")]
    assert "bare.safetensors: image is taken from img_emb" in said
    assert "bare.safetensors: has no label, text, logit_scale, so fp32.safetensors's is taken" in said
    assert any("matched by their position" in line for line in said)
    assert "bare: the precision is unknown in the rows; --precision w4a16 would say it" in said
    assert json.loads(shown.out)["assumed"] == said
    assert read_facts(folder / "b.parquet")["assumed"] == said


def test_the_reference_may_have_names_of_its_own(run):
    words = ("--names", "image=img_emb", "--reference-names", "image=image", "--json")
    data = json.loads(run("measure", "bare.safetensors", "--reference", "fp32.safetensors", *words).out)
    assert data["variants"]["bare"]["images"]["agreement"]["value"] > 0.9


def test_names_of_the_variants_are_the_references_where_it_has_such_columns(run):
    shown = run("measure", "bare.safetensors", "--reference", "fp32.safetensors", "--names", "image=img_emb", "--json")
    assert json.loads(shown.out)["variants"]["bare"]["images"]["agreement"]["value"] > 0.9
    words = ("--names", "image=img_emb", "--reference-names", "image=img_emb")
    with pytest.raises(SystemExit):
        run("measure", "bare.safetensors", "--reference", "fp32.safetensors", *words)


def test_recommend_compare_and_report_take_the_rows(run, folder, whole):
    rows = read_rows(folder / "rows.parquet")
    assert set(rows["scheme"]) == {"fp32", "int8", "int2"}
    assert set(rows["study"]) == {"rows"}
    found = json.loads(run("recommend", "rows.parquet", "--wish", "accuracy_delta <= 0.02", "--json").out)
    assert "int8" in json.dumps(found)
    assert "int2" not in json.dumps([one.get("scheme") for one in found] if isinstance(found, list) else "")
    assert "nothing changed" in run("compare", "rows.parquet", "rows.parquet").out
    shown = run("report", "rows.parquet", "--output", "page").out
    page = (folder / "page" / "report.html").read_text()
    assert "int2" in page
    assert "not shown, as these rows have nothing for it:" in shown
    assert "  noise_map: " in shown
    assert json.loads((folder / "page" / "summary.json").read_text())["variants"] == 2


def test_recommend_says_what_rows_without_a_cost_lack(run):
    run("measure", "int8.safetensors", "--reference", "fp32.safetensors", "--rows", "plain.parquet")
    with pytest.raises(SystemExit, match=r"plain.parquet: no variant says the cost, bytes: .* --bytes gives"):
        main(["recommend", "plain.parquet", "--wish", "accuracy_delta <= 0.02"])


def test_the_page_is_made_without_precisions_too(run, folder):
    run("measure", "int8.safetensors", "bare.safetensors", "--reference", "fp32.safetensors", "--rows", "n.parquet")
    assert set(read_rows(folder / "n.parquet")["precision"]) == {"fp32", "unknown"}
    shown = run("report", "n.parquet", "--output", "n", "--json")
    found = json.loads(shown.out)
    assert {"overview", "main", "accuracy_by_method"} <= set(found["pieces"])
    assert found["absent"]["accuracy_by_bits"].startswith("fewer than two known precisions")
    page = (folder / "n" / "report.html").read_text()
    assert "variants of unknown precision" in page
    assert "image is taken from img_emb" in page


def test_a_precision_that_a_name_says_is_taken_and_said(run, folder, tmp_path):
    path = tmp_path / "vit-W4A16-rtn.safetensors"
    path.write_bytes((folder / "int2.safetensors").read_bytes())
    shown = run("measure", path, "--reference", "fp32.safetensors", "--rows", tmp_path / "r.parquet")
    assert set(pl.read_parquet(tmp_path / "r.parquet")["precision"]) == {"fp32", "w4a16"}
    assert "vit-W4A16-rtn: the precision is w4a16, by its name" in shown.err


def test_predictions_alone_give_flips_and_say_what_they_cannot(run):
    shown = run("measure", "answers.safetensors", "--reference", "answers.safetensors", "--json")
    measures = json.loads(shown.out)["variants"]["answers"]["images"]
    assert set(measures) == {
        *("accuracy", "balanced_accuracy", "agreement", "flips_right_to_wrong", "flips_wrong_to_right"),
        "accuracy_delta",
    }
    assert measures["accuracy"]["change"]["value"] == 0
    assert "predictions alone give no calibration, no top-5 accuracy, NLL" in shown.err
    alone = json.loads(run("measure", "answers.safetensors", "--json").out)["answers"]
    assert alone["accuracy"]["value"] == measures["accuracy"]["value"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--reference-names", "image=img_emb"), "--reference-names: need --reference"),
        (("--rows", "r.parquet"), "--rows: need --reference"),
        (("--reference-bytes", "3"), "--reference-bytes: need --reference"),
        (("--reference", "fp32.safetensors", "--ood", "int8-far.safetensors"), "--ood: .* give --reference-ood"),
        (("--reference", "fp32.safetensors", "--reference-ood", "x.npz"), "--reference-ood: .* give --ood"),
        (("--reference", "fp32.safetensors", "--shifted", "int8-far.safetensors"), "--shifted: .* give --reference-s"),
        (("--reference", "fp32.safetensors", "--ood", "a", "--ood", "b"), "--ood is given 2 times for 1 variants"),
        (("--reference", "fp32.safetensors", "--precision", "8bit"), "--precision: precision '8bit' must read"),
        (("--reference", "fp32.safetensors", "--precision", "w8a8", "w4a8"), "--precision: 2 for 1 variants"),
        (("--reference", "fp32.safetensors", "--bytes", "none.onnx"), "--bytes none.onnx: is neither a number"),
        (("--reference", "fp32.safetensors", "--bytes", "1", "2"), "--bytes: 2 for 1 variants"),
        (("--reference", "nowhere.safetensors"), "nowhere.safetensors: no such file"),
        (("--reference", "fp32.safetensors", "--names", "image"), "--names 'image' must read ours=theirs"),
        (
            ("--reference", "bare.safetensors", "--names", "image=img_emb"),
            "int8.safetensors: has no 'img_emb' for image",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_names_it(folder, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stop:
        main(["measure", "int8.safetensors", *words])
    assert re.search(message, str(stop.value)), stop.value
    assert "\n" not in str(stop.value)


def test_a_report_of_no_rows_or_into_a_file_is_refused(folder, run, whole, tmp_path):
    read_rows(folder / "rows.parquet").head(0).write_parquet(tmp_path / "none.parquet")
    with pytest.raises(SystemExit, match=r"none.parquet: holds no rows, so there is nothing to draw"):
        main(["report", str(tmp_path / "none.parquet"), "--output", str(tmp_path / "page")])
    with pytest.raises(SystemExit, match=r"--output rows.parquet: is a file; name a folder"):
        main(["report", "rows.parquet", "--output", "rows.parquet"])
