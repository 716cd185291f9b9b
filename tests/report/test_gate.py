import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from reliquant.measures.stats import Z95, wilson
from reliquant.report.bounds import bounds, errors_of
from reliquant.report.choice import variants
from reliquant.report.frames import mean_of_sets, select
from reliquant.report.gate import checked, wishes_of, worst
from reliquant.report.recommend import recommend
from reliquant.report.synthetic import Shape, Truth, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), iterations=(), ranks=())
FRAME = rows(SMALL)
CHANGE = pl.col("measure") == "accuracy_change"
RTN = pl.col("scheme") == "rtn"


def verdicts(frame, text, words=("rtn", "w8a8"), confidence=0.95):
    return checked(frame, wishes_of([text])[0], variants(frame, {}, words), confidence=confidence)


def one(frame, text, **words):
    (line,) = verdicts(frame, text, **words)
    return line


def test_a_verdict_is_that_of_the_bounds_around_the_mean_over_sets():
    own = select(FRAME, "squared_ce_change").filter(RTN & (pl.col("precision") == "w8a8"))
    mean = mean_of_sets(own).row(0, named=True)
    scale = errors_of(0.95) / Z95
    low = mean["value"] - (mean["value"] - mean["low"]) * scale
    for bound, verdict in ((low - 1e-9, "holds"), (low + 1e-9, "cannot tell"), (mean["value"], "cannot tell")):
        line = one(FRAME, f"squared_ce_change >= {bound:.15f}")
        assert line.verdict == verdict
        assert line.value == mean["value"]
        assert line.low == pytest.approx(low, abs=1e-9)
        assert (line.n, line.sets, line.how) == (20_000, "colours, shapes, textures", "interval")
    high = line.high
    assert one(FRAME, f"squared_ce_change >= {high + 1e-9:.15f}").verdict == "fails"
    assert one(FRAME, f"squared_ce_change <= {high + 1e-9:.15f}").verdict == "holds"
    assert one(FRAME, f"squared_ce_change <= {low - 1e-9:.15f}").verdict == "fails"


def test_bounds_of_a_share_lie_half_an_answer_further_out_and_never_beyond_it():
    own = select(FRAME, "accuracy").filter(RTN & (pl.col("precision") == "w8a8"))
    mean = mean_of_sets(own).row(0, named=True)
    plain = bounds(mean["value"], mean["low"], mean["high"], confidence=0.95)
    half = 1 / 20_000 / 3 / 2  # of one set of three
    line = one(FRAME, "accuracy >= 0")
    assert (line.low, line.high) == pytest.approx((plain[0] - half, min(plain[1] + half, 1)), abs=1e-12)
    of_all = pl.when(pl.col("measure") == "accuracy").then(1.0)
    whole = FRAME.with_columns(of_all.otherwise(end).alias(end) for end in ("value", "high"))
    assert one(whole.with_columns(replicates=pl.lit(None, FRAME.schema["replicates"])), "accuracy >= 0").high == 1


@pytest.mark.parametrize(("n", "rate"), [(1000, 0.001), (1000, 0.004), (300, 0.01), (5000, 0.002)])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_rare_answers_pass_no_more_often_than_the_confidence_says(n, rate, confidence):
    """The exact chance, over the binomial counts, that each side passes where the truth is the bound."""
    passed = {">=": 0.0, "<=": 0.0}
    there = select(FRAME, "flips_right_to_wrong").filter(RTN & (pl.col("precision") == "w8a8"), dataset="shapes")
    for count in range(int(binom.ppf(1 - 1e-6, n, rate)) + 1):
        value = count / n
        low, high = wilson(value, value * (1 - value) / n, n)
        row = there.with_columns(value=pl.lit(value), low=pl.lit(low), high=pl.lit(high), n=pl.lit(n, pl.Int64))
        row = row.with_columns(replicates=pl.lit(None, FRAME.schema["replicates"]))
        for sign in passed:
            line = one(row, f"flips_right_to_wrong {sign} {rate}", confidence=confidence)
            passed[sign] += binom.pmf(count, n, rate) * (line.verdict == "holds")
    assert max(passed.values()) <= (1 - confidence) * 1.15


