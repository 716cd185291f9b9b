import ast
import copy
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from reliquant import plugins
from reliquant.cli.missing import missing
from reliquant.cli.plan_study import COSTS, TOWERS, as_text, estimate, variant_bytes
from reliquant.layers.surgery import targets, unpack
from reliquant.layers.variant import export, size_in_bytes
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.shapes import shapes_only
from reliquant.plugins import PACKAGE
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.study.check import read_study
from reliquant.study.config import with_grids

ROOT = PACKAGE.parents[1]
HAND = "not downloaded by the workflow, and "
PETS = {"dataset": "huggingface", "repo": "somebody/pets", "revision": "0" * 40, "files": ["data/test.parquet"]}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Return what the lab's study takes with one more clean dataset and no other suite, in a folder without data."""
    monkeypatch.chdir(tmp_path)

    def plan(entry):
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        for word in ("explain", "shards"):
            config.pop(word, None)
        config["datasets"]["mine"] = entry
        config["suites"] = {"clean": ["mine"]}  # the rows of the others, and of variants, take seconds to count
        config |= {"schemes": {}, "scores": {"mcm": {"score": "mcm"}}}
        return estimate(read_study(config))

    return plan


def test_a_dataset_whose_sources_depend_on_its_words_is_planned(planned):
    found = planned({**PETS, "images": 7})
    terms = "see https://huggingface.co/datasets/somebody/pets"
    assert found["missing"]["dataset mine"] == f"files of unknown size, fetched by the workflow; licence: {terms}"
    assert "download of dataset mine" in found["unknown"]
    assert "left out of bytes and hours: download of dataset mine, " in as_text(found)


def test_what_is_trusted_on_first_use_is_listed_until_a_lock_has_its_sum(planned, tmp_path):
    url = "https://pages.cs.wisc.edu/~huangrui/imagenet_ood_dataset/iNaturalist.tar.gz"
    found = planned({"dataset": "inaturalist"})
    told = f"nobody publishes the sha256 of {url}: it is trusted as it first comes, over https"
    assert found["trusted on first use"]["dataset mine"] == told
    assert f"trusted on first use:\n  dataset mine: {told}" in as_text(found)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "data.lock.json").write_text(json.dumps({url: {"sha256": "a" * 64, "bytes": 1}}))
    assert "dataset mine" not in planned({"dataset": "inaturalist"})["trusted on first use"]


def test_what_people_place_by_hand_says_where_to_get_it(planned):
    found = planned({"dataset": "pacs", "domain": "photo"})["missing"]["dataset mine"]
    assert found.startswith("not downloaded by the workflow, and data/raw/pacs is missing: Get PACS from its authors")
    assert "\n" not in found
    found = planned({"dataset": "webdataset"})["missing"]["dataset mine"]
    assert "data/raw/webdataset is missing: Read the tars" in found  # no HOW: what it reads


def test_what_is_published_with_its_size_is_counted(planned):
    found = planned({"dataset": "cifar10", "split": "test"})
    assert found["missing"]["dataset mine"].startswith("0.16 GiB, fetched by the workflow; licence: ")
    assert found["bytes"]["to download"] == 170_052_171
    assert not any("mine" in name for name in found["unknown"])


