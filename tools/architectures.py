"""Try every architecture of open_clip, and image towers of timm, and write `docs/architectures.md`.

`python tools/architectures.py --results results.jsonl --shard 0/2` tries its share and adds a line for each; one that
is there is not tried again. `python tools/architectures.py --results results.jsonl --write docs/architectures.md` makes
the page. Weights are random, tokens too: nothing is downloaded. Text towers of transformers are built from the sizes
that stand here; without the package they are listed as needing it.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reliquant.grid import Grid
from reliquant.layers.coverage import Coverage, coverage
from reliquant.layers.surgery import insert_twins, nothing_found, targets, twins, unpack
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.openclip_source import refuse_naflex
from reliquant.models.shapes import shapes_only
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.quantize import FLOATING
from reliquant.quantization.quantizers.rtn import quantizer
from reliquant.quantization.unchanged import Unchanged
from reliquant.study.scheme import scheme_entry

LARGEST = 900_000_000  # parameters that are tried with values: below 8 GiB with all that comes on top
PAIRS = 2
TOKENS = 1000  # words of the random captions are below this
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
BERT = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
T5 = {"model_type": "mt5", "vocab_size": 250112, "feed_forward_proj": "gated-gelu"}
M2M = {"model_type": "m2m_100", "vocab_size": 256206, "d_model": 1024, "max_position_embeddings": 1024}
SIZES: dict[str, dict[str, Any]] = {  # of the text towers that transformers builds, as they are published
    "roberta-base": {"model_type": "roberta", "vocab_size": 50265, **BERT},
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002, **BERT},
    "xlm-roberta-large": {"model_type": "xlm-roberta", "vocab_size": 250002, **BERT, **LARGE},
    "google/mt5-base": {**T5, "d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "google/mt5-xl": {**T5, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    "facebook/nllb-200-distilled-600M": {**M2M, "encoder_layers": 12, "encoder_ffn_dim": 4096, "decoder_layers": 1},
    "facebook/nllb-200-distilled-1.3B": {**M2M, "encoder_layers": 24, "encoder_ffn_dim": 8192, "decoder_layers": 1},
}
PACKAGES = {"open_clip": "open_clip_torch", "timm": "timm", "torch": "torch"}
RESULTS = ("quantizes", "too large to try here", "not tried without the extra", "refused")
SHARES = {"image": ("weights", "products", "attention"), "text": ("weights", "products")}  # columns of the page
TIMM_START = "timm: "
TIMM = {  # image towers that open_clip can take from timm, by the edge of their images
    224: (
        "beit_base_patch16_224", "beitv2_base_patch16_224", "eva02_base_patch14_224", "swinv2_cr_tiny_224",
        "swin_tiny_patch4_window7_224", "resnetv2_50x1_bit", "resnetv2_101x1_bit", "resnet50", "tf_efficientnet_b0",
        "efficientnet_b0", "mobilenetv3_large_100", "regnety_004", "regnety_032", "regnetx_032", "densenet121",
        "convnextv2_tiny", "maxvit_tiny_tf_224", "coatnet_0_rw_224", "vit_base_r50_s16_224",
        "deit3_small_patch16_224", "cait_s24_224", "pvt_v2_b2", "davit_tiny", "focalnet_tiny_srf",
        "hiera_small_224", "efficientvit_b1", "efficientformer_l1", "mixer_b16_224", "xcit_tiny_12_p8_224",
    ),
    256: (
        "swinv2_tiny_window8_256", "swinv2_base_window8_256", "mobilevit_s", "mobilevitv2_100", "nfnet_f0",
        "dm_nfnet_f0", "edgenext_small", "fastvit_t8", "naflexvit_base_patch16_gap",
    ),
    300: (
        "tf_efficientnetv2_s",
    ),
}  # fmt: skip
# widen their last features after pooling, which open_clip's own projection does not know: their classifier projects
OWN_HEADS = {"efficientvit_b1", "mobilenetv3_large_100"}


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names with their descriptions in open_clip's form."""
    for name in open_clip.list_models():
        yield name, open_clip.get_model_config(name)
    for size, names in TIMM.items():
        vision = {"timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear", "image_size": size}
        for name in names:
            head = {"timm_pool": "avg", "timm_proj": ""} if name in OWN_HEADS else {}
            tower = {**vision, "timm_model_name": name, **head}
            yield f"{TIMM_START}{name}", {"embed_dim": 512, "vision_cfg": tower, "text_cfg": TEXT}