@pytest.mark.parametrize("measure", ["accuracy_change", "accuracy_engine_change"])
@pytest.mark.parametrize(("n", "confidence"), [(160, 0.95), (1000, 0.95), (1000, 0.99)])
def test_a_change_of_a_few_answers_all_one_way_passes_no_more_often_than_the_confidence_says(measure, n, confidence):
    """The exact chance where the truth is the bound, however narrow the rows' own intervals are."""
    there = select(FRAME, "accuracy_change").filter(RTN & (pl.col("precision") == "w8a8"), dataset="shapes")
    lows = []
    for count in range(16):
        value = -count / n
        ends = {"value": value, "low": value - 1e-4, "high": value + 1e-4}
        row = there.with_columns(pl.lit(measure).alias("measure"), *(pl.lit(v).alias(w) for w, v in ends.items()))
        line = one(row.with_columns(n=pl.lit(n, pl.Int64)), f"{measure} >= -1", confidence=confidence)
        lows.append(line.low)
    for rate in np.arange(0.2, 8, 0.05) / n:
        passed = sum(binom.pmf(count, n, rate) for count, low in enumerate(lows) if low >= -rate)
        assert passed <= 1 - confidence + 1e-9


def test_more_confidence_needs_wider_bounds():
    widths = [one(FRAME, "accuracy >= 0", confidence=c) for c in (0.6, 0.9, 0.99)]
    assert widths[0].low > widths[1].low > widths[2].low


def test_what_cannot_be_told_says_how_many_images_would_tell():
    start = one(FRAME, "accuracy_change >= 0")
    bound = start.value - 0.7 * (start.value - start.low)
    line = one(FRAME, f"accuracy_change >= {bound:.12f}")
    assert line.verdict == "cannot tell"
    assert "lies between the bounds; about" in line.why
    needed = int(line.why.split("about ")[1].split(" images")[0].replace(",", ""))
    exact = 20_000 * ((line.value - line.low) / (line.value - bound)) ** 2
    assert needed == pytest.approx(exact, rel=0.06)  # two digits


def test_a_count_is_exact_and_its_bound_meets_the_wish_unless_it_is_strict():
    size = int(FRAME.filter(RTN, measure="bytes", precision="w8a8")["value"][0])
    for text, verdict in ((f"bytes <= {size}", "holds"), (f"bytes < {size}", "fails"), (f"bytes > {size}", "fails")):
        line = one(FRAME, text)
        assert (line.verdict, line.how, line.suite) == (verdict, "exact", "")


def test_a_measure_without_an_interval_cannot_be_told_however_good_it_is():
    plain = FRAME.with_columns(pl.when(~(pl.col("measure") == "ece_change")).then(c).alias(c) for c in ("low", "high"))
    line = one(plain, "ece_change <= 9")
    assert (line.verdict, line.why) == ("cannot tell", "ece_change has no interval; wish for squared_ce_change")


def test_an_interval_of_no_width_is_none():
    still = FRAME.with_columns(pl.when(~CHANGE).then(c).otherwise("value").alias(c) for c in ("low", "high"))
    still = still.with_columns(replicates=pl.when(~CHANGE).then("replicates"))
    assert one(still, "accuracy_change >= -9").verdict == "cannot tell"


def test_a_variant_that_lacks_a_set_of_the_others_never_passes():
    lost = FRAME.filter(~(CHANGE & RTN & (pl.col("dataset") == "shapes")))
    line = one(lost, "accuracy_change >= -9")
    assert (line.verdict, line.why, line.value) == ("cannot tell", "was not measured on shapes", None)
    assert one(lost, "accuracy_change >= -9", words=("lsq", "w8a8")).verdict == "holds"


