"""Damaged and odd files of records and rows, of other programs and versions: read as they are, or refused by name.

What is accepted must give the result of the clean file, or say what was left out. Some changes cannot be seen in a
file of another program: flipped bits in its numbers, rows that are missing. They are counted. In a file of a step,
which has a digest, all damage is seen.
"""

import json
import random

import numpy as np
import polars as pl
import pytest

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import class_columns, samples_of
from reliquant.evaluation.scales import at_scale
from reliquant.files.artifacts import ROW_SCHEMA, read_header, save_frame, save_tensors
from reliquant.report.synthetic import Shape, rows
from reliquant.steps import collect, measure, report

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())
LABELS = {"study": "s", "model": "m", "source": "", "scheme": "rtn", "family": "", "precision": "w4a8", "scope": "both"}
TYPES = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt32, pl.Float32, pl.Float64, pl.String, pl.Boolean]
KINDS = ["type", "type", "drop", "add", "rename", "null", "twice", "order", "text", "fewer rows", "empty"]
UNSEEN = ("flip", "other", "less", "more", "fewer rows")


def samples(seed):
    """Make the records of a small clean set and of an OOD set: of the same photographs whatever the seed."""
    rng, pictures, n = np.random.default_rng(seed), np.random.default_rng(9), 24
    image, text = rng.normal(size=(n, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    image, text = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (image, text))
    parts = []
    for suite, label in (("clean", np.arange(n) % 3), ("ood", np.full(n, -1))):
        keys = pictures.integers(0, 2**63, n, dtype=np.uint64)
        features = Features(image, text, label, logit_scale=9.0, photographs=keys)
        scores = {"mcm": lambda f, _: f.cosine.max(axis=1), "min": lambda f, _: f.cosine.min(axis=1)}
        part = samples_of(features, scores).with_columns(at_scale(features, 3.0))
        if suite == "clean":
            part = part.with_columns(class_columns(features))
        where = {"suite": suite, "dataset": f"{suite}-set", "reference": "clean-set", "corruption": "", "group": ""}
        parts.append(part.with_columns(severity=pl.lit(0, pl.Int8), **{k: pl.lit(v) for k, v in where.items()}))
    return pl.concat(parts, how="diagonal")


def odd(frame, rng, keys):
    """Change a frame as another program or version might have written it; say how."""
    kind, name, row = rng.choice(KINDS), rng.choice(frame.columns), pl.int_range(pl.len())
    if kind == "type":
        name = rng.choice([name for name, dtype in frame.schema.items() if dtype.is_numeric()])
        frame = frame.with_columns(frame[name].cast(rng.choice(TYPES), strict=False))
    elif kind == "text":
        frame = frame.with_columns(pl.col(pl.String).cast(rng.choice([pl.Categorical, pl.Binary])))
    elif kind == "drop":
        frame = frame.drop(name)
    elif kind == "add":
        new = rng.choice(["new", "__index_level_0__", "Unnamed: 0"])
        frame = frame.with_columns(pl.lit(rng.choice([1, "x", None])).alias(new))
    elif kind == "rename":
        frame = frame.rename({name: rng.choice(["new", name.upper(), f"{name}_"])})
    elif kind == "null":
        name, at = rng.choice(keys), (row == rng.randrange(len(frame))) | pl.lit(rng.random() < 0.5)
        frame = frame.with_columns(pl.when(at).then(None).otherwise(pl.col(name)).alias(name))
    elif kind == "twice":
        frame = pl.concat([frame, frame.slice(rng.randrange(len(frame)), 3)])
    elif kind == "order":
        frame = frame.sample(fraction=1, shuffle=True, seed=1).select(rng.sample(frame.columns, len(frame.columns)))
    else:
        frame = frame.clear() if kind == "empty" else frame.filter(row != rng.randrange(len(frame)))
    return "fewer rows" if kind == "empty" else kind, frame


def in_order(frame):
    return frame.sort(ROW_SCHEMA.names()[:19])


def mutated(path, frame, content, rng, keys, damaged, facts=None):
    """Write a changed frame, sealed as a step's if there are `facts`, or damaged bytes; say what was changed."""
    if rng.random() < 0.5:
        kind, content = damaged(content, rng)
        path.write_bytes(content)
        return kind
    kind, frame = odd(frame, rng, keys)
    compression = rng.choice(["zstd", "snappy", "uncompressed"])
    if facts is None:
        frame.write_parquet(path, compression=compression)
    else:
        save_frame(path, frame, facts)
    return kind


def judged(cases, usual, call, change, path, faults_of, label, unseen_kinds=UNSEEN):
    """Try so many changes of a file; return the faults, how many were refused, and how many differ unseen."""
    faults, refused, unseen = {}, 0, {}
    for seed in range(cases(usual)):
        kind = change(random.Random(f"{label}-{seed}"))
        said, result, told = call()
        fault = faults_of(said, path)
        refused += bool(said)
        if not fault and not said and not told and result != "same":
            unseen[kind] = unseen.get(kind, 0) + 1
            fault = "" if kind in unseen_kinds else f"{kind}: differs without a word"
        if fault:
            faults.setdefault(fault, seed)
    print(f"{label}: {cases(usual)} files, {refused} refused, unseen {unseen}")
    return faults, refused


@pytest.mark.parametrize("command", ["compare", "recommend"])
def test_odd_rows_are_compared_and_recommended_as_clean_ones_or_refused(
    tmp_path, cases, stopped, faults_of, damaged, command
):
    path, clean = tmp_path / "odd.parquet", tmp_path / "rows.parquet"
    frame = rows(SMALL).filter(pl.col("measure").is_in(["accuracy", "ece_change", "bytes", "accuracy_change"]))
    frame.write_parquet(clean)
    content = clean.read_bytes()
    keys = [name for name, kind in ROW_SCHEMA.items() if kind == pl.String] + ["seed", "low"]
    more = {"compare": [clean], "recommend": ["--wish", "ece_change <= 0.5", "accuracy_change >= -1"]}[command]
    _, right, _ = stopped(None, command, clean, *more, "--json")

    def call():
        said, out, told = stopped(None, command, path, *more, "--json")
        return said, "same" if out == right else out, told

    def change(rng):
        return mutated(path, frame, content, rng, keys, damaged)

    faults, refused = judged(cases, 60, call, change, path, faults_of, command)
    assert faults == {}
    assert refused > 15


def test_odd_records_are_measured_as_clean_ones_or_refused(tmp_path, cases, stopped, faults_of, damaged):
    path, fp32, variant, output = (tmp_path / name for name in ("odd.parquet", "f.parquet", "v.safetensors", "rows"))
    frame = samples(1)
    own = {**LABELS, "proxy": "", "seed": 0}
    save_tensors(variant, {}, {"kind": "variant", "measures": {"bytes": 3}, "labels": own, "model_sha256": "m"})
    facts = {"variant": read_header(variant)["sha256"], "labels": own, "model_sha256": "m"}
    save_frame(path, frame, facts)
    content = path.read_bytes()
    save_frame(fp32, samples(2), facts | {"labels": own | {"scheme": "fp32"}})
    labels = json.dumps(own)
    words = ["--samples", path, "--baseline", fp32, "--variant", variant, "--labels", labels]
    words += ["--suites", "clean", "ood", "--resamples", "10", "--output", output]
    assert stopped(measure, *words)[0] == ""
    right = in_order(pl.read_parquet(output))
    keys = [name for name in frame.columns if not name.startswith(("nll", "brier", "top"))]

    def call():
        said, _, told = stopped(measure, *words)
        return said, "same" if not said and in_order(pl.read_parquet(output)).equals(right) else "", told

    def change(rng):
        return mutated(path, frame, content, rng, keys, damaged, facts)

    faults, refused = judged(cases, 40, call, change, path, faults_of, "measure", ("fewer rows",))
    assert faults == {}
    assert refused > 10


def test_odd_shards_are_collected_as_clean_ones_or_refused(tmp_path, cases, stopped, faults_of, damaged):
    path, shards, output = tmp_path / "odd.parquet", tmp_path / "shards", tmp_path / "rows.parquet"
    frame = rows(SMALL).head(200)
    frame.write_parquet(path)
    content = path.read_bytes()
    shards.write_text(f"{path}\n")
    words = ["--shards-from", shards, "--output", output]
    assert stopped(collect, *words)[0] == ""
    right = in_order(pl.read_parquet(output))
    keys = [name for name, kind in ROW_SCHEMA.items() if kind == pl.String] + ["seed", "low"]

    def call():
        said, _, told = stopped(collect, *words)
        if said:
            return said, "", told
        return said, "same" if in_order(pl.read_parquet(output)).equals(right) else "", told

    def change(rng):
        return mutated(path, frame, content, rng, keys, damaged)

    faults, refused = judged(cases, 150, call, change, path, faults_of, "collect")
    assert faults == {}
    assert refused > 40


def test_rows_that_cannot_be_right_make_no_report(tmp_path, cases, stopped, faults_of, damaged):
    path, facts = tmp_path / "odd.parquet", tmp_path / "facts.json"
    versions = {"python": "3"}
    about = {"study": "s", "title": "t", "note": "", "config": "", "models": {}, "datasets": {}, "versions": versions}
    facts.write_text(json.dumps(about))
    frame = rows(SMALL)
    frame.write_parquet(path)
    content = path.read_bytes()
    faults = {}
    for seed in range(cases(12)):
        rng = random.Random(f"report-{seed}")
        if seed % 2:
            path.write_bytes(content[: rng.randrange(len(content))])
        else:
            name = rng.choice([name for name, kind in ROW_SCHEMA.items() if kind == pl.String])
            rng.choice([frame.drop(name), frame.with_columns(pl.lit(None, pl.String).alias(name))]).write_parquet(path)
        said, _, _ = stopped(report, "--rows", path, "--facts", facts, "--output", tmp_path / "out")
        if fault := faults_of(said, path) or ("" if said else "accepted"):
            faults.setdefault(fault, seed)
    assert faults == {}
