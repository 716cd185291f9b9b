"""What a runtime changed, for a report: a table of exported variants, and engine drift in words; free of torch.

Rows are those of `deployed.parquet`, whose schemes are called `<scheme>@<runtime>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from reliquant.measures.stats import holm
from reliquant.report import frames, tabling
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "Simulation against deployed"
QUESTION, PLACE = "runs", 0
READ = (
    "Exported variants that a runtime ran, beside their own simulation on the same images: agree is the share of "
    "images with the same top-1 answer, broke and mended the shares that turned from right to wrong and back, in %, "
    "with 95 % intervals. Then the changes from the simulation: accuracy in points, squared calibration error in "
    "points squared (the ECE has no valid interval), AUROC of OOD scores in points; means over clean (OOD) sets. In "
    "float64: the share of images of the first clean set with the same answer when the simulation itself computes "
    "products in double precision. Layers are the products of each tower by the type in which the runtime computes, "
    "as it says."
)
DRIFT = ("accuracy_engine_change", "squared_ce_engine_change", "nll_engine_change", "brier_engine_change")
NAMES = {"squared_ce": "squared calibration error", "nll": "NLL", "brier": "Brier score"}
SHARES = {
    "agree": "engine_agreement",
    "broke": "engine_flips_right_to_wrong",
    "mended": "engine_flips_wrong_to_right",
    "in float64": "float64_agreement",
}
CHANGED = {"accuracy": ("clean", DRIFT[0]), "squared CE": ("clean", DRIFT[1]), "AUROC": ("ood", "auroc_engine_change")}
FACTORS = {"squared CE": tabling.SQUARES}
LAYERS = "engine_layers"
SHOWN = r"engine|_float64_|^float64_"  # measures that the section shows, as a pattern
CHANGE, ENGINE, DOUBLED = "_change", "_engine_change", "_float64_change"


def is_deployed(rows: Rows, /) -> bool:
    """Whether rows are of exported variants that a runtime ran beside a simulation."""
    return rows.lazy().filter(pl.col("measure").cast(pl.String) == SHARES["agree"]).head(1).collect().height > 0


def of_variant(line: Mapping[str, Any], /) -> str:
    """Name an exported variant without its runtime, such as `vit rtn w8a8 image`."""
    scheme = str(line["scheme"]).partition("@")[0]
    seed = f" seed {line['seed']}" if line["seed"] else ""
    return f"{line['model']} {scheme}" + ("" if scheme == "fp32" else f" {line['precision']} {line['scope']}{seed}")


def runtime_of(scheme: str, /) -> str:
    """Return the runtime that a scheme of deployed rows names.

    >>> runtime_of("rtn@openvino")
    'openvino'
    """
    return scheme.partition("@")[2]


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    words = {"model": line["model"], "scheme": f"{line['scheme']}@{line['runtime']}", "precision": line["precision"]}
    if column in SHARES:
        return {**words, "suite": "clean", "measure": SHARES[column]}
    if column in CHANGED:
        suite, measure = CHANGED[column]
        return {**words, "suite": suite, "measure": measure}
    return {**words, "measure": LAYERS} if column == "layers" else None


def table(rows: Rows, /) -> pl.DataFrame:
    """List exported variants with what each runtime changed; raise NothingToDraw without them."""
    keys = list(frames.VARIANT)
    shown = _means(rows, "clean", SHARES)
    if shown.is_empty():
        raise NothingToDraw("no exported variant was run (config key deploy)")
    for name in [name for name in SHARES if name in shown.columns]:
        shown = shown.with_columns(pl.col(name).map_elements(_share, pl.String))
    for suite in ("clean", "ood"):
        asked = {name: measure for name, (of, measure) in CHANGED.items() if of == suite}
        shown = shown.join(_means(rows, suite, asked), on=keys, how="left", nulls_equal=True)
    changes = [name for name in CHANGED if name in shown.columns]
    shown = tabling.changes(shown, changes, factors={n: f for n, f in FACTORS.items() if n in changes})
    shown = shown.join(_layers(rows), on=keys, how="left", nulls_equal=True).sort("model", "scheme", "precision")
    runtime = pl.col("scheme").map_elements(runtime_of, pl.String)
    shown = shown.with_columns(runtime=runtime, scheme=pl.col("scheme").str.split("@").list.first())
    own = shown.filter(pl.col("scheme") != "fp32")
    several = [name for name in ("scope", "proxy", "seed") if own[name].n_unique() > 1]
    columns = ["agree", "broke", "mended", *changes, "in float64", "layers"]
    return shown.select(
        "model", "scheme", "precision", *several, "runtime", *(c for c in columns if c in shown.columns)
    )


def told(rows: Rows, facts: Mapping[str, Any], /) -> dict[str, Any]:
    """Return how many variants ran, in which runtimes, and what drifted; `facts` are the provenance of the rows."""
    variants = rows.lazy().filter(pl.col("measure") == SHARES["agree"]).select(frames.VARIANT).collect()
    names = variants.with_columns(pl.all().cast(pl.String)).unique().iter_rows(named=True)
    ran = facts.get("runs")
    return {
        "variants": len({of_variant(line) for line in names}),
        "runtimes": sorted(set(_runtimes(ran if isinstance(ran, dict) else {}))),
        "findings": findings(rows),
    }


def _runtimes(ran: Mapping[str, Any]) -> Iterator[str]:
    """Yield each runtime with version, provider and threads; `ran` says it by variant, runtime and tower."""
    for by_runtime in ran.values():
        for each in by_runtime.values():
            for one in each["runs"].values():
                threads = f"{one['threads']} thread" + ("" if one["threads"] == 1 else "s")
                yield f"{one['runtime']} {one['version']} ({one['provider']}, {threads})"


def findings(rows: Rows, /) -> list[str]:
    """Say in words where a runtime drifts from the simulation beyond what float64 shows of the same variant.

    A change is told where its interval leaves out 0 and where it exceeds the simulation's own in float64; p-values are
    corrected for all of these comparisons (Holm 1979). Agreement is told where its interval lies below that in float64.
    """
    drifts = frames.mean_of_sets(frames.select(rows, DRIFT))
    doubled = frames.select(rows, [*(_in_float64(each) for each in DRIFT), SHARES["in float64"]])
    known = {(_of(line), line["measure"]): line["value"] for line in doubled.iter_rows(named=True)}
    p = holm([tabling.Change(*ends).p for ends in drifts.select("value", "low", "high").iter_rows()])
    told = []
    for line, one in zip(drifts.iter_rows(named=True), p, strict=True):
        own = known.get((_of(line), _in_float64(line["measure"])))
        if own is not None and one < 0.05 and abs(line["value"]) > abs(own):
            told.append(_changed(line, own))
    for line in frames.mean_of_sets(frames.select(rows, SHARES["agree"])).iter_rows(named=True):
        own = known.get((_of(line), SHARES["in float64"]))
        if own is not None and line["high"] is not None and line["high"] < own:
            same = f"{100 * line['value']:.1f} % [{100 * line['low']:.1f}, {100 * line['high']:.1f}] of images"
            told.append(f"{_name(line)}: the simulation's answer on {same}; in float64 {100 * own:.1f} %.")
    return sorted(told)


def _changed(line: Mapping[str, Any], own: float) -> str:
    measure = str(line["measure"]).removesuffix(ENGINE)
    value, low, high = (f"{line[name]:+.4f}" for name in ("value", "low", "high"))
    return f"{_name(line)}: {NAMES.get(measure, measure)} {value} [{low}, {high}]; in float64 {own:+.4f}."


def _name(line: Mapping[str, Any]) -> str:
    return f"{of_variant(line)} in {runtime_of(line['scheme'])}"


def _in_float64(measure: str) -> str:
    return measure.removesuffix(ENGINE) + DOUBLED


def _of(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in frames.VARIANT)


def _means(rows: Rows, suite: str, names: Mapping[str, str]) -> pl.DataFrame:
    """Return a line for each variant, with a column for each name: the mean over sets, a struct as of CELL."""
    found = frames.select(rows, list(names.values()), suite=suite)
    means = frames.mean_of_sets(found).with_columns(freedom=pl.lit(float("inf")))
    titles = {measure: name for name, measure in names.items()}
    means = means.with_columns(cell=frames.CELL, title=pl.col("measure").replace(titles))
    lines = means.select(frames.VARIANT).unique(maintain_order=True)
    for name in names:
        part = means.filter(title=name)
        if part.height:
            own = part.select(*frames.VARIANT, pl.col("cell").alias(name))
            lines = lines.join(own, on=list(frames.VARIANT), how="left", nulls_equal=True)
    return lines


def _share(cell: Mapping[str, float | None]) -> str:
    """Write a share of images with its interval, in %."""
    value, low, high = (cell[name] for name in ("value", "low", "high"))
    text = tabling.number(value)
    return text if low is None or high is None else f"{text} [{tabling.number(low)}, {tabling.number(high)}]"


def _layers(rows: Rows) -> pl.DataFrame:
    """Return of each variant its products by the type that they run in, such as `image: 16 int8, 2 float32`."""
    found = frames.cells(rows, LAYERS, suite="").sort(*frames.VARIANT, "group", "value", descending=False)
    counted = pl.col("value").cast(pl.Int64).cast(pl.String) + " " + pl.col("score")
    towers = found.group_by(*frames.VARIANT, "group", maintain_order=True).agg(counted.reverse().str.join(", "))
    text = pl.col("group") + ": " + pl.col("value")
    return towers.group_by(frames.VARIANT, maintain_order=True).agg(text.str.join("; ").alias("layers"))
