"""docs/own_model.md: its files are written, its commands and programs run, as they stand there."""

import json
import os
import re
import shlex
import sys

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from forked_programs import OF_STEPS, forked_path, programs, run_snakemake
from PIL import Image
from safetensors.torch import save_file

from reliquant import plugins
from reliquant.cli import main
from reliquant.cli.plan_model import plan_model
from reliquant.models.open import open_model
from reliquant.models.openclip import open_clip
from reliquant.study.check import read_study
from reliquant.study.scheme import scheme_entry

ROOT = plugins.PACKAGE.parents[1]
PAGE = (ROOT / "docs" / "own_model.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("sh", "yaml", "python")}
WORD = "{tower: my_models.pocket, pretrained: pocket.pt}"
PACKAGES = ("my_models", "pocket_clip")


def forgotten():
    """Take the page's packages out of Python's memory: another test may have packages of these names."""
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
        del sys.modules[name]
    for cached in (plugins.file_of, plugins.words):
        cached.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the page under the names that their first lines give, and photographs of two classes."""
    folder = tmp_path_factory.mktemp("own_model")
    for code in BLOCKS["python"]:
        path = folder / re.match(r"# ([\w/]+\.py)", code)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        if path.parent != folder:
            (path.parent / "__init__.py").touch()
    (folder / "pocket.yaml").write_text(BLOCKS["yaml"][0])
    rng, lines = np.random.default_rng(0), ["path,caption"]
    for i in range(40):
        path = f"photos/{('cat', 'dog')[i % 2]}/{i:02}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((48, 48) if i < 20 else (70, 60), 3).save(folder / path)
        lines.append(f"{path},a photo of a {('cat', 'dog')[i % 2]}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    program(folder, "make_pocket")
    return folder


@pytest.fixture
def place(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    forgotten()
    yield folder
    forgotten()


def program(folder, name, *words):
    """Run a module, such as a file of the page, in a process of its own; return what it prints."""
    places = f"{ROOT / 'src'}:{folder}"
    done = programs(*OF_STEPS).run(name, *words, cwd=folder, env={**os.environ, "PYTHONPATH": places})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_author_s_code_knows_nothing_of_this_project(folder):
    own, plugin = (folder / name for name in ("pocket_clip/model.py", "my_models/pocket.py"))
    assert "reliquant" not in own.read_text()
    assert "open_clip" not in own.read_text() + plugin.read_text()


def test_embeddings_are_those_of_the_authors_code(folder):
    told = program(folder, "compare")
    images, captions = (float(number) for number in re.findall(r"by ([\d.e-]+)", told))
    assert images < 1e-6, told
    assert captions < 1e-6, told
    theirs, ours = re.search(r"accuracy ([\d.]+) of the author's code and ([\d.]+) here", told).groups()
    assert theirs == ours
    (command,) = [line for block in BLOCKS["sh"][:1] for line in block.splitlines()]
    words = [*shlex.split(command)[1:], "--resamples", "100", "--json"]
    measured = json.loads(program(folder, "reliquant.cli.main", *words))
    assert measured["photos"]["accuracy"]["value"] == pytest.approx(float(ours))


def test_images_of_the_models_size_are_embedded_to_the_last_digits(place):
    from pocket_clip.model import PocketClip, looked_at

    from reliquant import embed_images, open_images

    clip = open_model(WORD)
    found = embed_images(clip, open_images("photos/", clip.form, role="labelled"))
    own, saved = PocketClip(), torch.load("pocket.pt", weights_only=True)["state_dict"]
    own.load_state_dict({name.removeprefix("module."): value for name, value in saved.items()})
    files = sorted((place / "photos").glob("*/*.png"))
    for i, file in enumerate(files):
        picture = Image.open(file)
        if picture.size == (48, 48):
            with torch.no_grad():
                exact = torch.nn.functional.normalize(own.eyes(looked_at(picture)[None]), dim=-1)[0].numpy()
            assert abs(exact - found.image[i]).max() < 1e-6


def test_the_commands_run(place, capsys):
    commands = [line for block in BLOCKS["sh"] for line in block.splitlines() if line.startswith("reliquant")]
    assert [command.split()[1] for command in commands] == ["evaluate", "plan", "quantize", "evaluate", "plan"]
    said = []
    for command in commands:
        words = shlex.split(command)[1:]
        main.main(words + (["--resamples", "100"] if words[0] == "evaluate" else []))
        said.append(capsys.readouterr().out)
        assert said[-1].strip(), command
    assert "share of the weights in blocks quantized: 100.0%" in said[1]
    assert "quantized_block_share: 1.0" in said[2]


def test_the_blocks_that_are_found_are_those_that_the_page_would_give(place):
    from my_models.pocket import tower

    found = tower(None, pretrained="pocket.pt")
    given = re.search(r'blocks=(\("eyes.*?"\))', PAGE)[1]
    (place / "my_models" / "named.py").write_text(
        (place / "my_models" / "pocket.py").read_text().replace("size=SIDE,", f"size=SIDE,\n        blocks={given},")
    )
    named = open_model("{tower: my_models.named, pretrained: pocket.pt}")
    entry = scheme_entry("rtn", "w8a8")
    assert plan_model(found, entry, "both")["products"] == plan_model(named, entry, "both")["products"]
    assert named.parts.blocks == found.parts.blocks
    (place / "my_models" / "named.py").unlink()


def test_the_study_runs_to_its_rows(place):
    config = yaml.safe_load((place / "pocket.yaml").read_text())
    read_study(config)
    (command,) = [line for block in BLOCKS["sh"] for line in block.splitlines() if line.startswith("snakemake")]
    words = shlex.split(command.replace("--cores all", "--cores 2"))[1:]
    words += ["--snakefile", str(ROOT / "workflow/Snakefile"), "--nocolor", "results/pocket/rows.parquet"]
    done = run_snakemake(*words, cwd=place, env={**os.environ, "PATH": forked_path()})
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    rows = pl.read_parquet(place / "results/pocket/rows.parquet")
    shares = rows.filter(measure="quantized_block_share")
    assert shares.select("precision", "value").sort("precision").rows() == [("w4a8", 1.0), ("w8a8", 1.0)]
    assert rows.filter(measure="least_block_share")["value"].to_list() == [0.8, 0.8]


def test_a_folder_may_name_an_image_tower_of_timm(tmp_path, monkeypatch):
    vision = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "token"}
    vision |= {"timm_proj": "linear", "image_size": 160}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    model = open_clip.CLIP(**json.loads(json.dumps(config)))
    mine = tmp_path / "mine"
    mine.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (mine / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, mine / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    clip = open_model("mine")
    x = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.allclose(clip.model.encode_image(x), model.eval().encode_image(x), atol=1e-6)
    assert plan_model(clip, scheme_entry("rtn", "w8a8"), "image")["warning"] == ""


def test_files_that_are_refused_say_what_the_page_says_and_parts_are_joined(place):
    from pocket_clip.model import PocketClip

    state = {name: value.contiguous() for name, value in PocketClip().state_dict().items()}
    names = list(state)
    for number, part in enumerate((names[:20], names[20:]), 1):
        save_file({name: state[name] for name in part}, f"model-0000{number}-of-00002.safetensors")
    (place / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    torch.jit.script(torch.nn.Linear(2, 2)).save("script.pt")
    torch.save(PocketClip(), "whole.pt")
    torch.save({f"{who}.{name}": value for who in ("student", "teacher") for name, value in state.items()}, "two.pt")
    refusals = {
        "script.pt": "is a TorchScript program, not weights alone",
        "model-00001-of-00002.safetensors": "is part 1 of 2 of a sharded checkpoint",
        "model.safetensors.index.json": "is the index of a sharded checkpoint; join its parts",
        "whole.pt": "beside or in place of weights",
        "two.pt": "holds 2 models, under ",
    }
    for name, told in refusals.items():
        with pytest.raises(ValueError, match=told) as refusal:
            open_model(f"{{tower: my_models.pocket, pretrained: {name}}}")
        assert "\n" not in str(refusal.value)
        assert name in str(refusal.value)
    for said in re.findall(r"^\| `(?:is|holds)[^|]*\|", PAGE, re.M):
        for quoted in re.findall(r"`([^`.]{12,})", said):
            assert any(quoted.strip() in f"is part 1 of 2 {told}" for told in refusals.values()), quoted
    program(place, "join")
    joined = open_model("{tower: my_models.pocket, pretrained: whole.safetensors}")
    assert torch.equal(joined.model.eyes.out.weight, state["eyes.out.weight"])