def test_a_set_that_fp32_alone_was_measured_on_counts_too():
    lost = FRAME.filter((pl.col("scheme") == "fp32") | (pl.col("dataset") != "shapes") | (pl.col("suite") != "clean"))
    assert one(lost, "accuracy >= 0").why == "was not measured on shapes"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_value_that_is_undefined_on_a_set_never_passes(value):
    there = CHANGE & RTN & (pl.col("dataset") == "shapes")
    frame = FRAME.with_columns(value=pl.when(there).then(pl.lit(value, pl.Float64)).otherwise("value"))
    line = one(frame, "accuracy_change >= -9")
    assert (line.verdict, line.why) == ("cannot tell", "has no value on shapes")


def test_a_variant_without_any_row_of_the_measure_is_named():
    lost = FRAME.filter(~((pl.col("measure") == "bytes") & RTN))
    line = one(lost, "bytes <= 1000000000")
    assert (line.verdict, line.why) == ("cannot tell", "was not measured")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acuracy_change >= 0", "no rows of acuracy_change in the suite clean; did you mean accuracy_change"),
        ("auroc_change >= 0", "no rows of auroc_change in the suite clean; it is in ood: wish for ood:auroc_change"),
        ("ood:bytes <= 1", "no rows of bytes in the suite ood"),
        ("byte <= 1", "did you mean bytes"),
        ("logit_scale <= 1", "at the model's own logit scale; they are of tuned"),
        ("ece ~ 1", "must read"),
    ],
)
def test_a_measure_that_no_row_has_is_refused_with_what_is_near(text, message):
    tuned = FRAME.filter(measure="bytes").with_columns(measure=pl.lit("logit_scale"), scale=pl.lit("tuned"))
    tuned = tuned.with_columns(suite=pl.lit("clean"))
    with pytest.raises(ValueError, match=message):
        verdicts(pl.concat([FRAME, tuned]), text)


def test_other_suites_are_judged_as_recommend_reads_them():
    assert one(FRAME, "ood:auroc_change >= -1").sets == "digits, new-shapes"
    assert one(FRAME, "noise:accuracy_change >= -1").verdict == "holds"
    line = one(FRAME, "retrieval:text_to_image:recall_at_1_change >= -1")
    assert (line.verdict, line.sets) == ("holds", "fresh")


def test_rows_may_be_lazy_and_their_texts_categorical():
    as_is = verdicts(FRAME, "accuracy_change >= -0.01", ())
    coded = FRAME.with_columns(pl.col(pl.String).cast(pl.Categorical)).lazy()
    assert verdicts(coded, "accuracy_change >= -0.01", ()) == as_is
    assert len(as_is) == 9


def test_several_verdicts_together_are_the_worst_of_them():
    assert worst(["holds", "holds"]) == "holds"
    assert worst(["holds", "cannot tell"]) == "cannot tell"
    assert worst(["cannot tell", "fails", "holds"]) == "fails"


def test_a_wish_that_is_written_twice_is_one():
    assert len(wishes_of(["accuracy >= 0", "accuracy >= 0 "])) == 1
    with pytest.raises(ValueError, match="there is no wish"):
        wishes_of([])


def test_recommend_leaves_out_what_a_strict_wish_leaves_out():
    exact = rows(SMALL, replace(Truth(), jitter=1e-6))
    size = float(exact.filter(RTN, measure="stored_bits", precision="w4a8")["value"][0])
    of_clean = exact.with_columns(suite=pl.when(measure="stored_bits").then(pl.lit("clean")).otherwise("suite"))
    kept, left = (set(recommend(of_clean, [f"stored_bits {sign} {size}"])["precision"]) for sign in ("<=", "<"))
    assert (kept, left) == ({"w4a8"}, set())


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_harmed_in_a_row_a_wish_holds_only_where_its_numbers_say_so(seed):
    rng, words = np.random.default_rng(seed), []
    row = FRAME.filter(CHANGE & RTN & (pl.col("dataset") == "shapes"), suite="clean", precision="w8a8")
    row = row.with_columns(replicates=pl.lit(None, row.schema["replicates"]))
    for _ in range(100):
        numbers = rng.choice([None, math.nan, math.inf, -math.inf, *rng.uniform(-0.9, 0.9, 12)], 3)
        value, low, high = (None if number is None else float(number) for number in numbers)
        low, high = sorted((low, high)) if rng.random() < 0.7 and None not in (low, high) else (low, high)
        ends = {name: pl.lit(end, pl.Float64) for name, end in (("value", value), ("low", low), ("high", high))}
        harmed = row.with_columns(**ends)
        line = one(harmed, f"accuracy_change >= {rng.uniform(-1, 1):.6f}")
        words.append(line.verdict)
        if line.verdict == "cannot tell":
            continue
        assert None not in (value, low, high)
        assert math.isfinite(value)
        assert low <= value <= high
        bound = float(line.wish.split(">= ")[1])
        assert value >= bound if line.verdict == "holds" else value < bound
    assert {"holds", "fails", "cannot tell"} == set(words)


