"""A whole small study through real Snakemake: from images to report, again, after a change, and with bad input."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from dry_run import job_counts
from forked_programs import forked_path, real_path, run_snakemake

from reliquant.cli import verify
from reliquant.cli.plan_study import estimate
from reliquant.cli.verify_study import verify_study
from reliquant.files.artifacts import ROW_SCHEMA, read_header
from reliquant.study.check import read_study

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / ".test" / "config" / "config.yaml"
TINY_STUDY = read_study(yaml.safe_load(TINY.read_text()))


def forking():
    """Return the environment in which `reliquant` and a study's jobs are forked from a process of the tests."""
    return {**os.environ, "PATH": forked_path(), "PYTHONPATH": str(ROOT / "src")}


def snakemake(folder, *words, config=TINY, check=True, real=False):
    """Run Snakemake on a study; its jobs are forked from a process of the tests, or start as everybody's (`real`)."""
    command = ["--snakefile", ROOT / "workflow/Snakefile", "--profile", ROOT / "profiles" / "default"]
    command += ["--cores", "2", "--directory", folder, "--configfile", config, "--nocolor", *words]
    done = run_snakemake(*command, cwd=ROOT, env={**os.environ, "PATH": real_path()} if real else forking())
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output[-6000:]
    return done.returncode, output


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of the finished tiny study."""
    folder = tmp_path_factory.mktemp("study")
    snakemake(folder)
    return folder


def copied(study, tmp_path):
    shutil.copytree(study, tmp_path / "copy", symlinks=True)  # new modification times, like a clone
    for path in sorted((tmp_path / "copy").rglob("*")):
        os.utime(path)
    return tmp_path / "copy"


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def changed(tmp_path, change):
    config = yaml.safe_load(TINY.read_text())
    change(config)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def spoil(path, rng):
    """Flip a bit somewhere in a file."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


EVALUATED = "results/tiny/evaluate/vit"
KINDS = {
    "model": "data/models/vit.safetensors",
    "images": "data/prepared/shapes/native/images.npy",
    "labels": "data/prepared/shapes/native/labels.npy",
    "corrupted": "data/prepared/shapes/native/corrupt/fog.npy",
    "inventory": "data/prepared/inventory/tiny/vit/most.json",
    "variant": "results/tiny/quantize/vit/rtn/*.safetensors",
    "snapshots": "results/tiny/quantize/vit/lsq/*.snapshots.tar",
    "records": "results/tiny/evaluate/vit/rtn/*/most/samples.parquet",
    "rows": "results/tiny/evaluate/vit/rtn/*/most/rows.parquet",
    "explained": "results/tiny/explain/vit/rtn/*/rows.parquet",
    "layers alone": "results/tiny/sensitivity/vit/rtn/*/rows.parquet",
    "embeddings": "results/tiny/retrieval/vit/rtn/*/embeddings.safetensors",
    "searches": "results/tiny/retrieval/vit/rtn/*/rows.parquet",
    "exported tower": "results/tiny/export/vit/rtn/*/image.onnx",
    "exported facts": "results/tiny/export/vit/rtn/*/export.json",
    "float64": "results/tiny/export/vit/rtn/*.float64.parquet",
    "records of a runtime": "results/tiny/run_exported/vit/rtn/*/openvino/most/samples.parquet",
    "rows of a runtime": "results/tiny/run_exported/vit/rtn/*/openvino/most/rows.parquet",
    "deployed rows": "results/tiny/deployed.parquet",
    "all rows": "results/tiny/rows.parquet",
    "page": "reports/tiny/report.html",
    "figure": "reports/tiny/figures/overview.png",
}
TOGETHER = (  # kinds none of which is checked against another one of the same line: each is found for itself
    ("model", "images", "labels", "corrupted", "rows of a runtime"),
    ("inventory", "variant", "snapshots"),
    ("records", "embeddings", "exported tower", "float64", "deployed rows", "all rows", "page", "figure"),
    ("rows", "explained", "layers alone", "searches", "exported facts", "records of a runtime"),
)


