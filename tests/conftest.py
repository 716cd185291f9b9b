import functools
import gc
import importlib.util
import inspect
import os
import shutil
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_configure():
    gc.disable()  # collecting tests makes a million objects, all of which are needed


def pytest_xdist_auto_num_workers():
    """With `-n auto`, a worker for each core that pytest may use, two at least, and four at most: memory is shared."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores, 2), 4)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Begin with the files of most tests, as xdist would, but with Slurm's before all: its jobs wait for minutes."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name != "test_slurm.py", -tests[item.path], str(item.path)))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Search for garbage seldom, and not among what was collected, until a test draws a report, which unfreezes all.

    These searches took a seventh of the tests' time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def no_width(monkeypatch):
    """Let text have lines of any length, whatever window the tests are run in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def at_most():
    """What fails where a block takes more seconds of processor time, of this process and of those that it waits for.

    What other processes do meanwhile does not count, and neither does a wait: it is for blocks that compute.
    """

    @contextmanager
    def at_most(seconds):
        start = sum(os.times()[:4])
        yield
        took = sum(os.times()[:4]) - start
        assert took < seconds, f"{took:.1f} s of processor time, where less than {seconds} are allowed"

    return at_most


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and tables that some machines have beside the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent: no real data here")
    return folder


@pytest.fixture(scope="session")
def imported_tool():
    """What imports a program of tools/ anew from its file, by its name."""

    def imported(name):
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture(scope="session")
def one_table_of_translations():
    """Let torch's exporter make its table of ONNX functions once: it parses 500 of them for every trace.

    And let it ask only once which operators torch has: it does so for every library that adds some, at every trace.
    """
    from functools import cache

    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        if hasattr(utils, "_materialize_cpp_cia_ops"):
            patch.setattr(utils, "_materialize_cpp_cia_ops", cache(utils._materialize_cpp_cia_ops))
        yield


@pytest.fixture(scope="session")
def shared_trace(one_table_of_translations):
    """A function: the trace of a tower, made once for all towers whose structure and inputs are equal.

    Their weights may differ, where an `Exporter` shares traces among variants of one model alone. So a constant of a
    trace that came from the weights would be another test's here; `tests/deploy/test_filling.py` compares embeddings,
    and so would notice it.
    """
    from reliquant.deploy.tracing import structure, traced

    made = {}

    def shared(clip, tower):
        key = (structure(clip, tower), clip.shape, clip.tokenizer(["a"]).shape)
        if key not in made:
            made[key] = traced(clip, tower)
        return made[key]

    return shared


@pytest.fixture(scope="module")
def one_trace_of_each_structure(shared_trace):
    """Let exports share traces."""
    from reliquant.deploy import export

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "traced", shared_trace)
        yield


@pytest.fixture(scope="module")
def files_of_frames():
    """Say at once in which file a frame's code stands: Python goes through all modules where it is in none.

    Playwright asks for every frame at every call, and pytest has imported thousands of modules.
    """
    before, there = inspect.getsourcefile, functools.cache(lambda name: name if os.path.exists(name) else None)

    def file_of(what):
        return there(what.f_code.co_filename) if inspect.isframe(what) else before(what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getsourcefile", file_of)
        yield


@pytest.fixture(scope="module")
def browser(files_of_frames):
    """A headless Chromium of this machine; skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as engine:
        made = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="session")
def architectures() -> dict[str, dict]:
    """Two tiny open_clip models with random weights, by the kind of their image tower."""
    text = {"context_length": 16, "vocab_size": 128, "width": 32, "heads": 2, "layers": 2}
    vit = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}
    timm = {"timm_model_name": "test_convnext", "timm_model_pretrained": False}
    convnext = {**timm, "timm_pool": "avg", "image_size": 32}
    return {
        "vit": {"embed_dim": 24, "vision_cfg": vit, "text_cfg": text},
        "convnext": {"embed_dim": 24, "vision_cfg": {**convnext, "timm_proj": "linear"}, "text_cfg": text},
    }


@pytest.fixture(scope="session")
def new_clip(architectures):
    """A function: a copy of the tiny random CLIP of a kind, which is built once; `wide` and `timm_vit` are ViTs too.

    The `wide` one has a single block. Whatever the kind, torch's generator begins anew. The parts of a model are found
    once, too: a test that changes which there are takes `dataclasses.replace` of the copy, which finds its own.
    """
    import copy

    import torch

    vit = architectures["vit"]
    wide = {**vit, "vision_cfg": {**vit["vision_cfg"], "width": 64, "layers": 1}}
    wide["text_cfg"] = {**vit["text_cfg"], "layers": 1}
    timm = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"}
    others = {"wide": wide, "timm_vit": {**vit, "embed_dim": 64, "vision_cfg": {**timm, "image_size": 32}}}
    kinds, built = {**architectures, **others}, {}

    def copied(kind):
        if kind not in built:
            built[kind] = random_clip(kinds[kind])
        torch.manual_seed(1)  # not that of the weights, whose numbers a test would draw again
        return built[kind].with_model(copy.deepcopy(built[kind].model))

    return copied


@pytest.fixture(params=["vit", "convnext"])
def clip(request, new_clip):
    """A tiny random CLIP whose tokenizer numbers characters."""
    return new_clip(request.param)


@pytest.fixture
def vit(new_clip):
    """The tiny random CLIP with a ViT."""
    return new_clip("vit")


@pytest.fixture
def convnext(new_clip):
    """The tiny random CLIP with a ConvNeXt."""
    return new_clip("convnext")


def random_clip(architecture: dict):
    import copy

    import torch

    from reliquant.models.clip import Clip
    from reliquant.models.openclip import open_clip

    torch.manual_seed(0)
    model = open_clip.CLIP(**copy.deepcopy(architecture)).eval()
    if architecture["vision_cfg"].get("timm_model_name") == "test_convnext":
        for stage, depth in zip(model.visual.trunk.stages, (1, 1, 2, 1), strict=True):  # five blocks of nine
            del stage.blocks[depth:]
    with torch.no_grad():  # open_clip starts attention biases at 0: fill them, or no test would see them lost
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)

    def tokenizer(captions: list[str]) -> torch.Tensor:
        rows = [[1, *(2 + ord(c) % 120 for c in text[:14]), 127] for text in captions]
        return torch.tensor([row + [0] * (16 - len(row)) for row in rows])

    return Clip(model, tokenizer, 32, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def proxy():
    """Forty random 32-pixel images with random captions."""
    import numpy as np

    from reliquant.quantization.proxy import Proxy

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    return Proxy(images, [f"{i} in words" for i in rng.integers(0, 30, 40)])
