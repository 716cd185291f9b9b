"""Files of records of images (`samples.parquet`): read as what `records.py` makes, or refused by name."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import polars as pl

from reliquant.evaluation.records import TUNED
from reliquant.evaluation.scales import COLUMN, SIGMOID, TEMPERATURE, words_of
from reliquant.files.artifacts import DamagedFile
from reliquant.files.stored_frames import conformed, read_parquet, refuse, refuse_nulls
from reliquant.measures.conformal import POINTS, SIZES
from reliquant.measures.divergence import KEPT, TOP, TOP_P
from reliquant.measures.prompts import TEMPLATE
from reliquant.measures.resampling import PHOTOGRAPH

WHOLE = dict.fromkeys(["index", "label", "prediction", "rank"], pl.Int32())
PLACE = dict.fromkeys(["suite", "dataset", "reference", "corruption", "group"], pl.String()) | {"severity": pl.Int8()}
OF_LABEL = ("nll", "brier")  # null where an image has no class
SCHEMA = {**WHOLE, PHOTOGRAPH: pl.UInt64(), **PLACE, **dict.fromkeys(["confidence", *OF_LABEL], pl.Float32())}
TOPS = {TOP: pl.Array(pl.UInt32, KEPT), TOP_P: pl.Array(pl.Float32, KEPT)}
OPTIONAL = {**TOPS, "iteration": pl.Int64()}
OPTIONAL |= {SIZES: pl.Array(pl.UInt16, POINTS)}
SCORE, UNCOUNTED = "score:", ["ood", "spurious"]


def read_samples(path: Path, /) -> pl.DataFrame:
    """Read the records of an evaluation; types that hold the same values are brought to those that are expected.

    Raises FileNotFoundError; DamagedFile naming the file and the columns that are missing, unknown or of another type,
    or null where a record must have a value.
    """
    frame = read_parquet(path)
    scores = {name: pl.Float64() for name in frame.columns if name.startswith(SCORE)}
    scores |= {name: pl.Boolean() for name in frame.columns if name.startswith(TEMPLATE)}
    scores |= {name: pl.Float32() for name in frame.columns if re.fullmatch(COLUMN, name)}
    refuse(_strange(frame, scores), path)
    kinds = SCHEMA | {name: kind for name, kind in OPTIONAL.items() if name in frame.columns} | scores
    records = conformed(frame, {name: kinds[name] for name in [*frame.columns, *kinds] if name in kinds}, path)
    _check_nulls(records, path)
    return records


def _strange(frame: pl.DataFrame, scores: dict[str, pl.DataType]) -> list[str]:
    """Say which columns are unknown, and which are missing beside others of their kind."""
    known = {*SCHEMA, *OPTIONAL, *scores}
    wrong = [f"has a column {name!r} that is unknown" for name in frame.columns if name not in known]
    scaled = {re.sub(COLUMN, r"\2", name) for name in frame.columns if re.fullmatch(COLUMN, name)}
    for together in (tuple(TOPS), *(_at(word) for word in sorted(scaled))):
        missing = [name for name in together if name not in frame.columns]
        if len(missing) < len(together):
            wrong += [f"has no column {name!r}" for name in missing]
    if TOP not in frame.columns and {"suite", "corruption"} <= set(frame.columns):
        bare = (frame["suite"].cast(pl.String) != "ood") & (frame["corruption"].cast(pl.String) == "")
        wrong += [f"has no column {name!r}" for name in TOPS if bare.any()]
    if SIZES not in frame.columns and "suite" in frame.columns:
        counted = ~frame["suite"].cast(pl.String).is_in(UNCOUNTED)
        wrong += [f"has no column {SIZES!r}"] if counted.any() else []
    return wrong


def _at(word: str) -> tuple[str, ...]:
    """Return the columns of one other logit scale."""
    return tuple(f"{name}_{word}" for name in TUNED)


def _check_nulls(records: pl.DataFrame, path: Path) -> None:
    """Raise DamagedFile where a record lacks what records of its kind have."""
    no_class = pl.col("label") < 0
    counts = {name: pl.col(name).is_null().sum() for name in SCHEMA if name not in OF_LABEL}
    tuned = [_at(word) for word in words_of(records) if word not in (TEMPERATURE, SIGMOID)]
    for name in (*OF_LABEL, *itertools.chain(*tuned)):
        exempt = pl.lit(False) if name.startswith("confidence") else no_class
        counts[name] = (pl.col(name).is_null() != exempt).sum()
    for name in TOPS:
        if name in records.columns:
            bare = (pl.col("suite") != "ood") & (pl.col("corruption") == "")
            counts[name] = (pl.col(name).is_null() & bare).sum()
    if SIZES in records.columns:
        counts[SIZES] = (pl.col(SIZES).is_null() & ~pl.col("suite").is_in(UNCOUNTED)).sum()
    if "iteration" in records.columns:
        counts["iteration"] = pl.col("iteration").is_null().sum()
    refuse_nulls(records.select(**counts).row(0, named=True), path)
    _check_scores(records, path)
    if "rank" in records.columns and records.filter((pl.col("rank") < 0) != (pl.col("label") < 0)).height:
        raise DamagedFile(f"{path}: rank is -1 for images that have a class, or the other way round")


def _check_scores(records: pl.DataFrame, path: Path) -> None:
    """Raise DamagedFile for a score that some images of a cell have and others have not."""
    scores = [name for name in records.columns if name.startswith(SCORE)]
    cells = records.group_by("suite", "dataset", "reference").agg(pl.len(), pl.col(scores).null_count())
    for name in scores:
        partly = cells.filter((pl.col(name) > 0) & (pl.col(name) < pl.col("len")))
        if len(partly):
            cell = partly.sort("suite", "dataset", "reference").row(0, named=True)
            where = f"suite {cell['suite']}, dataset {cell['dataset']}, reference {cell['reference']}"
            raise DamagedFile(f"{path}: {name} is null in {cell[name]} of {cell['len']} images of {where}")
