"""Write a model, FP32 or a variant, as files that other runtimes run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
import polars as pl

from reliquant.deploy import engines
from reliquant.deploy import folder as exported
from reliquant.deploy.figures import figures
from reliquant.deploy.filling import filled, problems
from reliquant.deploy.marking import INPUT_OF, OUTPUT, TOWERS, Tower
from reliquant.deploy.preparation import preprocessing_facts, scale_facts, tokenizer_facts
from reliquant.deploy.program import save_program
from reliquant.deploy.tracing import Structure, structure, traced
from reliquant.download.http import sha256_of
from reliquant.evaluation.zero_shot import text_head
from reliquant.files.artifacts import provenance, save_frame, save_json, whole
from reliquant.layers.surgery import unpack
from reliquant.models.clip import Clip

To = Literal["onnx", "openvino", "torch"]
LARGEST = 1.8e9  # bytes of one ONNX file, which cannot be larger than 2 GiB: more goes into a second file
COUNTED = re.compile(r"[A-Z]\w*_\d+")  # names that OpenVINO gives by a count of all that the process has made
Templates = dict[tuple[str, Structure], ir.Model]


class CannotSay(ValueError):
    """Is raised where a format cannot say what a variant does, with the layers and reasons."""


class Exporter:
    """Export variants of models; towers of equal structure are traced once.

    `code_bits` is the least width of a code. Of 4 bits a file is smallest, but runtimes multiply floats that they make
    of the codes; of 8 they multiply integers.
    """

    def __init__(
        self,
        *,
        to: To,
        towers: Sequence[Tower] = TOWERS,
        float_weights: bool = False,
        code_bits: Literal[4, 8] = 4,
    ) -> None:
        self.to, self.towers, self.float_weights, self.code_bits = to, tuple(towers), float_weights, code_bits
        self.templates: Templates = {}

    def require_sayable(self, clip: Clip, name: str, /) -> dict[str, list[str]]:
        """Return the weights that are written as floats instead of codes, reason -> layers; none of most variants.

        Raises CannotSay, before anything is traced, with what ONNX cannot say of the towers.
        """
        if self.to == "torch":
            return {}
        as_float: dict[str, list[str]] = {}
        for tower in self.towers:
            found = problems(clip, tower)
            _refuse(name, found["inputs"], "no word makes it so; export it --to torch")
            if not self.float_weights:
                _refuse(name, found["weights"], "--float-weights writes them as float32, or export it --to torch")
            for layer, reason in found["weights"].items():
                as_float.setdefault(reason, []).append(layer)
        return as_float

    def export(
        self,
        clip: Clip,
        output: Path,
        /,
        *,
        name: str,
        facts: Mapping[str, Any],
        prompts: Mapping[str, list[str]] | None = None,
        rows: tuple[pl.DataFrame, Mapping[str, Any]] | None = None,
        card: Callable[..., str] | None = None,
    ) -> dict[str, Any]:
        """Write a folder with the towers of a model, and return what it says of itself (`folder.py`).

        `facts` say what the model is (`model_sha256`, `variant_sha256`, entry, labels, measures); `prompts` holds the
        `classes` and `templates` of a classifier, whose head is written too; `rows` are what was measured of it, and
        what is known of those (`figures.py`); `card` makes the model card of the facts and these. What an earlier
        export left in the folder is taken away; raises OSError where something else would be overwritten.
        """
        as_float = self.require_sayable(clip, name)
        exported.emptied(output)
        unpack(clip)
        made: dict[str, Any] = {"towers": {}, "files": {}, "to": self.to, "float_weights": as_float}
        made |= {"preprocessing": preprocessing_facts(clip), "tokenizer": tokenizer_facts(clip), **scale_facts(clip)}
        if prompts is not None:
            made["prompts"] = {word: list(prompts[word]) for word in ("classes", "templates")}
            with whole(output / exported.CLASSES) as part, open(part, "wb") as file:
                np.save(file, text_head(clip, made["prompts"]["classes"], made["prompts"]["templates"]))
        for tower in self.towers:
            file = f"{tower}{exported.SUFFIX[self.to]}"
            made["towers"][tower] = {"file": file, "input": INPUT_OF[tower], "output": OUTPUT}
        if rows is not None:
            made["measured"] = figures(rows[0])
        told = provenance(kind="export", name=name, **facts, **made)
        for tower in self.towers:
            self._write(clip, tower, output / made["towers"][tower]["file"], {**told, "tower": tower})
        if rows is not None:
            save_frame(output / exported.ROWS, rows[0], {**provenance(kind=exported.KIND_OF_ROWS), **rows[1]})
        if card:
            with whole(output / exported.CARD) as part:
                part.write_text(card(told, *(rows or ())), encoding="utf-8")
        return _sealed(output, told)

    def _write(self, clip: Clip, tower: Tower, path: Path, told: dict[str, Any]) -> None:
        if self.to == "torch":
            save_program(path, clip, tower)
            return
        key = (str(told["model_sha256"]), structure(clip, tower))
        if key not in self.templates:
            self.templates[key] = traced(clip, tower)
        model = filled(self.templates[key], clip, tower, float_weights=self.float_weights, code_bits=self.code_bits)
        model.producer_name, model.producer_version = "reliquant", version("reliquant")
        model.metadata_props["reliquant"] = json.dumps(told, sort_keys=True)
        (save_onnx if self.to == "onnx" else save_openvino)(model, path)


def save_onnx(model: ir.Model, path: Path, /) -> None:
    """Write an ONNX model, whole or not at all; the numbers of a large one into a file `.data` beside it."""
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size < LARGEST:
        with whole(path) as part:
            ir.save(model, part)
        return
    with whole(path.with_suffix(".onnx.data")) as data, whole(path) as part:
        beside = part.with_name(data.name)
        ir.save(model, part, external_data=data.name)
        beside.replace(data)


def save_openvino(model: ir.Model, path: Path, /) -> None:
    """Write a model as OpenVINO's `.xml` and `.bin`, in the types that it has; raise ValueError where it refuses it."""
    try:
        openvino = engines.openvino()
    except ImportError as error:
        raise ValueError("openvino is not installed: pip install 'reliquant[deploy]'") from error
    with whole(path) as part, whole(path.with_suffix(".bin")) as weights:
        source = part.with_name("source.onnx")
        try:
            save_onnx(model, source)
            converted = openvino.convert_model(str(source))
            for number, op in enumerate(converted.get_ordered_ops()):
                if COUNTED.fullmatch(op.get_friendly_name()):
                    op.set_friendly_name(f"{op.get_type_name()}_of_{number}")
            written = part.with_name("written.xml")
            openvino.save_model(converted, str(written), compress_to_fp16=False)
        except RuntimeError as error:
            raise ValueError(f"{path}: OpenVINO refuses the model: {' '.join(str(error).split())[:300]}") from error
        for each in part.parent.glob("source.onnx*"):
            each.unlink()
        written.with_suffix(".bin").replace(weights)
        written.replace(part)


def _refuse(name: str, reasons: Mapping[str, str], way_out: str) -> None:
    """Raise CannotSay where there are reasons, which are layer -> reason."""
    if reasons:
        layer, reason = next(iter(reasons.items()))
        others = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        raise CannotSay(f"{name}: ONNX cannot say what {layer}{others} does: {reason}; {way_out}")


def _sealed(output: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Add the sha256 of each file, and write all that is known last: a folder without it is no export."""
    names = [facts["file"] for facts in told["towers"].values()]
    names += [f"{Path(name).stem}.bin" for name in names if name.endswith(".xml")]
    names += [f"{name}.data" for name in names if (output / f"{name}.data").is_file()]
    told["bytes"] = sum((output / name).stat().st_size for name in names)
    names += [name for name in (exported.CLASSES, exported.ROWS, exported.CARD) if (output / name).is_file()]
    told["files"] = {name: sha256_of(output / name) for name in sorted(names)}
    told["sha256"] = exported.digest_of_facts(told)
    save_json(output / exported.FACTS, told)
    exported.finished(output)
    return told
