"""QDrop (Wei et al. 2022): learn block by block which way weights are rounded, while inputs are partly unrounded.

Each block is taught FP32's output, as in BRECQ (Li et al. 2021), with AdaRound's rounding of weights (Nagel et al.
2020) and learned steps of inputs, both at once; half of the numbers that inputs would round stay as they are, drawn
anew in each step. QDrop rather than BRECQ, which rounds inputs only after the weights are fixed, because inputs of few
bits are what vision transformers suffer from; it asks nothing of a block but that it can be run. Ranges are those of
the least squared error. Blocks that are done are kept: a run that was killed goes on after them. Their weights stay in
floating point, rounded in each forward, until all are done: one model in memory is the quantized and the FP32 one.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import StaticInput, Twin
from reliquant.models.clip import Clip
from reliquant.progress import progress
from reliquant.quantization.calibrate import fix_inputs, is_static, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import freeze
from reliquant.quantization.moments import stages
from reliquant.quantization.observers import Sample
from reliquant.quantization.pages import SMALL, pages_of_their_own
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.reconstruction import Recipe, reconstruct
from reliquant.quantization.rounding import Decided

FORMATS = True  # it takes small floats and blocks, too
BETAS, SAMPLE, CANDIDATES, SMALLEST = (20.0, 2.0), 16384, 60, 0.02


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    steps: Annotated[int, Field(ge=0)] = 1000,
    lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-2,
    scale_lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-3,
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    decision: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01,
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    batch: Annotated[int, Field(ge=1)] = 32,
    pairs: Annotated[int, Field(ge=1)] = 256,
) -> None:
    """Quantize the named layers in place; each block learns in `steps` steps on batches of the first `pairs` pairs.

    `drop` is the share of numbers that stay unrounded, `decision` weighs the penalty on weights between two codes,
    which sets in after the share `warmup` of the steps.
    """
    if steps < 0 or not 0 <= drop < 1 or not 0 <= warmup < 1:
        raise ValueError(f"qdrop: needs steps >= 0, drop and warmup from 0 to below 1, not {steps}, {drop}, {warmup}")
    words = {"steps": steps, "lr": lr, "scale_lr": scale_lr, "drop": drop, "decision": decision, "warmup": warmup}
    recipe = Recipe(**words, betas=BETAS, candidates=CANDIDATES, smallest=SMALLEST)
    made = insert_twins(clip.model, names, weight, activation)
    with pages_of_their_own(SMALL):
        _learned(clip, made, proxy, saved, recipe, batch=batch, pairs=pairs)
    freeze(made)


def _learned(
    clip: Clip, made: dict[str, Twin], proxy: Proxy, saved: Checkpoints, recipe: Recipe, /, *, batch: int, pairs: int
) -> None:
    """Fix the ranges of inputs, and let each block learn that is not done yet."""
    observers = {name: Sample(SAMPLE, CANDIDATES, SMALLEST) for name, layer in made.items() if is_static(layer)}
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    fix_inputs(made, observers)
    for layer in made.values():
        layer.settle()
    groups = stages(made, clip.parts)
    done = _resume(made, saved)
    for number, stage in progress(list(enumerate(groups)), label="blocks"):
        if not done.issuperset(groups[stage]):
            rng = _generator(clip, proxy.seed, number)
            reconstruct(clip, stage, proxy, recipe, rng, batch=batch, pairs=pairs)
            done |= set(groups[stage])
            _keep({name: made[name] for name in done}, saved)


def _generator(clip: Clip, seed: int, number: int) -> torch.Generator:
    """Make the generator of one block, whatever blocks were done before in the same process."""
    device = next(clip.model.parameters()).device
    rng = torch.Generator("cpu" if device.type == "meta" else device)
    return rng.manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def _keep(done: dict[str, Twin], saved: Checkpoints) -> None:
    """Save what the layers of the blocks that are done have come to; the count of layers stands for iterations."""
    if saved.folder is None:
        return
    state = {}
    for name, layer in done.items():
        state[f"{name}.done"] = torch.ones(1)
        if isinstance(layer.weight_rule, Decided):
            parts = {part: getattr(layer.weight_rule, part) for part in ("codes", "scale", "zero")}
            state |= {f"{name}.{part}": value for part, value in parts.items()}
        if isinstance(layer.input, StaticInput):
            state[f"{name}.input"] = torch.tensor(layer.input.scale, dtype=torch.float64)
    saved.save(len(done), state)


def _resume(made: dict[str, Twin], saved: Checkpoints) -> set[str]:
    """Give layers the codes that are kept; return the names of those that are done."""
    _, state = saved.latest()
    done = {name for name in made if f"{name}.done" in state}
    for name in done:
        layer = made[name]
        if f"{name}.codes" in state:
            parts = (state[f"{name}.{part}"].to(layer.weight.device) for part in ("codes", "scale", "zero"))
            layer.weight_rule = Decided(*parts, layer.weight_grid)
        if f"{name}.input" in state:
            layer.input = StaticInput(layer.activation_grid, state[f"{name}.input"].item(), layer.input.zero)
    return done
