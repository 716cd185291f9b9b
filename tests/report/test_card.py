import re

import polars as pl
import pytest

from reliquant.files.bounded import load_yaml
from reliquant.measures.stats import holm
from reliquant.report.card import About, card
from reliquant.report.choice import variants
from reliquant.report.frames import select
from reliquant.report.synthetic import Shape, rows
from reliquant.report.tabling import Change

FRAME = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), iterations=(), ranks=()))
ACCURACY = (("accuracy",), ("accuracy_change",), ("accuracy", "fp32", "fp32"))
RTN = variants(FRAME, {}, ["rtn", "w8a8"])


def front(text):
    head, rest = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.S).groups()
    return load_yaml(head), rest


def lines_of(text, title):
    """The cells of the tables below a heading, without their heads."""
    part = re.search(rf"^#+ {title}.*?\n(.*?)(?=^#+ |\Z)", text, re.S | re.M)[1]
    rows_ = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("\\", "") for cell in cells] for cells in rows_[2:]]


def one(suite, dataset, measure, scheme="rtn", precision="w8a8"):
    cell = (pl.col("dataset") == dataset) & (pl.col("scheme") == scheme) & (pl.col("precision") == precision)
    return select(FRAME, measure, suite=suite).filter(cell).row(0, named=True)


def test_the_front_matter_says_what_is_known_and_every_metric_is_a_value_of_the_rows():
    about = About(base_model="openai/clip-vit-base-patch32", license="mit", library="onnx", tags=["int8"])
    known, _ = front(card(FRAME, about, variants=RTN))
    assert (known["base_model"], known["base_model_relation"]) == ("openai/clip-vit-base-patch32", "quantized")
    assert (known["license"], known["library_name"]) == ("mit", "onnx")
    assert known["tags"] == ["reliquant", "int8", "quantized", "rtn", "w8a8"]
    (model,) = known["model-index"]
    assert model["name"] == "vit rtn w8a8 image"
    shapes = next(
        r for r in model["results"] if r["dataset"] == {"name": "shapes", "type": "shapes", "config": "clean"}
    )
    assert shapes["task"]["type"] == "zero-shot-image-classification"
    accuracy = shapes["metrics"][0]
    row, change, fp32 = (
        one("clean", "shapes", *of) for of in (("accuracy",), ("accuracy_change",), ("accuracy", "fp32", "fp32"))
    )
    assert (accuracy["type"], accuracy["value"]) == ("accuracy", pytest.approx(row["value"], rel=1e-5))
    numbers = {"n": 20_000, "low": row["low"], "high": row["high"], "fp32": fp32["value"], "change": change["value"]}
    numbers |= {"change_low": change["low"], "change_high": change["high"]}
    assert accuracy["args"] == pytest.approx(numbers, rel=1e-5)
    values = {round(v, 4) for v in FRAME["value"].drop_nulls()}
    assert {round(m["value"], 4) for r in model["results"] for m in r["metrics"]} <= values


def test_what_is_not_known_is_left_out_of_the_front_matter():
    known, _ = front(card(FRAME, variants=RTN))
    assert not {"base_model", "base_model_relation", "license", "library_name"} & set(known)


def test_hugging_faces_own_reader_finds_the_same():
    hub = pytest.importorskip("huggingface_hub")
    text = card(FRAME, About(base_model="a/b", license="mit", tags=["x"]), variants=RTN)
    read = hub.ModelCard(text)
    known, rest = front(text)
    assert read.data.base_model == "a/b"
    assert read.data.license == "mit"
    assert read.data.tags == known["tags"]
    found = {(r.dataset_name, r.dataset_config, r.metric_name): r.metric_value for r in read.data.eval_results}
    ours = {}
    for result in known["model-index"][0]["results"]:
        for metric in result["metrics"]:
            ours[result["dataset"]["name"], result["dataset"]["config"], metric["name"]] = metric["value"]
    assert found == ours
    assert len(found) > 30
    assert read.text.strip() == rest.strip()


