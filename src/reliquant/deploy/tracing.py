"""Trace a tower to an ONNX graph with marks, once for all variants of one structure."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from reliquant.deploy.marking import INPUT_OF, OUTPUT, Tower, example, marked
from reliquant.deploy.nodes import OPSET
from reliquant.layers.products import AttentionProducts
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip

Structure = tuple[Any, ...]


def structure(clip: Clip, tower: Tower, /) -> Structure:
    """Return what decides how a tower is traced: its modules, shapes, and the pieces that a method put in.

    Two variants of one model with equal structures differ only in the numbers that `filling` writes.
    """
    parts: list[Any] = [tower]
    written: set[int] = set()  # the pieces that are written into a trace, so that it holds none of them
    for name, module in clip.model.named_modules():
        if isinstance(module, Twin):
            pieces = [part for part in (module.input, module.held) if part is not None]
            written |= {id(part) for piece in pieces for part in piece.modules()}
        elif isinstance(module, AttentionProducts):
            written |= {id(part) for part in module.modules() if part is not module}
        if not clip.parts.in_tower(name, tower) or id(module) in written:
            continue
        kind = "twin" if isinstance(module, Twin) else type(module).__qualname__
        facts = module.facts() if hasattr(module, "facts") else {}
        told = repr({word: value for word, value in facts.items() if word != "explained"})
        roles = module.roles if isinstance(module, AttentionProducts) else ()
        shapes = [(leaf, tuple(value.shape)) for leaf, value in module.named_parameters(recurse=False)]
        parts.append((name, kind, told, roles, tuple(shapes)))
    return tuple(parts)


def traced(clip: Clip, tower: Tower, /) -> ir.Model:
    """Return a tower as an ONNX model with marks: any batch, unit embeddings, initializers under the model's names.

    Raises ValueError with torch's reason where the tower cannot be traced.
    """
    traced_program = program_of(marked(clip, tower), example(clip, tower), tower)
    with _reasons(tower):
        words = {"input_names": [INPUT_OF[tower]], "opset_version": OPSET}
        made = torch.onnx.export(traced_program, dynamo=True, optimize=False, verbose=False, **words)
    for node in made.model.graph:
        for value in node.outputs:
            if value.name == OUTPUT:
                value.name = f"{OUTPUT}_of_tokens"
        node.metadata_props.clear()  # torch notes lines of code and paths of this machine there
        node.doc_string = None
    made.model.graph.outputs[0].name = OUTPUT
    made.model.metadata_props.clear()
    made.model.graph.metadata_props.clear()
    for value in [*made.model.graph.inputs, *made.model.graph.initializers.values()]:
        value.metadata_props.clear()
    return made.model


def program_of(module: nn.Module, inputs: torch.Tensor, tower: Tower, /) -> torch.export.ExportedProgram:
    """Return a tower's module as a program for any batch; raise ValueError with torch's reason where it is none."""
    with _reasons(tower):
        return torch.export.export(module, (inputs,), dynamic_shapes=({0: Dim("batch")},), strict=False)


@contextmanager
def _reasons(tower: Tower) -> Iterator[None]:
    """Turn what torch raises, of its many kinds, into a ValueError that names the tower."""
    try:
        with torch.no_grad(), _quiet():
            yield
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"the {tower} tower cannot be traced: {type(error).__name__}: {told}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's notes on its own progress and deprecations from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
