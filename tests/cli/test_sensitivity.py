import json

import pytest

from reliquant import plugins
from reliquant.cli import main
from reliquant.files.artifacts import read_facts
from reliquant.files.stored_frames import read_rows
from reliquant.models.files import save_model

ENTRY = {"tower": "small", "architecture": "lab_vit"}
PAIRS = "{dataset: lab_captions, world: curated, images: 24}"
DATA = "{dataset: lab, task: shape, images: 24}"
OTHER = "{dataset: lab_patterns, pattern: glyphs, images: 16}"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, plugins.load("tower", ENTRY)(None), ENTRY)
    return ["sensitivity", "--model", str(path), "--precision", "w3a8", "--pairs", PAIRS, "--data", DATA,
            "--resamples", "100", "--device", "cpu", "--by", "block"]  # fmt: skip


def refused(*given):
    with pytest.raises(SystemExit) as stop:
        main.main([str(word) for word in given])
    return str(stop.value)


def test_blocks_are_ranked_and_rows_and_figure_are_written(words, tmp_path, capsys):
    rows, figure = tmp_path / "rows.parquet", tmp_path / "figure.pdf"
    main.main([*words, "--ood", OTHER, "--output", str(rows), "--figure", str(figure), "--json"])
    found = json.loads(capsys.readouterr().out)
    errors = [row["output_error"]["value"] for row in found]
    assert len(found) == 4
    assert errors == sorted(errors, reverse=True)
    assert set(found[0]) == {"block", "output_error", "accuracy_change", "ece_change", "squared_ce_change",
                             "auroc_change"}  # fmt: skip
    stored = read_rows(rows)
    assert set(stored["suite"]) == {"explain"}
    assert stored.filter(measure="alone_output_error")["value"].max() == errors[0]
    assert read_facts(rows)["kind"] == "sensitivity"
    assert figure.read_bytes().startswith(b"%PDF")


def test_the_table_names_each_block_once_and_says_its_units(words, capsys):
    main.main([*words, "--rank", "accuracy"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["block", "output", "error"]
    assert len({line.split()[0] for line in lines[1:5]}) == 4
    assert "most harm first" in lines[5]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            ["--scheme", "{quantizer: mixed, method: gptq}"],
            "--scheme: mixed chooses bits among layers; name its method",
        ),
        (
            ["--scheme", "{quantizer: rtn, layers: {attention: all}}"],
            "layers: attention: layers are tried one at a time",
        ),
        (["--rank", "auroc"], "--rank auroc: needs --ood"),
        (["--figure", "figure.jpg"], "--figure figure.jpg: write .pdf, .png or .svg"),
        (["--templates", "a photo"], "--templates: "),
        (["--precision", "w1a8"], "precision 'w1a8'"),
        (["--data", "nowhere"], "nowhere"),
        (["--ood", "nowhere"], "nowhere"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, more, told):
    found = refused(*words, *more)
    assert told in found
    assert "\n" not in found
