"""The search of `mixed`: what each choice of bits costs in each layer, which are taken, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant import plugins
from reliquant.grid import FLOAT_BITS, Grid, parse_precision
from reliquant.layers import stored
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.models.shapes import is_shape_only
from reliquant.progress import progress, say
from reliquant.quantization.allocate import UndecidedError, allocate
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.pages import LARGE, pages_of_their_own
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.proxy_loss import Measure, ProxyLoss
from reliquant.quantization.single_layers import Words, copied, swapped, tower_of

UNITS = 200_000  # steps of the budget: costs are sums of widths, so that hardly any tower needs as many
FLOATING = Grid(bits=FLOAT_BITS)


@dataclass(frozen=True)
class Budget:
    """Say what all quantized weights may take: stored bits a weight, or bytes; else what uniform bits take."""

    bits: float | None = None
    bytes: int | None = None

    def of(self, weights: int, uniform: int, /) -> float:
        """Return the budget in bits of a number of weights, of which those of uniform bits take `uniform`."""
        if self.bytes is not None:
            return 8.0 * self.bytes
        return float(uniform) if self.bits is None else self.bits * weights


@dataclass(frozen=True)
class Tried:
    """Hold what each option adds to the loss in each layer alone, and its stored bits, (k, c); and uniform bits'."""

    losses: NDArray[np.float64]
    costs: NDArray[np.int64]
    uniform_loss: float
    uniform_bits: dict[str, int]  # by layer


