"""How the effective robustness of models is shown: as data, and as a line for each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reliquant.cli.columns import columns, window
from reliquant.cli.paired_output import wrapped
from reliquant.measures.robustness import Estimated, Robustness
from reliquant.measures.stats import holm
from reliquant.report.escaping import one_line
from reliquant.report.frames import marked
from reliquant.report.tabling import Change
from reliquant.stored.shifted import FP32, Listed

NOTE = (
    "Effective robustness: accuracy on shifted images minus what the line through the baselines ({baselines}), on"
    " {axis} axes, predicts from that on clean ones, in points (Taori et al. 2020); a baseline's own is its distance"
    " from a line that it drew itself. In brackets: 95 % intervals, from images drawn anew, for the line too; that"
    " other baselines might have been chosen is not in them. *, **, ***: p < .05, .01, .001 after Holm's correction for"
    " {tests} tests."
)
HEAD = ("model", "clean %", "shifted %", "effective robustness", "change to FP32")


def data_of(listed: Sequence[Listed], found: Robustness, /) -> dict[str, Any]:
    """Return what was found as JSON-like data: `models`, in the order of the list, and the `line`."""
    models = []
    for place, one in enumerate(listed):
        of: dict[str, Any] = {"model": one.model, "scheme": one.scheme, "precision": one.precision}
        of["baseline"] = one.baseline
        for name in ("clean", "shifted"):
            of[name] = _without_p(_numbers(getattr(found, name), place))
        of["effective_robustness"] = _numbers(found.effective, place)
        if one.scheme != FP32:
            of["change"] = _numbers(found.change, place)
        models.append(of)
    line = {name: _without_p(_numbers(getattr(found, name), 0)) for name in ("slope", "intercept", "r_squared")}
    return {"models": models, "line": line}


def text_of(data: dict[str, Any], /) -> str:
    """Lay out the data of models on `images`, with the line on an `axis`, for a terminal."""
    tested = []
    for one in data["models"]:
        tested += [one[name] for name in ("effective_robustness", "change") if name in one]
    p = holm([Change(part["value"], part["low"], part["high"]).p for part in tested])
    stars = {id(part): marked(float(corrected)) for part, corrected in zip(tested, p, strict=True)}
    lines = []
    for one in data["models"]:
        name = one["model"] if one["scheme"] == FP32 else f"{one['model']} {one['scheme']}"
        changes = [_cell(one.get(word), "+", stars) for word in ("effective_robustness", "change")]
        lines.append([one_line(name), _cell(one["clean"], "", {}), _cell(one["shifted"], "", {}), *changes])
    width = window()
    images = "{clean:,} clean and {shifted:,} shifted images".format(**data["images"])
    slope, share = (data["line"][name]["value"] for name in ("slope", "r_squared"))
    explained = "" if share is None else f" and R² {share:.2f}"
    title = wrapped(f"{len(lines)} models on {images}; the line has slope {slope:.2f}{explained}", width)
    baselines = sum(one["baseline"] for one in data["models"])
    note = NOTE.format(baselines=baselines, axis=data["axis"], tests=int(np.isfinite(p).sum()))
    return "\n".join([title, *columns(HEAD, lines, width=width), "", wrapped(note, width)])


def _numbers(estimate: Estimated, place: int) -> dict[str, float | None]:
    each = {word: float(getattr(estimate, word)[place]) for word in ("value", "low", "high", "p")}
    return {word: number if np.isfinite(number) else None for word, number in each.items()}


def _without_p(numbers: dict[str, float | None]) -> dict[str, float | None]:
    return {word: number for word, number in numbers.items() if word != "p"}


def _cell(part: dict[str, Any] | None, sign: str, stars: dict[int, str]) -> str:
    """Write a share in points with its interval and stars; nothing where there is none."""
    if not part or part["value"] is None:
        return ""
    ends = [f"{100 * part[end]:{sign}.1f}" for end in ("value", "low", "high") if part[end] is not None]
    value, *interval = ["0.0" if float(end) == 0 else end for end in ends]
    return f"{value} [{', '.join(interval)}]{stars.get(id(part), '')}" if interval else value