def test_a_line_has_value_fp32_change_interval_and_stars_corrected_for_the_card():
    _, text = front(card(FRAME, variants=RTN))
    found = {(line[0], line[1]): line[2:] for line in lines_of(text, "clean")}
    row, change, fp32 = (
        one("clean", "colours", *of) for of in (("accuracy",), ("accuracy_change",), ("accuracy", "fp32", "fp32"))
    )
    n, value, of_fp32, moved = found["colours", "accuracy"]
    assert (n, value, of_fp32) == ("20,000", f"{100 * row['value']:.1f} %", f"{100 * fp32['value']:.1f} %")
    assert moved.startswith(f"{100 * change['value']:+.1f} [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]")
    count = int(re.search(r"for the ([\d,]+) changes", text)[1].replace(",", ""))
    stars = {}
    p, shown = [], []
    for suite in ("clean", "ood", "shift", "noise", "spurious", "retrieval"):
        for line in lines_of(text, suite):
            ends = re.match(r"([-+\d.,]+) \[([-+\d.,]+), ([-+\d.,]+)\](\**)", line[5])
            if ends:
                shown.append(ends[4])
                p.append(Change(*(float(ends[i].replace(",", "")) for i in (1, 2, 3))).p)
    stars = ["***" if q < 0.001 else "**" if q < 0.01 else "*" if q < 0.05 else "" for q in holm(p)]
    assert len(p) == count
    assert sum(a == b for a, b in zip(stars, shown, strict=True)) >= 0.9 * count  # p of rounded figures, here
    assert "***" in shown


def test_squared_errors_are_in_points_squared():
    _, text = front(card(FRAME, variants=RTN))
    row = one("clean", "shapes", "squared_ce")
    line = next(line for line in lines_of(text, "clean") if line[:2] == ["shapes", "squared_ce"])
    assert line[3] == f"{1e4 * row['value']:.1f} points²"


def test_every_suite_that_was_measured_has_its_table():
    _, text = front(card(FRAME, variants=RTN))
    assert {line[0] for line in lines_of(text, "ood")} == {
        f"{name}, {kind}, {score}, for shapes"
        for name, kind in (("new-shapes", "near"), ("digits", "far"))
        for score in ("mcm", "energy")
    }
    assert {line[0] for line in lines_of(text, "noise")} == {"shapes, mean over corruptions"}
    assert any("text to image" in line[0] for line in lines_of(text, "retrieval"))
    assert [line[:2] for line in lines_of(text, "spurious")] == [["countered", "rsg"]]


def test_what_was_not_measured_is_named():
    lost = (pl.col("suite") == "spurious") | (pl.col("suite") == "shift")
    lost |= (pl.col("scheme") == "rtn") & (pl.col("dataset") == "textures")
    blank = (pl.col("scheme") == "rtn") & (pl.col("measure") == "nll") & (pl.col("dataset") == "colours")
    frame = FRAME.filter(~lost).with_columns(value=pl.when(~blank).then("value"))
    _, text = front(card(frame, variants=RTN))
    part = text.split("## What was not measured")[1].split("##")[0]
    assert "- shift: images of the same classes in other styles" in part
    assert "- spurious: spurious correlations." in part
    assert "- clean, on textures, on which other models of these rows were measured." in part
    assert "Measured, but without a value there: nll on colours (clean)" in part
    assert "- clean:" not in part


def test_a_file_that_a_runtime_ran_says_so():
    scheme = pl.col("scheme").replace("rtn", "rtn@onnxruntime")
    frame = FRAME.with_columns(scheme=scheme)
    text = card(frame, variants=variants(frame, {}, ["rtn@onnxruntime", "w8a8"]))
    assert "The exported file itself was measured, run by onnxruntime." in text
    assert "An exported file may answer a few images differently" in card(FRAME, variants=RTN)


