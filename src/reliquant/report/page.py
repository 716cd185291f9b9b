"""Lay out a study's figures, tables and claims as one page that a reader can open anywhere; torch-free."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from multiprocessing import get_context
from typing import Any, Literal

import jinja2
import polars as pl
from markupsafe import Markup

from reliquant import plugins
from reliquant.report import frames, plotting, source_rows, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

QUESTIONS = {
    "headline": "What happens when these models are quantized?",
    "models": "What was measured?",
    "accuracy": "Is it still accurate?",
    "calibration": "Does it know when it is wrong?",
    "ood": "Does it know what it has never seen?",
    "robustness": "Is it robust?",
    "why": "Why?",
    "claims": "Do the paper's claims hold here?",
    "choice": "Which one should I deploy?",
    "more": "What else?",
}
SHORT = {"headline": "Overview", "models": "Models and data", "ood": "The unknown", "robustness": "Robustness"}
SHORT = {question: SHORT.get(question, question.capitalize()) for question in QUESTIONS}

_HELD: list[Rows] = []  # the rows that a worker process makes pieces of


@dataclass(frozen=True)
class Piece:
    """A figure or table of a report: what it shows, how to read it, and its files, or why it is absent."""

    kind: Literal["figure", "table"]
    name: str
    title: str
    question: str
    place: int
    read: str
    absent: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    body: str = ""
    rows: pl.DataFrame | None = field(default=None, compare=False)  # behind a table, where the page can hold them

    @property
    def anchor(self) -> str:
        """Where the page holds it."""
        return f"{self.kind}-{self.name}"


def figure(rows: Rows, name: str, /) -> Piece:
    """Draw a figure plugin in both widths; a piece that says why when there is nothing to draw."""

    def make(draw: Callable[..., Any]) -> tuple[dict[str, bytes], Markup]:
        broad = draw(rows, columns=2)
        narrow = plotting.save(draw(rows, columns=1), "pdf")
        made = {".pdf": plotting.save(broad, "pdf"), ".png": plotting.save(broad, "png"), "-1column.pdf": narrow}
        return made, data_uri(plotting.save(broad, "svg"), "image/svg+xml")

    return _piece("figure", name, make)


def table(rows: Rows, name: str, /) -> Piece:
    """Make a table plugin's csv, Markdown, LaTeX and HTML; a piece that says why when there is nothing to list."""

    def make(tabulate: Callable[..., pl.DataFrame]) -> tuple[dict[str, bytes], Markup]:
        frame, module = tabulate(rows), _module("table", name)
        made = {
            ".csv": tabling.to_csv(frame),
            ".md": tabling.to_markdown(frame, module.TITLE, module.READ),
            ".tex": tabling.to_latex(frame, module.TITLE, module.READ, name),
        }
        body = tabling.to_html(frame, getattr(module, "where", None), f"tables/{name}{source_rows.ROWS}")
        return {end: text.encode() for end, text in made.items()}, Markup(body)

    return _piece("table", name, make)


def lean(rows: Rows, /) -> pl.DataFrame:
    """Shrink rows of any number to what pieces, claims and summary read; stream, so that memory stays small.

    Single cells of the noise suite, most of a large study, stay only as the mean changes of accuracy that the heat map
    shows, or where they have no finite value; texts become categories.
    """
    lazy, short = rows.lazy(), pl.col(pl.String).cast(pl.Categorical)
    cell = (pl.col("suite") == "noise") & (pl.col("corruption") != "mean")
    part = (pl.col("suite") == "noise") & (pl.col("corruption") == "mean") & (pl.col("severity") != 0)
    keys = ["study", "suite", "precision", "corruption", "severity", "scale", "measure"]
    mapped = cell & (pl.col("measure") == "accuracy_change") & pl.col("value").is_finite()
    cells = lazy.filter(mapped).group_by(keys).agg(pl.col("value").mean(), n=pl.col("n").max()).sort(keys)
    kept = lazy.filter((~cell & ~part) | frames.UNDEFINED).with_columns(short).collect(engine="streaming")
    few = cells.with_columns(short).collect(engine="streaming")
    return pl.concat([kept, few.with_columns(scheme=pl.lit("all", pl.Categorical))], how="diagonal")


def pieces(rows: Rows, /, processes: int = 1) -> list[Piece]:
    """Make every figure and table that the package has, in the order of the reader's questions."""
    named = [(make, name) for make in (figure, table) for name in plugins.names(make.__name__)]
    if processes == 1:
        made = [make(rows, name) for make, name in named]
    else:
        spawn = get_context("spawn")  # polars' threads do not survive a fork
        with ProcessPoolExecutor(processes, spawn, initializer=_hold, initargs=(rows,)) as pool:
            made = list(pool.map(_make, named))
    order = list(QUESTIONS)
    return sorted(made, key=lambda p: (order.index(p.question), p.kind, p.place, p.name))


