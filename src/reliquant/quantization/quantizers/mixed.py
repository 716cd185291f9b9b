"""Bits for each layer by what its own rounding costs, within the stored bits of the precision or another budget.

The method rounds all layers at each of the `choices`; each weight that comes of it is then put by itself into the FP32
model, and the loss that this adds is measured on the proxy's first pairs (`proxy_loss.py`). A dynamic program takes for
each layer the choice of the least sum of losses within the budget. That losses of single layers add up is what Hubara
et al. 2021 (arXiv 2006.10518, section 3.4) assume. Inputs keep the bits of the precision.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from reliquant.grid import Grid
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.mixed_bits import Budget, Search
from reliquant.quantization.proxy import Proxy

FORMATS = True  # it takes small floats and blocks, too, where its method does
MEASURES = ("proxy_loss", "proxy_loss_uniform")  # what its variants have beside those of all others


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    method: str = "rtn",
    words: dict[str, Any] = {},  # noqa: B006  a literal, read from the source; never changed
    choices: list[int | str] = [2, 3, 4, 8],  # noqa: B006  likewise
    measure: Literal["output_error", "accuracy", "nll", "calibration", "ood_gap"] = "output_error",
    budget: Annotated[float | None, Field(allow_inf_nan=False)] = None,
    budget_bytes: int | None = None,
    samples: Annotated[int, Field(ge=1)] = 128,
    batch: Annotated[int, Field(ge=1)] = 16,
) -> dict[str, float]:
    """Quantize the named layers in place by `method` with its `words`; return the proxy's loss, with uniform bits too.

    The budget is that of the method with the precision's bits in all layers; or `budget` stored bits a weight; or
    `budget_bytes`: of all layers that are rounded. Layers that have a precision of their own (`layers: other`) keep it,
    and count; those kept in floating point come on top, in `stored_bits`, too. The first `samples` pairs of the proxy
    measure losses. Raises ValueError where the least of the choices exceeds the budget.
    """
    search = Search(clip, names, proxy, method, words, weight, activation)
    return search.run(choices, Budget(budget, budget_bytes), measure, samples=samples, batch=batch)
