"""`reliquant export`: write a model or a variant as files that ONNX Runtime, OpenVINO or torch run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from reliquant.cli.output import Output
from reliquant.cli.words import TOWER
from reliquant.deploy.folder import told_of
from reliquant.layers.variant import load_variant
from reliquant.models.clip import Clip
from reliquant.models.files import load_model, sha256_of_model
from reliquant.models.open import open_model, opened_entry, own_file
from reliquant.progress import say

EXAMPLE = "reliquant export lab-vit-curated --to onnx --output exported"
MISSING = "export needs onnx, onnxruntime, onnxscript and openvino: pip install 'reliquant[deploy]'"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument(
        "model", help="the FP32 model: a .safetensors file of ours, or whatever `quantize --model` takes"
    )
    parser.add_argument("--variant", type=Path, nargs="+", default=[], help="variants of it; none: FP32 itself")
    parser.add_argument("--random-weights", action="store_true", help="draw the weights of a model without any")
    parser.add_argument("--module", help=TOWER)
    parser.add_argument("--to", choices=["onnx", "openvino", "torch"], default="onnx")
    parser.add_argument("--tower", choices=["image", "text", "both"], default="both")
    parser.add_argument("--float-weights", action="store_true", help="write what the format has no type for in float32")
    told = "the least bits of a stored code; 8 makes files of 2 to 4 bits larger, and their products those of integers"
    parser.add_argument("--code-bits", type=int, choices=[4, 8], default=4, help=told)
    parser.add_argument(
        "--classes", type=Path, help="a JSON or YAML file, or a prepared folder, with classes and templates"
    )
    told = "a table of rows, of a study or of `evaluate --rows`, with what was measured of each variant"
    parser.add_argument("--rows", type=Path, help=told)
    parser.add_argument("--base-model", default="", help="for the card: the FP32 model's name on the hub, owner/name")
    parser.add_argument("--license", default="", help="for the card: of the weights, such as mit")
    parser.add_argument(
        "--output", type=Path, required=True, help="a folder; of several variants, one folder each in it"
    )


def run(
    *,
    model: str,
    variant: list[Path],
    random_weights: bool,
    module: str | None,
    to: Literal["onnx", "openvino", "torch"],
    tower: Literal["image", "text", "both"],
    float_weights: bool,
    code_bits: Literal[4, 8],
    classes: Path | None,
    rows: Path | None,
    base_model: str,
    license: str,
    output: Path,
) -> Output:
    """Export a model, or each of several variants of it, into a folder."""
    try:
        from reliquant.deploy.card_of_export import card_of_export
        from reliquant.deploy.export import Exporter
        from reliquant.deploy.figures import measured_rows
        from reliquant.deploy.filling import unpacked_layers
        from reliquant.deploy.folder import require_free
        from reliquant.deploy.marking import TOWERS
        from reliquant.deploy.prompts import read_prompts
    except ImportError as error:
        raise ValueError(f"{MISSING} ({error.name} is not there)") from error
    prompts = read_prompts(classes) if classes else None
    if to == "torch" and code_bits == 8:
        raise ValueError("--code-bits 8: programs of torch simulate; leave it out, or export --to onnx or openvino")
    towers = TOWERS if tower == "both" else (tower,)
    exporter = Exporter(to=to, towers=towers, float_weights=float_weights, code_bits=code_bits)
    folders = {path: output / name if len(variant) > 1 else output for path, name in _named(variant).items()}
    for folder in [output, *folders.values()]:
        require_free(folder)
    hub = {word: value for word, value in (("base_model", base_model), ("license", license)) if value}
    for path in variant if len(variant) > 1 else []:  # what cannot be said is told before the first is traced
        exporter.require_sayable(_opened(model, path, module, random_weights)[0], path.stem)
    done: list[dict[str, Any]] = []
    for path in variant or [None]:
        clip, facts = _opened(model, path, module, random_weights)
        name = path.stem if path else Path(model).stem
        measured = measured_rows(rows, name, facts) if rows else None
        facts |= {"hub": hub} if hub else {}
        folder = folders[path] if path else output
        slow = unpacked_layers(clip, towers) if to != "torch" and code_bits == 4 else []
        if slow:
            told = f"{len(slow)} layers round their inputs and have codes of at most 4 bits, packed as such: runtimes"
            say(name, f"{told} multiply floats that they unpack in each run; --code-bits 8 has integers multiplied")
        words = {"prompts": prompts, "rows": measured, "card": card_of_export}
        told = exporter.export(clip, folder, name=name, facts=facts, **words)
        done.append({"folder": str(folder), "bytes": told["bytes"], "files": sorted(told["files"])})
    lines = [f"{each['folder']}: {', '.join(each['files'])} ({each['bytes'] / 1e6:.1f} MB)" for each in done]
    return Output({"exports": done}, "\n".join(lines))


def _named(variants: Sequence[Path]) -> dict[Path, str]:
    """Name each variant's folder as its file, or where files of several folders have one name, after both.

    Raises ValueError for a variant that is given twice.
    """
    stems = [path.stem for path in variants]
    names = [path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}-{path.stem}" for path in variants]
    for path, name in zip(variants, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"--variant {path}: another one has the name {name!r}, too; export it by itself")
    return dict(zip(variants, names, strict=True))


def _opened(model: str, variant: Path | None, module: str | None, random_weights: bool) -> tuple[Clip, dict[str, Any]]:
    """Open FP32 or a variant; return it with what it is."""
    path = own_file(model)
    if variant is not None:
        if path is None:
            raise ValueError(f"{model}: --variant {variant} needs the .safetensors file that it was made from")
        clip, header = load_variant(path, variant, tower=module)
        return clip, told_of(header)
    if path is None:
        clip = open_model(model, random_weights=random_weights, tower=module)
        entry = opened_entry(model, random_weights=random_weights)
        sha256 = sha256_of_model(model, clip)
        return clip, {
            "entry": {"quantizer": "none"},
            "tower": _without_paths(entry),
            "model_sha256": sha256,
            "variant_sha256": "",
        }
    clip, header = load_model(path, tower=module)
    return clip, {"entry": {"quantizer": "none"}, "model_sha256": header["sha256"], "variant_sha256": ""}


def _without_paths(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the names of files and folders in place of where they lie on this machine."""
    kept = dict(entry)
    for word, value in entry.items():
        if isinstance(value, str) and os.sep in value and Path(value.removeprefix("local-dir:")).exists():
            kept[word] = Path(value).name
    return kept
