"""A model card of variants, in Markdown with front matter: what was measured, and what not; free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from reliquant.files.artifacts import UNKNOWN
from reliquant.report import choice
from reliquant.report.card_front import About, front_matter, is_fp32
from reliquant.report.card_lines import (
    ASKED,
    FP32,
    OF_BOTH,
    SHOWN,
    Shown,
    absent,
    of_files,
    of_variant,
    shown,
    starred,
    undefined,
)
from reliquant.report.escaping import markdown
from reliquant.report.frames import Rows

NOTHING = About()  # is known beside the rows
UNITS = (  # the first that a name matches: unit of values, of changes, by what they are multiplied, decimals
    (r"^squared_ce", "points²", "points²", 1e4, 1),
    (r"^nll", "nats", "nats", 1.0, 4),
    (r"^brier", "", "", 1.0, 4),
    (r"", "%", "points", 100.0, 1),
)
WORDS = {"model": "Model", "source": "Pre-trained on", "scheme": "Scheme", "family": "Family"}
WORDS |= {"precision": "Precision", "scope": "Towers", "proxy": "Proxy", "seed": "Seed"}
MEANT = {
    "precision": "w: bits of weights, a: bits of activations",
    "scope": "which towers are quantized",
    "proxy": "the image-caption pairs for calibration or training",
}
READ = """\
- `n` is the number of images of a set (of both sets together for OOD detection, of queries for search).
- In brackets stands the 95 % interval of the change from FP32 on the same images, each by itself: of other images of
  the same kind. It says nothing of other sets, prompts or languages.
- \\*, \\*\\*, \\*\\*\\*: p < .05, .01, .001, after Holm's correction for the {tests} changes with an interval here.
  No star does not mean no change: it means that so many images do not show one.
- `squared_ce` is the debiased squared calibration error, in points squared (from 5 to 6 points is +11); `ece` is as
  published, has no interval, and is never tested.
"""


def card(rows: Rows | None, about: About = NOTHING, /, *, variants: pl.DataFrame | None = None) -> str:
    """Write the card of variants of rows (by default all quantized ones), or of a model that was not measured.

    `rows` are a study's; without them the card says that nothing was measured, of `about.variant`. Every text of rows
    and of `about` but its usage is escaped, for YAML and for Markdown.
    """
    if rows is None:
        named = _name(about.variant)
        head = front_matter(about, [(named, about.variant, [])] if about.variant else [])
        told = "Nothing was measured of this model: how it differs from FP32 is not known.\n"
        parts = [_title(about, [named]), *_quantized(about.variant, {}), _section("What was measured", told)]
        return _joined(head, [*parts, *_provenance(about, None)])
    chosen = choice.variants(rows, {}) if variants is None else variants
    words, names = chosen.rows(named=True), choice.names(chosen)
    lines, tests = starred([shown(rows, one) for one in words])
    parts = [_title(about, names)]
    for name, one, measured in zip(names, words, lines, strict=True):
        parts += [f"# {markdown(name)}\n"] if len(names) > 1 else []
        parts += [*_quantized(one, of_variant(rows, one)), *_of_files(of_files(rows, one))]
        parts += [_measured(one, measured), _not_measured(rows, one)]
    parts += [_section("How to read this", READ.format(tests=f"{tests:,}")), *_provenance(about, rows)]
    return _joined(front_matter(about, list(zip(names, words, lines, strict=True))), parts)


def _joined(head: str, parts: Sequence[str]) -> str:
    return "\n".join([head, *filter(None, parts)])


def _name(variant: Mapping[str, Any]) -> str:
    return " ".join(str(variant[word]) for word in ("model", "scheme", "precision", "scope") if variant.get(word))


def _title(about: About, names: Sequence[str]) -> str:
    title = about.title or (names[0] if len(names) == 1 else f"{len(names)} variants") or "A model"
    usage = f"\n{about.usage.rstrip()}\n" if about.usage else ""
    return f"# {markdown(title)}\n{usage}"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table of cells that are Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *lines])


def _quantized(variant: Mapping[str, Any], known: Mapping[str, float]) -> list[str]:
    """Say what was quantized and how; nothing where nothing is known."""
    if not variant:
        return []
    lines = []
    for word, title in WORDS.items():
        value = variant.get(word)
        if value not in (None, "", "none", UNKNOWN):
            told = f" ({MEANT[word]})" if word in MEANT and value != FP32 else ""
            lines.append([f"{title}{told}", markdown(str(value))])
    if "stored_bits" in known:
        lines.append(["Stored bits of a weight, scales counted", f"{known['stored_bits']:.2f}"])
    if "bytes" in known:
        of = f" (FP32: {known['bytes_fp32']:,.0f})" if "bytes_fp32" in known else ""
        lines.append(["Bytes of the model", f"{known['bytes']:,.0f}{of}"])
    for word, title in (("quantized_block_share", "weights of the blocks"), ("quantized_mac_share", "products")):
        if word in known:
            lines.append([f"Share of the {title} that is quantized", f"{known[word]:.1%}"])
    title = "The model" if is_fp32(variant) else "What was quantized, and how"
    return [_section(title, _table(["", ""], lines))]


def _of_files(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Show times, sizes and memory of exported towers; nothing where none were measured."""
    if not lines:
        return []
    cells = []
    for line in lines:
        numbers = [line[end] for end in ("value", "low", "high") if line[end] is not None]
        value, *ends = [f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}" for number in numbers]
        value += _plain(f" [{', '.join(ends)}]") if len(ends) == 2 else ""
        cells.append([markdown(line["group"]), markdown(line["measure"]), f"{line['n']:,}" if line["n"] else "", value])
    told = (
        "Of one machine, which the rows' file names; medians over rounds with 95 % intervals where there are any.\n\n"
    )
    return [_section("The exported files", told + _table(["Tower", "Measure", "Rounds", "Value"], cells))]


