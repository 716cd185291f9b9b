"""The proof that twins are the layers: with rounding switched off, a model embeds as FP32 does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from reliquant.layers.surgery import before_first_code, twins
from reliquant.layers.twins import Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.models.parts import tensors_in
from reliquant.models.shapes import is_shape_only
from reliquant.quantization.proxy import Proxy, embed

PAIRS = 16  # of the first calibration batch
TOLERANCE = 1e-4  # relative; FP32 rounds to 1e-7, and a deep model adds up to 1e-5
KEPT = 256  # numbers of each module's output, to name the first that differs

Sketches = dict[str, torch.Tensor]  # in the order in which the modules finish


class Unchanged:
    """Hold what FP32 makes of the first pairs, and compare with it what its twins make, unrounded, of the same.

    Made before anything of the model is changed. A model that has shapes and no values (meta) has nothing to compare:
    only that each twin runs is seen. Raises ValueError if FP32's embeddings are not finite.
    """

    def __init__(self, clip: Clip, proxy: Proxy, /) -> None:
        self.clip, self.pairs = clip, next(proxy.in_order(clip, PAIRS))
        self.has_values = not is_shape_only(clip.model)
        self.kinds = {name: type(module) for name, module in clip.model.named_modules()}
        with _sketched(clip.model) as self.sketches:
            self.exact = self._embedded()
        for tower, embeddings in self.exact.items():
            if self.has_values and not torch.isfinite(embeddings).all():
                first = next((name for name, x in self.sketches.items() if not torch.isfinite(x).all()), "none")
                raise ValueError(
                    f"FP32's own {tower} embeddings of the pairs are not finite; the first layer with such an output "
                    f"is {first}"
                )

    def require_twins(self) -> float:
        """Return the relative difference of the embeddings that twins make.

        Raises ValueError where a twin is not the layer: its forward never runs, or the difference is no rounding error.
        """
        with unrounded(self.clip.model), _sketched(self.clip.model) as found:
            embeddings = self._embedded()
        past = [name for name in twins(self.clip.model) if name not in found]
        if past:
            parent = past[0].rpartition(".")[0]
            raise ValueError(
                f"{past[0]}: its weight is used past the layer, by {self._class(parent)} ({parent}), so that nothing "
                f"could round its input; {len(past)} layers are like it, and there is no unpacked form of them here"
            )
        return self._compare(embeddings, found, "twins")

    def require_method(self, method: str, /) -> None:
        """Raise ValueError where what a method changed in floating point changes the embeddings."""
        with unrounded(self.clip.model), _sketched(self.clip.model) as found:
            embeddings = self._embedded()
        self._compare(embeddings, found, method)

    def require_attention(self) -> None:
        """Raise ValueError where attention whose factors are seen, and not yet rounded, gives other embeddings."""
        with _sketched(self.clip.model) as found:
            embeddings = self._embedded()
        self._compare(embeddings, found, "pieces beside attention")

    def watch(self, method: str, /) -> None:
        """Let the twins call `require_method` once, when the method has done all that it changes in floating point."""

        def look() -> None:
            with torch.no_grad():
                self.require_method(method)

        before_first_code(self.clip.model, look)

    def _embedded(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            seen = embed(self.clip, *self.pairs)
        return {"image": seen.image, "text": seen.text}

    def _compare(self, embeddings: Mapping[str, torch.Tensor], found: Sketches, who: str) -> float:
        if not self.has_values:
            return 0.0
        far = {tower: _difference(x, self.exact[tower]) for tower, x in embeddings.items()}
        worst = max(far, key=lambda tower: far[tower])
        if far[worst] <= TOLERANCE:
            return far[worst]
        raise ValueError(
            f"with rounding switched off, the {who} give other {worst} embeddings than FP32 (relative difference "
            f"{far[worst]:.2g}, allowed {TOLERANCE:g}); the first layer whose output differs is {self._first(found)}"
        )

    def _first(self, found: Sketches) -> str:
        """Name the first layer that differs, in the order of execution: of those with twins, else any."""
        layers = [name for name in self.sketches if isinstance(self._now(name), Twin)]
        for name in [*layers, *self.sketches]:
            before, after = self.sketches[name], found.get(name)
            if after is not None and (after.shape != before.shape or _difference(after, before) > TOLERANCE):
                return f"{name} ({self._class(name)})"
        return "in none of those that both run"

    def _now(self, name: str) -> nn.Module | None:
        try:
            return self.clip.model.get_submodule(name)
        except AttributeError:  # it was unpacked
            return None

    def _class(self, name: str) -> str:
        kind = self.kinds.get(name) or type(self._now(name))
        return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _sketched(model: nn.Module) -> Iterator[Sketches]:
    """Keep a few numbers of every module's first output while the block runs."""
    found: Sketches = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensors = tensors_in(output)
            if name not in found:
                found[name] = _sketch(tensors[0]) if tensors else torch.zeros(0)

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _sketch(x: torch.Tensor) -> torch.Tensor:
    flat = x.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // KEPT)][:KEPT].float().clone()


def _difference(x: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the relative difference of a tensor to the exact one, infinite where it is not finite."""
    found = ((x.float() - exact.float()).norm() / exact.float().norm().clamp(min=1e-30)).item()
    return found if found == found else float("inf")