def test_verify_finds_each_file_of_a_study_that_changed(study, tmp_path, monkeypatch):
    copy, rng = copied(study, tmp_path), np.random.default_rng(0)
    done = subprocess.run(["reliquant", "verify", TINY], cwd=copy, capture_output=True, text=True, env=forking())
    assert (done.returncode, done.stdout.splitlines()[-1].split(", ")[1:]) == (0, ["0 broken", "0 missing"]), (
        done.stdout
    )
    monkeypatch.chdir(copy)
    assert sorted(kind for kinds in TOGETHER for kind in kinds) == sorted(KINDS)
    for kinds in TOGETHER:
        contents = {path: path.read_bytes() for kind in kinds for path in Path().glob(KINDS[kind])}
        assert len(contents) == len(kinds)
        for _ in range(3):
            for path in contents:
                spoil(path, rng)
            broken = {one.path for one in verify_study(TINY_STUDY) if one.state == "broken"}
            for path, content in contents.items():
                assert str(path.with_name("export.json") if path.suffix == ".onnx" else path) in broken
                path.write_bytes(content)
    (copy / KINDS["labels"]).unlink()
    assert verify.run(study=str(TINY)).code == 1


def test_verify_finds_files_that_lie_in_anothers_place(study, tmp_path, monkeypatch):
    copy = copied(study, tmp_path)
    monkeypatch.chdir(copy)
    swaps = [
        ("results/tiny/retrieval/vit/rtn/*/rows.parquet", "results/tiny/retrieval/vit/fp32/*/rows.parquet"),
        (
            "results/tiny/retrieval/vit/rtn/*/embeddings.safetensors",
            "results/tiny/retrieval/convnext/rtn/*/embeddings.safetensors",
        ),
        (
            "results/tiny/run_exported/vit/rtn/*/openvino/most/samples.parquet",
            "results/tiny/run_exported/vit/rtn/*/onnxruntime/most/samples.parquet",
        ),
        (
            "results/tiny/run_exported/vit/rtn/*/openvino/most/rows.parquet",
            "results/tiny/run_exported/vit/fp32/*/openvino/most/rows.parquet",
        ),
        ("results/tiny/export/vit/rtn/*/export.json", "results/tiny/export/vit/fp32/*/export.json"),
        ("data/prepared/shapes/native/corrupt/fog.npy", "data/prepared/shapes/native/corrupt/gaussian_noise.npy"),
        ("data/prepared/shapes/native/images.npy", "data/prepared/shapes-train/native/images.npy"),
        ("results/tiny/quantize/vit/rtn/*.safetensors", "results/tiny/quantize/convnext/rtn/*.safetensors"),
        (
            "results/tiny/evaluate/vit/rtn/*/most/samples.parquet",
            "results/tiny/evaluate/vit/fp32/*/most/samples.parquet",
        ),
        ("results/tiny/evaluate/vit/rtn/*/most/rows.parquet", "results/tiny/evaluate/vit/rtn/*/spurious/rows.parquet"),
    ]
    for pattern, other in swaps:
        (path,), (place,) = copy.glob(pattern), copy.glob(other)
        content = path.read_bytes()
        path.write_bytes(place.read_bytes())
        broken = [one.path for one in verify_study(TINY_STUDY) if one.state == "broken"]
        assert str(path.relative_to(copy)) in broken or str(path.parent.relative_to(copy) / "meta.json") in broken, (
            pattern
        )
        path.write_bytes(content)
    assert verify.run(study="tiny").code == 0