def test_times_and_sizes_of_exported_towers_are_shown():
    times = FRAME.filter(pl.col("measure") == "accuracy", scheme="rtn", precision="w8a8").head(1)
    words = {"suite": "deploy", "group": "image", "dataset": "", "reference": "", "scheme": "rtn@openvino"}
    times = times.with_columns(pl.lit(value).cast(times.schema[word]).alias(word) for word, value in words.items())
    measured = {"latency_batch_1_ms": (15.7, 15.1, 16.4), "file_bytes": (97_050_389.0, None, None)}
    parts = []
    for measure, (value, low, high) in measured.items():
        ends = {
            "value": pl.lit(value),
            "low": pl.lit(low, pl.Float64),
            "high": pl.lit(high, pl.Float64),
            "n": pl.lit(9),
        }
        part = times.with_columns(**ends, measure=pl.lit(measure).cast(times.schema["measure"]))
        parts.append(part.cast(dict(times.schema)))
    text = card(pl.concat(parts))
    assert lines_of(text, "The exported files") == [
        ["image", "file_bytes", "9", "97,050,389"],
        ["image", "latency_batch_1_ms", "9", "15.7 [15.1, 16.4]"],
    ]
    assert "The exported files" not in card(FRAME, variants=RTN)


def test_without_rows_the_card_says_that_nothing_was_measured():
    words = {"model": "vit", "scheme": "rtn", "precision": "w8a8", "scope": "image", "seed": 0}
    known, text = front(card(None, About(variant=words, facts={"sha256": "ab" * 32}, usage="    run it\n")))
    assert "model-index" not in known
    assert "Nothing was measured of this model" in text
    assert "| Scheme | rtn |" in text
    assert f"| sha256 | {'ab' * 32} |" in text
    assert "\n    run it\n" in text
    known, text = front(card(None))
    assert known["tags"] == ["reliquant"]
    assert "# A model" in text


def test_several_variants_have_a_part_and_an_entry_each():
    known, text = front(card(FRAME, variants=variants(FRAME, {}, ["w8a8"])))
    assert [entry["name"] for entry in known["model-index"]] == [
        f"vit {s} w8a8 image" for s in ("lsq", "rot-lsq", "rtn")
    ]
    assert text.count("## What was measured\n") == 3
    assert text.startswith("\n# 3 variants\n")


def test_fp32_alone_has_no_change_and_is_not_called_quantized():
    known, text = front(card(FRAME, About(base_model="a/b"), variants=variants(FRAME, {}, ["fp32"])))
    assert known["tags"] == ["reliquant"]
    assert "base_model_relation" not in known
    assert "for the 0 changes" in text
    frame = FRAME.with_columns(scheme=pl.col("scheme").replace("rtn", "fp32@onnxruntime"))
    known, text = front(card(frame, variants=variants(frame, {}, ["fp32@onnxruntime", "w8a8"])))
    assert known["tags"] == ["reliquant"]
    assert "## The model\n" in text


EVIL = "a: [b]\n---\n<script>x</script> | `c` *d* [e](http://f) {{g}} \x1b[2J \"h\" 'i' #j &amp; @k"


def test_nothing_that_strangers_wrote_is_obeyed():
    there = {word: pl.lit(EVIL) for word in ("model", "dataset", "family", "study", "source", "proxy")}
    frame = FRAME.with_columns(scheme=pl.col("scheme").replace("rtn", EVIL), **there)
    about = About(EVIL, EVIL, EVIL, EVIL, [EVIL], facts={EVIL: {EVIL: [EVIL]}})
    frame = frame.unique(subset=[c for c in frame.columns if c not in ("value", "low", "high", "p", "n", "replicates")])
    text = card(frame, about, variants=variants(frame, {"precision": ["w8a8"]}, [EVIL]))
    known, rest = front(text)
    flat = " ".join(EVIL.split("\n")).replace("\x1b", "\\x1b")
    assert known["license"] == flat
    assert flat in known["model-index"][0]["name"]
    markdown_it = pytest.importorskip("markdown_it")
    html = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(rest)
    assert "<script" not in html
    assert "<a " not in html
    assert "\x1b" not in text
    cells = [line for line in rest.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in cells} <= {3, 7}  # no cell breaks a table


def test_rows_may_be_categorical():
    coded = FRAME.with_columns(pl.col(pl.String).cast(pl.Categorical))
    assert card(coded, variants=RTN) == card(FRAME, variants=RTN)
