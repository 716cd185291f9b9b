import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import KEPT
from reliquant.measures.rows import rows as measure
from reliquant.report.against import compares, differences
from reliquant.report.averages import spread, table_of
from reliquant.report.bounds import errors_of
from reliquant.report.choice import variants
from reliquant.report.frames import mean_of_sets, select
from reliquant.report.gate import wishes_of
from reliquant.report.synthetic import Shape, rows

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=()))
PAIR = [variants(FRAME, {}, ["rtn", precision]) for precision in ("w4a8", "w8a8")]
ACCURACY, RTN4 = pl.col("measure") == "accuracy", (pl.col("scheme") == "rtn") & (pl.col("precision") == "w4a8")


def one(text, first=FRAME, second=FRAME, pair=PAIR, confidence=0.95):
    found = differences(("a.parquet", first), ("b.parquet", second), wishes_of([text])[0], pair, confidence=confidence)
    return found[0]


def test_a_change_is_the_first_less_the_second_with_the_interval_of_pairs():
    means = [mean_of_sets(select(FRAME, "accuracy").join(v, on=v.columns, how="semi")) for v in PAIR]
    value = means[0]["value"][0] - means[1]["value"][0]
    error = spread(table_of(means[0]) - table_of(means[1]))[0]
    line = one("accuracy_change >= -0.5")
    assert (line.verdict, line.how, line.measure) == ("holds", "paired", "accuracy_change")
    assert line.value == pytest.approx(value, abs=1e-12)
    z, answer = errors_of(0.95), 1 / 20_000 / 3  # of one set of three
    side = z**2 * answer / 2 + np.sqrt(z**2 * error**2 + z**4 * answer**2 / 4)
    assert (line.low, line.high) == pytest.approx((value - side, value + side))
    assert one("accuracy_change >= -0.05").verdict == "fails"
    assert one("accuracy_change >= -0.05", pair=PAIR[::-1]).verdict == "holds"


def test_only_wishes_for_a_change_compare():
    assert [compares(one) for one in wishes_of(["accuracy_change >= 0", "accuracy >= 0", "vuln_add <= 1"])] == [
        True,
        False,
        False,
    ]


def answers(right, seed):
    """Records of 600 images of two classes, with their photographs' keys; `seed` says which are right."""
    n = len(right)
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.6, 0.9, n)
    label = np.arange(n) % 2
    words = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": "", "severity": 0}
    columns = {"index": np.arange(n), "label": label, "prediction": np.where(right, label, 1 - label)}
    columns |= {"confidence": confidence, "nll": -np.log(confidence), "brier": (1 - confidence) ** 2}
    columns |= {"rank": np.where(right, 0, 1), "photograph": np.arange(n, dtype=np.uint64) * 977}
    return pl.DataFrame(columns).with_columns(**{name: pl.lit(word) for name, word in words.items()})


def table(fp32, variant, scheme="s"):
    words = {"model": "m", "source": "s", "scheme": scheme, "family": "f", "precision": "w8a8", "scope": "image"}
    found = measure(variant, fp32, resamples=200).with_columns(**{k: pl.lit(v) for k, v in words.items()})
    none = pl.lit(None, pl.Int64)
    return found.with_columns(proxy=pl.lit("p"), seed=pl.lit(0), iteration=none, scale=pl.lit("native"))


def test_answers_that_photographs_share_cancel():
    rng = np.random.default_rng(0)
    base = rng.random(600) < 0.7
    other = base.copy()
    other[:12] = ~other[:12]
    first, second, far = (table(answers(base, 1), answers(r, 1)) for r in (other, base, rng.random(600) < 0.7))
    pair = [variants(first, {}, [])] * 2
    near, apart = (one("accuracy_change >= -1", first, that, pair) for that in (second, far))
    by_hand = (other.astype(float) - base).std() / np.sqrt(600)  # the standard error of the paired difference
    assert (near.high - near.low) / 2 / errors_of(0.95) == pytest.approx(by_hand, rel=0.25)
    assert apart.high - apart.low > 4 * (near.high - near.low)