def test_rows_hold_every_variant_and_suite(study):
    rows = pl.read_parquet(study / "results" / "tiny" / "rows.parquet")
    assert rows.schema == ROW_SCHEMA
    points = rows.select("model", "scheme", "precision", "scope").unique().rows()
    assert sorted(points) == sorted(
        [(m, "fp32", "fp32", "none") for m in ("vit", "convnext")]
        + [(m, "rtn", "w4a8", "image") for m in ("vit", "convnext")]
        + [(m, "lsq", "w4a8", "both") for m in ("vit", "convnext")]
    )
    assert set(rows["suite"]) == {"", "clean", "ood", "shift", "noise", "spurious", "explain", "retrieval"}
    accuracies = rows.filter(pl.col("iteration").is_null(), measure="accuracy", suite="clean", scale="native")
    assert accuracies["n"].to_list() == [160] * 6
    shares = rows.filter(measure="quantized_mac_share")
    assert len(shares) == 4
    assert shares.filter(model="vit")["value"].min() > 0.9
    assert shares.filter(model="convnext")["value"].min() > 0.7  # stem and downsampling are a quarter of it


def test_snapshots_of_a_training_become_rows_with_iterations_and_a_figure(study):
    rows = pl.read_parquet(study / "results" / "tiny" / "rows.parquet").filter(pl.col("iteration").is_not_null())
    found = rows.filter(measure="accuracy", scale="native").select("model", "scheme", "suite", "iteration").rows()
    assert sorted(found) == [(m, "lsq", "clean", i) for m in ("convnext", "vit") for i in (0, 2)]
    assert "accuracy_change" in rows["measure"].to_list()
    assert (study / "reports" / "tiny" / "figures" / "accuracy_by_iteration.pdf").is_file()


def test_the_plan_foretells_jobs_and_rows(study, tmp_path):
    found = estimate(read_study(yaml.safe_load(TINY.read_text())))
    rows = pl.read_parquet(study / "results" / "tiny" / "rows.parquet")
    assert found["rows"] == len(rows.filter(~pl.col("suite").is_in(["explain", "retrieval"])))
    assert found["rows of searches"] == len(rows.filter(pl.col("suite") == "retrieval"))
    planned = job_counts(snakemake(tmp_path, "-n")[1])
    assert planned.pop("all") == 1
    assert {k: v for k, v in found["jobs"].items() if v and k != "total"} == planned


def test_a_slice_is_named_on_the_command_line(study, tmp_path):
    slice = ["--config", "models=[vit]", "schemes=[rtn]"]
    assert job_counts(snakemake(tmp_path, "-n", *slice)[1])["quantize"] == 2
    left = job_counts(snakemake(study, "-n", "measured", *slice)[1])
    assert not left  # all that the slice measures is there
    code, output = snakemake(tmp_path, "-n", "--config", "models=[vit,resnet]", check=False)
    assert code != 0
    assert "model 'resnet' is unknown; there are convnext, vit" in output


def test_each_retry_asks_for_more_memory_and_time(study, tmp_path):
    folder = copied(study, tmp_path)
    images = next((folder / "data/prepared/pairs").rglob("images.npy"))
    images.write_bytes(images.read_bytes()[:1000])
    code, output = snakemake(folder, "--until", "pretrain", "--retries", "2", "--forcerun", "pretrain", check=False)
    assert code != 0
    asked = [line for line in output.splitlines() if line.strip().startswith("resources: ") and "mem_mb" in line]
    words = [dict(w.split("=") for w in line.split(": ")[1].split(", ")) for line in asked]
    first = (int(words[0]["mem_mb"]), int(words[0]["runtime"]))
    assert {(int(w["mem_mb"]), int(w["runtime"])) for w in words} == {(first[0] * k, first[1] * k) for k in (1, 2, 3)}


def test_how_often_a_training_is_kept_changes_no_variant(study, tmp_path):
    config = changed(tmp_path, lambda c: c.update(checkpoint_every=7))
    found = job_counts(snakemake(study, "-n", config=config)[1])
    assert set(found) == {"collect", "deployed", "facts", "report", "all"}  # which are shown the whole config
    assert "--every 7 " in snakemake(study, "-n", "-p", "--forcerun", "quantize", config=config)[1]


