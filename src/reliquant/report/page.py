"""Lay out a study's figures, tables and claims as one page that a reader can open anywhere; free of torch."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jinja2
import polars as pl
from markupsafe import Markup

from reliquant import plugins
from reliquant.report import averages, engine_change, frames, plotting, source_rows, tabling, what_runs
from reliquant.report.caution import caution
from reliquant.report.common_sets import common
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw
from reliquant.report.processes import being_made
from reliquant.study import paths

QUESTIONS = {
    "headline": "What happens when these models are quantized?",
    "models": "What was measured?",
    "accuracy": "Is it still accurate?",
    "search": "Does it still find what is searched for?",
    "calibration": "Does it know when it is wrong?",
    "ood": "Does it know what it has never seen?",
    "robustness": "Is it robust?",
    "why": "Why?",
    "claims": "Do the paper's claims hold here?",
    "choice": "Which one should I deploy?",
    "more": "What else?",
}
RUNS = {"runs": "What really runs?"}  # of studies with exported variants alone, after the questions about why
TOLD = ("headline", "models", "claims")  # questions that are answered in words, too
SHORT = {"headline": "Overview", "models": "Models and data", "ood": "The unknown", "robustness": "Robustness"}
SHORT = {question: SHORT.get(question, question.capitalize()) for question in QUESTIONS | RUNS}


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
    caution: str = ""  # which variants behind it quantize less than their schemes mean, and which lack sets
    files: Mapping[str, bytes] = field(default_factory=dict)
    body: str = ""
    rows: pl.DataFrame | None = field(default=None, compare=False)  # behind a table, where the page can hold them

    @property
    def anchor(self) -> str:
        """The name of its place in the page, which links lead to."""
        return f"{self.kind}-{self.name}"


def figure(rows: Rows, name: str, /, *, of: ModuleType | None = None) -> Piece:
    """Draw a figure plugin (or the module given) in both widths; where there is nothing to draw, the piece says why.

    A plugin may have a function `prepared(rows)`; what it returns is then given to both after the rows.
    """

    module = of or plugins.module("figure", name)

    def make(draw: Callable[..., Any], recorded: frames.Recorded) -> tuple[dict[str, bytes], Markup]:
        prepared = getattr(module, "prepared", None)
        once = [prepared(recorded)] if prepared else []  # what both widths show
        pdf, png, svg = plotting.save_all(draw(recorded, *once, columns=2), "pdf", "png", "svg")
        narrow = plotting.save(draw(recorded, *once, columns=1), "pdf")
        return {".pdf": pdf, ".png": png, "-1column.pdf": narrow}, data_uri(svg, "image/svg+xml")

    return _piece("figure", name, rows, make, module)


def table(rows: Rows, name: str, /, *, of: ModuleType | None = None) -> Piece:
    """Make csv, Markdown, LaTeX and HTML of a table plugin (or the module given), or a piece that says why not."""
    module = of or plugins.module("table", name)

    def make(tabulate: Callable[..., pl.DataFrame], recorded: frames.Recorded) -> tuple[dict[str, bytes], Markup]:
        frame = tabulate(recorded)
        note = f"{module.READ} {caution(recorded)}".rstrip()
        made = {
            ".csv": tabling.to_csv(frame),
            ".md": tabling.to_markdown(frame, module.TITLE, note),
            ".tex": tabling.to_latex(frame, module.TITLE, note, name),
        }
        body = tabling.to_html(frame, getattr(module, "where", None), f"tables/{name}{source_rows.ROWS}")
        return {end: text.encode() for end, text in made.items()}, Markup(body)

    return _piece("table", name, rows, make, module)


def lean(rows: Rows, folder: Path, /) -> frames.Lean:
    """Shrink rows, however many, to what pieces, claims and summary read; they are streamed, so memory stays small.

    Single cells of the noise suite are most of a large study. Of them only the mean changes of accuracy that the heat
    map shows stay, and those without a finite value. Texts become categories. All of it lies in files in `folder`.
    """
    lazy, short = rows.lazy(), pl.col(pl.String).cast(pl.Categorical)
    cell = (pl.col("suite") == "noise") & (pl.col("corruption") != "mean")
    part = (pl.col("suite") == "noise") & (pl.col("corruption") == "mean") & (pl.col("severity") != 0)
    keys = ["study", "suite", "precision", "corruption", "severity", "scale", "measure"]
    mapped = cell & (pl.col("measure") == "accuracy_change") & pl.col("value").is_finite()
    cells = lazy.filter(mapped).group_by(keys).agg(pl.col("value").mean(), n=pl.col("n").max()).sort(keys)
    wanted = lazy.filter((~cell & ~part) | frames.UNDEFINED)
    without = wanted.with_columns(known=pl.col("replicates").is_not_null()).drop("replicates")
    kept = without.with_columns(short).collect(engine="streaming")
    held = frames.Lean(folder / "rows.arrow", folder / "replicates.npy")
    line = averages.moved_to(held.replicates, wanted, kept.select("suite", "measure", "known"))
    few = cells.with_columns(scheme=pl.lit("all")).with_columns(short).collect(engine="streaming")
    both = pl.concat([kept.drop("known").with_columns(line), few], how="diagonal")
    both.write_ipc(held.file, record_batch_size=averages.AT_ONCE)
    return held


@contextmanager
def pieces(
    rows: Rows, /, processes: int = 1, shown: Mapping[str, Iterable[str]] | None = None
) -> Iterator[Callable[[], list[Piece]]]:
    """Have the figures and tables made that are `shown`, or all that there are, while the block does other work.

    The block gets a function that waits for them, and returns them in the order of the reader's questions. `shown` are
    the names of each family, `figure` and `table`.
    """
    names = {family: plugins.names(family) for family in ("figure", "table")} if shown is None else shown
    named = [(make, name) for make in (figure, table) for name in names[make.__name__]]
    order = list(QUESTIONS)
    with being_made(named, rows, processes) as made:
        yield lambda: sorted(made(), key=lambda p: (order.index(p.question), p.kind, p.place, p.name))


def deployed_pieces(rows: Rows, /) -> list[Piece]:
    """Make the table and the figure of exported variants that runtimes ran (rows of `deployed.parquet`)."""
    return [figure(rows, "engine_change", of=engine_change), table(rows, "what_runs", of=what_runs)]


def page(
    pieces: Iterable[Piece],
    claims: Iterable[Mapping[str, Any]],
    summary: Mapping[str, Any],
    facts: Mapping[str, Any],
    used: pl.DataFrame | None = None,
    /,
) -> str:
    """Return the report as one HTML page that can be read without another file, a network or JavaScript.

    `used` are the rows behind the claims, saved as `claims-rows`. They and the rows behind the tables are also held in
    the page, so that a click on a number shows them, unless they are too many.
    """
    pieces = list(pieces)
    folder = files("reliquant").joinpath("report", "template")
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text())
    strict = jinja2.StrictUndefined
    engine = jinja2.Environment(loader=loader, autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True)
    bundle = files("itables").joinpath("html")
    tables = [p for p in pieces if p.kind == "table" and not p.absent]
    held = [p.rows for p in tables if p.rows is not None]
    if len(held) < len(tables):
        held = []  # a table has too many rows behind it: its links, and so all, lead to files
    elif used is not None:
        held.append(used)
    questions = asked(any(p.question in RUNS for p in pieces))
    sections = {q: [p for p in pieces if p.question == q] for q in questions}
    questions = {q: title for q, title in questions.items() if sections[q] or q in TOLD}
    return engine.get_template("report.html").render(
        questions=questions,
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
    """Return the few numbers that sum up a study: FP32, and the mean changes at each precision; all are fractions.

    `caution` is among them where they rest on variants that quantize less than their schemes mean or that lack sets.
    """
    recorded = frames.Recorded(rows)
    fp32: dict[str, float] = {}
    change: dict[str, dict[str, float]] = {}
    clean = frames.select(recorded, ["accuracy", "ece"]).filter(scheme="fp32")
    for (measure,), part in clean.sort("measure").group_by("measure", maintain_order=True):
        fp32[measure] = float(part["value"].mean())  # type: ignore[arg-type]
    for suite, measure in (("clean", "accuracy"), ("clean", "ece"), ("ood", "auroc"), ("noise", "accuracy")):
        changes = frames.quantized(frames.select(recorded, f"{measure}_change", suite=suite))
        changes = common(changes, frames.VARIANT, ()).rows  # precisions stand side by side
        for precision in frames.ordered_precisions(changes):
            value = changes.filter(precision=precision)["value"].mean()
            name = measure if suite in ("clean", "ood") else f"{measure}_{suite}"
            change.setdefault(precision, {})[name] = float(value)  # type: ignore[arg-type]
    variants = rows.lazy().filter(pl.col("family") != "FP32").select(frames.VARIANT).unique().collect()
    counted = {"variants": variants.height, "models": variants["model"].n_unique()}
    warned = {"caution": told} if (told := caution(recorded)) else {}
    return {"fp32": fp32, "change": change, **counted, **warned}


def counts(rows: Rows, /) -> dict[str, int]:
    """Count all rows, and those whose value is null, not a number or infinite."""
    asked = rows.lazy().select(rows=pl.len(), rows_without_finite_value=frames.UNDEFINED.sum())
    return asked.collect(engine="streaming").row(0, named=True)


def plots(rows: Rows, /) -> dict[str, pl.DataFrame]:
    """Return small tables for `dvc plots`: mean accuracy change and ECE change over bits."""
    tables = {}
    for measure, name in zip(("accuracy_change", "ece_change"), paths.PLOTS, strict=True):
        runs = frames.mean_of_sets(frames.quantized(frames.select(rows, measure)))
        means = frames.mean_of_runs(runs, ["source", "scheme", "precision"])
        bits = [frames.weight_bits(p) for p in means["precision"]]
        named = means.select(
            "source", "scheme", bits=pl.Series(bits, dtype=pl.Float64).fill_nan(None), **{measure: "value"}
        )
        tables[name] = named.with_columns(pl.col(measure).round(6)).sort("source", "scheme", "bits")
    return tables


def asked(deployed: bool, /) -> dict[str, str]:
    """Return the questions of a page, with that about what runs where there are exported variants."""
    found: dict[str, str] = {}
    for question, title in QUESTIONS.items():
        found |= RUNS if deployed and question == "claims" else {}
        found[question] = title
    return found


def data_uri(content: bytes, kind: str, /) -> Markup:
    """Return a file's bytes as an address that needs no file."""
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def _piece(
    kind: Literal["figure", "table"],
    name: str,
    rows: Rows,
    make: Callable[[Callable[..., Any], frames.Recorded], tuple[dict[str, bytes], Markup]],
    module: ModuleType,
) -> Piece:
    """Make a piece with the rows behind it; `make` returns its files and its body from the plugin and the rows."""
    recorded = frames.Recorded(rows)
    words = {"title": module.TITLE, "question": module.QUESTION, "place": module.PLACE}
    try:
        made, body = make(getattr(module, kind), recorded)
    except NothingToDraw as reason:
        return Piece(kind, name, **words, read=module.READ, absent=str(reason))
    behind = source_rows.gathered(recorded.read.values())
    end, content = source_rows.as_file(behind)
    body = Markup(str(body).replace(f'{name}{source_rows.ROWS}"', f'{name}{end}"'))  # Markup would escape the quotes
    made |= {end: content}
    held = behind if kind == "table" and behind.height <= source_rows.EMBEDDED else None
    read = " ".join(module.READ.split())
    return Piece(kind, name, **words, read=read, caution=caution(recorded), files=made, body=body, rows=held)


def rounded(told: Any, /) -> Any:
    """Return a summary as its file holds it: numbers of at most six decimals. The page's own are rounded once.

    >>> rounded({"change": {"w4a8": {"accuracy": 0.12345678}}})
    {'change': {'w4a8': {'accuracy': 0.123457}}}
    """
    if isinstance(told, dict):
        return {key: rounded(value) for key, value in told.items()}
    return round(told, 6) if isinstance(told, float) else told