def test_two_that_answer_alike_may_still_differ_elsewhere():
    base = np.random.default_rng(0).random(600) < 0.7
    frame = table(answers(base, 1), answers(base, 1))
    pair = [variants(frame, {}, [])] * 2
    line = one("accuracy_change >= -0.001", frame, frame, pair)
    assert line.value == 0
    assert line.verdict == "cannot tell"  # of 600 images, up to 2.7 in 600 may be lost elsewhere
    assert -line.low == pytest.approx(errors_of(0.95) ** 2 / 600)
    assert one("accuracy_change >= -0.005", frame, frame, pair).verdict == "holds"
    brier = one("brier_change <= 1", frame, frame, pair)  # as much wider as its own error is the accuracy's
    own = {m: select(frame, m).row(0, named=True) for m in ("brier", "accuracy")}
    wider = np.divide(*(own[m]["high"] - own[m]["low"] for m in ("brier", "accuracy")))
    assert brier.high - brier.low == pytest.approx(wider * (line.high - line.low))
    alone = frame.filter(~ACCURACY)
    nothing = one("brier_change <= 1", alone, alone, pair)
    assert (nothing.verdict, nothing.why[:38]) == ("cannot tell", "both are the same in every resample, s")


def test_a_measure_without_replicates_adds_the_widths_and_says_so():
    frame = FRAME.with_columns(replicates=pl.when(~(ACCURACY & RTN4)).then("replicates"))
    line, paired = one("accuracy_change >= -0.5", frame), one("accuracy_change >= -0.5")
    assert (line.verdict, line.how) == ("holds", "widths added")
    assert "accuracy keeps no replicates here" in line.why
    assert line.high - line.low > paired.high - paired.low


def test_a_measure_without_an_interval_cannot_be_told():
    plain = FRAME.with_columns(
        pl.when(pl.col("measure") != "ece").then(c).alias(c) for c in ("low", "high", "replicates")
    )
    line = one("ece_change <= 9", plain)
    assert (line.verdict, line.why) == ("cannot tell", "ece has no interval; wish for squared_ce_change")


def test_counts_are_exact():
    assert (one("bytes_change < 0").verdict, one("bytes_change < 0").how) == ("holds", "exact")
    assert one("bytes_change < 0", pair=PAIR[::-1]).verdict == "fails"


def test_tables_of_other_sets_or_images_are_refused_by_name():
    with pytest.raises(ValueError, match=r"textures: b.parquet has no rows of it, a.parquet has; .* --dataset"):
        one("accuracy_change >= 0", second=FRAME.filter(pl.col("dataset") != "textures"))
    with pytest.raises(ValueError, match=r"shapes: a.parquet has no rows of it"):
        one("accuracy_change >= 0", first=FRAME.filter(pl.col("dataset") != "shapes"))
    fewer = FRAME.with_columns(n=pl.when(pl.col("dataset") == "colours").then(10).otherwise("n"))
    with pytest.raises(ValueError, match=r"colours: the images of accuracy are 20000 in a.parquet and 10 in b.parquet"):
        one("accuracy_change >= 0", second=fewer)


def test_a_measure_that_a_table_lacks_is_refused_with_the_table():
    with pytest.raises(ValueError, match=r"b.parquet: .* there are no rows of accuracy in the suite clean"):
        one("accuracy_change >= 0", second=FRAME.filter(~ACCURACY))
    with pytest.raises(ValueError, match=r"a.parquet: .* no rows of accurac in the suite clean; did you mean accuracy"):
        one("accurac_change >= 0")


def test_a_variant_that_lacks_a_set_never_passes():
    lost = FRAME.filter(~(ACCURACY & RTN4 & (pl.col("dataset") == "shapes")))
    line = one("accuracy_change >= -9", first=lost)
    assert (line.verdict, line.why) == ("cannot tell", "a.parquet: was not measured on shapes")


def test_replicates_are_as_many_as_rows_keep():
    assert table_of(select(FRAME, "accuracy")).shape[1] == KEPT
