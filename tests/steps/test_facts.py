import json

import yaml

from reliquant.models.files import save_model
from reliquant.models.towers.small import tower
from reliquant.steps import facts


def test_the_facts_name_models_datasets_and_the_config(run, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = {"tower": "small", "architecture": "small_vit", "pretrained": "random"}
    clip = tower(None, architecture="small_vit")
    (tmp_path / "data" / "models").mkdir()
    save_model(tmp_path / "data" / "models" / "vit.safetensors", clip, entry, recipe={"steps": 5})
    config = {
        "study": "tiny",
        "title": "Two of everything",
        "models": {"vit": {**entry, "source": "web"}},
        "datasets": {"stars": {"dataset": "lab", "task": "shape", "images": 9, "native": True}},
        "suites": {"clean": ["stars"]},
    }
    run(facts, study=config, output=tmp_path / "facts.json")
    told = json.loads((tmp_path / "facts.json").read_text())
    assert (told["study"], told["title"], told["note"]) == ("tiny", "Two of everything", "")
    assert yaml.safe_load(told["config"]) == config
    assert told["datasets"] == {"stars": {"n": 9, "classes": 2, "skipped": 0, "entry": {"dataset": "lab"}}}
    vit = told["models"]["vit"]
    assert (vit["source"], vit["architecture"], vit["pretrained"]) == ("web", "small_vit", "random")
    assert vit["n_parameters"] == sum(p.numel() for p in clip.model.parameters())
    assert vit["recipe"] == {"steps": 5}
    assert len(vit["sha256"]) == 64


def test_a_model_of_ones_own_is_named_by_its_plugin(run, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_facts").mkdir()
    (tmp_path / "own_facts" / "__init__.py").touch()
    (tmp_path / "own_facts" / "mine.py").write_text("def tower(state, /, *, size: int = 1):\n    ...\n")
    (tmp_path / "data" / "models").mkdir()
    entry = {"tower": "own_facts.mine"}
    save_model(tmp_path / "data" / "models" / "mine.safetensors", tower(None, architecture="small_vit"), entry)
    stars = {"dataset": "lab", "task": "shape", "images": 9, "native": True}
    config = {"study": "tiny", "title": "One", "models": {"mine": entry}, "datasets": {"stars": stars}}
    run(facts, study={**config, "suites": {"clean": ["stars"]}}, output=tmp_path / "facts.json")
    assert json.loads((tmp_path / "facts.json").read_text())["models"]["mine"]["architecture"] == "own_facts.mine"
