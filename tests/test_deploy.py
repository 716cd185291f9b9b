"""docs/deploy.md: its commands run, and its script answers as this package does, as they stand there."""

import dataclasses
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from forked_programs import programs
from PIL import Image

from reliquant import plugins
from reliquant.cli import main
from reliquant.deploy.export import Exporter
from reliquant.deploy.folder import read_export
from reliquant.deploy.runtimes import opened
from reliquant.evaluation.zero_shot import text_head
from reliquant.images.prepare import _resized
from reliquant.models.open import open_model

pytestmark = pytest.mark.usefixtures("one_trace_of_each_structure")
ROOT = plugins.PACKAGE.parents[1]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("sh", "yaml", "python", "console")}
FORMS = {  # how each form of a model's images differs from the lab's own
    "shortest": {},
    "squash": {"resize": "squash", "interpolation": "bilinear"},
    "longest": {"resize": "longest", "fill": (10, 200, 90)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the page, after its commands, and photographs that lie and stand."""
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "classes.yaml").write_text(BLOCKS["yaml"][0])
    (folder / "run_exported.py").write_text(BLOCKS["python"][0])
    rng = np.random.default_rng(0)
    for name, size in (("photograph.jpg", (333, 201)), ("tall.png", (75, 191)), ("small.png", (20, 17))):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in BLOCKS["sh"][0].splitlines():
            program, *words = shlex.split(line)
            assert program == "reliquant"
            main.main(words)
    return folder


@pytest.fixture(scope="module")
def forms(folder):
    """FP32 with images of each form, exported by one trace."""
    prompts = read_export(folder / "shipped")["prompts"]
    exporter = Exporter(to="onnx", towers=("image",))
    found = {}
    for name, changed in FORMS.items():
        found[name] = dataclasses.replace(open_model("lab-vit-curated"), **changed)
        facts = {"model_sha256": "a", "variant_sha256": ""}
        exporter.export(found[name], folder / name, name=name, facts=facts, prompts=prompts)
    assert len(exporter.templates) == 1
    return found


def answers(folder, export, photograph, python=""):
    """Run the page's script, by another Python where one is named: return the chances of classes, largest first."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if python:
        words = [python, "run_exported.py", export, photograph]
        done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, check=False)
    else:
        done = programs("onnxruntime", "PIL.Image").run("run_exported", export, photograph, cwd=folder, env=own)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: float(chance) for chance, name in lines}


def ours(folder, export, photograph, clip):
    """Return this package's own chances of each class, by its own preparation of images, in the same runtime."""
    prompts = read_export(folder / export)["prompts"]
    with Image.open(folder / photograph) as image:
        levels = np.asarray(_resized(image, clip.form).convert("RGB"), np.float32)
    pixels = (levels / 255 - np.float32(clip.mean)) / np.float32(clip.std)
    embedding = opened(folder / export / "image.onnx", "onnxruntime").run(pixels.transpose(2, 0, 1)[None])
    head = text_head(clip, prompts["classes"], prompts["templates"])
    logits = clip.model.logit_scale.exp().item() * (embedding @ head.T)[0]
    chances = np.exp(logits - logits.max())
    return dict(zip(prompts["classes"], chances / chances.sum(), strict=True))


def equal(found, want):
    best = sorted(want, key=want.get, reverse=True)[:3]
    assert list(found) == best
    assert found == pytest.approx({name: want[name] for name in best}, abs=2e-4)


def test_the_commands_of_the_page_end_well_and_leave_what_it_says(folder):
    said = set(re.findall(r"^\| `(image\.onnx|classes\.npy|rows\.parquet|README\.md|export\.json)`", PAGE, re.M))
    assert said <= {path.name for path in (folder / "shipped").iterdir()}
    facts = read_export(folder / "shipped")
    assert {line["measure"] for line in facts["measured"]} >= {"accuracy", "agreement", "squared_ce"}


@pytest.mark.parametrize("photograph", ["photograph.jpg", "tall.png", "small.png"])
@pytest.mark.parametrize("form", FORMS)
def test_the_script_answers_as_this_package_does_in_every_form(folder, forms, form, photograph):
    equal(answers(folder, form, photograph), ours(folder, form, photograph, forms[form]))


@pytest.mark.slow
def test_the_script_needs_onnxruntime_and_pillow_alone(folder, forms):
    """In a fresh environment, as the page says."""
    make, install, execute = (line.split() for line in BLOCKS["console"][0].splitlines())
    subprocess.run([sys.executable, *make[1:]], cwd=folder, check=True)
    words = [*install, "--constraint", str(ROOT / "constraints.txt"), "--quiet"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install here: {done.stderr.strip().splitlines()[-1]}")
    there = subprocess.run(["runs/bin/pip", "list"], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "reliquant", "onnx"} & {line.split()[0] for line in there.splitlines()}
    python, _, export, photograph = execute
    equal(answers(folder, export, photograph, python), ours(folder, export, photograph, forms["shortest"]))


def test_a_real_photograph_is_answered_as_by_this_package(folder, forms, shared_data):
    path = sorted((shared_data / "imagenet_samples").glob("*.JPEG"))[0]
    for form, clip in forms.items():
        equal(answers(folder, form, str(path)), ours(folder, form, path, clip))
