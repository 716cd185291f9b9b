"""What the result of a training depends on, so that nothing goes on from the state of another one."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reliquant import fingerprint, plugins
from reliquant.files.artifacts import provenance
from reliquant.files.digests import digest_of
from reliquant.models.clip import Clip
from reliquant.study.config import quantizer_words

KERNELS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE")
SHIPPED = ("models/architectures/*", "models/vocabulary.txt")  # what a tower reads


def run_identity(
    clip: Clip, device: str, entry: Mapping[str, Any], tower: str | None, /, **facts: Any
) -> dict[str, Any]:
    """Return, as JSON reads it back, all that a variant depends on: facts, words, code, versions and the machine.

    `entry` is that of the quantizer and `tower` the name of the model's plugin, None where the model comes from
    elsewhere; `facts` are what only the caller knows, such as the sha256 of the FP32 model and the digest of the pairs.
    Words that are left to their defaults count, too.
    """
    method = plugins.load("quantizer", quantizer_words(entry))
    words = {name: str(value) for name, value in plugins.bound(method).items()}
    losses = [loss["loss"] for loss in plugins.bound(method).get("losses") or []]
    named = {"quantizer": entry["quantizer"], "tower": [tower] if tower else [], "loss": losses}
    made = {
        **facts,
        "entry": dict(entry),
        "words": words,
        "code": fingerprint.code("reliquant.quantization.quantize_model", data=SHIPPED, **named),
        "machine": machine(device),
        "type": str(next(clip.model.parameters()).dtype),
        "pixels": {"form": clip.form, "mean": clip.mean, "std": clip.std},
        "modules": digest_of({name: _described(module) for name, module in clip.model.named_modules()}),
        "versions": provenance()["versions"],
    }
    return json.loads(json.dumps(made))


def _described(module: nn.Module) -> list[Any]:
    """Say what of a module is in no tensor: its kind, and its plain attributes, such as the number of heads."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, str | int | float | None)}
    return [type(module).__qualname__, module.extra_repr(), {name: str(value) for name, value in plain.items()}]


def machine(device: str, /) -> dict[str, Any]:
    """Return what the same code may give other figures on: the device, threads and kernels."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "cuda": torch.version.cuda if on_gpu else None,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "kernels": {name: os.environ[name] for name in KERNELS if name in os.environ},
    }