def _measured(variant: Mapping[str, Any], lines: Sequence[Shown]) -> str:
    """Say what was measured: a table for each suite."""
    if not lines:
        return _section("What was measured", "Nothing of what a card shows is among the rows of this variant.\n")
    runtime = str(variant["scheme"]).partition("@")[2]
    if runtime:
        ran = f"The exported file itself was measured, run by {markdown(runtime)}."
    else:
        ran = "Measured by reliquant in PyTorch. An exported file may answer a few images differently in its runtime."
    parts = [ran + "\n"]
    for suite in SHOWN:
        own = [line for line in lines if line.suite == suite]
        if own:
            head = ["Set", "Measure", "n", "Value", "FP32", "Change from FP32 (95 % interval)"]
            parts.append(f"### {suite}: {ASKED[suite]}\n\n{_table(head, [_cells(line) for line in own])}")
    return _section("What was measured", "\n".join(parts))


def _cells(line: Shown) -> list[str]:
    unit, of_change, factor, digits = next(found[1:] for found in UNITS if re.search(found[0], line.measure))

    def written(number: float | None, sign: str = "") -> str:
        text = "" if number is None else f"{number * factor:{sign},.{digits}f}"
        return text if re.search("[1-9]", text) else text.lstrip("+-")

    value, low, high = (written(number) for number in (line.value, line.low, line.high))
    if line.measure in OF_BOTH and low:
        value = f"{value} [{low}, {high}]"
    change, low, high = (written(number, "+") for number in (line.change.value, line.change.low, line.change.high))
    interval = f" [{low}, {high}]" if low and high else ""
    told = f"{change}{interval}{line.stars} {of_change}".rstrip() if change else ""
    fp32 = f"{written(line.fp32)} {unit}".strip() if line.fp32 is not None else ""
    count = f"{line.n:,}" if line.n else ""
    return [*map(markdown, [line.set_, line.measure]), count, f"{value} {unit}".strip(), fp32, _plain(told)]


def _plain(text: str) -> str:
    """Return numbers with brackets and stars as Markdown shows them."""
    return re.sub(r"([*\[\]])", r"\\\1", text)


def _not_measured(rows: Rows, variant: Mapping[str, Any]) -> str:
    """Say which suites and sets are absent, and what no row could say."""
    missing, lost = absent(rows, variant)
    told = [f"- {suite}: {ASKED[suite]}." for suite in missing]
    for suite, sets in lost.items():
        told.append(f"- {suite}, on {markdown(', '.join(sets))}, on which other models of these rows were measured.")
    lost_values = undefined(rows, variant)
    if lost_values:
        told.append(f"- Measured, but without a value there: {markdown('; '.join(lost_values))}.")
    told.append("- What no row here is about: other prompts, sets and languages, and how groups of people are treated.")
    return _section("What was not measured", "\n".join(told) + "\n")


def _provenance(about: About, rows: Rows | None) -> list[str]:
    """Say what made the figures, as far as it is known."""
    facts = dict(about.facts)
    if rows is not None:
        studies = rows.lazy().select(pl.col("study").cast(pl.String).unique().sort()).collect()["study"].to_list()
        facts = {"study": ", ".join(filter(None, studies)), **facts}
    lines = [[markdown(str(name)), markdown(_told(value))] for name, value in facts.items() if _told(value)]
    return [_section("Provenance", _table(["", ""], lines))] if lines else []


def _told(value: object) -> str:
    """Write a fact on one line: lists and mappings as their parts."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return "" if value is None else str(value)
