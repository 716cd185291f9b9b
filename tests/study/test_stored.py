import sys

import pytest
import yaml

from reliquant.files.artifacts import save_sealed_json
from reliquant.files.digests import DamagedFile
from reliquant.study.check import read_study
from reliquant.study.stored import stored_study


def stored(path, config):
    save_sealed_json(path, {"config": config if isinstance(config, str) else yaml.safe_dump(config)})
    return path


def test_a_study_is_read_back_from_its_facts(tmp_path, config):
    assert stored_study(stored(tmp_path / "facts.json", config)).config == read_study(config).config


PLACES = [
    ("models", lambda c, name: c["models"].update(other={"tower": name, "architecture": "lab_vit"})),
    ("schemes", lambda c, name: c["schemes"].update(other={"quantizer": name})),
    ("datasets", lambda c, name: c["datasets"].update(other={"dataset": name})),
    ("scores", lambda c, name: c["scores"].update(other={"score": name})),
    ("negatives", lambda c, name: c.update(negatives={"lexicon": name})),
    ("losses", lambda c, name: c["schemes"].update(other={"quantizer": "lsq", "losses": [{"loss": name}]})),
    ("noise", lambda c, name: c["suites"].update(noise={"shapes": {"corruptions": [name]}})),
]


@pytest.mark.parametrize("place", [place for _, place in PLACES], ids=[name for name, _ in PLACES])
def test_facts_may_name_no_module_of_others_and_run_none(tmp_path, monkeypatch, config, place):
    folder = tmp_path / "results_of_others" / "evil"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('code ran')\n")
    (folder / "mod.py").write_text("raise SystemExit('code ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    place(config, "results_of_others.evil.mod")
    with pytest.raises(DamagedFile, match=r"json: its config names the \w+ .results_of_others.evil.mod., none of"):
        stored_study(stored(tmp_path / "facts.json", config))
    assert not [name for name in sys.modules if name.startswith("results_of_others")]


@pytest.mark.parametrize("text", ["[a]", "5", "a: &a [*a]", "a: [", "study: x", "schemes: [1]\nmodels: 3"])
def test_facts_without_a_study_are_named(tmp_path, text):
    with pytest.raises(DamagedFile, match=r"facts.json: (its )?config is no "):
        stored_study(stored(tmp_path / "facts.json", text))