SMALL = {
    "study": "small",
    "title": "Small",
    "tuning": "none",
    "models": {"b32": {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}},
    "schemes": {"rtn": {"quantizer": "rtn"}},
    "precisions": ["w8a8", "w4a8"],
    "scopes": ["both"],
    "proxies": {"pairs": {"of": "pairs", "pairs": 4}},
    "datasets": {
        "pairs": {"dataset": "webdataset", "images": 20},
        "cifar10": {"dataset": "cifar10", "native": True, "images": 100},
        "svhn": {"dataset": "svhn", "native": True, "images": 50},
    },
    "suites": {"clean": ["cifar10"], "ood": {"cifar10": {"far": ["svhn"]}}},
    "scores": {"mcm": {"score": "mcm"}},
}
FOG = {"noise": {"cifar10": {"corruptions": ["fog"], "severities": [1, 3], "images": 10}}}


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A folder without data, in which a study is planned."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study_of(name):
    return read_study(yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """What the paper's study takes, in a folder without data and a Python without transformers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("paper"))
        patch.setitem(sys.modules, "transformers", None)
        return estimate(study_of("paper"))


def test_a_small_study_is_as_large_as_worked_out_by_hand(bare):
    found = estimate(read_study({**SMALL, "suites": {**SMALL["suites"], **FOG}}))
    assert found["variants"] == 3  # FP32, w8a8, w4a8
    assert found["evaluations"] == 3 * (1 + 1 + 2)  # cifar10, svhn, fog at two severities
    assert found["jobs"] == {
        **{"fetch": 2, "prepare": 3, "corrupt": 1, "fetch_model": 1, "pretrain": 0, "inventory": 3},
        **{"quantize": 3, "quantize_snapshots": 0, "evaluate": 9, "measure": 9, "explain": 0, "sensitivity": 0},
        **{
            "embed": 0,
            "retrieve": 0,
            "deployed": 0,
            "export": 0,
            "run_exported": 0,
            "measure_exported": 0,
            "time_exported": 0,
            "collect": 1,
            "facts": 1,
            "report": 1,
            "total": 34,
        },
    }
    weights, cifar10, svhn = 4 * 151_280_000, 170_052_171, 64_275_384
    prepared = 20 * 3 * 224**2 + (100 + 50 + 2 * 10) * 3 * 32**2
    variants = 122_680_000 * (8 + 4) / 8 + 2 * 4 * 28_600_000  # 122.68 of the 151.28 million are quantized
    results = variants + 57 * 3 * (100 + 50 + 2 * 10) + 42 * found["rows"]
    rest = 2 * weights + cifar10 + svhn + prepared + results
    peak = rest + cifar10  # the other is no archive
    sizes = {"to download": weights + cifar10 + svhn, "at peak": peak, "at rest": rest, "of it variants": variants}
    assert found["bytes"] == pytest.approx(sizes, abs=1)
    gflop = {"quantize": 2 * 512 * (8.82 + 5.96), "evaluate": 3 * (100 + 50 + 2 * 10) * 8.82}
    assert {k: found["hours"][k] * 3600 * 170 for k in gflop} == pytest.approx(gflop)
    assert found["hours"]["GFLOP"] == pytest.approx(sum(gflop.values()))
    tuned = {"tuning": "contrastive", "proxies": {"pairs": {"of": "pairs", "pairs": 100}}}
    found = estimate(read_study({**SMALL, **tuned}))
    held_out = 20 * (1 + 2 * 2) * (8.82 + 5.96)  # by FP32; by FP32 and by itself in the job of each of two variants
    assert found["hours"]["quantize"] * 3600 * 170 == pytest.approx(gflop["quantize"] + held_out)


def test_the_rows_of_a_small_study_are_counted_by_hand(bare):
    fp32 = 18 + 9 + 2  # measures of cifar10, of one score on svhn, the bytes of the model twice
    fp32 += 4 + 3  # prediction sets at two levels, the spread over templates
    fp32 += 15  # measures of confidence, at a temperature
    quantized = 41 + 18 + 8  # the same with changes, flips and divergences; bytes, bits, dead channels, shares
    quantized += 16 + 5  # sets by two thresholds and with changes; the change of the spread, and in terms of it
    quantized += 30 + 14  # at a temperature: with changes to FP32 as it is, and changes to FP32 at its temperature
    assert estimate(read_study(SMALL))["rows"] == fp32 + 2 * quantized
    scores = {**SMALL["scores"], "msp": {"score": "msp"}}
    assert estimate(read_study({**SMALL, "scores": scores}))["rows"] == fp32 + 9 + 2 * (quantized + 18)
    tuned = {"tuning": "contrastive", "proxies": {"pairs": {"of": "pairs", "pairs": 100}}}
    fp32, quantized = fp32 + 15 + 1, quantized + 30 + 14 + 1  # likewise at the tuned scale, and the scale itself
    assert estimate(read_study({**SMALL, **tuned}))["rows"] == fp32 + 2 * quantized


def read(text):
    """Read the text of a plan back: its lines and sections, figures as numbers."""

    units = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "bytes": 1, "day": 24, "hour": 1, "minute": 1 / 60}

    def value(word):
        digits, *rest = word.strip().replace(",", "").split()
        if word.strip() in ("nothing", "under a minute"):
            return 0.0
        if word.strip() == "not known":
            return None
        if not digits.replace(".", "").isdecimal():
            return word.strip()
        if not rest:
            return float(digits)
        pairs = list(zip([digits, *rest[1::2]], rest[::2], strict=False))
        known = [units.get(unit.removesuffix("s") if unit != "bytes" else unit) for _, unit in pairs]
        return word.strip() if None in known else sum(float(n) * u for (n, _), u in zip(pairs, known, strict=True))

    found, section = {}, {}
    for line in text.splitlines():
        name, _, told = line.strip().partition(":" if line.endswith(":") else ": ")
        if line.startswith("  "):
            section[name] = value(told)
        elif told:
            found[name] = value(told)
        else:
            section = found[name] = {}
    return found


@pytest.fixture(scope="module")
def searching(tmp_path_factory):
    """What the lab's study takes with its searches and layers alone, which the paper's has not, on two sets."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for word in ("explain", "shards"):
        config.pop(word)
    near = {"shapes": {"near": ["new-shapes"]}}
    config["suites"] = {"clean": ["shapes"], "ood": near, "retrieval": config["suites"]["retrieval"]}
    config["sensitivity"] = {"by": "layer", "datasets": ["shapes"], "schemes": ["rtn"], "precisions": ["w4a8"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lab"))
        return estimate(read_study(config))


@pytest.mark.parametrize("name", ["paper", "searching"])
def test_text_and_json_tell_the_same_figures(request, name):
    found = dict(request.getfixturevalue(name))
    told = read(as_text(found))
    unknown = told.pop("not known, left out of bytes and hours", "")
    assert unknown.split(", ") == (found.pop("unknown") or [""])
    sizes = found.pop("bytes")
    assert told.pop("bytes") == pytest.approx(sizes, rel=0.05)
    for section in ("hours", "hours on a GPU"):
        hours = found.pop(section)
        numbers = {k: v for k, v in hours.items() if isinstance(v, float | int)}
        rounded = hours | {k: pytest.approx(v, rel=0.001, abs=0.51) for k, v in numbers.items()}
        assert told.pop(section) == rounded
    for section in ("missing", "trusted on first use"):
        assert told.pop(section, {}) == found.pop(section)
    assert told == found


def test_the_paper_s_study_is_whole(paper):
    study, found = study_of("paper"), paper
    assert found["models"] == 10
    assert {e["quantizer"] for e in study.config.schemes.values()} == set(plugins.names("quantizer")) - {
        "none",
        "mixed",
        "erq",
        "qdrop",
    }
    assert found["variants"] == 10 * (1 + 21 * 3 * 2 * 3 * 3)  # schemes, precisions, scopes, proxies, seeds
    cells = 4 + (2 * 5 + 6) + 6 + 15 * 5 + 2  # clean, ood, shift, noise, spurious
    assert found["evaluations"] == found["variants"] * cells
    assert 0 < found["jobs"]["total"] < 60_000
    assert found["jobs"]["total"] == sum(n for name, n in found["jobs"].items() if name != "total")
    figures = [*found["bytes"].values(), *(v for v in found["hours"].values() if not isinstance(v, str))]
    assert all(v > 0 for v in [*figures, found["rows"]])
    assert found["bytes"]["of it variants"] < found["bytes"]["at rest"] < found["bytes"]["at peak"]
    assert {f"model {m}" for m in study.config.models} <= set(found["missing"])
    assert {f"dataset {d}" for d in study.config.datasets} <= set(found["missing"])
    assert not any(name.startswith("model") for name in found["unknown"])


def test_hours_of_a_model_that_nobody_counted_are_no_figure(bare):
    b32 = {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    other = {**b32, "architecture": "ViT-B-32-256", "pretrained": "datacomp_s34b_b86k"}
    alone, both = (estimate(read_study({**SMALL, "models": m})) for m in ({"s": other}, {"s": other, "b": b32}))
    assert alone["hours"]["evaluate"] is None
    assert "\n  evaluate: not known\n" in as_text(alone)
    assert both["hours"]["of"] == "1 of 2 models; without s"
    assert both["hours"]["evaluate"] == pytest.approx(estimate(read_study(SMALL))["hours"]["evaluate"])


@functools.cache
def counted(architecture):
    """Count an architecture's parameters and those that are quantized, by tower, in millions; without weights."""
    with torch.device("meta"), shapes_only():
        if "/" in architecture:
            transformers = pytest.importorskip("transformers", reason="the extra `huggingface` is not installed")
            from reliquant.models.towers.huggingface import Align

            model = Align(transformers.AlignModel(transformers.AlignConfig()), 0, 289)
        else:
            model = open_clip.create_model(architecture, load_weights=False, pretrained_text=False, device="meta")
    size = getattr(model.visual, "image_size", 289)
    context = getattr(model, "context_length", 12)
    clip = Clip(model, lambda texts: torch.ones(1, context, dtype=torch.long), size, (0.5,) * 3, (0.5,) * 3)
    unpack(clip)
    state = {name: value.numel() / 1e6 for name, value in model.state_dict().items()}
    found, kept, coded = {}, 0.0, 0.0
    for tower, scope in (("image", "image"), ("text", "both")):
        held = sum(n for name, n in state.items() if clip.parts.in_scope(name, scope))
        quantized = sum(model.get_submodule(t).weight.numel() / 1e6 for t in targets(clip, scope))
        found[tower] = {"parameters": held - kept, "quantized": quantized - coded}
        kept, coded = held, quantized
    return {**found, "other": {"parameters": sum(state.values()) - kept}}


@pytest.mark.parametrize("architecture", COSTS["models"])
def test_costs_are_the_counted_parameters(architecture):
    for tower, known in counted(architecture).items():
        told = COSTS["models"][architecture].get(tower, {"parameters": 0})
        assert {k: told[k] for k in known} == pytest.approx(known, abs=0.0051)


@pytest.mark.parametrize(("precision", "scope", "megabytes"), [("w4a8", "both", 176.3), ("w8a8", "both", 237.6)])
def test_a_variant_of_vit_b_32_is_as_large_as_was_measured(precision, scope, megabytes):
    towers = [COSTS["models"]["ViT-B-32"][name] for name in TOWERS[scope]]
    assert variant_bytes(towers, int(precision[1])) / 1e6 == pytest.approx(megabytes, rel=0.005)


@pytest.fixture(scope="module")
def small():
    """A ViT-S/32 with random weights, its attention unpacked."""
    model = open_clip.create_model("ViT-S-32", load_weights=False).eval()
    clip = Clip(model, open_clip.get_tokenizer("ViT-S-32"), 224, (0.5,) * 3, (0.5,) * 3)
    unpack(clip)
    return clip


@pytest.mark.parametrize(("precision", "scope"), [("w4a8", "image"), ("w4a8", "both"), ("w8a8", "both")])
def test_a_variant_is_as_large_as_its_export(small, precision, scope):
    clip = small.with_model(copy.deepcopy(small.model))
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    quantize = plugins.load("quantizer", with_grids({"quantizer": "rtn", "pairs": 2}, precision))
    quantize(clip, targets(clip, scope), Proxy(images, ["a cat", "a dog"]), Checkpoints())
    towers = [counted("ViT-S-32")[name] for name in TOWERS[scope]]
    size = size_in_bytes(export(clip, scope)[0])
    assert variant_bytes(towers, int(precision[1])) == pytest.approx(size, rel=0.03)


def constants(plugin):
    """Read the literal constants of a plugin's file, those of `A, B = 1, 2` too."""
    found = {}
    for node in ast.parse(plugins.source("dataset", plugin).read_text()).body:
        if isinstance(node, ast.Assign):
            targets, values = [node.targets[0]], [node.value]
            if isinstance(node.targets[0], ast.Tuple):
                targets, values = node.targets[0].elts, node.value.elts
            literal = (ast.Constant, ast.Dict)
            pairs = zip(targets, values, strict=True)
            found |= {t.id: ast.literal_eval(v) for t, v in pairs if isinstance(v, literal) and t.id.isupper()}
    return found


def test_image_counts_are_those_that_the_plugins_take():
    seen = set()
    for plugin, images in COSTS["images"].items():
        match constants(plugin):
            case {"IMAGES": total} | {"COUNTS": {"test": total}} | {"SPLITS": {"test": (_, total)}}:
                pass
            case {"CLASSES": int(classes), "EACH": each}:
                total = classes * each
            case {"COUNTS": {"common": common, "counter": counter}}:
                total = common + counter
            case _:
                continue
        assert images == total, plugin
        seen.add(plugin)
    assert {"objectnet", "openimage_o", "counteranimal", "waterbirds", "textures", "cifar100"} <= seen
    assert len(seen) >= len(COSTS["images"]) - 5  # those with only a number a class


@pytest.mark.parametrize(
    ("dataset", "folder", "file"),
    [
        ({"dataset": "imagenet"}, "imagenet/val", "n01440764/1.JPEG"),
        ({"dataset": "imagenet_200", "folder": "imagenet"}, "imagenet/val", "n01440764/1.JPEG"),
        ({"dataset": "objectnet"}, "objectnet/objectnet-1.0", "images/air_freshener/1.png"),
        ({"dataset": "pacs", "domain": "photo"}, "pacs/photo", "dog/1.jpg"),
        ({"dataset": "imagenet_c", "corruption": "fog", "severity": 3}, "imagenet_c/fog/3", "n01440764/1.JPEG"),
        ({"dataset": "cc3m"}, "cc3m", "00000.tar"),
    ],
)
def test_a_folder_without_a_file_is_missing(bare, dataset, folder, file):
    place, root = Path("data/raw", folder), Path("data/raw", folder.split("/")[0])
    study = read_study({**SMALL, "datasets": {**SMALL["datasets"], "cifar10": dataset}, "schemes": {}})

    def told():
        return estimate(study)["missing"].get("dataset cifar10", "").partition(": ")[0].removeprefix(HAND)

    assert told() == f"{root} is missing"
    root.mkdir(parents=True)
    (root / ".keep").touch()
    assert told() == f"{root} is empty"
    if place != root:
        (root / "README").touch()
        assert told() == f"{place} is missing"
        (place / "n01440764").mkdir(parents=True)
        assert told() == f"{place} is empty"
    (place / file).parent.mkdir(parents=True, exist_ok=True)
    (place / file).touch()
    assert told() == ""


@pytest.mark.parametrize("name", ["cc3m", "yfcc", "sbu"])
def test_captioned_sets_say_address_tool_place_and_terms(planned, name):
    told = planned({"dataset": name})["missing"]["dataset mine"]
    assert all(word in told for word in ("img2dataset", "--output_format webdataset", "put its tars there", "Terms: "))


def test_the_lexicon_of_negative_words_is_fetched_and_counted(bare):
    plain, neglabel = estimate(read_study(SMALL)), {"neglabel": {"score": "neglabel"}}
    study = read_study({**SMALL, "scores": neglabel, "negatives": {"lexicon": "wordnet", "words": 100}})
    found = estimate(study)
    told = "10.28 MiB, fetched by the workflow; licence: WordNet 3.0 licence: free use with its notice"
    assert found["missing"]["lexicon wordnet"].startswith(told)
    assert found["bytes"]["to download"] - plain["bytes"]["to download"] == 10_775_600
    assert found["bytes"]["at rest"] - plain["bytes"]["at rest"] == 10_775_600
    assert found["jobs"]["fetch"] == plain["jobs"]["fetch"] + 1
    (bare / study.fetched_lexicon()[0]).parent.mkdir(parents=True)
    (bare / study.fetched_lexicon()[0]).touch()
    assert "lexicon wordnet" not in estimate(study)["missing"]
    own = read_study({**SMALL, "scores": neglabel, "negatives": {"lexicon": "word_list", "words": ["stone", "cloud"]}})
    assert not any(name.startswith("lexicon") for name in estimate(own)["missing"])


def test_missing_weights_show_their_licence_where_it_is_known(bare, paper):
    assert paper["missing"]["model b32-wit"].endswith("; licence: MIT")
    assert paper["missing"]["model siglip"].endswith("; licence: Apache-2.0")
    assert paper["missing"]["model align"].endswith("; licence: see huggingface.co/kakaobrain/align-base")
    entry = {**SMALL["models"]["b32"], "pretrained": "datacomp_xl_s13b_b90k"}
    assert "licence" not in estimate(read_study({**SMALL, "models": {"b32": entry}}))["missing"]["model b32"]


def test_transformers_is_missing_where_a_tokenizer_needs_it(bare, paper, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert (
        paper["missing"]["extra huggingface"] == "transformers, for siglip, align: pip install 'reliquant[huggingface]'"
    )
    assert "extra huggingface" not in estimate(read_study(SMALL))["missing"]


def test_the_lab_asks_for_its_models_and_digits_where_they_are_not_installed(bare, monkeypatch):
    study, lock = study_of("config"), bare / "weights.lock.json"
    assert "extra lab" not in missing(study, lock)
    for name in ("reliquant_lab", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
    models = "lab-vit-curated, lab-vit-web, lab-convnext-curated, lab-convnext-web"
    told = f"reliquant-lab, for {models}; scikit-learn, for digits: pip install 'reliquant[lab]'"
    assert missing(study, lock)["extra lab"] == told


WITHOUT = """
import sys

sys.modules["transformers"] = None
from reliquant.steps import fetch_model, run

for entry in sys.argv[1:]:
    sys.argv = ["fetch_model", "--entry", entry, "--lock", "lock.json", "--output", "model.safetensors"]
    try:
        run(fetch_model.main)
    except SystemExit as stop:
        print(stop.code)
"""


def test_a_run_without_transformers_ends_before_weights_are_fetched(tmp_path):
    """Both entries in one process that starts without the package."""
    entries = {
        "architecture 'ViT-B-16-SigLIP'": {
            "tower": "openclip", "architecture": "ViT-B-16-SigLIP", "pretrained": "webli",
        },
        "tower huggingface": {"tower": "huggingface", "architecture": "kakaobrain/align-base"},
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(json.dumps, entries.values())],
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    told = [f"error: {what} needs transformers: pip install 'reliquant[huggingface]'" for what in entries]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, told, "")