def page(
    pieces: Iterable[Piece],
    claims: Iterable[Mapping[str, Any]],
    summary: Mapping[str, Any],
    facts: Mapping[str, Any],
    used: pl.DataFrame | None = None,
    /,
) -> str:
    """Return the report as one HTML page that needs no other file, no network and no JavaScript to be read.

    `used` are the rows behind the claims, saved as `claims-rows`; those and the tables' are also held in the page, so
    that a click on a number shows them, unless they are too many.
    """
    pieces = list(pieces)
    folder = files("reliquant").joinpath("report", "template")
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text())
    strict = jinja2.StrictUndefined
    engine = jinja2.Environment(loader=loader, autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True)
    bundle = files("itables").joinpath("html")
    behind_tables = [p.rows for p in pieces if p.kind == "table" and not p.absent]
    held = [] if any(r is None for r in behind_tables) else [*behind_tables, *([] if used is None else [used])]
    sections = {q: [p for p in pieces if p.question == q] for q in QUESTIONS}
    return engine.get_template("report.html").render(
        questions=QUESTIONS,
        short=SHORT,
        sections=sections,
        claims=claims,
        summary=summary,
        facts=facts,
        css=Markup(folder.joinpath("report.css").read_text()),
        tables_css=Markup(bundle.joinpath("dt_bundle.css").read_text()),
        tables_js=Markup(bundle.joinpath("dt_bundle.js").read_text()),
        js=Markup(folder.joinpath("report.js").read_text()),
        legend=tabling.LEGEND,
        points=tabling.number,
        rows=Markup(source_rows.as_json(source_rows.gathered(held))),
        claims_rows="" if used is None else f"claims{source_rows.ending(used)}",
    )


def summary(rows: Rows, /) -> dict[str, Any]:
    """Return the few numbers that tell a study: FP32, and mean changes at each precision; all fractions."""
    found: dict[str, Any] = {"fp32": {}, "change": {}}
    clean = frames.select(rows, ["accuracy", "ece"]).filter(scheme="fp32")
    for (measure,), part in clean.sort("measure").group_by("measure", maintain_order=True):
        found["fp32"][measure] = _rounded(part["value"].mean())
    for suite, measure in (("clean", "accuracy"), ("clean", "ece"), ("ood", "auroc"), ("noise", "accuracy")):
        changes = frames.quantized(frames.select(rows, f"{measure}_change", suite=suite))
        for precision in frames.ordered_precisions(changes):
            value = changes.filter(precision=precision)["value"].mean()
            name = measure if suite in ("clean", "ood") else f"{measure}_{suite}"
            found["change"].setdefault(precision, {})[name] = _rounded(value)
    variants = rows.lazy().filter(pl.col("family") != "FP32").select(frames.VARIANT).unique().collect()
    return found | {"variants": variants.height, "models": variants["model"].n_unique()}


def counts(rows: Rows, /) -> dict[str, int]:
    """Count all rows, and those whose value is null, not a number or infinite."""
    found = (
        rows.lazy().select(rows=pl.len(), rows_without_finite_value=frames.UNDEFINED.sum()).collect(engine="streaming")
    )
    return found.row(0, named=True)


def plots(rows: Rows, /) -> dict[str, pl.DataFrame]:
    """Return small tables for `dvc plots`: mean accuracy change and ECE change over bits."""
    found = {}
    for measure, name in (("accuracy_change", "accuracy_by_bits"), ("ece_change", "ece_by_bits")):
        runs = frames.mean_of_sets(frames.quantized(frames.select(rows, measure)))
        means = frames.mean_of_runs(runs, ["source", "scheme", "precision"])
        bits = [frames.weight_bits(p) for p in means["precision"]]
        named = means.select("source", "scheme", bits=pl.Series(bits, dtype=pl.Float64), **{measure: "value"})
        found[name] = named.with_columns(pl.col(measure).round(6)).sort("source", "scheme", "bits")
    return found


def data_uri(content: bytes, kind: str, /) -> Markup:
    """Return a file's bytes as an address that needs no file."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def _piece(kind: Literal["figure", "table"], name: str, make: Callable[..., tuple[dict[str, bytes], Markup]]) -> Piece:
    module = _module(kind, name)
    words = {"title": module.TITLE, "question": module.QUESTION, "place": module.PLACE}
    with frames.reading() as read:
        try:
            made, body = make(getattr(module, kind))
        except NothingToDraw as reason:
            return Piece(kind, name, **words, read=module.READ, absent=str(reason))
    found = source_rows.gathered(read.values())
    end, content = source_rows.as_file(found)
    body = Markup(str(body).replace(f'{name}{source_rows.ROWS}"', f'{name}{end}"'))  # Markup would escape the quotes
    made |= {end: content}
    held = found if kind == "table" and found.height <= source_rows.EMBEDDED else None
    return Piece(kind, name, **words, read=" ".join(module.READ.split()), files=made, body=body, rows=held)


def _hold(rows: Rows) -> None:
    _HELD.append(rows)


def _make(named: tuple[Callable[[Rows, str], Piece], str]) -> Piece:
    return named[0](_HELD[0], named[1])


def _module(kind: str, name: str) -> Any:
    return plugins.module(kind, name)


def _rounded(value: Any) -> float:
    return round(float(value), 6)
