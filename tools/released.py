"""Keep what a study gave as the released one, and compare a run of it with that, here or on another machine.

    python tools/released.py keep lab       # after a run: docs/results/studies/lab.csv and lab.json
    python tools/released.py compare lab    # `make verify`: the run that lies here beside them

The same code on the same processor gives the same bytes. On another processor products are summed in another order:
roundings differ in their last bit, now and then a code or an answer does, and a training ends elsewhere. So a value may
differ by `TOLERANCE`; what differs is counted, the largest differences are named, and so is the first file on their way
(model, images, codes, records) that is another. Exit code 1 where a value differs by more, or is on one side alone.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

import results
from reliquant.deploy.machine import machine_facts
from reliquant.download.http import sha256_of
from reliquant.files.artifacts import read_header, read_sealed_json, save_json
from reliquant.files.bounded import read_json
from reliquant.files.digests import DamagedFile
from reliquant.files.stored_frames import read_rows
from reliquant.study import paths

ROOT = Path(__file__).resolve().parents[1]
KEY = [*results.VARIANT, *results.PLACE]
RUN = ["model", "scheme", "precision", "scope", "proxy", "seed"]
TRAINED = 0.03  # of a variant whose weights were trained on another machine
TOLERANCE = 0.01  # of every other value: a point of a fraction; of sizes, a hundredth of them
STAGES = {  # what lies where, in the order in which one is made of the other
    "FP32 models": "data/models/*.safetensors",
    "prepared images": "data/prepared/**/*.npy",
    "codes of variants": "results/{study}/quantize/**/*.safetensors",
    "embeddings": "results/{study}/retrieval/**/*.safetensors",
    "records": "results/{study}/evaluate/**/samples.parquet",
    "rows of variants": "results/{study}/evaluate/**/rows.parquet",
    "rows of the study": "results/{study}/rows.parquet",
}
REASONS = {  # why a value differs: the first stage on its way whose file is another; "" where none is
    "FP32 models": "whose FP32 model is another",
    "prepared images": "whose images are others (decoded or drawn by other versions)",
    "codes of variants": "whose weights were rounded or trained to other codes",
    "embeddings": "whose codes are the same and whose embeddings differ (products summed in another order)",
    "records": "whose codes are the same and whose answers differ in some digit (products summed in another order)",
    "": "whose answers are the same: what was computed of them differs (code or versions)",
}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("word", choices=["keep", "compare"])
    parser.add_argument("study", help="the name of a study that has run here")
    args = parser.parse_args()
    try:
        if args.word == "keep":
            print(*keep(args.study), sep="\n")
            return
        text, holds = compare(args.study)
    except (OSError, DamagedFile) as error:
        sys.exit(str(error))
    print(text)
    sys.exit(0 if holds else 1)


def table_file(study: str, /) -> Path:
    """Return the table of a released study; beside it lies what made it."""
    return results.STUDIES / f"{study}.csv"


def keep(study: str, /) -> list[Path]:
    """Write the table of a study that has run here, and what made it; return both paths."""
    table = results.add(Path(paths.rows(study)))
    save_json(table.with_suffix(".json"), made_by(study))
    return [table, table.with_suffix(".json")]


def made_by(study: str, /) -> dict[str, Any]:
    """Say on what a study has run, and the sha256 of each of its files, by stage.

    Of the files of models, codes and embeddings it is that of their arrays: their headers name versions.
    """
    from reliquant.quantization.identity import machine as kernels  # torch, for those alone who get so far

    facts = read_sealed_json(Path(paths.facts(study)))
    about, own = machine_facts(), kernels("cpu")
    machine = {name: about[name] for name in ("cpu", "architecture", "cores")}
    machine |= {"kernels": own["cpu"].split()[-1], "told": own["kernels"], "system": platform.system()}
    files = {}
    for stage, pattern in STAGES.items():
        found = sorted(Path().glob(pattern.format(study=study)))
        files[stage] = {path.as_posix(): _digest(path) for path in found}
    config = hashlib.sha256(facts["config"].encode()).hexdigest()
    return {"machine": machine, "versions": facts["versions"], "config": config, "code": _code(), "files": files}


def _digest(path: Path) -> str:
    if path.suffix == ".safetensors":
        return str(read_header(path)["sha256"])
    return sha256_of(path)


def _code() -> str:
    """Hash all sources of the package."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src" / "reliquant").rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def compare(study: str, /) -> tuple[str, bool]:
    """Compare the run of a study that lies here with the released one; return what is said, and whether it holds."""
    table = table_file(study)
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such file: no run of {study} is released")
    released, here = read_json(table.with_suffix(".json")), made_by(study)
    facts = read_sealed_json(Path(paths.facts(study)))
    now = results.table_of(read_rows(Path(paths.rows(study))), facts["models"], facts["versions"]["reliquant"], "")
    lines = [*_on_what(released, here), "", *_files(released["files"], here["files"])]
    told, holds = _values(_beside(results.read_table(table), now), released["files"], here["files"])
    return "\n".join([*lines, "", *told]), holds