def test_forked_jobs_and_jobs_that_start_alone_give_the_same_bytes(study, tmp_path, monkeypatch):
    log = "logs/tiny/evaluate/vit/rtn/w4a8-image-captions-0/most.log"
    assert "s of processor time, at most " in (study / log).read_text()
    folder = copied(study, tmp_path)
    before = {path: path.stat().st_mtime_ns for part in ("data", "results") for path in files_in(folder / part)}
    monkeypatch.setenv("RELIQUANT_FORK_SERVER", "0")
    kinds = ("records", "rows", "explained", "layers alone", "embeddings", "searches", "exported facts")
    kinds += ("records of a runtime", "rows of a runtime")
    asked = [path.relative_to(folder) for kind in kinds for path in folder.glob(KINDS[kind])]  # all of one variant
    told = snakemake(folder, *asked, "--force", real=True)[1]
    variants = ("vit/lsq/w4a8-both-captions-0", "convnext/rtn/w4a8-image-captions-0")
    made = [f"results/tiny/quantize/{variant}.safetensors" for variant in variants]
    told += snakemake(folder, *made, KINDS["corrupted"], "--force", real=True)[1]
    steps = {"quantize", "quantize_snapshots", "evaluate", "measure", "explain", "embed", "retrieve", "corrupt"}
    steps |= {"sensitivity", "export", "run_exported", "measure_exported"}
    assert set(re.findall(r"^(?:local)?rule (\w+):", told, re.M)) == steps
    again = [path for path, when in before.items() if path.stat().st_mtime_ns != when]
    assert len(again) > len(steps)
    assert [path for path in again if path.read_bytes() != (study / path.relative_to(folder)).read_bytes()] == []


def test_a_new_model_runs_only_what_is_new(study, tmp_path):
    config = changed(tmp_path, lambda c: c["models"].update(second={**c["models"]["vit"], "source": "other"}))
    found = job_counts(snakemake(study, "-n", config=config)[1])
    assert (found["pretrain"], found["inventory"], found["evaluate"]) == (1, 3, 7)  # snapshots are a shard
    assert (found["quantize"], found["quantize_snapshots"]) == (2, 1)
    assert "prepare" not in found


def test_a_new_dataset_in_a_shard_of_its_own_runs_only_what_is_new(study, tmp_path):
    def grow(c):
        c["datasets"]["gratings"] = {"dataset": "lab_patterns", "pattern": "gratings", "images": 40, "native": True}
        c["suites"]["ood"]["shapes"]["far"].append("gratings")
        c["shards"]["late"] = ["ood/gratings"]

    found = job_counts(snakemake(study, "-n", config=changed(tmp_path, grow))[1])
    assert (found["prepare"], found["inventory"], found["evaluate"], found["measure"]) == (1, 2, 6, 6)
    assert "quantize" not in found


def test_the_report_is_whole(study):
    folder = study / "reports" / "tiny"
    page = (folder / "report.html").read_text()
    assert "Untrained models; for tests only." in page
    assert not any(word in page for word in ('src="http', 'href="http', "url(http"))
    assert json.loads((folder / "summary.json").read_text())
    for kind, ends in (("figures", {".pdf", ".png"}), ("tables", {".csv", ".md", ".tex"})):
        assert ends <= {p.suffix for p in (folder / kind).iterdir()}


def test_snakemakes_own_report_has_captions_and_categories(study, tmp_path):
    snakemake(study, "--report", tmp_path / "workflow.html")
    page = (tmp_path / "workflow.html").read_text()
    for word in ("Figures", "Tables", "Claims", "dichotomy", "A tiny study", "the rows behind each number"):
        assert word in page, word


def test_explained_variants_have_rows_of_why(study):
    rows = pl.read_parquet(study / "results" / "tiny" / "rows.parquet").filter(suite="explain")
    assert set(rows["scheme"]) == {"fp32", "rtn"}
    wanted = {"sqnr_rank_8", "accuracy_rank_32_end_change", "output_sqnr", "fourier_error", "trajectory_accuracy"}
    assert wanted | {"radial_energy", "class_accuracy_change"} <= set(rows["measure"])
    made = {p.stem for p in (study / "reports" / "tiny" / "figures").glob("*.png")}
    assert {"sqnr_by_rank", "rank_bands", "controls", "layer_sqnr", "fourier_maps", "trajectory"} <= made


