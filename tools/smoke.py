"""Try what `pip install reliquant` gave: `VENV/bin/python tools/smoke.py`, with the Python that it was given to.

Each step is a command as a user gives it, in an empty folder; a line says that it passed, and the first that fails
ends the run. Without reliquant-lab only what says so is tried. Extras that are not installed must each be named in
one line by what needs them. Nothing of the clone but this file is read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

MODEL = "lab-vit-curated"
PAIRS = "{dataset: lab_captions, world: curated, images: 64, seed: 3, native: true}"
DATA = "{dataset: lab, task: shape, images: 200}"
STUDY = f"""
study: smoke
title: Smoke
tuning: none
models: {{ vit: {{ tower: small, architecture: lab_vit, pretrained: {MODEL}, source: lab, form: native }} }}
schemes: {{ rtn: {{ quantizer: rtn }} }}
precisions: [w8a8]
scopes: [both]
proxies: {{ pairs: {{ of: pairs, pairs: 32 }} }}
datasets:
  pairs: {{ dataset: lab_captions, world: curated, images: 64, seed: 3, native: true }}
  shapes: {{ dataset: lab, task: shape, images: 100, native: true }}
suites: {{ clean: [shapes] }}
"""
PLUGIN = """
import open_clip  # works beside any build of torch, because reliquant is imported before its plugins

from reliquant.models.towers.small import tower as lab


def tower(state, /, *, architecture: str = "lab_vit", pretrained: str | None = None):
    assert open_clip.CLIP
    return lab(state, architecture=architecture, pretrained=pretrained)
"""
ALIGN = "{tower: huggingface, architecture: ./none}"
ABSENT = {  # a package -> a command that needs it, and the extra that the one line must name
    "onnx": (["export", "w8a8.fp32.safetensors", "--variant", "w8a8.safetensors", "--output", "exported"], "deploy"),
    "transformers": (
        ["plan", "--model", ALIGN, "--scheme", "rtn"],
        "huggingface",
    ),
    "sklearn": (["evaluate", "--model", MODEL, "--data", "{dataset: digits}"], "lab"),
}
NEVER = ("dvc", "snakemake")  # of the extra `workflow`: nothing of the package imports them


def main() -> None:
    """Run every step in a folder of its own; say what failed and end with exit code 1."""
    with tempfile.TemporaryDirectory(prefix="reliquant-smoke-") as folder:
        os.chdir(folder)
        steps = [installed, imports_no_workflow]
        steps += [core, plugin, study, *extras()] if find_spec("reliquant_lab") else [without_lab]
        for step in steps:
            try:
                print(f"smoke: {step()}", flush=True)
            except AssertionError as error:
                sys.exit(f"smoke: failed: {error}")


def reliquant(*words: str, code: int = 0) -> str:
    """Run the console command beside this Python; return what it prints, of a failure what stands on stderr, too."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own["OMP_NUM_THREADS"] = own.get("OMP_NUM_THREADS", "1")
    command = [str(Path(sys.executable).with_name("reliquant")), *words]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"`reliquant {' '.join(words)}` ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout + done.stderr if code else done.stdout


def require_line(told: str, extra: str) -> None:
    """Fail unless a text is one line that says how to install an extra."""
    assert told.count("\n") == 1, f"more than one line: {told}"
    assert f"pip install 'reliquant[{extra}]'" in told, told


def installed() -> str:
    """Check that the package is the installed one, whole, and of one version."""
    import reliquant as package

    place = Path(package.__file__).parent
    assert place.is_relative_to(sys.prefix), f"{place}: not installed in {sys.prefix}, but imported from elsewhere"
    assert package.__version__ == version("reliquant"), f"{package.__version__} is not {version('reliquant')}"
    assert (place / "py.typed").is_file(), f"{place}: py.typed is missing"
    assert "measure" in reliquant("--help"), "--help names no `measure`"
    versions = ", ".join(f"{name} {version(name)}" for name in ("reliquant", "torch", "torchvision", "numpy", "polars"))
    return f"{versions}, in Python {sys.version.split()[0]}"


def imports_no_workflow() -> str:
    """Check that every module can be imported but those of an extra, and that none imports Snakemake or DVC."""
    code = """
import importlib, pkgutil, sys
import reliquant
import reliquant.models.openclip
for found in pkgutil.walk_packages(reliquant.__path__, "reliquant."):
    try:
        importlib.import_module(found.name)
    except ImportError as error:
        assert found.name.startswith(("reliquant.deploy", "reliquant.steps")), f"{found.name}: {error}"
        assert error.name in ("ml_dtypes", "onnx", "onnx_ir", "onnxscript"), f"{found.name}: {error}"
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code, *NEVER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stdout.strip(), f"the package imports {done.stdout}"
    return f"every module is imported; none imports {' or '.join(NEVER)}"


def without_lab() -> str:
    """Check that one line says how to get the lab's models."""
    told = reliquant("plan", "--model", MODEL, "--scheme", "rtn", "--precision", "w8a8", code=1)
    require_line(told, "lab")
    return "without reliquant-lab one line says what to install"


def core() -> str:
    """Plan, quantize, evaluate, measure and report, each from what the one before wrote."""
    quantized = ["--model", MODEL, "--scheme", "rtn", "--precision", "w8a8"]
    assert reliquant("plan", *quantized), "plan prints nothing"
    reliquant("quantize", *quantized, "--pairs", PAIRS, "--output", "w8a8.safetensors")
    shared = ["evaluate", "--model", "w8a8.fp32.safetensors", "--data", DATA, "--resamples", "200"]
    reliquant(*shared, "--save", "fp32.safetensors")
    reliquant(*shared, "--variant", "w8a8.safetensors", "--save", "int8.safetensors", "--rows", "rows.parquet")
    measured = json.loads(reliquant("measure", "fp32.safetensors", "--json"))
    assert "accuracy" in json.dumps(measured), measured
    reliquant("measure", "int8.safetensors", "--reference", "fp32.safetensors", "--rows", "measured.parquet")
    reliquant("report", "rows.parquet", "--output", "report")
    page = Path("report", "report.html").read_text()
    assert "</html>" in page, "report/report.html is no whole page"
    reliquant("check", "rows.parquet", "--wish", "accuracy_change >= -0.5")
    return "plan, quantize, evaluate, measure, report and check of a model of the lab"


def plugin() -> str:
    """Open a tower of the user's own folder that imports open_clip."""
    Path("my_models").mkdir()
    Path("my_models", "mine.py").write_text(PLUGIN)
    told = f"{{tower: my_models.mine, pretrained: {MODEL}}}"
    reliquant("plan", "--model", told, "--scheme", "rtn", "--precision", "w8a8")
    return "a plugin of one's own that imports open_clip"


def study() -> str:
    """Plan a study, and verify one that has not run."""
    Path("study.yaml").write_text(STUDY)
    planned = json.loads(reliquant("plan", "study.yaml", "--json"))
    assert planned["variants"] == 2, planned
    assert "extra lab" not in planned["missing"], planned
    last = reliquant("verify", "study.yaml", code=1).splitlines()[-1]
    assert "0 as written, 0 broken" in last, last
    return f"plan of a study, and verify before it ran ({last})"


def extras() -> list[Callable[[], str]]:
    """Return a step for each extra that is not installed."""
    return [lambda name=name: absent(name) for name in ABSENT if find_spec(name) is None]


def absent(package: str) -> str:
    """Check that one line names the extra that a command lacks."""
    words, extra = ABSENT[package]
    require_line(reliquant(*words, code=1), extra)
    return f"without {package} one line names the extra {extra}"


if __name__ == "__main__":
    main()