def built(description: Mapping[str, Any], device: str) -> Clip:
    """Build a model with random weights, with tokens that are random, too."""
    config = copy.deepcopy(dict(description))
    text = config["text_cfg"]
    if name := text.get("hf_model_name"):
        folder = Path(tempfile.mkdtemp(prefix="architectures-"))
        (folder / "config.json").write_text(json.dumps(SIZES[name]))
        text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) or name else open_clip.CLIP
    kind = open_clip.CoCa if "multimodal_cfg" in config else kind
    torch.manual_seed(0)
    with torch.device(device):
        model = kind(**config).eval().requires_grad_(False)
    context = text.get("context_length", 77)

    def tokens(captions: list[str]) -> torch.Tensor:
        drawn = torch.randint(2, TOKENS, (len(captions), context), generator=torch.Generator().manual_seed(0))
        drawn[:, -1] = TOKENS  # the largest: open_clip takes it for the end
        return drawn

    size = config["vision_cfg"].get("image_size", 224)
    size = tuple(size) if isinstance(size, list) else size
    return Clip(model, tokens, size, (0.5,) * 3, (0.25,) * 3)


def pairs(clip: Clip) -> Proxy:
    """Return two random images with captions, on the device of the model."""
    device = next(clip.model.parameters()).device.type
    images = np.random.default_rng(0).integers(0, 256, (PAIRS, *clip.shape, 3), dtype=np.uint8)
    return Proxy(images, ["one", "two"], device=device)


def share_of(clip: Clip, seen: Coverage, tower: str) -> dict[str, float]:
    """Return the shares of a tower's weights and multiply-accumulates that are quantized, and those of attention."""
    layers = {name: layer for name, layer in twins(clip.model).items() if clip.parts.in_tower(name, tower)}
    rounded = sum(layer.weight.numel() for layer in layers.values())
    named = clip.model.named_parameters()
    weights = sum(p.numel() for name, p in named if p.ndim >= 2 and clip.parts.in_tower(name, tower))
    products = [product for product in seen.products if clip.parts.in_tower(product.module, tower)]
    macs = max(sum(product.macs for product in products), 1)
    quantized = sum(product.macs for product in products if not product.reason)
    attention = sum(product.macs for product in products if product.reason == "attention product")
    return {"weights": rounded / weights, "products": quantized / macs, "attention": attention / macs}