def test_blocks_that_are_quantized_alone_have_rows_and_the_report_its_figure(study):
    rows = pl.read_parquet(study / "results" / "tiny" / "rows.parquet")
    rows = rows.filter(pl.col("measure").str.starts_with("alone_"))
    assert set(rows.select("model", "scheme", "suite").rows()) == {(m, "rtn", "explain") for m in ("vit", "convnext")}
    assert set(rows["dataset"]) == {"pairs", "shapes", "digits"}
    plan = estimate(TINY_STUDY)
    assert plan["rows of each block alone"] == 2 * 6
    per_block = rows.group_by("model", "group").len()
    assert set(per_block["len"]) == {6}
    assert per_block.filter(model="vit").height > 1
    assert (study / "reports" / "tiny" / "figures" / "sensitivity.pdf").is_file()
    assert "Which layers to spare" in (study / "reports" / "tiny" / "report.html").read_text()


def test_rows_of_layers_in_the_place_of_explaining_ones_are_found(study, tmp_path, monkeypatch):
    copy = copied(study, tmp_path)
    monkeypatch.chdir(copy)
    ((alone,), (why,)) = (copy.glob(f"results/tiny/{of}/vit/rtn/*/rows.parquet") for of in ("sensitivity", "explain"))
    shutil.copy(why, alone)
    broken = {one.path for one in verify_study(TINY_STUDY) if one.state == "broken"}
    assert str(alone.relative_to(copy)) in broken


@pytest.mark.parametrize("word", ["explain", "sensitivity", "retrieval", "deploy"])
def test_a_study_that_does_not_ask_for_it_has_no_such_job_and_nothing_else_runs_again(study, tmp_path, word):
    config = changed(tmp_path, lambda c: c["suites"].pop(word) if word == "retrieval" else c.pop(word))
    left = {"all", "collect", "facts", "report"} | ({"deployed"} if word != "deploy" else set())
    assert set(job_counts(snakemake(study, "-n", config=config)[1])) == left


def test_exported_variants_have_rows_of_each_runtime_apart_from_those_of_the_study(study):
    rows = pl.read_parquet(study / "results" / "tiny" / "deployed.parquet")
    assert rows.schema == ROW_SCHEMA
    schemes = {f"{scheme}@{runtime}" for scheme in ("fp32", "rtn") for runtime in ("onnxruntime", "openvino")}
    assert set(rows["scheme"]) == schemes
    assert rows.select("model", "scheme", "precision", "scope", "proxy", "seed").unique().height == 4
    assert set(rows["model"]) == {"vit"}
    assert set(rows["suite"]) == {"", "clean", "ood", "shift", "noise"}
    for measure in ("accuracy", "accuracy_change", "accuracy_engine_change", "engine_agreement", "float64_agreement"):
        assert rows.filter(measure=measure, suite="clean", scale="native").height == 4, measure
    assert rows.filter(measure="auroc_engine_change", suite="ood")["score"].n_unique() == 7
    assert rows.filter(measure="engine_agreement", suite="clean")["value"].min() > 0.95
    own = pl.read_parquet(study / "results" / "tiny" / "rows.parquet")
    assert not own["scheme"].str.contains("@").any()
    assert not own["measure"].str.contains("engine|float64").any()


def test_a_variant_says_how_it_was_made(study):
    header = read_header(study / "results" / "tiny" / "quantize" / "vit" / "lsq" / "w4a8-both-captions-0.safetensors")
    assert header["entry"]["quantizer"] == "lsq"
    assert header["entry"]["weight"] == {"bits": 4, "granularity": "channel"}
    assert len(header["pairs"]["indices"]) == 64
    assert header["versions"]["torch"].startswith("2.")
    assert {p["weight_bits"] for p in header["coverage"] if not p["reason"]} == {4}


def test_a_second_run_has_nothing_to_do_whatever_the_times(study, tmp_path):
    assert "Nothing to be done" in snakemake(study)[1]
    assert "Nothing to be done" in snakemake(copied(study, tmp_path))[1]