def _on_what(released: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say what of code, config, machine and versions is another than of the release."""
    lines = []
    for what in ("machine", "versions"):
        for name in sorted({*released[what], *here[what]}):
            pair = [each[what].get(name, "none") or "none" for each in (released, here)]
            lines += [f"    {name}: {pair[1]}, released with {pair[0]}"] if pair[0] != pair[1] else []
    for what in ("config", "code"):
        lines += [f"    {what}: not that of the release"] if released[what] != here[what] else []
    cpu = released["machine"]
    head = f"released: reliquant {released['versions']['reliquant']}"
    head += f" on {cpu['cores']} cores of {cpu['cpu']}, {cpu['kernels']}"
    return [head, *(["here another:", *lines] if lines else ["here: the same processor, versions, config and code"])]


def _files(released: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Count the files of each stage that are the same, that differ, and that are on one side alone."""
    lines = [f"{'files':<22}{'the same':>9}{'differ':>9}{'missing':>9}{'new':>9}"]
    for stage in STAGES:
        old, new = released[stage], here[stage]
        same = sum(old[path] == new.get(path) for path in old)
        both = len(old.keys() & new.keys())
        numbers = (same, both - same, len(old) - both, len(new) - both)
        lines.append(f"{stage:<22}" + "".join(f"{number:>9}" for number in numbers))
    return lines


def _beside(released: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Join the lines of two tables by what they are of; `value_here` is that of the second, null where it has none."""
    text = now.with_columns(pl.col(pl.String).fill_null(""))
    numbers = {name: f"{name}_here" for name in results.NUMBERS}
    mine = text.select(*KEY, *(pl.col(name).alias(new) for name, new in numbers.items()), here=True)
    joined = released.with_columns(released=True).join(mine, on=KEY, how="full", coalesce=True)
    same = [pl.col(name).eq_missing(pl.col(new)) for name, new in numbers.items()]
    apart = (pl.col("value") - pl.col("value_here")).abs()
    size = pl.col("measure").is_in(["bytes", "stored_bits"])
    trained = pl.col("family").str.starts_with("QAT")
    return joined.with_columns(
        same=pl.all_horizontal(same) & pl.col("released").is_not_null() & pl.col("here").is_not_null(),
        apart=pl.when(size).then(apart / pl.col("value")).otherwise(apart),
        allowed=pl.when(trained).then(TRAINED).otherwise(TOLERANCE),
    )


def _values(beside: pl.DataFrame, released: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Say of each measure how many values are the same, within tolerance and beyond it, and where the worst is."""
    both = pl.col("released") & pl.col("here")
    alone = beside.filter(~both.fill_null(False))
    found = beside.filter(both.fill_null(False))
    beyond = found.filter(pl.col("apart") > pl.col("allowed"))
    counts = f"{found['same'].sum():,} the same to six digits, {found.height - found['same'].sum():,} differ"
    lines = [f"{beside.height:,} lines of the table: {counts}, {beyond.height:,} by more than is allowed"]
    if alone.height:
        one = alone.row(0, named=True)
        lines.append(
            f"on one side alone: {alone.height:,}, the first {_where(one)}, {'released' if one['released'] else 'here'}"
        )
    moved = found.filter(~pl.col("same"))
    if moved.height:
        lines += ["", f"{'measure':<32}{'lines':>8}{'differ':>8}{'beyond':>8}  largest difference"]
    for measure in sorted(set(moved["measure"])):
        own, of = moved.filter(pl.col("measure") == measure), found.filter(pl.col("measure") == measure)
        worst = own.sort("apart", descending=True, nulls_last=True).row(0, named=True)
        far = own.filter(pl.col("apart") > pl.col("allowed")).height
        apart = worst["apart"] or 0.0
        told = f"{apart:.6f} of {worst['allowed']:g}, {_where(worst)}" if apart else "of intervals alone"
        lines.append(f"{measure:<32}{of.height:>8}{own.height:>8}{far:>8}  {told}")
    lines += _why(moved, released, here)
    holds = not beyond.height and not alone.height
    return [*lines, "", f"{'holds' if holds else 'DOES NOT HOLD'}: {_verdict(beside, beyond, alone)}"], holds


def _verdict(beside: pl.DataFrame, beyond: pl.DataFrame, alone: pl.DataFrame) -> str:
    if beyond.height or alone.height:
        return f"{beyond.height:,} values differ by more than is allowed, {alone.height:,} lines are on one side alone"
    if beside["same"].all():
        return "all lines are the same"
    return f"no value differs by more than {TOLERANCE:g}, of trained variants {TRAINED:g}"


def _where(line: Mapping[str, Any]) -> str:
    words = [line[name] for name in ("model", "scheme", "precision", "dataset", "score") if line[name]]
    return " ".join(words)


def _why(moved: pl.DataFrame, released: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Name, for the variants whose values moved, the first stage whose files are others than the release's."""
    first: dict[str, list[str]] = {}
    for run in moved.select(RUN).unique(maintain_order=True).iter_rows(named=True):
        words = [run["model"], f"{run['scheme']}/{run['precision']}-{run['scope']}-{run['proxy']}-{run['seed']}"]
        first.setdefault(_first_change(words, released, here), []).append("/".join(words))
    lines = []
    for stage, runs in first.items():
        named = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
        lines.append(f"{len(runs)} variants, {REASONS[stage]}: {named}")
    return ["", *lines] if lines else []


def _first_change(words: list[str], released: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    model, path = words[0], "/".join(words)
    for stage in filter(None, REASONS):
        for file, digest in released[stage].items():
            of_model = stage == "FP32 models" and file == paths.model(model)
            of_variant = f"/{path}." in file or f"/{path}/" in file
            if (of_model or of_variant or stage == "prepared images") and here[stage].get(file) != digest:
                return stage
    return ""


if __name__ == "__main__":
    main()
