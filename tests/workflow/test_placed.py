"""Files that people put in place: what changed in them runs again, and nothing else, through real Snakemake."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from dry_run import job_counts
from forked_programs import forked_path, run_snakemake
from PIL import Image
from safetensors.torch import save_file

from reliquant.models.openclip import open_clip

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / ".test" / "config" / "config.yaml"
MODEL = "data/models/own.safetensors"
PLUGIN = """from pathlib import Path
import numpy as np
from reliquant.images.dataset import Dataset
from their_package.helper import COLOUR

def dataset(root: Path, /) -> Dataset:
    images = np.full((4, 32, 32, 3), COLOUR, np.uint8)
    return Dataset([], ["a {}"], np.full(4, -1), lambda i: images[i], [str(i) for i in range(4)])
"""


def snakemake(folder, *words):
    command = ["--snakefile", ROOT / "Snakefile"]
    command += ["--profile", ROOT / "profiles" / "default", "--cores", "2", "--nocolor"]
    command += ["--configfile", folder / "study.yaml", *words]
    done = run_snakemake(*command, cwd=folder, env={**os.environ, "PATH": forked_path()})
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def weights(folder, seed):
    """Write a tiny model as a folder of open_clip."""
    torch.manual_seed(seed)
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    words = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir(exist_ok=True)
    described = {"model_cfg": words, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    save_file(open_clip.CLIP(**words).state_dict(), folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with placed photographs, a list of others, weights and a foreign package, all prepared and fetched."""
    folder = tmp_path_factory.mktemp("placed")
    photos, elsewhere = folder / "mine" / "photos", folder / "elsewhere"
    for place in (photos / "deep", elsewhere, folder / "mine" / "list", folder / "their_package"):
        place.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save((photos / "deep" if number % 2 else elsewhere) / f"{number}.png")
    (photos / "linked").symlink_to(elsewhere)
    (folder / "mine/list/list.csv").write_text("path\n../../elsewhere/0.png\n../../elsewhere/2.png\n")
    (folder / "their_package/__init__.py").touch()
    (folder / "their_package/colours.py").write_text(PLUGIN)
    (folder / "their_package/helper.py").write_text("COLOUR = 9\n")
    weights(folder / "weights", 0)
    config = {**yaml.safe_load(TINY.read_text()), "data_root": "mine"}
    for section in ("explain", "deploy", "sensitivity", "negatives", "fits", "shards", "schemes"):
        del config[section]
    config["datasets"] = {name: config["datasets"][name] for name in ("pairs", "shapes")}
    config["models"] = {"vit": config["models"]["vit"]}
    config["scores"] = {"mcm": {"score": "mcm"}}
    config["suites"] = {"clean": ["shapes"], "ood": {"shapes": {"far": []}}}
    config["datasets"]["photos"] = {"dataset": "image_folder", "folder": "photos", "classes": False}
    config["datasets"]["listed"] = {"dataset": "csv", "folder": "list", "label": None}
    config["datasets"]["colours"] = {"dataset": "their_package.colours", "native": True}
    config["suites"]["ood"]["shapes"]["far"] += ["photos", "listed", "colours"]
    words = {"source": "curated", "tower": "openclip", "architecture": "local-dir:weights"}
    config["models"]["own"] = words
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "--until", "prepare", "fetch_model")
    return folder


def planned(folder):
    """Count what runs again of what was made in the fixture, and name the datasets."""
    output = snakemake(folder, "-n", "--until", "prepare", "fetch_model")
    made = sorted({line.split("dataset=")[1].split(",")[0] for line in output.splitlines() if "dataset=" in line})
    return job_counts(output), made


@pytest.fixture
def copy(study, tmp_path):
    """A copy of the study: equal contents, all times and places others."""
    shutil.copytree(study, tmp_path / "copy", symlinks=True)
    folder = tmp_path / "copy"
    (folder / "mine/photos/linked").unlink()
    (folder / "mine/photos/linked").symlink_to(folder / "elsewhere")
    return folder


def test_nothing_runs_again_of_a_copy_or_of_what_was_touched(copy):
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    assert planned(copy) == ({}, [])
    shutil.rmtree(copy / "mine/photos")  # what was made of it stands without it
    assert planned(copy) == ({}, [])


def change(copy, how):
    deep = copy / "mine/photos/deep"
    if how == "flipped":
        content, times = bytearray((deep / "1.png").read_bytes()), (deep / "1.png").stat()
        content[-20] ^= 1
        (deep / "1.png").write_bytes(content)
        os.utime(deep / "1.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    elif how == "deleted":
        (deep / "1.png").unlink()
    elif how == "added":
        shutil.copy(deep / "1.png", deep / "7.png")
    elif how == "renamed":
        (deep / "1.png").rename(deep / "9.png")
    elif how == "elsewhere":
        Image.new("RGB", (40, 40)).save(copy / "elsewhere/0.png")
    elif how == "foreign":
        (copy / "their_package/helper.py").write_text("COLOUR = 8\n")
    else:
        weights(copy / "weights", 1)


@pytest.mark.parametrize(
    ("how", "again"),
    [
        *((how, ["photos"]) for how in ("flipped", "deleted", "added", "renamed")),
        ("elsewhere", ["listed", "photos"]),  # in a list, and in a folder that is a link
        ("foreign", ["colours"]),
        ("weights", []),
    ],
)
def test_what_changed_runs_again_and_nothing_else(copy, how, again):
    planned(copy)
    change(copy, how)
    jobs, datasets = planned(copy)
    assert datasets == again
    assert jobs == ({"fetch_model": 1} if how == "weights" else {"prepare": len(again)})
    if how in ("deleted", "weights"):
        before = (copy / MODEL).read_bytes()
        snakemake(copy, "--until", "prepare", "fetch_model")
        assert planned(copy) == ({}, [])
        assert (before == (copy / MODEL).read_bytes()) == (how == "deleted")