def test_more_resamples_run_only_the_measures(study, tmp_path):
    config = changed(tmp_path, lambda c: c.update(resamples=600))
    found = set(job_counts(snakemake(study, "-n", config=config)[1]))
    measured = {"measure", "measure_exported", "sensitivity", "retrieve"}
    assert found == {"all", *measured, "collect", "deployed", "facts", "report"}


def test_a_new_scheme_runs_only_what_is_new(study, tmp_path):
    config = changed(
        tmp_path, lambda c: c["schemes"].update(tensor={"quantizer": "rtn", "weight": {"granularity": "tensor"}})
    )
    found = job_counts(snakemake(study, "-n", config=config)[1])
    gathered = {"all": 1, "collect": 1, "deployed": 1, "facts": 1, "report": 1}  # of the config, so anew
    assert found == {**gathered, "quantize": 2, "evaluate": 4, "measure": 4}


def test_a_changed_scheme_reruns_only_its_variants(study, tmp_path):
    config = changed(tmp_path, lambda c: c["schemes"]["lsq"].update(iterations=4))
    found = job_counts(snakemake(study, "-n", config=config)[1])
    assert (found["quantize_snapshots"], found["evaluate"], found["measure"]) == (2, 6, 6)
    assert "quantize" not in found
    assert "prepare" not in found


def test_a_config_of_ones_own_replaces_the_lab(tmp_path):
    config = ROOT / "config" / "cifar.yaml"
    found = job_counts(snakemake(ROOT, "-n", "--config", f"data_root={tmp_path}", config=config, check=False)[1])
    assert not found  # the folders are missing, and named
    output = snakemake(ROOT, "-n", config=config)[1]
    assert job_counts(output)["pretrain"] == 4
    assert "results/lab" not in output


def test_every_config_error_is_told_before_any_job(tmp_path):
    def spoil(c):
        c["schemes"]["rtn"]["momentun"] = 1
        c["suites"]["clean"].append("shapez")
        c["sceds"] = 3

    code, output = snakemake(tmp_path, config=changed(tmp_path, spoil), check=False)
    assert code != 0
    assert "scheme rtn: momentun: unknown word" in output
    assert "key 'sceds' is unknown" in output
    assert not (tmp_path / "results").exists()


def test_a_tampered_model_stops_the_study_by_name_and_leaves_no_output(study, tmp_path):
    folder = copied(study, tmp_path)
    model = folder / "data" / "models" / "vit.safetensors"
    data = bytearray(model.read_bytes())
    data[-5] ^= 1
    model.write_bytes(data)
    made = folder / "results" / "tiny" / "quantize" / "vit"
    shutil.rmtree(made)
    code, output = snakemake(folder, "--keep-going", check=False)
    assert (code != 0, "vit.safetensors: changed since it was made" in output) == (True, True), output[-4000:]
    (folder / "data" / "models" / "vit.made.json").unlink()  # as earlier versions left it
    code, output = snakemake(folder, "--keep-going", check=False)
    assert code != 0
    assert "vit.safetensors: the tensors do not match the sha256" in output
    assert not [path for path in made.rglob("*") if path.is_file()]


def test_two_runs_give_the_same_rows_value_for_value(study, tmp_path):
    model = "data/models/vit.safetensors"

    def less(config):
        del config["models"]["convnext"], config["schemes"]["rtn"], config["suites"]["retrieval"]
        del config["explain"], config["sensitivity"], config["deploy"]

    config = changed(tmp_path, less)
    snakemake(tmp_path / "again", "collect", config=config, real=True)  # by the study's own server of forked jobs
    assert (tmp_path / "again" / model).read_bytes() == (study / model).read_bytes()
    first, again = (pl.read_parquet(f / "results" / "tiny" / "rows.parquet") for f in (study, tmp_path / "again"))
    jobs_of_their_own = pl.col("suite").is_in(["explain", "retrieval"])
    first = first.filter(pl.col("model") == "vit", pl.col("scheme") != "rtn", ~jobs_of_their_own)
    assert again.equals(first)