def tried(name: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """Quantize one architecture at w8a8 by round to nearest, scope both, and say how it went."""
    text = description["text_cfg"]
    found: dict[str, Any] = {"name": name, "needs": ""}
    if text.keys() & {"hf_model_name", "hf_tokenizer_name"}:
        found["needs"] = "huggingface"
    if "hf_model_name" in text and find_spec("transformers") is None:
        return {**found, "result": "not tried without the extra"}
    try:
        shapes = built(description, "meta")
        found["parameters"] = sum(parameter.numel() for parameter in shapes.model.parameters())
        refuse_naflex(shapes.model, name)
        if found["parameters"] > LARGEST:
            with shapes_only():
                difference(shapes)  # 0, as nothing has a value; but twins are there, and run
                return {**found, **quantized(shapes), "result": "too large to try here"}
        clip = built(description, "cpu")
        found["difference"] = difference(clip)
        return {**found, **quantized(clip), "result": "quantizes"}
    except (ValueError, RuntimeError, AssertionError) as error:
        return {**found, "result": "refused", "why": " ".join(str(error).split())[:300]}


def difference(clip: Clip) -> float:
    """Put twins into a model and return how far, relatively, their embeddings are from its own, nothing rounded."""
    unchanged, _ = Unchanged(clip, pairs(clip)), clip.parts
    unpack(clip)
    names = targets(clip, "both")
    if not names:
        raise ValueError(nothing_found(clip, "both"))
    insert_twins(clip.model, names, FLOATING, FLOATING)
    return unchanged.require_twins()


def quantized(clip: Clip) -> dict[str, Any]:
    """Quantize a model that has its twins and return the shares of both towers."""
    entry = scheme_entry("rtn", "w8a8")
    grids = {grid: Grid(**entry[grid]) for grid in ("weight", "activation")}
    proxy = pairs(clip)
    quantizer(clip, list(twins(clip.model)), proxy, Checkpoints(), **grids)
    seen = coverage(clip, "both", lambda: embed(clip, *next(proxy.in_order(clip, 1))))
    return {"blocks": seen.block_share, **{tower: share_of(clip, seen, tower) for tower in ("image", "text")}}


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out all results as Markdown."""
    versions = {name: version(package) for name, package in PACKAGES.items()}
    lines = HEAD.format(**versions, largest=f"{LARGEST / 1e6:g} million").splitlines()
    titles = {"": "Architectures of open_clip", TIMM_START: "Image towers of timm in open_clip"}
    parts: dict[str, list[Mapping[str, Any]]] = {start: [] for start in titles}
    for result in results.values():
        parts[TIMM_START if result["name"].startswith(TIMM_START) else ""].append(result)
    lines += ["", *SUMS, *(counted(titles[start], rows) for start, rows in parts.items())]
    for start, rows in parts.items():
        lines += ["", f"## {titles[start]}", "", *COLUMNS]
        lines += [row(result, start) for result in sorted(rows, key=lambda r: r["name"].lower())]
    return "\n".join(lines) + "\n"


HEAD = """# Which architectures quantize

Made with open_clip {open_clip}, timm {timm} and torch {torch} by

    python tools/architectures.py --results results.jsonl
    python tools/architectures.py --results results.jsonl --write docs/architectures.md

in an environment with the extra `huggingface`. Weights, images and tokens are random: what is shown depends on the
architecture alone. Each is quantized by `rtn` at `w8a8`, scope `both`, with two pairs.

- **quantizes**: towers and blocks are found, every layer in the blocks has a twin, and with rounding switched off the
  twins give FP32's embeddings (`twins off`: the relative difference; above 1e-4 it would be refused).
- **too large to try here**: more than {largest} parameters. It is quantized by its shapes alone, so its shares hold;
  whether twins are the layers is shown when it is quantized with its weights. `reliquant plan` does the same.
- **refused**: the reason stands there, as the product says it.

`needs`: where it says `huggingface`, the tokenizer or the text tower needs `pip install 'reliquant[huggingface]'`;
without it the model is refused in a line that says so. `M` is millions of parameters.

Shares are of a tower's weights (matrices, embeddings and positions among them) and of the multiply-accumulates of one
forward. Layers in the blocks are quantized. FP32 stay: attention's products of query and key and of weights and value
(`attention`, a share of the image tower's multiply-accumulates: much for large images in narrow towers), and what is
outside the blocks: patch and token embeddings (most of a text tower of many languages), stem, downsampling between
stages, pooling (a third of an RN50's weights, its attention pooling), projections. ViTamin's convolutions before its
transformer hold 2 to 5 % of the weights and are its stem, although they multiply up to a fourth of all.
`blocks` is the share of the weights in the blocks, on which a scheme's `least_share` rests.

Where published models are: SigLIP 2 is `ViT-*-SigLIP2*` (of fixed size; NaFlex is refused by name, here as timm's
`naflexvit`); MetaCLIP has the tags `metaclip_*` of `ViT-*-quickgelu`, MetaCLIP 2 is `ViT-*-worldwide*`; BiT is timm's
`resnetv2_*_bit`; text towers of transformers are in `roberta-*`, `xlm-roberta-*`, `mt5-*`, `nllb-*`, `coca_roberta-*`
and `*-worldwide*`.
"""
NAMES = ["architecture", "M", "needs", "result", "image: weights", "products", "attention"]
NAMES += ["text: weights", "products", "blocks", "twins off"]
SUMS = [f"| | {' | '.join(RESULTS)} | all | of these need an extra |", f"|---{'|--:' * (len(RESULTS) + 2)}|"]
COLUMNS = [f"| {' | '.join(NAMES)} |", "|---|--:|---|---|--:|--:|--:|--:|--:|--:|--:|"]


def counted(title: str, rows: list[Mapping[str, Any]]) -> str:
    """Write a line of sums: of each result, of all, and of those that need the extra."""
    kinds = Counter(row["result"] for row in rows)
    numbers = [*(kinds[kind] for kind in RESULTS), len(rows), sum(bool(row["needs"]) for row in rows)]
    return f"| {title} | {' | '.join(map(str, numbers))} |"


def row(result: Mapping[str, Any], start: str) -> str:
    """Write one line of the table."""
    shares = []
    for tower, columns in SHARES.items():
        shares += [f"{result[tower][of]:.1%}" if tower in result else "" for of in columns]
    size = f"{result['parameters'] / 1e6:,.0f}" if "parameters" in result else ""
    told = f"{result['result']}: {result['why']}" if "why" in result else result["result"]
    blocks = f"{result['blocks']:.1%}" if "blocks" in result else ""
    off = f"{result['difference']:.1e}" if "difference" in result else ""
    cells = [result["name"].removeprefix(start), size, result["needs"], told.replace("|", "\\|"), *shares, blocks, off]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Try what is left of a shard, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="a line of JSON for each architecture tried")
    parser.add_argument("--shard", default="0/1", help="which part of all: 0/2 and 1/2 can run side by side")
    parser.add_argument("--only", nargs="*", help="names to try, in place of all")
    parser.add_argument("--write", type=Path, help="the page to make of the results")
    args = parser.parse_args()
    args.results.touch()
    results = {r["name"]: r for r in map(json.loads, args.results.read_text().splitlines())}
    if args.write:
        args.write.write_text(page(results))
        return
    index, count = map(int, args.shard.split("/"))
    for i, (name, description) in enumerate(cases()):
        if name in results or i % count != index or (args.only and name not in args.only):
            continue
        result = tried(name, description)
        with args.results.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(name, result["result"], result.get("why", ""), flush=True)


if __name__ == "__main__":
    main()
