import itertools
from functools import partial

import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures.stats import Z95
from reliquant.report import claims, frames
from reliquant.report.caution import caution
from reliquant.report.common_sets import NothingInCommon, chosen, common
from reliquant.report.page import figure, summary, table
from reliquant.report.synthetic import Shape, rows

BASE = {
    "study": "s",
    "model": "m",
    "source": "laion",
    "scheme": "rtn",
    "family": "Simple PTQ",
    "precision": "w8a8",
    "scope": "image",
    "proxy": "p",
    "seed": 0,
    "iteration": None,
    "suite": "clean",
    "group": "",
    "corruption": "",
    "severity": 0,
    "scale": "native",
    "score": "",
    "p": None,
    "n": 1000,
}


def row(value, error=0.0, luck=None, **words):
    """A row of a known error, with replicates where its luck (KEPT,) in units of the error is given."""
    kept = None if luck is None else (value + error * luck).astype(np.float32)
    ends = {"low": value - Z95 * error, "high": value + Z95 * error} if error else {"low": None, "high": None}
    return {**BASE, "value": value, **ends, "replicates": kept, "reference": words.get("dataset"), **words}


def frame(lines):
    return pl.DataFrame(lines, schema=ROW_SCHEMA, infer_schema_length=None)


def change(value, error, rng, **words):
    return row(value, error, rng.standard_normal(KEPT), measure="squared_ce_change", **words)


def fp32(**words):
    return row(0.0004, measure="squared_ce", scheme="fp32", family="FP32", precision="fp32", dataset="A", **words)


@pytest.mark.parametrize(
    ("table", "runs", "cells"),
    [
        (["11", "11"], "11", "11"),
        (["10", "11"], "01", "11"),  # the easy set alone, and both
        (["11", "11", "10"], "110", "11"),  # a seed that lacks a set
        (["11"] + ["10"] * 5, "111111", "10"),  # hardly any run has the second set yet
        (["10", "01"], "10", "10"),  # nothing is complete
        (["110", "101", "011"], "100", "110"),
        (["1"], "1", "1"),
    ],
)
def test_rare_sets_are_left_out_and_then_runs_that_lack_one(table, runs, cells):
    has = np.array([[one == "1" for one in line] for line in table])
    kept = chosen(has)
    assert ["".join(str(int(one)) for one in which) for which in kept] == [runs, cells]


def test_what_is_left_out_is_named_and_what_is_complete_is_left_as_it_is():
    lines = [("a", "A", 1.0), ("a", "B", 2.0), ("b", "A", 3.0), ("b", "B", 4.0), ("c", "A", 5.0)]
    measured = pl.DataFrame(lines, schema=["scheme", "dataset", "value"], orient="row")
    both = pl.concat([measured.with_columns(measure=pl.lit("x")), measured[:4].with_columns(measure=pl.lit("y"))])
    same = common(both, ["scheme"], ["measure"])
    assert same.rows["value"].to_list() == [1.0, 2.0, 3.0, 4.0] * 2
    assert same.left.rows() == [("x", "1 of 3 runs left out, not measured on all sets: c (lacks B)")]
    assert common(measured[:4], ["scheme"], []).left.is_empty()
    rare = pl.concat([measured.filter(dataset="A"), *[measured[:1].with_columns(scheme=pl.lit(s)) for s in "defg"]])
    told = common(pl.concat([rare, measured[1:2]]), ["scheme"], []).left["left"].to_list()
    assert told == ["without B (1 of 7 runs have it)"]


def test_where_no_run_has_all_sets_a_strict_mean_is_refused():
    measured = pl.DataFrame({"scheme": ["a", "b"], "dataset": ["A", "B"]})
    assert common(measured, ["scheme"], []).rows.rows() == [("a", "A")]
    with pytest.raises(NothingInCommon, match="no run was measured on all of A, B"):
        common(measured, ["scheme"], [], strict=True)


def test_a_seed_that_lacks_a_set_is_no_spread_between_seeds():
    rng = np.random.default_rng(7)
    cells = [(seed, name) for seed in range(3) for name in "AB" if (seed, name) != (2, "B")]
    value = {"A": 0.0, "B": -0.06}
    lines = [
        row(value[name], 0.001, rng.standard_normal(KEPT), measure="accuracy_change", seed=seed, dataset=name)
        for seed, name in cells
    ]
    means = frames.mean_of_sets(frame(lines))
    assert means["sets"].to_list() == ["A, B"] * 2
    whole = frames.mean_of_runs(means, ["scheme"]).row(0, named=True)
    assert (whole["value"], whole["runs"]) == (pytest.approx(-0.03), 2)
    assert whole["high"] - whole["low"] < 0.005


def test_a_set_where_one_value_is_undefined_is_no_part_of_one_mean_alone():
    measured = [
        ("a", "A", 0.9),
        ("a", "B", 0.5),
        ("b", "A", 0.9),
        ("b", "B", None),
    ]
    lines = [row(v or 0.0, measure="accuracy", scheme=s, dataset=d) | {"value": v} for s, d, v in measured]
    means = frames.mean_of_sets(frames.select(frame(lines), "accuracy"))
    assert means.select("scheme", "value", "sets").rows() == [("a", 0.7, "A, B")]
    assert means["left"].to_list() == ["1 of 2 runs left out, not measured on all sets: b (lacks B)"]