def timed(**ends):
    """Rows of `reliquant time`: both towers of FP32 and of one variant, as a runtime runs them."""
    row = FRAME.filter(CHANGE & RTN, dataset="shapes", precision="w8a8").head(1)
    words = {"suite": "deploy", "dataset": "", "n": pl.lit(15, pl.Int64), "replicates": pl.lit(None)}
    parts = []
    for scheme, faster in (("rtn@openvino", 1), ("fp32@openvino", 4)):
        for tower, value in (("image", 4.0), ("text", 1.0)):
            own = row.with_columns(scheme=pl.lit(scheme), group=pl.lit(tower))
            own = own.with_columns(**{w: v if isinstance(v, pl.Expr) else pl.lit(v) for w, v in words.items()})
            known = {
                "value": value * faster,
                "low": ends.get("low", value - 0.5),
                "high": ends.get("high", value + 0.5),
            }
            time = own.with_columns(measure=pl.lit("latency_batch_1_ms"), **{w: pl.lit(v) for w, v in known.items()})
            size = own.with_columns(measure=pl.lit("file_bytes"), value=pl.lit(value * 100), low=None, high=None)
            parts += [time, size]
    return pl.concat([part.cast(dict(FRAME.schema)) for part in parts])


@pytest.mark.parametrize(
    ("text", "value", "verdict"),
    [
        ("latency <= 4.6", 4.0, "holds"),
        ("latency <= 4.4", 4.0, "cannot tell"),
        ("deploy:latency_batch_1_ms < 3.4", 4.0, "fails"),
        ("text:latency <= 1.6", 1.0, "holds"),
        ("file_bytes <= 400", 400.0, "holds"),
        ("deploy:text:file_bytes < 100", 100.0, "fails"),
    ],
)
def test_times_and_bytes_of_exported_files_are_judged_of_one_tower_and_not_of_fp32(text, value, verdict):
    (line,) = verdicts(timed(), text, words=())
    assert (line.value, line.verdict) == (value, verdict)


def test_ends_of_a_median_of_rounds_stay_what_they_are_and_say_no_more_than_they_hold():
    frame = timed()
    (line,) = verdicts(frame, "latency <= 4.4", words=(), confidence=0.9)
    assert (line.low, line.high) == (3.5, 4.5)
    assert "rounds would tell" in line.why
    (line,) = verdicts(frame, "latency <= 100", words=(), confidence=0.99)
    assert (line.verdict, "0.975" in line.why) == ("cannot tell", True)
    (line,) = verdicts(timed(low=None, high=None), "latency <= 100", words=())
    assert (line.verdict, "fewer than six rounds" in line.why) == ("cannot tell", True)


def test_rows_without_times_say_which_command_measures_them():
    with pytest.raises(ValueError, match="reliquant time"):
        one(FRAME, "latency <= 5")


def test_bounds_of_flips_from_the_simulation_are_those_of_flips_from_fp32():
    plain = one(FRAME, "flips_right_to_wrong <= 0.5")
    for name in ("engine_flips_right_to_wrong", "float64_flips_right_to_wrong"):
        renamed = FRAME.with_columns(measure=pl.col("measure").cast(pl.String).replace("flips_right_to_wrong", name))
        line = one(renamed, f"{name} <= 0.5")
        assert (line.low, line.high) == (plain.low, plain.high)
