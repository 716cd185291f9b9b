"""What `reliquant recommend` says, for a terminal: a line for each answer, and why the others are none."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import polars as pl

from reliquant.cli.columns import columns, window
from reliquant.cli.units import size_in_words
from reliquant.report.escaping import one_line
from reliquant.report.frames import VARIANT
from reliquant.report.recommend import Wish

WIDEST = 100  # columns of a line; where the window is narrower, its own
FORMS = ((4, "0."), (4, "."), (3, "."))  # decimals of values, and how they begin: shorter where lines are too wide
LISTED = 3  # variants that are named beside the number of their kind
LEGEND = (
    "sure: the confidence, the chance that a variant meets the wishes and none beats it; in brackets 95 % intervals"
)


def recommended_text(
    judged: pl.DataFrame, wishes: Sequence[Wish], cost: str, /, *, each: bool = False, notes: Sequence[str] = ()
) -> str:
    """Lay out judged variants (`report.recommend.judged`): the answers, and why the others are none, or `each`.

    `notes` are sentences that come last.
    """
    names = _names(judged)
    judged = judged.with_columns(name=pl.Series(names, dtype=pl.String))
    found, others = judged.filter(why_not=""), judged.filter(pl.col("why_not") != "")
    lines = _table(found, wishes, cost) if found.height else ["no variant meets the wish" + "es" * (len(wishes) > 1)]
    if others.height:
        lines += ["", *(_each(others) if each else _kinds(others, wishes))]
    return "\n".join([*lines, *_wrapped(map(one_line, notes))])


def _wide() -> int:
    return min(window() or WIDEST, WIDEST)


def _wrapped(sentences: Iterable[str]) -> list[str]:
    """Break sentences into lines that fit; those that go on are indented more than the sentence's beginning."""
    lines = []
    for sentence in sentences:
        start = sentence[: len(sentence) - len(sentence.lstrip())]
        lines += textwrap.wrap(sentence, _wide(), initial_indent="", subsequent_indent=f"{start}  ")
    return lines


def _names(variants: pl.DataFrame) -> list[str]:
    """Name variants by the words in which they differ, and by their schemes and precisions."""
    words = [name for name in VARIANT if name not in ("family", "source")]
    apart = [name for name in words if name in ("scheme", "precision") or variants[name].n_unique() > 1]
    lines = variants.select(apart).rows()
    return [one_line(" ".join(str(word) for word in line if word not in (None, ""))) for line in lines]


def _table(found: pl.DataFrame, wishes: Sequence[Wish], cost: str) -> list[str]:
    wide = _wide()
    for decimals, zero in FORMS:
        shown = columns(*_lines(found, wishes, cost, decimals, zero), right=(cost,))
        if max(map(len, shown)) <= wide:
            return [*shown, *textwrap.wrap(LEGEND, wide)]
    below = columns(*_lines(found, wishes, cost, *FORMS[0]), right=(cost,), width=wide)
    return [*below, *textwrap.wrap(LEGEND, wide)]


def _lines(
    found: pl.DataFrame, wishes: Sequence[Wish], cost: str, decimals: int, zero: str
) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of a table, with values of so many decimals, 0.5 as `zero` and 5."""

    def number(value: float) -> str:
        shown = f"{value:.{decimals}f}"
        shown = shown.lstrip("-") if float(shown) == 0 else shown
        return shown.replace("0.", zero, 1) if abs(value) < 1 else shown

    head = ["variant", cost, *(wish.text for wish in wishes), "sure"]
    lines = []
    for row in found.iter_rows(named=True):
        cells = [row["name"], size_in_words(row["cost"]) if cost == "bytes" else f"{row['cost']:,.4g}"]
        for wish in wishes:
            low, high = row[f"{wish.text}_low"], row[f"{wish.text}_high"]
            ends = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
            cells.append(number(row[wish.text]) + ends)
        lines.append([*cells, "?" if row["confidence"] is None else f"{row['confidence']:.2f}"])
    return head, lines


def _each(others: pl.DataFrame) -> list[str]:
    """Say of each variant why it is no answer."""
    head = "not recommended (a variant that beats another costs no more and is no worse in any wish):"
    return _wrapped([head, *(f"  {name}: {one_line(why)}" for name, why in others.select("name", "why_not").rows())])


def _kinds(others: pl.DataFrame, wishes: Sequence[Wish]) -> list[str]:
    """Count the variants that are no answer by why, and name those that are nearest to be one."""
    lines = [f"not recommended: {others.height:,} (--all says why of each)"]
    meets = pl.Series([True] * others.height)
    for wish in wishes:
        met = pl.Series([wish.met(value) for value in others[wish.text]], dtype=pl.Boolean)
        meets &= met
        failed = others.filter(~met)
        if failed.height:
            near = failed.sort(wish.text, descending=wish.sign > 0).row(0, named=True)
            lines.append(
                f"  {failed.height:,} without {wish.text}; the nearest is {near['name']}, {near[wish.text]:.4g}"
            )
    beaten = others.filter(meets)
    if beaten.height:
        some = ", ".join(beaten["name"].head(LISTED)) + (", ..." if beaten.height > LISTED else "")
        lines.append(f"  {beaten.height:,} beaten by an answer that costs no more and is no worse in any wish: {some}")
    return _wrapped(lines)
