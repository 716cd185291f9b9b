"""Draw a study's figures, make its tables, judge the paper's claims and put them on one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.files import scratch
from reliquant.files.artifacts import read_sealed_json, save_json, save_sealed_json, whole
from reliquant.files.digests import digest_of_file
from reliquant.files.stored_frames import KEYS, damage_named, require_once, scan_rows
from reliquant.report import claims, escaping, frames, page, published, source_rows
from reliquant.report.facts import equivalence_of, require_facts, require_study
from reliquant.steps import run
from reliquant.study import paths


def main() -> None:
    """Parse, make every figure and table, judge the claims, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True, help="models, datasets, config and versions, JSON")
    parser.add_argument("--output", type=Path, required=True, help="the report's folder")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    facts = read_sealed_json(args.facts, needed=False)
    require_facts(facts, str(args.facts))
    equivalence = equivalence_of(facts, str(args.facts))
    every = scan_rows(args.rows)
    args.output.mkdir(parents=True, exist_ok=True)
    with scratch.folder(args.output, "replicates") as folder:
        with damage_named(args.rows):
            rows, counts = page.lean(every, folder), page.counts(every)
        studies = rows.lazy().select(pl.col("study").cast(pl.String).unique()).collect()["study"].to_list()
        require_study(studies, facts, str(args.rows), str(args.facts))
        require_once(rows.lazy().filter(pl.col("scheme") != "all").select(KEYS).collect(), args.rows)
        _report(rows, counts, facts, equivalence, args)


def _report(
    rows: frames.Lean, counts: dict[str, int], facts: dict[str, Any], equivalence: float, args: argparse.Namespace
) -> None:
    """Make and save all pieces of the report."""
    made, summary = page.pieces(rows, args.processes), page.summary(rows) | counts
    recorded = frames.Recorded(rows)
    judged = claims.judge(recorded, equivalence=equivalence)
    used = source_rows.gathered(recorded.read.values())
    figures, tables = Path(paths.figures(args.output)), Path(paths.tables(args.output))
    plots = Path(paths.plots(args.output))
    for folder in (figures, tables, plots):
        folder.mkdir(parents=True, exist_ok=True)
    for piece in made:
        folder = figures if piece.kind == "figure" else tables
        for end, content in piece.files.items():
            _save(folder / f"{piece.name}{end}", content)
    facts["published"] = published.compared(rows, facts)
    if facts["published"].height:
        _save(tables / "published.csv", escaping.csv(facts["published"]).encode())
    for name, frame in page.plots(rows).items():
        _save(plots / f"{name}.csv", escaping.csv(frame).encode())
    save_json(Path(paths.summary(args.output)), summary)
    save_json(Path(paths.claims(args.output)), judged)
    end, content = source_rows.as_file(used)
    _save(tables / f"claims{end}", content)
    _save(Path(paths.page(args.output)), page.page(made, judged, summary, facts, used).encode())
    _seal(args.output, {"rows": args.rows, "facts": args.facts})


def _seal(folder: Path, made_of: dict[str, Path]) -> None:
    """List the files of a report with their digests, and those of what it was drawn from, for `reliquant verify`."""
    own = (paths.page(folder), paths.summary(folder), paths.claims(folder))
    files = [Path(file) for file in own]
    for part in (paths.figures(folder), paths.tables(folder), paths.plots(folder)):
        files += sorted(Path(part).iterdir())
    found = {str(file.relative_to(folder)): digest_of_file(file) for file in files}
    drawn_from = {what: digest_of_file(file) for what, file in made_of.items()}
    save_sealed_json(Path(paths.digests(folder)), {"files": found, "made_of": drawn_from})


def _save(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)


if __name__ == "__main__":
    run(main)
