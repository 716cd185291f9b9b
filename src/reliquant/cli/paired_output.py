"""How variants beside a reference are shown: a block for each, a line for each measure, in any width of window."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from reliquant.cli.columns import columns, window
from reliquant.cli.output import Output
from reliquant.cli.units import counted
from reliquant.measures.stats import holm
from reliquant.report.escaping import one_line
from reliquant.report.frames import marked
from reliquant.report.tabling import Change

USUAL = 100  # columns of text in a pipe
OWN = "interval ["  # begins the interval of a value that is of variant and reference together, in place of a change
ZERO = 1e-12  # what is nearer to 0 is rounding of float64
HEAD = ("measure", "value", "reference", "unit", "change")
NUMBERS = ("value", "low", "high", "p", "n")
Units = Sequence[tuple[str, str, str, float, int]]
UNITS: Units = (  # the first that a name matches: unit of values, of changes, by what they are multiplied, digits
    (r"(^accuracy_delta|_relative_change)$", "% of FP32", "% of FP32", 100, 1),
    (r"^squared_ce", "points²", "points²", 1e4, 1),
    (r"^(nll|kl_to_fp32)", "nats", "nats", 1, 4),
    (r"^brier", "", "", 1, 4),
    (r"^best_temperature", "", "", 1, 3),
    (r"^conformal_size", "classes", "classes", 1, 2),
    (r"^bytes", "bytes", "bytes", 1, 0),
    (r"^stored_bits", "bits", "bits", 1, 2),
    (r"^dead_channels", "", "", 1, 0),
    (r"^logit_scale", "", "", 1, 1),
    (r"", "%", "points", 100, 1),
)
LEGEND = (
    "In brackets: 95 % interval of the change, paired by image; a change without one has no test. *, **, ***: p < .05,"
    " .01, .001 after Holm's correction for the {tests} changes with an interval here."
)


@dataclass
class Line:
    """Hold what is known of a measure: of the variant, of the reference, and of the change, each as in `NUMBERS`."""

    value: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    change: dict[str, Any] = field(default_factory=dict)
    stars: str = ""


Lines = dict[str, dict[str, Line]]  # by dataset, "" for what is of no image, and measure


def lines_of(rows: pl.DataFrame, scheme: str, /, *, scale: str = "native") -> Lines:
    """Put the rows of a variant, and those of FP32 beside them, in one line for each dataset and measure.

    A measure of an OOD score is called <score>_<measure>.
    """
    found: Lines = {}
    at = pl.col("scale") == scale
    for whose, own in (("value", at & (pl.col("scheme") == scheme)), ("reference", at & (pl.col("scheme") == "fp32"))):
        for row in rows.filter(own).iter_rows(named=True):
            name = f"{row['score']}_{row['measure']}" if row["score"] else row["measure"]
            numbers = {number: row[number] for number in NUMBERS}
            alone = row["measure"].endswith("_relative_change")  # a change with no value of its own
            if whose == "value" and name.endswith("_change") and not alone:
                line = found.setdefault(row["dataset"], {}).setdefault(name.removesuffix("_change"), Line())
                line.change = numbers
            elif row["value"] is not None:
                setattr(found.setdefault(row["dataset"], {}).setdefault(name, Line()), whose, numbers)
    for lines in found.values():
        for name, line in lines.items():  # a change of sets with FP32's thresholds is to FP32 with its own
            own = lines.get(re.sub("^(conformal_.*)_fp32$", r"\1_own", name), line)
            line.reference = line.reference or own.reference
    return {dataset: {name: line for name, line in lines.items() if line.value} for dataset, lines in found.items()}


def paired_output(rows: pl.DataFrame, reference: str, said: Sequence[str], /) -> Output:
    """Show the rows of `measure_paired`: for each variant a block, for each measure a line; `said` is what was assumed.

    The stars are those of the page: p-values from the intervals, corrected for all changes that are shown.
    """
    names = rows.filter(pl.col("scheme") != "fp32")["scheme"].unique(maintain_order=True).to_list()
    blocks = {name: lines_of(rows, name) for name in names}
    tests = _star([line for block in blocks.values() for line in _every(block)])
    width = window()
    titles = _titles(rows)
    texts = [_block(name, reference, block, titles, width) for name, block in blocks.items()]
    texts.append(wrapped(LEGEND.format(tests=tests), width))
    others = [scale for scale in rows["scale"].unique().sort() if scale not in ("native", "")]
    if others:
        texts.append(wrapped(f"Values at other logit scales ({', '.join(others)}) are in --json and --rows.", width))
    scales = {scale: {name: _data(lines_of(rows, name, scale=scale)) for name in names} for scale in others}
    data = {"reference": reference, "variants": {name: _data(block) for name, block in blocks.items()}}
    return Output({**data, "scales": scales, "assumed": list(said)}, "\n\n".join(texts))


def wrapped(text: str, width: int | None, /) -> str:
    """Break a text at blanks so that it fits a window, of whatever width; a pipe gets lines of a usual one."""
    return "\n".join(textwrap.wrap(text, width or USUAL))


def _every(block: Lines) -> Iterator[Line]:
    for lines in block.values():
        yield from lines.values()


def _star(lines: Sequence[Line]) -> int:
    """Mark the changes of lines, corrected for the number of those with an interval; return that number."""
    p = [Change(**{end: line.change.get(end) for end in ("value", "low", "high")}).p for line in lines]
    for line, corrected in zip(lines, holm(p), strict=True):
        line.stars = marked(float(corrected))
    return sum(one == one for one in p)


def _data(block: Lines) -> dict[str, Any]:
    """Return a block as JSON-like data."""
    found: dict[str, Any] = {}
    for dataset, lines in block.items():
        own = found.setdefault(dataset, {})
        for name, line in lines.items():
            known = {"reference": line.reference, "change": line.change}
            own[name] = {**line.value, **{word: numbers for word, numbers in known.items() if numbers}}
            own[name].pop("p", None)
    return found


def _titles(rows: pl.DataFrame) -> dict[str, str]:
    """Return the line above the measures of each dataset, which says of how many images they are.

    A measure of OOD detection is of labelled images and of others, and its n counts both.
    """
    found = {"": "the variant itself"}
    labelled = rows.filter(suite="clean", measure="accuracy")["n"].max()
    for name in rows.filter(pl.col("dataset") != "")["dataset"].unique(maintain_order=True):
        own = rows.filter(dataset=name)
        both = own.filter(suite="ood", measure="auroc")["n"].max()
        if isinstance(both, int) and isinstance(labelled, int):
            told = f"{counted(both - labelled, 'other image')} beside the {labelled:,} labelled"
        else:
            told = counted(int(own["n"].max() or 0), "image")  # type: ignore[arg-type]
        found[name] = f"{one_line(name)}: {told}"
    return found


def _block(name: str, reference: str, block: Lines, titles: Mapping[str, str], width: int | None) -> str:
    """Lay out a variant: a line for each measure, or a few where the window is narrow."""
    lines: list[tuple[str, ...]] = []
    for dataset, measures in block.items():
        lines.append((titles[dataset],))
        lines += [cells_of(measure, line) for measure, line in measures.items()]
    title = wrapped(f"{one_line(name)} beside {one_line(reference)}", width)
    narrow = [narrow_cells(line) for line in lines]
    return "\n".join([title, *columns(HEAD, lines, right=("value", "reference"), width=width, narrow=narrow)])


def narrow_cells(cells: tuple[str, ...], /) -> tuple[str, ...]:
    """Return the cells of a line for a narrow window: numbers with their units, an interval beside what it is of."""
    if len(cells) < len(HEAD):
        return cells
    measure, value, reference, unit, change = cells
    value, reference = (f"{number} {unit}".rstrip() if number else "" for number in (value, reference))
    if change.startswith(OWN):
        value, change = f"{value}, {change}", ""
    return measure, value, reference, "", change


def cells_of(measure: str, line: Line, /, *, units: Units = UNITS) -> tuple[str, ...]:
    """Write a measure, the variant's value, the reference's, their unit, and the change with interval and stars."""
    name = re.sub(r"^(mcm|msp|max_logit|energy)_", "", measure)
    unit, of_change, factor, digits = next(found[1:] for found in units if re.search(found[0], name))

    def written(number: float | None, sign: str = "") -> str:
        if number is None:
            return ""
        text = f"{number * factor:{sign},.{digits}f}"
        if re.search("[1-9]", text):
            return text
        small = digits > 2 and abs(number) > ZERO  # nats and squares of probabilities may all be small
        return f"{number * factor:{sign}.2g}" if small else text.lstrip("+-")

    value, low, high = (written(line.value.get(end)) for end in ("value", "low", "high"))
    if not line.change:  # what is of both together has an interval of its own
        own = f"{OWN}{low}, {high}]" if low and not line.reference else ""
        return f"  {measure}", value, written(line.reference.get("value")), unit, own
    change, low, high = (written(line.change.get(end), "+") for end in ("value", "low", "high"))
    interval = f" [{low}, {high}]" if low else ""
    words = f"{change}{interval}{line.stars} {of_change}" if change else "undefined"
    return f"  {measure}", value, written(line.reference.get("value")), unit, words.rstrip()
