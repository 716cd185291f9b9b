"""`docs/architectures.md` lists what its tool tries, and the tool tells what happens to a model."""

import copy
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from reliquant.layers.surgery import targets, unpack
from reliquant.models.openclip import open_clip
from reliquant.study.check import read_study

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architectures.md").read_text()
TABLES = PAGE.partition("\n## ")[2].splitlines()
ROWS = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in TABLES if line.startswith("| ")]
RESULTS = ("quantizes", "too large to try here", "refused")
IMAGE = "image: weights"


@pytest.fixture(scope="module")
def architectures_tool(imported_tool):
    return imported_tool("architectures")


@pytest.fixture(scope="module")
def rows(architectures_tool):
    """The lines of both tables, as mappings from their columns."""
    return [dict(zip(architectures_tool.NAMES, row, strict=True)) for row in ROWS if row != architectures_tool.NAMES]


def test_the_page_is_of_the_pinned_versions():
    pinned = (ROOT / "constraints.txt").read_text()
    for package in ("open_clip_torch", "timm"):
        number = re.search(rf"^{package}==(\S+)$", pinned, re.MULTILINE)[1]
        assert f"{package.removesuffix('_torch')} {number}" in PAGE


@pytest.mark.skipif(f"open_clip {version('open_clip_torch')}" not in PAGE, reason="another open_clip than the page's")
def test_the_page_has_every_architecture_of_open_clip_and_of_the_tools_list(rows, architectures_tool):
    towers = [name for names in architectures_tool.TIMM.values() for name in names]
    shipped = [path.stem for path in Path(open_clip.__file__).parent.glob("model_configs/*.json")]
    assert sorted(row["architecture"] for row in rows) == sorted([*shipped, *towers])


def test_every_line_has_a_result_and_what_it_rests_on(rows):
    for row in rows:
        result, _, why = row["result"].partition(": ")
        assert result in RESULTS
        assert bool(why) == (result == "refused")
        assert bool(row["twins off"]) == (result == "quantizes")
        assert not row["twins off"] or float(row["twins off"]) <= 1e-4
        assert bool(row[IMAGE]) == (result != "refused")


def test_the_sums_at_the_head_are_those_of_the_tables(rows, architectures_tool):
    for title in ("Architectures of open_clip", "Image towers of timm in open_clip"):
        section = PAGE.split(f"## {title}\n")[1].split("## ")[0]
        inside = [row for row in rows if f"\n| {row['architecture']} | " in section]
        found = [sum(row["result"].startswith(kind) for row in inside) for kind in architectures_tool.RESULTS]
        found += [len(inside), sum(row["needs"] == "huggingface" for row in inside)]
        assert f"| {title} | {' | '.join(map(str, found))} |\n" in PAGE
        assert sum(found[:-2]) == len(inside) > 0


def test_a_model_that_quantizes_is_told_with_its_shares(architectures, architectures_tool):
    description = copy.deepcopy(architectures["vit"])
    description["text_cfg"]["vocab_size"] = architectures_tool.TOKENS + 1
    told = architectures_tool.tried("mine", description)
    clip = architectures_tool.built(description, "cpu")
    unpack(clip)
    vision = {name: p.numel() for name, p in clip.model.visual.named_parameters(prefix="visual") if p.ndim >= 2}
    inside = sum(vision[f"{name}.weight"] for name in targets(clip, "image"))
    assert (told["result"], told["needs"], told["blocks"]) == ("quantizes", "", 1.0)
    assert 0 < told["difference"] < 1e-4
    assert told["image"]["weights"] == pytest.approx(inside / sum(vision.values()))
    assert 0 < told["image"]["attention"] < 1 - told["image"]["products"]


def test_a_model_above_the_limit_is_told_the_same_shares_by_its_shapes(architectures, architectures_tool, monkeypatch):
    description = copy.deepcopy(architectures["vit"])
    description["text_cfg"]["vocab_size"] = architectures_tool.TOKENS + 1
    tried = architectures_tool.tried("mine", description)
    monkeypatch.setattr(architectures_tool, "LARGEST", 0)
    told = architectures_tool.tried("mine", description)
    assert told == {**{k: v for k, v in tried.items() if k != "difference"}, "result": "too large to try here"}


def test_a_model_of_images_of_any_shape_is_refused_with_its_name(architectures, architectures_tool):
    vision = {"timm_model_name": "naflexvit_base_patch16_gap", "timm_model_pretrained": False, "image_size": 32}
    description = {**architectures["vit"], "vision_cfg": {**vision, "timm_pool": "", "timm_proj": "linear"}}
    told = architectures_tool.tried("mine", description)
    assert told["result"] == "refused"
    assert told["why"].startswith("mine: is a NaFlex model")


def test_a_text_tower_of_transformers_without_the_package_needs_the_extra(architectures_tool, monkeypatch):
    monkeypatch.setattr(architectures_tool, "find_spec", lambda name: None)
    told = architectures_tool.tried("roberta-ViT-B-32", open_clip.get_model_config("roberta-ViT-B-32"))
    assert told == {"name": "roberta-ViT-B-32", "needs": "huggingface", "result": "not tried without the extra"}


@pytest.mark.parametrize("study", ["paper", "clip-v1", "models-2026"])
def test_every_model_of_a_study_of_published_models_quantizes(study, rows):
    config = read_study(yaml.safe_load((ROOT / "config" / f"{study}.yaml").read_text())).config
    told = {row["architecture"]: row for row in rows}
    entries = [entry for entry in config.models.values() if entry["tower"] == "openclip"]
    assert len(entries) > 5
    for entry in entries:
        row = told[entry["architecture"]]
        assert row["result"] in ("quantizes", "too large to try here"), entry
        assert row["blocks"] == "100.0%", entry


def models_of_2026():
    """The entries of the study's models, and of those that it leaves out in comments."""
    text = (ROOT / "config" / "models-2026.yaml").read_text()
    left_out = yaml.safe_load("\n".join(re.findall(r"^  # ([a-z0-9-]+: \{.*\})$", text, re.MULTILINE)))
    return yaml.safe_load(text)["models"], left_out


def test_the_models_of_2026_are_preprocessed_as_their_tags_were_trained():
    models, left_out = models_of_2026()
    models |= left_out
    families = ("SigLIP2", "MobileCLIP2", "PE-Core", "worldwide", "dfn", "EVA02", "ViTamin", "openai", "laion2b")
    named = [f"{entry['architecture']} {entry['pretrained']}" for entry in models.values()]
    assert all(any(family in name for name in named) for family in families)
    for entry in models.values():
        trained = open_clip.get_pretrained_cfg(entry["architecture"], entry["pretrained"])
        size = open_clip.get_model_config(entry["architecture"])["vision_cfg"]["image_size"]
        published = f"{size}-{trained['resize_mode']}-{trained['interpolation']}"
        assert entry.get("form", "224-shortest-bicubic") == published, entry


def test_the_models_of_2026_are_those_whose_layers_blocks_of_32_divide(architectures_tool):
    models, left_out = models_of_2026()
    for name, entry in (models | left_out).items():
        clip = architectures_tool.built(open_clip.get_model_config(entry["architecture"]), "meta")
        unpack(clip)
        layers = [clip.model.get_submodule(layer) for layer in targets(clip, "both")]
        assert all(layer.weight[0].numel() % 32 == 0 for layer in layers) == (name in models), name
