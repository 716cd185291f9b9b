"""The console command, run as a user runs it, on files that other libraries wrote."""

import io
import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file

from reliquant import plugins
from reliquant.cli import main
from reliquant.files.artifacts import read_header
from reliquant.files.stored_frames import read_rows
from reliquant.models.files import save_model

CLASSES = ["circle", "square"]
ENTRY = {"tower": "small", "architecture": "lab_vit"}


def run(capsys, *words):
    main.main([str(w) for w in words])
    return capsys.readouterr().out


def refused(*words):
    with pytest.raises(SystemExit) as stop:
        main.main([str(w) for w in words])
    return str(stop.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, plugins.load("tower", ENTRY)(None), ENTRY)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same 24 captioned images as a folder, a parquet file and a WebDataset tar."""
    import webdataset

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    records = []
    with webdataset.TarWriter(str(folder / "images.tar")) as tar:
        for i in range(24):
            name = CLASSES[i % 2]
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(file, "PNG")
            (folder / "tree" / name).mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name / f"{i:03}.png").write_bytes(file.getvalue())
            text = f"a photo of a {name} {i}"
            records.append({"image": file.getvalue(), "label": name, "caption": text})
            tar.write({"__key__": f"{i:03}", "png": file.getvalue(), "cls": name.encode(), "txt": text})
    pl.DataFrame(records).write_parquet(folder / "images.parquet")
    return folder


def test_the_three_forms_of_a_dataset_give_the_same_figures(capsys, model, data):
    words = ("--templates", "a photo of a {}", "--resamples", 200, "--json")
    found = [
        next(iter(json.loads(run(capsys, "evaluate", "--model", model, "--data", data / form, *words)).values()))
        for form in ("tree", "images.parquet", "images.tar")
    ]
    assert found[0]["accuracy"]["n"] == 24
    for other in found[1:]:
        assert {k: v["value"] for k, v in other.items()} == pytest.approx({k: v["value"] for k, v in found[0].items()})


def test_quantize_then_evaluate_then_measure_agree(capsys, model, data, tmp_path):
    out, features = tmp_path / "w4a8.safetensors", tmp_path / "f.safetensors"
    pairs = f"{{dataset: parquet, root: {data}, caption: caption}}"
    words = ("--scheme", "{quantizer: rtn, batch: 8}", "--precision", "w4a8", "--pairs", pairs, "--held-out", 0.5)
    said = run(capsys, "quantize", "--model", model, *words, "--output", out)
    assert "quantized_mac_share: 0.9" in said
    told = dict(line.split(": ") for line in said.splitlines())
    header = read_header(out)
    assert (told["held_out_pairs"], float(told["logit_scale_tuned"])) == ("12", header["logit_scale_tuned"])
    assert float(told["logit_scale_tuned_fp32"]) == header["logit_scale_tuned_fp32"]
    evaluate = ("evaluate", "--model", model, "--variant", out, "--data", data / "tree", "--ood", data / "images.tar")
    direct = json.loads(run(capsys, *evaluate, "--resamples", 200, "--save", features, "--json"))
    plain = json.loads(run(capsys, "evaluate", "--model", model, "--data", data / "tree", "--resamples", 200, "--json"))
    nll = direct["tree"]["nll"]
    assert nll["value"] != plain["tree"]["nll"]["value"]
    assert nll["reference"]["value"] == pytest.approx(plain["tree"]["nll"]["value"], rel=1e-5)
    assert nll["change"]["value"] == pytest.approx(nll["value"] - plain["tree"]["nll"]["value"], rel=1e-3)
    ood = tmp_path / "ood.safetensors"
    save_file({"image": load_file(features)["image"]}, ood)
    simulated = json.loads(run(capsys, *evaluate, "--resamples", 200, "--backend", "simulate", "--json"))
    assert simulated["tree"]["nll"]["value"] == pytest.approx(direct["tree"]["nll"]["value"], rel=1e-3)
    stored = json.loads(run(capsys, "measure", features, "--ood", ood, "--resamples", 200, "--json"))
    assert stored["f"]["nll"]["value"] == pytest.approx(direct["tree"]["nll"]["value"], rel=1e-5)
    other = stored[str(ood.with_suffix(""))]
    assert other["mcm_auroc"]["value"] == pytest.approx(0.5)
    assert {"energy_fpr95_id_positive", "msp_aupr_in", "max_logit_fpr95_ood_positive"} <= set(other)


def test_a_variants_changes_are_kept_as_rows_and_fp32_need_not_be_embedded_again(capsys, model, data, tmp_path):
    out, features = tmp_path / "v.safetensors", tmp_path / "fp32.safetensors"
    pairs = f"{{dataset: parquet, root: {data}, caption: caption}}"
    scheme = ("--scheme", "{quantizer: rtn, batch: 8}", "--precision", "w4a8", "--pairs", pairs)
    run(capsys, "quantize", "--model", model, *scheme, "--output", out, "--tuning", "none")
    words = ("--data", data / "tree", "--resamples", 200)
    run(capsys, "evaluate", "--model", model, *words, "--save", features)
    variant = ("evaluate", "--model", model, "--variant", out, *words)
    shown = run(capsys, *variant, "--rows", tmp_path / "rows.parquet")
    assert "v beside FP32" in shown
    rows = read_rows(tmp_path / "rows.parquet")
    keys = rows.select("model", "scheme", "family", "precision", "scope").unique().sort("scheme").rows()
    assert keys == [("model", "fp32", "FP32", "fp32", "none"), ("model", "v", "rtn", "w4a8", "image")]
    assert {"bytes", "bytes_fp32", "stored_bits"} <= set(rows.filter(suite="")["measure"])
    direct = json.loads(run(capsys, *variant, "--json"))["tree"]
    again = json.loads(run(capsys, *variant, "--reference", features, "--json"))["tree"]
    assert again["nll"]["change"]["value"] == pytest.approx(direct["nll"]["change"]["value"], abs=1e-6)
    alone = json.loads(run(capsys, *variant, "--no-reference", "--json"))["tree"]
    assert alone["nll"]["value"] == pytest.approx(direct["nll"]["value"], abs=1e-6)
    assert "change" not in alone["nll"]
    other = load_file(features)
    save_file(other | {"label": other["label"][::-1].copy()}, tmp_path / "o.safetensors")
    assert "o.safetensors: is of other images than --data" in refused(
        *variant, "--reference", tmp_path / "o.safetensors"
    )
    assert "--rows: needs --variant" in refused("evaluate", "--model", model, *words, "--rows", tmp_path / "r.parquet")
    assert "--rows: leave out --no-reference" in refused(*variant, "--no-reference", "--rows", tmp_path / "r.parquet")
    assert "leave out --ood" in refused(*variant, "--reference", features, "--ood", data / "images.tar")


def test_a_variant_is_measured_at_its_tuned_scale_where_it_was_tuned(capsys, model, data, tmp_path):
    out = tmp_path / "v.safetensors"
    words = ("--pairs", f"{{dataset: parquet, root: {data}, caption: caption}}", "--held-out", 0.5, "--output", out)
    scheme = ("--model", model, "--scheme", "{quantizer: rtn, batch: 8}")
    evaluate = ("evaluate", "--model", model, "--variant", out, "--data", data / "tree", "--resamples", 200, "--json")
    run(capsys, "quantize", *scheme, *words)
    native, tuned = (json.loads(run(capsys, *evaluate, "--scale", s))["tree"] for s in ("native", "tuned"))
    assert tuned["accuracy"]["value"] == native["accuracy"]["value"]
    assert tuned["nll"]["value"] != native["nll"]["value"]
    run(capsys, "quantize", *scheme, *words, "--tuning", "none")
    assert "v.safetensors: has no tuned logit scale" in refused(*evaluate, "--scale", "tuned")


def test_too_few_held_out_pairs_for_an_objective_that_is_named_are_refused_with_what_is_needed(
    capsys, model, data, tmp_path
):
    pairs = f"{{dataset: parquet, root: {data}, caption: caption}}"
    words = ("quantize", "--model", model, "--scheme", "rtn", "--pairs", pairs, "--output", tmp_path / "v.safetensors")
    told = "held_out: 0.2 of 24 pairs are 5 with 5 captions; tuning the logit scale takes at least 10 with 2"
    assert told in refused(*words, "--tuning", "contrastive")
    assert not (tmp_path / "v.safetensors").exists()
    run(capsys, *words)  # nothing is asked for by name: it is said instead, see test_images_of_commands.py
    assert read_header(tmp_path / "v.safetensors")["logit_scale_tuned"] is None
    with pytest.raises(SystemExit):
        main.main([str(word) for word in (*words, "--held-out", "1")])
    assert "'1' is no share: a number from 0 to less than 1, such as 0.2" in capsys.readouterr().err


def test_a_backend_that_cannot_is_refused_with_variant_layer_and_reason(model, data, tmp_path):
    out = tmp_path / "w4a16.safetensors"
    words = [
        "--precision",
        "w4a16",
        "--pairs",
        f"{{dataset: parquet, root: {data}, caption: caption}}",
        "--tuning",
        "none",
    ]
    main.main(
        ["quantize", "--model", str(model), "--scheme", "{quantizer: rtn, batch: 8}", *words, "--output", str(out)]
    )
    message = refused("evaluate", "--model", model, "--variant", out, "--data", data / "tree", "--backend", "integer")
    assert "w4a16.safetensors: backend integer cannot compute visual.transformer.resblocks.0.attn.qkv" in message
    assert "activations stay in floating point" in message


def test_a_variant_of_other_weights_is_refused(model, data, tmp_path):
    out, other = tmp_path / "v.safetensors", tmp_path / "other.safetensors"
    save_model(other, plugins.load("tower", {**ENTRY, "seed": 1})(None), {**ENTRY, "seed": 1})
    main.main(["quantize", "--model", str(model), "--scheme", "{quantizer: rtn, batch: 8}", "--tuning", "none",
              "--pairs", f"{{dataset: parquet, root: {data}, caption: caption}}", "--output", str(out)])  # fmt: skip
    message = refused("evaluate", "--model", other, "--variant", out, "--data", data / "tree")
    assert "made from other weights" in message


def test_known_figures_of_real_embeddings(capsys, shared_data):
    path = shared_data / "clip_vit_b_32_openai_cifar10" / "embeddings.safetensors"
    found = json.loads(run(capsys, "measure", path, "--json"))["embeddings"]
    assert found["accuracy"]["value"] == pytest.approx(0.896)
    assert found["ece"]["value"] == pytest.approx(0.1021, abs=5e-5)
    assert set(found["ece"]) == {"value", "low", "high", "n"}
    assert found["ece"]["low"] is found["ece"]["high"] is None  # a plug-in error has no valid interval
    assert found["brier"]["low"] < found["brier"]["value"] < found["brier"]["high"]


def test_known_figures_of_a_real_softmax_table(capsys, shared_data):
    found = json.loads(run(capsys, "measure", shared_data / "softmax_tables" / "cifar10_resnet.safetensors", "--json"))
    found = found["cifar10_resnet"]
    assert found["accuracy"]["value"] == pytest.approx(0.9294)
    assert found["ece"]["value"] == pytest.approx(0.0326, abs=5e-5)


def test_plan_names_each_product_and_why_it_stays(capsys, model):
    found = json.loads(run(capsys, "plan", "--model", model, "--precision", "w4a8", "--json"))
    by_module = {p["module"]: p for p in found["products"]}
    assert by_module["visual.transformer.resblocks.0.attn.qkv"]["weight"] == "int4 / channel"
    assert by_module["visual.conv1"]["reason"] == "outside the blocks"
    assert by_module["visual.transformer.resblocks.0.attn"]["reason"] == "attention product"


def test_plan_counts_a_study(capsys, tmp_path):
    """The lab's, on one set: its rows take seconds to count, and are no part of this."""
    lab = yaml.safe_load((plugins.PACKAGE.parents[1] / "config" / "config.yaml").read_text())
    alone = {k: v for k, v in lab.items() if k not in ("explain", "shards", "sensitivity")}
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(alone | {"suites": {"clean": ["shapes"]}}))
    found = json.loads(run(capsys, "plan", config, "--json"))
    schemes = 4 * 2 + 2 + 1 + 1 + 3  # rtn of both scopes, mse, quarot, fp8, lsq
    assert found["variants"] == 4 * (1 + schemes)
    assert found["jobs"]["quantize"] + found["jobs"]["quantize_snapshots"] == found["variants"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [", "no YAML: line 2, column 1: did not find expected node content"),
        (b"study: x\nmodels: [1\nb: 2\n", "no YAML: line 3, column 2: did not find expected ',' or ']'"),
        (b"\xff\xfe\x00", "no YAML: unacceptable character"),
        (b"5", "must hold keys and values (study, models, ...), not 5"),
        (b"", "must hold keys and values (study, models, ...), not None"),
        (b"study: x\ntitle: x\nmodels: {}\ndatasets: {a: {dataset: lab}}", "suites: missing"),
    ],
)
def test_a_config_that_cannot_be_planned_is_told_with_its_file_and_place(capsys, tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_bytes(text)
    with pytest.raises(SystemExit) as stop:
        main.main(["plan", str(path)])
    told = capsys.readouterr().err
    assert stop.value.code == 2
    assert told.startswith(f"reliquant plan: error: {path}: ")
    assert message in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("measure", "nowhere.safetensors"), "nowhere.safetensors: no such file"),
        (("plan",), "give a study config or --model"),
        (("plan", "--model", "ViT-Z-99"), "architecture 'ViT-Z-99' is unknown to open_clip"),
        (("plan", "--model", "lab.safetensors"), "lab.safetensors: no such file"),
        (
            ("quantize", "--model", "x", "--scheme", "rtm", "--pairs", "p", "--output", "o"),
            "quantizer 'rtm' is unknown",
        ),
        (
            (
                "quantize",
                "--model",
                "x",
                "--scheme",
                "{quantizer: rtn, weight: {bits: 1}}",
                "--pairs",
                "p",
                "--output",
                "o",
            ),
            "--scheme: weight: bits: come from the precision, such as w4a8; leave bits: 1 out",
        ),
        (("quantize", "--model", "x", "--precision", "w1a8", "--pairs", "p", "--output", "o"), "bits must be from 2"),
    ],
)
def test_bad_input_is_named(words, message):
    assert message in refused(*words)