class Search:
    """Hold a model whose layers nothing rounds yet, and the method that will round them."""

    def __init__(
        self,
        clip: Clip,
        names: list[str],
        proxy: Proxy,
        method: str,
        words: Mapping[str, Any],
        weight: Grid,
        activation: Grid,
        /,
    ) -> None:
        entry = {"quantizer": method, **words, "weight": asdict(weight), "activation": asdict(activation)}
        self.method, self.quantize = method, plugins.load("quantizer", entry)
        self.clip, self.names, self.proxy, self.weight, self.activation = clip, names, proxy, weight, activation
        self.layers = insert_twins(clip.model, names, FLOATING, FLOATING)
        self.free = [name for name, layer in self.layers.items() if layer.own_words is None]

    def run(
        self, choices: Sequence[int | str], budget: Budget, measure: Measure, /, *, samples: int, batch: int
    ) -> dict[str, float]:
        """Find bits for each free layer, quantize the model in place, and return its loss and that of uniform bits."""
        if is_shape_only(self.clip.model) or not self.free:  # no values to measure, or nothing to choose
            self._quantize(self.clip)
            return {}
        options = {choice: self._words(choice) for choice in choices}
        self._require_room(options, budget)
        loss = ProxyLoss(self.clip, self.proxy, measure, pairs=samples, batch=batch)
        tried = self._tried(options, loss)
        uniform = sum(tried.uniform_bits.values())
        allowed = budget.of(self._count(), uniform)
        left = allowed - sum(bits for name, bits in tried.uniform_bits.items() if name not in self.free)
        chosen = dict(zip(self.free, self._allocated(list(options), tried, left), strict=True))
        for name, choice in chosen.items():
            self.layers[name].own_words = options[choice]
        self._quantize(self.clip)
        self._require_kept(allowed)
        found = loss.of(self.clip)[0]
        self._tell(measure, (found, tried.uniform_loss), (uniform, allowed), chosen)
        return {"proxy_loss": found, "proxy_loss_uniform": tried.uniform_loss}

    def _words(self, choice: int | str) -> Words:
        """Return what a choice says of the grids: the inputs' stays what it is."""
        return parse_precision(f"w{choice}a{FLOAT_BITS}")[0], asdict(self.activation)

    def _rounded(self, own: Mapping[str, Words]) -> Clip:
        """Return a copy of the model whose layers the method has rounded, some at a precision of their own."""
        model = copied(self.clip, own)
        self._quantize(model)
        return model

    def _quantize(self, clip: Clip) -> None:
        with pages_of_their_own(LARGE):
            self.quantize(clip, self.names, self.proxy, Checkpoints())

    def _tried(self, options: Mapping[int | str, Words], loss: ProxyLoss) -> Tried:
        """Round all layers with uniform bits, then with each option, and try each free layer alone at each."""
        model: Clip | None = self._rounded({})
        uniform_bits = bits = self._stored(model)
        uniform_loss = loss.of(model)[0]
        losses, costs = np.zeros((len(self.free), len(options))), np.zeros((len(self.free), len(options)), np.int64)
        same = [choice for choice, words in options.items() if self.weight.at(words[0]) == self.weight]
        for column, choice in sorted(enumerate(options), key=lambda option: option[1] not in same):
            if choice not in same:
                model = None  # frees a copy before the next is made
                model = self._rounded(dict.fromkeys(self.free, options[choice]))
                bits = self._stored(model)
            for row, name in enumerate(progress(self.free, label=f"mixed: w{choice} in one layer at a time")):
                costs[row, column] = bits[name]
                losses[row, column] = self._added(name, model.model.get_submodule(name), loss, choice)
        return Tried(losses, costs, uniform_loss, uniform_bits)

    def _added(self, name: str, other: Any, loss: ProxyLoss, choice: int | str) -> float:
        with swapped({self.layers[name]: other}):
            try:
                return loss.added(self.clip, [tower_of(self.clip, name)])
            except ValueError as error:
                raise ValueError(f"mixed: {name} at w{choice} by itself: {error}") from error

    def _allocated(self, choices: list[int | str], tried: Tried, budget: float) -> list[int | str]:
        """Return each free layer's choice; raise ValueError where the least exceeds the budget, or all lose alike."""
        try:
            return [choices[option] for option in allocate(tried.losses, tried.costs, budget, units=UNITS)]
        except UndecidedError as error:
            told = f"{error} on the proxy's pairs, so that nothing says where bits matter"
            raise ValueError(f"mixed: {told}; name another measure, or give it more samples") from error
        except ValueError as error:
            least = int(tried.costs.min(1).sum())
            raise ValueError(_too_little(least, budget, self._count(self.free))) from error

    def _require_room(self, options: Mapping[int | str, Words], budget: Budget) -> None:
        """Raise ValueError where codes and scales alone exceed a budget, before anything is rounded."""
        if budget == Budget():
            return
        least, grids = 0, [self.weight.at(words[0]) for words in options.values()]
        for layer in self.layers.values():
            own = [self.weight.at(layer.own_words[0])] if layer.own_words else grids
            least += min(0 if grid.floating else stored.least_bits(layer.weight.shape, grid) for grid in own)
        allowed = budget.of(self._count(), 0)
        if least > allowed:
            raise ValueError(_too_little(least, allowed, self._count()))

    def _require_kept(self, allowed: float) -> None:
        """Raise ValueError where the zero points of the rounded model take more than those that were tried."""
        taken = sum(self._stored(self.clip).values())
        if taken > allowed * (1 + 1e-9):
            raise ValueError(f"mixed: budget: the model takes {taken} bits, more than {allowed:g}; name a smaller one")

    def _stored(self, clip: Clip) -> dict[str, int]:
        """Return the stored bits of each rounded layer's weight."""
        layers = {name: clip.model.get_submodule(name) for name in self.names}
        found = {}
        for name, layer in layers.items():
            if isinstance(layer, Twin) and layer.codes is not None:
                found[name] = stored.bits_of(name, layer, stored.arrays(name, layer))
        return found

    def _count(self, names: Sequence[str] | None = None) -> int:
        """Return how many weights the layers have that are rounded."""
        rounded = [layer for name, layer in self.layers.items() if names is None or name in names]
        return sum(layer.weight.numel() for layer in rounded if not (layer.own_words and _floats(layer.own_words)))

    def _tell(
        self, measure: Measure, losses: tuple[float, float], bits: tuple[int, float], chosen: Mapping[str, int | str]
    ) -> None:
        """Say what was chosen, and whether uniform bits, where they fit the budget, are better on the proxy.

        `losses` are those of the choice and of uniform bits, `bits` what uniform bits take and what there is.
        """
        (found, known), (uniform, allowed), count = losses, bits, self._count()
        taken = sum(self._stored(self.clip).values())
        counts = {choice: list(chosen.values()).count(choice) for choice in dict.fromkeys(chosen.values())}
        told = ", ".join(f"{number} layers at w{choice}" for choice, number in counts.items())
        say("mixed", f"{told}: {measure} {found:.6g} on the proxy at {taken / count:.3f} stored bits a weight")
        better = "; uniform bits are better there" if known < found and uniform <= allowed else ""
        say("mixed", f"{self.method} with uniform bits: {measure} {known:.6g} at {uniform / count:.3f}{better}")


def _too_little(least: int, budget: float, weights: int) -> str:
    told = f"the layers take at least {least / weights:.3f} stored bits a weight with the least of the choices"
    return f"mixed: budget: {told}, more than the {budget / weights:.3f} there are; name smaller choices"


def _floats(words: Words) -> bool:
    return bool(words[0]["bits"] >= FLOAT_BITS)
