import numpy as np
import polars as pl
import pytest
from scipy.special import log_softmax

from reliquant.measures.conformal import set_sizes
from reliquant.measures.conformal_rows import conformal_rows
from reliquant.measures.pairing import Pair

CLASSES = 8
PLACE = {"corruption": pl.lit(""), "severity": pl.lit(0, pl.Int8)}


def world(rng, n, gap=2.0):
    """Labels, keys, and logits of FP32 and of a variant that is noisier and sharper."""
    label, logits = rng.integers(0, CLASSES, n), 1.8 * rng.normal(size=(n, CLASSES))
    logits[np.arange(n), label] += 1.8 * gap
    keys = rng.integers(0, 2**63, n, dtype=np.uint64)
    return label, keys, logits, 1.5 * (logits + 0.5 * rng.normal(size=logits.shape))


def records(label, keys, logits):
    log_p = log_softmax(logits, axis=1)
    own = -log_p[np.arange(len(label)), label]
    frame = {"label": label, "photograph": keys, "nll": own, "confidence": np.exp(log_p.max(axis=1))}
    frame["prediction"] = log_p.argmax(axis=1)
    return pl.DataFrame(frame).with_columns(
        set_sizes(log_p), dataset=pl.lit("d"), index=pl.int_range(pl.len()), **PLACE
    )


def pair(rng, n, gap=2.0):
    label, keys, exact, quantized = world(rng, n, gap)
    return Pair(records(label, keys, quantized), records(label, keys, exact))


def by_name(rows):
    return {row["measure"]: row for row in rows}


def test_a_sharper_variant_breaks_fp32s_guarantee_and_keeps_its_own():
    known = pair(np.random.default_rng(0), 4000)
    found = by_name(conformal_rows(known, known))
    broken, kept = found["conformal_coverage_90_fp32"], found["conformal_coverage_90_own"]
    assert broken["high"] < 0.89
    assert found["conformal_coverage_90_fp32_change"]["p"] < 1e-6
    assert kept["low"] <= 0.9 <= kept["high"]
    assert found["conformal_size_90_own"]["value"] > found["conformal_size_90_fp32"]["value"]
    assert {row["n"] for row in found.values()} == {4000}


def test_the_same_model_changes_by_nothing_but_what_one_answer_unseen_might():
    label, keys, exact, _ = world(np.random.default_rng(1), 500)
    same = records(label, keys, exact)
    for row in conformal_rows(Pair(same, same), Pair(same, same)):
        if row["measure"].endswith("_change"):
            half = 1.959964 / 500 if "coverage" in row["measure"] else 0.0
            half = None if "size" in row["measure"] and "own" in row["measure"] else half
            ends = (None, None, None) if half is None else pytest.approx((-half, half, 1))
            assert (row["value"], row["low"] is None) == (0, half is None)
            assert (row["low"], row["high"], row["p"]) == ends


def test_fp32_itself_has_its_own_thresholds_alone():
    label, keys, exact, _ = world(np.random.default_rng(2), 500)
    alone = Pair(records(label, keys, exact), None)
    found = [row["measure"] for row in conformal_rows(alone, alone)]
    assert found == [f"conformal_{of}_{level}_own" for level in (90, 95) for of in ("coverage", "size")]


def test_records_without_sizes_have_no_rows():
    known = pair(np.random.default_rng(3), 100)
    bare = Pair(known.variant.drop("set_sizes"), known.fp32)
    assert conformal_rows(known, bare) == []
    unknown = Pair(known.variant.with_columns(set_sizes=None), known.fp32)
    assert conformal_rows(known, unknown) == []


def test_noise_has_the_means_over_corruptions_at_each_severity_and_at_all():
    rng = np.random.default_rng(4)
    known, (label, keys, *both) = pair(rng, 600), world(rng, 200)
    cells = {}
    for corruption, severity in (("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)):
        place = {"corruption": pl.lit(corruption), "severity": pl.lit(severity, pl.Int8)}
        noisy = [side + 0.5 * severity * rng.normal(size=side.shape) for side in reversed(both)]
        cells[corruption, severity] = Pair(*(records(label, keys, side).with_columns(**place) for side in noisy))
    every = Pair(*(pl.concat([getattr(cell, side) for cell in cells.values()]) for side in ("variant", "fp32")))
    found = {(row["severity"], row["measure"]): row for row in conformal_rows(known, every)}
    alone = {
        at: by_name(conformal_rows(known, cell.filter(cell.variant["severity"] > 0))) for at, cell in cells.items()
    }
    assert {row["corruption"] for row in found.values()} == {"mean"}
    for (severity, name), row in found.items():
        chosen = [alone[at][name] for at in cells if severity in (0, at[1])]
        assert row["value"] == pytest.approx(np.mean([one["value"] for one in chosen]))
        if row["low"] is None:
            continue
        together = np.mean([one["replicates"] for one in chosen], axis=0)
        unseen = 0.02 if name.startswith("conformal_coverage") and name.endswith("_change") else 1e-5
        np.testing.assert_allclose(row["replicates"], together, atol=unseen)  # a flip in one cell, or in all of them
        assert row["n"] == 200


def test_calibration_images_that_are_too_few_give_rows_without_values():
    known = pair(np.random.default_rng(6), 30)
    found = by_name(conformal_rows(known, known))
    assert found["conformal_coverage_95_own"]["value"] is found["conformal_size_95_fp32_change"]["value"] is None
    assert found["conformal_coverage_90_own"]["value"] is not None
    assert conformal_rows(known.filter(known.variant["label"] < 0), known) == []


@pytest.mark.parametrize("shared", [True, False])
def test_about_95_of_100_intervals_hold_the_truth(shared):
    """Calibrated on the test images themselves (shared), or on others of which the test images are a shifted kind."""
    rng, held = np.random.default_rng(5), {}
    rows = conformal_rows(known := pair(rng, 60_000), known if shared else pair(rng, 60_000, gap=1.4))
    truth = {row["measure"]: row["value"] for row in rows}
    for _ in range(150):
        known = pair(rng, 500)
        for row in conformal_rows(known, known if shared else pair(rng, 500, gap=1.4)):
            if "size" not in row["measure"] or not row["measure"].endswith("own_change"):
                held.setdefault(row["measure"], []).append(row["low"] <= truth[row["measure"]] <= row["high"])
    for measure, inside in held.items():
        assert np.mean(inside) > 0.88, measure
    assert 0.92 < np.mean(list(held.values())) < 0.985
