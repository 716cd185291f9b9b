"""A report's folder, made of rows and of what is known of the study behind them: every file whole; free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.files import scratch
from reliquant.files.artifacts import UNKNOWN, provenance, read_facts, save_json, save_sealed_json, whole
from reliquant.files.digests import DamagedFile, digest_of_file
from reliquant.files.stored_frames import KEYS, damage_named, require_once, scan_rows
from reliquant.report import claims, escaping, findings, frames, page, published, source_rows, what_runs
from reliquant.report.facts import equivalence_of, pieces_of, require_study
from reliquant.study import paths, pieces


def write_report(
    rows: Path,
    facts: Mapping[str, Any] | None,
    output: Path,
    /,
    *,
    told: Path | None = None,
    deployed: Path | None = None,
    processes: int = 1,
) -> list[page.Piece]:
    """Draw figures, make tables, judge the claims and write them with the page into a folder; return the pieces.

    `facts` are a study's, `told` the file that they are of; None where the rows are all that is known. `deployed` are
    the rows of exported variants, by default those among the rows. Pieces that
    these rows have nothing for are among those returned, with the reason (`absent`). Raises FileNotFoundError, and
    DamagedFile where the rows are not as they were written, of another study than the facts, or none.
    """
    every = scan_rows(rows)
    output.mkdir(parents=True, exist_ok=True)
    with scratch.folder(output, "replicates") as folder:
        with damage_named(rows):
            held, counts = page.lean(every, folder), page.counts(every)
        studies = held.lazy().select(pl.col("study").cast(pl.String).unique()).collect()["study"].to_list()
        if facts is not None:
            require_study(studies, facts, str(rows), str(told))
        require_once(held.lazy().filter(pl.col("scheme") != "all").select(KEYS).collect(), rows)
        known = dict(facts_of_rows(held, studies, rows) if facts is None else facts)
        ran = _of_runtimes(every, held, rows) if deployed is None else _of_file(deployed)
        if ran is not None:
            known["deployed"] = what_runs.told(ran, read_facts(deployed or rows))
        made = _write(held, counts, known, str(told or rows), output, processes, ran)
    drawn_from = {"rows": rows, "facts": told, "deployed": deployed}
    _seal(output, {what: path for what, path in drawn_from.items() if path is not None})
    return made


def _of_file(deployed: Path) -> pl.DataFrame | None:
    """Return of rows in a file of their own what the page shows of exported variants."""
    every = scan_rows(deployed)
    return _of_runtimes(every, every, deployed)


def _of_runtimes(every: pl.LazyFrame, held: frames.Rows, path: Path) -> pl.DataFrame | None:
    """Return of rows what the page shows of exported variants; None where no runtime ran any, as `held` ones tell."""
    if not what_runs.is_deployed(held):
        return None
    asked = pl.col("measure").cast(pl.String).str.contains(what_runs.SHOWN)
    with damage_named(path):
        return every.filter(asked).collect(engine="streaming")


def facts_of_rows(rows: frames.Rows, studies: Sequence[str], path: Path, /) -> dict[str, Any]:
    """Return what rows say of their own study, in the form of a study's facts; what they do not say is None.

    Raises DamagedFile where there are no rows.
    """
    if not studies:
        raise DamagedFile(f"{path}: holds no rows, so there is nothing to draw")
    lazy, name = rows.lazy(), pl.col("dataset").cast(pl.String)
    models = lazy.select(pl.col("model", "source").cast(pl.String)).drop_nulls().unique().sort("model").collect()
    sets = lazy.filter(name != "").group_by(name).agg(pl.col("n").max()).sort("dataset").collect()
    about: dict[str, Any] = {"study": ", ".join(sorted(studies))}
    about["title"] = f"{about['study']}: what quantization changed"
    assumed = read_facts(path).get("assumed", [])
    about["assumed"] = [line for line in assumed if isinstance(line, str)] if isinstance(assumed, list) else []
    more = " Below, under Provenance, stands what was assumed of the tables." if about["assumed"] else ""
    about["note"] = f"Made of rows alone, without a study's config.{more}"
    unknown = {"architecture": UNKNOWN, "n_parameters": None}
    about["models"] = {model: {"source": source, **unknown} for model, source in models.iter_rows()}
    about["datasets"] = {dataset: {"n": n, "classes": None, "entry": {}} for dataset, n in sets.iter_rows()}
    return provenance(**about, config="", commit="")


def _write(
    rows: frames.Lean,
    counts: dict[str, int],
    facts: dict[str, Any],
    told: str,
    output: Path,
    processes: int,
    ran: pl.DataFrame | None,
) -> list[page.Piece]:
    """Make and save all pieces of the report; `told` names the file of the facts, `ran` are rows of runtimes."""
    asked = pieces_of(facts, told)
    facts["left_out"] = pieces.left_out(asked)
    equivalence, recorded = equivalence_of(facts, told), frames.Recorded(rows)
    with page.pieces(rows, processes, pieces.shown(asked)) as all_made:
        judged = claims.judge(recorded, equivalence=equivalence)
        used = source_rows.gathered(recorded.read.values())
        summary, found, plots = page.summary(rows) | counts, findings.findings(rows), page.plots(rows)
        facts["published"] = published.compared(rows, facts)
        of_runtimes = [] if ran is None else page.deployed_pieces(ran)
        made = all_made() + of_runtimes
    figures, tables = Path(paths.figures(output)), Path(paths.tables(output))
    for folder in (figures, tables):
        folder.mkdir(parents=True, exist_ok=True)
    for piece in made:
        folder = figures if piece.kind == "figure" else tables
        for end, content in piece.files.items():
            _save(folder / f"{piece.name}{end}", content)
    if facts["published"].height:
        _save(tables / "published.csv", escaping.csv(facts["published"]).encode())
    for name, frame in plots.items():
        _save(Path(paths.plot(output, name)), escaping.csv(frame).encode())
    save_json(Path(paths.summary(output)), page.rounded(summary))
    save_json(Path(paths.claims(output)), judged)
    end, content = source_rows.as_file(used)
    _save(tables / f"claims{end}", content)
    summary["findings"] = found
    _save(Path(paths.page(output)), page.page(made, judged, summary, facts, used).encode())
    return made


def _seal(folder: Path, made_of: Mapping[str, Path]) -> None:
    """List the files of a report with their digests, and those of what it was drawn from, for `reliquant verify`."""
    own = (paths.page(folder), paths.summary(folder), paths.claims(folder))
    files = [Path(file) for file in (*own, *(paths.plot(folder, name) for name in paths.PLOTS))]
    for part in (paths.figures(folder), paths.tables(folder)):
        files += sorted(Path(part).iterdir())
    found = {str(file.relative_to(folder)): digest_of_file(file) for file in files}
    drawn_from = {what: digest_of_file(file) for what, file in made_of.items()}
    save_sealed_json(Path(paths.digests(folder)), {"files": found, "made_of": drawn_from})


def _save(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)
