"""The step of a study, beside the verb of the command line on the same images."""

import json
from pathlib import Path

import pytest

from reliquant import plugins
from reliquant.cli import main
from reliquant.evaluation.belonging import require_current
from reliquant.evaluation.kept_rows import KeptRows
from reliquant.files.artifacts import DamagedFile, read_facts
from reliquant.files.stored_frames import read_parquet, read_rows
from reliquant.images.prepare import prepare
from reliquant.models.files import save_model
from reliquant.report.collect import require_made_of
from reliquant.steps import sensitivity
from reliquant.study.scheme import scheme_entry

PAIRS = {"dataset": "lab_captions", "world": "curated", "images": 24}
KNOWN = {"dataset": "lab", "task": "shape", "images": 24}
OTHER = {"dataset": "lab_patterns", "pattern": "glyphs", "images": 16}
LABELS = {"study": "tiny", "source": "curated", "family": "Simple PTQ", "model": "vit", "scheme": "rtn",
          "precision": "w3a8", "scope": "image", "proxy": "captions", "seed": 0}  # fmt: skip


@pytest.fixture
def words(tmp_path):
    """The words of the step for a small model of two blocks a tower, on 24 pairs, 24 shapes and 16 patterns."""
    model = {"tower": "small", "architecture": "small_vit"}
    save_model(tmp_path / "model.safetensors", plugins.load("tower", model)(None), model)
    folders = {}
    for name, entry in {"pairs": PAIRS, "shapes": KNOWN, "glyphs": OTHER}.items():
        folders[name] = tmp_path / "prepared" / name / "native"
        prepare(plugins.load("dataset", entry)(tmp_path), folders[name], form="native", entry=entry)
    known = {"dataset": "lab", "folder": str(folders["shapes"]), "entry": KNOWN, "against": []}
    other = {"dataset": json.dumps(OTHER), "folder": str(folders["glyphs"]), "entry": OTHER, "against": ["lab"]}
    return {
        **{"model": tmp_path / "model.safetensors", "entry": scheme_entry("rtn", "w3a8"), "labels": LABELS},
        **{"proxy": folders["pairs"], "proxy-entry": PAIRS, "pairs": 24, "sets": json.dumps([known, other])},
        **{"by": "block", "resamples": 100, "device": "cpu", "output": tmp_path / "out" / "rows.parquet"},
    }


def test_the_step_s_rows_are_those_of_the_verb_and_say_what_they_are_of(run, words, tmp_path):
    run(sensitivity, **words)
    found = read_rows(words["output"])
    line = ["sensitivity", "--model", str(words["model"]), "--precision", "w3a8", "--by", "block"]
    line += ["--pairs", json.dumps(PAIRS), "--data", json.dumps(KNOWN), "--ood", json.dumps(OTHER)]
    line += ["--resamples", "100", "--device", "cpu", "--output", str(tmp_path / "verb.parquet")]
    main.main(line)
    verb = read_rows(tmp_path / "verb.parquet")
    assert set(found["dataset"]) == {"pairs", "lab", json.dumps(OTHER)}  # resamples are drawn by these names
    assert found.drop(*LABELS).equals(verb.drop(*LABELS))
    assert found["group"].n_unique() == 4
    assert found.select(*LABELS).unique().rows(named=True) == [LABELS]
    assert not list(words["output"].parent.glob("*.layers"))
    facts = {"labels": LABELS, "suites": ["explain"], "by": "block", "sets": json.loads(words["sets"])}
    require_made_of(facts, words["output"])
    with pytest.raises(DamagedFile, match="its by are"):
        require_made_of({"by": "layer"}, words["output"])


def test_an_interrupted_step_goes_on_with_the_blocks_that_are_left(run, words, monkeypatch, capsys):
    tried, keep = [], KeptRows.keep

    def keep_and_stop(self, name, rows):
        keep(self, name, rows)
        tried.append(name)
        if len(tried) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeptRows, "keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(sensitivity, **words)
    assert not words["output"].exists()
    (kept,) = words["output"].with_suffix(".layers").iterdir()
    first = read_parquet(kept)
    run(sensitivity, **words)
    assert tried == [f"visual.transformer.resblocks.{i}" for i in range(4)]  # each once, in both runs together
    assert f"1 of 4 are kept from an interrupted run, in {kept.parent}" in capsys.readouterr().err
    rows = read_rows(words["output"])
    assert rows.filter(group=tried[0])["value"].to_list() == first["value"].to_list()
    assert rows["group"].unique(maintain_order=True).to_list() == tried
    assert not kept.exists()


def test_rows_of_images_or_of_a_model_that_changed_are_refused_by_name(run, words, tmp_path):
    run(sensitivity, **words)
    rows, model = words["output"], Path(words["model"])
    needed = [Path(name) for name in read_facts(rows)["made_of"]]
    assert len(needed) == 4
    require_current(rows, needed)
    entry = {"tower": "small", "architecture": "lab_vit"}
    save_model(model, plugins.load("tower", entry)(None), entry)
    with pytest.raises(DamagedFile, match=r"was made of another .*model\.safetensors"):
        require_current(rows, needed)


def test_images_of_another_entry_are_refused_before_anything_is_tried(run, words):
    sets = json.loads(words["sets"])
    sets[0]["entry"] = {**KNOWN, "images": 25}
    with pytest.raises(DamagedFile, match=r"shapes/native/meta\.json: its images are of"):
        run(sensitivity, **{**words, "sets": json.dumps(sets)})
    with pytest.raises(DamagedFile, match=r"pairs/native/meta\.json: its images are of"):
        run(sensitivity, **{**words, "proxy-entry": KNOWN})
    assert not words["output"].exists()
