"""What a table of probabilities or logits says of images, as the records that a study has of them; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from reliquant.evaluation.answers import Answers, indexed, of_classes
from reliquant.evaluation.records import CHUNK, TUNED, records_of
from reliquant.evaluation.scales import FEWEST, TEMPERATURE, WIDEST
from reliquant.measures.accuracy import labels_within
from reliquant.measures.conformal import halves, set_sizes
from reliquant.measures.divergence import top_of
from reliquant.measures.temperature import best_temperature

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
Kind = Literal["logits", "probabilities"]
MOST = 100_000_000  # probabilities that are held in double precision
Chunk = Callable[
    [slice | NDArray[np.integer]], NDArray[np.float64]
]  # images -> their logits, or log-probabilities, (k, c)


def answers_of_probabilities(
    probabilities: Floats, label: Labels, ood: Mapping[str, Floats] | None = None, /
) -> Answers:
    """Return the records of a table of softmax probabilities (n, c) with labels (n,).

    `ood` holds tables (m, c) of other images by the name of their set, of which the score MSP is known. A probability
    of 0 counts as the smallest positive number of its type. Raises ValueError for a table that holds no probabilities,
    naming the first such image, and for a label outside 0 .. c - 1.
    """
    require_probabilities(probabilities, label)
    for name, table in (ood or {}).items():
        try:
            require_probabilities(table, np.full(len(table), -1))
        except ValueError as error:
            raise ValueError(f"OOD set {name}: {error}") from error
    return _of_table(probabilities, label, ood or {}, "probabilities")


def answers_of_logits(logits: Floats, label: Labels, ood: Mapping[str, Floats] | None = None, /) -> Answers:
    """Return the records of a table of logits (n, c), as the softmax takes them, with labels (n,).

    `ood` holds tables (m, c) of other images by the name of their set, of which the scores MSP, max logit and energy
    are known. Raises ValueError for NaN or infinite logits, naming the first such image, and for a label outside
    0 .. c - 1.
    """
    for name, table, own in [("", logits, label), *((n, t, np.full(len(t), -1)) for n, t in (ood or {}).items())]:
        of = f"OOD set {name}: " if name else ""
        _require_table("logits", table, own)
        for start in range(0, len(own), CHUNK):
            bad = ~np.isfinite(table[start : start + CHUNK]).all(axis=1)
            if bad.any():
                raise ValueError(f"{of}logits of image {start + int(np.argmax(bad))} are NaN or infinite")
    return _of_table(logits, label, ood or {}, "logits")


def require_probabilities(probabilities: Floats, label: Labels, /) -> None:
    """Raise ValueError, naming the first such image, unless rows (n, c) are shares that sum to 1 within 0.01."""
    _require_table("probabilities", probabilities, label)
    within = (probabilities.min(axis=1) >= 0) & (probabilities.max(axis=1) <= 1 + 1e-6)
    bad = ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-2) | ~within
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"probabilities of {int(bad.sum())} images are not shares that sum to 1, first image {i}")


def _require_table(what: str, table: Floats, label: Labels) -> None:
    if table.ndim != 2 or len(table) != len(label) or not len(label):
        raise ValueError(f"need {what} (n, c) and n > 0 labels, got {table.shape} and {label.shape}")
    labels_within(label, table.shape[1])


def chunks_of(table: Floats, of: Kind, /) -> Chunk:
    """Return what gives the logits, or log-probabilities, of some of the images of a table."""
    tiny = np.finfo(table.dtype).tiny

    def chunk(at: slice | NDArray[np.integer]) -> NDArray[np.float64]:
        part = table[at]
        return part.astype(float) if of == "logits" else np.log(np.maximum(part, tiny, dtype=float))

    return chunk


def _of_table(table: Floats, label: Labels, ood: Mapping[str, Floats], of: Kind) -> Answers:
    chunk, n, classes = chunks_of(table, of), len(label), table.shape[1]
    parts = []
    for start in range(0, n, CHUNK):
        logits = chunk(slice(start, start + CHUNK))
        log_p = log_softmax(logits, axis=1)
        record = records_of(logits, label[start : start + CHUNK])
        parts.append(record.with_columns(set_sizes(log_p), *top_of(log_p), *(_scores(logits, of) if ood else [])))
    records, others = indexed(pl.concat(parts)), {}
    for name, other in ood.items():
        if other.shape[1] != classes:
            raise ValueError(f"OOD set {name}: {of} of {other.shape[1]} classes beside those of {classes}")
        one = chunks_of(other, of)
        each = []
        for start in range(0, len(other), CHUNK):
            logits = one(slice(start, start + CHUNK))
            each.append(records_of(logits, np.full(len(logits), -1)).with_columns(_scores(logits, of)))
        others[name] = indexed(pl.concat(each))
    records = records.with_columns(_at_temperature(chunk, label, classes))
    probabilities = table if of == "probabilities" else _softmax(chunk, n, classes)
    return Answers(records, others, of_classes=of_classes(probabilities, label))


def _softmax(chunk: Chunk, n: int, classes: int) -> Floats:
    found = np.empty((n, classes), float if n * classes <= MOST else np.float32)
    for start in range(0, n, CHUNK):
        at = slice(start, start + CHUNK)
        found[at] = np.exp(log_softmax(chunk(at), axis=1))
    return found


class _SomeLogits:
    """Be the logits (m, c) of some images of a table, computed where they are asked for."""

    def __init__(self, chunk: Chunk, rows: NDArray[np.integer], classes: int) -> None:
        self.chunk, self.rows, self.shape = chunk, rows, (len(rows), classes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, asked: slice) -> NDArray[np.float64]:
        return self.chunk(self.rows[asked])


def _scores(logits: NDArray[np.float64], of: Kind) -> list[pl.Series]:
    """Return the OOD scores that a table gives, as the plugins msp, max_logit and energy of `scores/` do."""
    top, total = logits.max(axis=1), logsumexp(logits, axis=1)
    found = {"msp": np.exp(top - total)} | ({"max_logit": top, "energy": total} if of == "logits" else {})
    return [pl.Series(f"score:{name}", values) for name, values in found.items()]


def _at_temperature(chunk: Chunk, label: Labels, classes: int) -> list[pl.Series]:
    """Return confidence, nll and brier at a temperature that the other half was fitted by, as `scales.at_temperature`.

    Empty where a half has too few images.
    """
    half, table = halves(np.arange(len(label), dtype=np.uint64)), np.empty((len(label), len(TUNED)), np.float32)
    if min(half.sum(), (~half).sum()) < FEWEST:
        return []
    for own in (half, ~half):
        others, mine = np.flatnonzero(~own), np.flatnonzero(own)
        fitted: Any = _SomeLogits(chunk, others, classes)
        t = float(np.clip(best_temperature(fitted, label[others]), 1 / WIDEST, WIDEST))
        for start in range(0, len(mine), CHUNK):
            at = mine[start : start + CHUNK]
            table[at] = records_of(chunk(at) / t, label[at]).select(TUNED).to_numpy()
    return [pl.Series(f"{name}_{TEMPERATURE}", table[:, i]) for i, name in enumerate(TUNED)]