def test_features_with_nan_are_refused(tmp_path):
    image = np.ones((4, 3), np.float32)
    image[2, 1] = np.nan
    head = {"text": np.eye(3, dtype=np.float32), "logit_scale": np.float32([10]), "label": np.arange(4) % 3}
    save_file({"image": image, **head}, tmp_path / "f.safetensors")
    assert "f.safetensors: image holds NaN" in refused("measure", tmp_path / "f.safetensors")
    save_file({"image": np.ones((4, 3), np.float32)}, tmp_path / "g.safetensors")
    assert "g.safetensors: has no 'label'; there are image" in refused("measure", tmp_path / "g.safetensors")
    save_file({"image": np.ones((4, 3), np.float32), **head, "label": np.arange(4)}, tmp_path / "h.safetensors")
    assert "3" in refused("measure", tmp_path / "h.safetensors")


def test_an_installed_command_needs_no_torch_to_measure(tmp_path):
    table = np.full((6, 3), 0.2, np.float32)
    table[:, 0] = 0.6
    save_file({"probabilities": table, "label": np.zeros(6, np.int64)}, tmp_path / "p.safetensors")
    script = (
        f"import sys; from reliquant.cli.main import main; main(['measure', {str(tmp_path / 'p.safetensors')!r}]); "
    )
    done = subprocess.run(
        [sys.executable, "-c", script + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_recommend_says_which_of_its_answers_quantize_little(capsys, tmp_path, share):
    from reliquant.report import synthetic

    frame = synthetic.rows(synthetic.Shape(seeds=(0,), corruptions=(), ranks=(), iterations=()))
    of = frame.filter(pl.col("measure") == "quantized_weight_share", pl.col("scheme") != "fp32")
    measures = {"quantized_block_share": share, "least_block_share": 0.8}
    parts = [of.with_columns(measure=pl.lit(name), value=pl.lit(value)) for name, value in measures.items()]
    pl.concat([frame, *parts]).write_parquet(tmp_path / "rows.parquet")
    main.main(["recommend", str(tmp_path / "rows.parquet"), "--wish", "accuracy_delta <= 1", "--json"])
    told = capsys.readouterr()
    count = told.err.count("quantizes 40.0% of its blocks' weights, where its scheme means 80% or more")
    assert count == (len(json.loads(told.out)) if share < 0.8 else 0)


def test_recommend_and_compare_read_the_rows_of_a_study(capsys, tmp_path):
    from reliquant.report import synthetic

    few = synthetic.Shape(seeds=(0,), corruptions=("fog",), severities=(1, 5), iterations=(), ranks=())
    rows = synthetic.rows(few, synthetic.Truth(), seed=0)
    rows.write_parquet(tmp_path / "a.parquet")
    better = pl.when(pl.col("measure") == "ece").then(pl.col("value") - 0.5).otherwise(pl.col("value"))
    shift = {c: pl.when(pl.col("measure") == "ece").then(pl.col(c) - 0.5).otherwise(pl.col(c)) for c in ("low", "high")}
    rows.with_columns(value=better, **shift).write_parquet(tmp_path / "b.parquet")
    found = json.loads(run(capsys, "recommend", tmp_path / "a.parquet", "--wish", "accuracy_delta <= 1", "--json"))
    assert found
    assert all(0 <= row["confidence"] <= 1 for row in found)
    changed = json.loads(run(capsys, "compare", tmp_path / "a.parquet", tmp_path / "b.parquet", "--json"))
    assert {row["measure"] for row in changed} == {"ece"}
    assert "nothing changed" in run(capsys, "compare", tmp_path / "a.parquet", tmp_path / "a.parquet")
    lacks = (pl.col("measure") == "accuracy_delta") & (pl.col("scheme") == "rtn") & (pl.col("model") == "vit-wit")
    rows.filter(~(lacks & (pl.col("dataset") == "shapes"))).write_parquet(tmp_path / "short.parquet")
    for wish in ("accuracy_delta <= 1", "accuracy_delta <= -1"):
        told = " ".join(run(capsys, "recommend", tmp_path / "short.parquet", "--wish", wish).split())
        assert "Left out: accuracy_delta: 6 of 72 runs left out, not measured on all sets: vit-wit rtn" in told
    assert "Left out" not in run(capsys, "recommend", tmp_path / "a.parquet", "--wish", "accuracy_delta <= 1")
    without = rows.with_columns(
        pl.when(pl.col("measure") != "nll_change").then(c).alias(c) for c in ("low", "high", "replicates")
    )
    without.write_parquet(tmp_path / "open.parquet")
    told = run(capsys, "recommend", tmp_path / "open.parquet", "--wish", "nll_change <= 9")
    assert "Confidence is left open: nll_change has no interval" in told
    moved = without.with_columns(value=pl.when(measure="nll_change").then(9.0).otherwise("value"))
    moved.write_parquet(tmp_path / "moved.parquet")
    told = run(capsys, "compare", tmp_path / "open.parquet", tmp_path / "moved.parquet")
    assert "have no interval (nll_change): it may be chance." in told
    lost = rows.with_columns(
        pl.when(pl.col("measure") != "nll_change").then(c).alias(c) for c in ("value", "low", "high", "p", "replicates")
    )
    lost.write_parquet(tmp_path / "lost.parquet")
    told = run(capsys, "compare", tmp_path / "a.parquet", tmp_path / "lost.parquet")
    number = rows.filter(pl.col("value").is_not_null(), measure="nll_change").height
    assert f"{number:,} rows (nll_change) have a value in one of the studies alone" in told
    assert "must read [suite:]measure" in refused("recommend", tmp_path / "a.parquet", "--wish", "small please")
    assert "no such file" in refused("recommend", tmp_path / "c.parquet", "--wish", "ece <= 1")