def test_claim_4_subtracts_the_scopes_on_each_set_before_sets_are_averaged():
    rng = np.random.default_rng(7)
    lines = [fp32()]
    for scheme in ("rtn", "gptq", "awq"):
        lines.append(change(0.0, 2e-4, rng, scheme=scheme, scope="image", dataset="A"))
        lines.append(change(0.0, 2e-4, rng, scheme=scheme, scope="both", dataset="A"))
        lines.append(change(50e-4, 2e-4, rng, scheme=scheme, scope="both", dataset="B"))
    found = claims.text_tower(frame(lines), margin=0.01)
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert found.low < 0 < found.high
    assert found.verdict != "supported"
    told = (
        "3 times a set was measured with one scope alone, left out: awq on B (both), gptq on B (both), rtn on B (both)"
    )
    assert told in found.why
    more = [change(47e-4, 2e-4, rng, scheme=s, scope="image", dataset="B") for s in ("rtn", "gptq", "awq")]
    whole = claims.text_tower(frame(lines + more), margin=0.01)
    assert whole.value == pytest.approx(1.5e-4)
    assert "left out" not in whole.why


def study_of_nothing(rng, missing):
    """Rows whose mean over the sets is 0 for both scopes, though each set has its own change; cells are missing."""
    lines = [fp32()]
    for scheme in range(8):
        for scope in ("image", "both"):
            for name, truth in (("A", 50e-4), ("B", -50e-4), ("C", 0.0)):
                if rng.random() >= missing:
                    luck = rng.standard_normal()
                    words = {"scheme": f"s{scheme}", "scope": scope, "dataset": name}
                    lines.append(change(truth + 2e-4 * luck, 2e-4, rng, **words))
    return frame(lines)


def verdict_of(test, study):
    """The verdict of a claim, and why it has none."""
    try:
        return test(study, margin=0.01).verdict
    except claims.NotTestable as reason:
        return str(reason)


@pytest.mark.parametrize("missing", [0.1, 0.3])
def test_cells_that_are_missing_at_random_support_no_claim_that_is_not_true(missing):
    rng = np.random.default_rng(11)
    studies = [study_of_nothing(rng, missing) for _ in range(80)]
    for test in (partial(claims.ece_of_sources, of="noisy", sign=1), claims.text_tower):
        found = [verdict_of(test, study) for study in studies]
        assert found.count("supported") <= 0.05 * len(studies)
        assert sum(verdict in ("contradicted", "too small to tell") for verdict in found) > 0.5 * len(studies)


def test_ranks_of_a_line_are_means_over_the_same_sets():
    lines, rng = [], np.random.default_rng(0)
    for scheme, rank, name in itertools.product(("rtn", "gptq", "awq"), (0, 1, 3, 7), "AB"):
        words = {"suite": "explain", "measure": f"sqnr_rank_{rank}", "dataset": name, "scheme": scheme}
        if (rank, name) != (7, "A"):  # the easy set has no rank 7
            lines.append(row(20.0 if name == "A" else 10.0, 0.01, rng.standard_normal(KEPT), **words))
    bands = [("accuracy_rank_0_8_change", 0.02), ("accuracy_rank_64_end_change", -0.02)]
    qat = {"family": "QAT (Contr.)", "suite": "explain", "dataset": "A"}
    lines += [row(value, 0.001, rng.standard_normal(KEPT), measure=name, **qat) for name, value in bands]
    found = claims.spectrum(frame(lines), margin=0.01)
    assert found.value == pytest.approx(0.0, abs=0.01)  # where the mean of rank 7 is that of another set, it falls
    assert "3 of 12 runs left out, not measured on all sets: awq sqnr_rank_7 (lacks A), " in found.why


def test_pages_compare_means_of_the_same_sets_and_say_what_lacks_one():
    full = rows(Shape(seeds=(0,), corruptions=(), iterations=(), ranks=()))
    lacks = (pl.col("scheme") == "rtn") & (pl.col("precision") == "w4a8") & (pl.col("scope") == "both")
    lacks &= (pl.col("model") == "vit-wit") & (pl.col("dataset") == "textures") & (pl.col("suite") == "clean")
    short = full.filter(~lacks)
    told = "accuracy_change (clean): 1 of 72 runs left out, not measured on all sets: "
    told += "vit-wit rtn w4a8 both (lacks textures)"
    for make, name in ((figure, "overview"), (table, "main")):
        assert told in make(short, name).caution
        assert make(full, name).caution == ""
    assert told in summary(short)["caution"]
    recorded = frames.Recorded(short)
    frames.select(recorded, "auroc_change", suite="ood")
    assert caution(recorded) == ""
    without = full.filter(
        ~((pl.col("scheme") == "rtn") & (pl.col("precision") == "w4a8"))
        | ~((pl.col("model") == "vit-wit") & (pl.col("scope") == "both"))
    )
    assert summary(short)["change"]["w4a8"]["accuracy"] == summary(without)["change"]["w4a8"]["accuracy"]
