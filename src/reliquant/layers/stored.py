"""A quantized weight as arrays of the width that a device would store: codes, scales and zero points.

| array | what it holds |
|---|---|
| `codes` | bits of all codes, one after the other, the first code of the grid being 0 |
| `scale` | float32 or float16 numbers; exponents of E8M0 and bits of E4M3 as uint8; (rows, 1) |
| `zero` | left out where all are 0; one number where all are the same; codes packed like `codes` where all are codes; \
else float32, for groups float16 |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reliquant.grid import SCALE_BITS, Grid
from reliquant.layers.arithmetic import blocks, code_type
from reliquant.layers.floats import codes_of as codes_of_floats
from reliquant.layers.floats import levels, nearest_float_
from reliquant.layers.twins import Twin

Arrays = dict[str, NDArray[Any]]
PARTS = ("codes", "scale", "zero")
HELD = ("held.mean", "held.rows", "held.values")
OF_LAYER = (*PARTS, "spared", "input.columns", *HELD)  # all arrays that a quantized weight takes
COMPENSATION = ".compensation."
BIAS = 127  # of an E8M0 exponent


def pack(codes: NDArray[np.integer], low: int, bits: int, /) -> NDArray[np.uint8]:
    """Pack integer codes in [low, low + 2^bits) into bits * n / 8 bytes.

    >>> pack(np.array([-2, 1, 0, -1]), -2, 2).tolist()  # 00 11 10 01
    [57]
    """
    shifted = (codes.reshape(-1, 1).astype(np.int32) - low).astype(np.uint16)
    return np.packbits((shifted >> np.arange(bits - 1, -1, -1, dtype=np.uint16)).astype(np.uint8) & 1)


def unpack(packed: NDArray[np.uint8], low: int, bits: int, count: int, /) -> NDArray[np.int16]:
    """Undo `pack` for a known count of codes; raise ValueError when there are too few bytes."""
    if len(packed) != -(-count * bits // 8):
        raise ValueError(f"{len(packed)} bytes cannot be {count} codes of {bits} bits")
    digits = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return (digits @ (1 << np.arange(bits - 1, -1, -1, dtype=np.int32)) + low).astype(np.int16)


def arrays(name: str, layer: Twin, /) -> Arrays:
    """Return the arrays of a frozen twin's weight, by `<name>.<part>`."""
    grid, scale, zero = layer.weight_grid, layer.weight_scale.cpu(), layer.weight_zero.cpu().numpy()
    made = {f"{name}.codes": pack(layer.codes.cpu().numpy(), grid.first_code, grid.bits)}
    made[f"{name}.scale"] = _scale_as_stored(scale, grid)
    if (zero == zero.flat[0]).all():
        if zero.flat[0]:
            made[f"{name}.zero"] = zero[:1]  # half steps (StatsQ, DoReFa)
    elif _are_codes(zero, grid):
        made[f"{name}.zero"] = pack(zero.astype(np.int16), grid.first_code, grid.bits)
    else:  # optimised zero points (HQQ)
        made[f"{name}.zero"] = zero.astype(np.float16) if grid.scales_as == "fp16" else zero
    return made


def codes_of(name: str, layer: Twin, given: Arrays, /) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes, scales and zero points, as `Twin.freeze` takes them; raise ValueError where sizes do not fit."""
    grid, weight = layer.weight_grid, layer.weight
    codes = unpack(given[f"{name}.codes"], grid.first_code, grid.bits, weight.numel()).reshape(weight.shape)
    scale = _scale_from_stored(given[f"{name}.scale"], grid)
    rows = len(blocks(torch.empty(weight.shape, device="meta"), grid))
    if scale.shape != (rows, 1):
        raise ValueError(f"{tuple(scale.shape)} scales cannot be those of {rows} rows")
    zero = given.get(f"{name}.zero", np.zeros((1, 1), np.float32))
    if zero.dtype == np.uint8:
        zero = unpack(zero, grid.first_code, grid.bits, rows).reshape(rows, 1)
    return torch.from_numpy(codes).to(code_type(grid)), scale, torch.from_numpy(zero).to(scale.dtype).expand_as(scale)


def bits_per_weight(given: Arrays, layers: dict[str, Twin], kept: int = 0, /) -> float:
    """Return how many bits a weight takes in the mean, with its share of scales, zero points and what is kept of it.

    Weights that a scheme leaves in floating point count with the 32 bits that they take: those of `layers` that have no
    codes, and as many as are `kept` besides. What compensates a block's errors counts, too.
    """
    weights = kept
    stored = 32 * kept + sum(8 * array.nbytes for name, array in given.items() if COMPENSATION in name)
    for name, layer in layers.items():
        stored += bits_of(name, layer, given) if f"{name}.codes" in given else 32 * layer.weight.numel()
        weights += layer.weight.numel()
    return stored / weights if weights else 32.0


def bits_of(name: str, layer: Twin, given: Arrays, /) -> int:
    """Return how many bits the arrays of one quantized weight take."""
    parts = sum(8 * given[f"{name}.{part}"].nbytes for part in OF_LAYER if f"{name}.{part}" in given)
    return parts + 32 * (layer.weight_grid.tensor_scale is not None)


def least_bits(shape: torch.Size, grid: Grid, /) -> int:
    """Return how many bits the codes and scales of a weight take, without zero points, before any is rounded."""
    rows = len(blocks(torch.empty(shape, device="meta"), grid))
    tensor = 32 if grid.scales_as == "e4m3" else 0
    return -(-shape.numel() * grid.bits // 8) * 8 + rows * SCALE_BITS[grid.scales_as] + tensor


def _scale_as_stored(scale: torch.Tensor, grid: Grid) -> NDArray[Any]:
    if grid.scales_as == "e8m0":
        return (torch.log2(scale.double()) + BIAS).to(torch.uint8).numpy()
    if grid.scales_as == "e4m3":
        units = nearest_float_((scale / grid.tensor_scale).float(), "e4m3")  # the quotient is not always exact
        return codes_of_floats(units, "e4m3").to(torch.uint8).numpy()
    return scale.numpy().astype(np.float16 if grid.scales_as == "fp16" else np.float32)


def _scale_from_stored(scale: NDArray[Any], grid: Grid) -> torch.Tensor:
    """Return float32 scales; the same to the bit as those that were stored."""
    given = torch.from_numpy(scale)
    if grid.scales_as == "e8m0":
        return torch.exp2(given.double() - BIAS).float()
    if grid.scales_as == "e4m3":
        if grid.tensor_scale is None:
            raise ValueError("scales of e4m3 come without the scale of the tensor")
        return levels("e4m3")[given.long()] * grid.tensor_scale
    return given.float()


def _are_codes(zero: NDArray[Any], grid: Grid) -> bool:
    return not (zero % 1).any() and bool((zero >= grid.low).all() and (zero <= grid.high).all())
