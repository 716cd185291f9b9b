"""`reliquant export`, as a user runs it, on a variant that `reliquant quantize` made."""

import json
import sys

import numpy as np
import polars as pl
import pytest
import yaml

from reliquant import plugins
from reliquant.cli import main
from reliquant.cli.export import _named, _without_paths
from reliquant.deploy.folder import read_export
from reliquant.deploy.runtimes import opened
from reliquant.models.files import save_model

pytestmark = pytest.mark.usefixtures("one_trace_of_each_structure")
ENTRY = {"tower": "small", "architecture": "lab_vit"}


def run(capsys, *words):
    main.main([str(word) for word in words])
    return capsys.readouterr().out


def refused(*words):
    with pytest.raises(SystemExit) as stop:
        main.main([str(word) for word in words])
    told = str(stop.value)
    assert "\n" not in told
    assert told.startswith("reliquant export: error: ")
    return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, 40 captioned images, classes, and variants of two precisions."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("export")
    save_model(folder / "model.safetensors", plugins.load("tower", ENTRY)(None), ENTRY)
    rng, lines = np.random.default_rng(0), ["path,caption"]
    for i in range(40):
        name = ("circle", "square")[i % 2]
        (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / "photos" / name / f"{i}.png")
        lines.append(f"photos/{name}/{i}.png,a photo of a {name}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    (folder / "classes.yaml").write_text("{classes: [circle, square], templates: ['a photo of a {}']}")
    pairs = f"{{dataset: csv, root: {folder}, files: [pairs.csv], image: path, caption: caption}}"
    for precision in ("w8a8", "w4a8", "wmxfp4a16"):
        words = ["--scheme", "{quantizer: rtn, batch: 8}", "--precision", precision, "--pairs", pairs]
        words += ["--tuning", "none", "--output", str(folder / f"{precision}.safetensors")]
        main.main(["quantize", "--model", str(folder / "model.safetensors"), *words])
    return folder


@pytest.fixture(scope="module")
def exported(folder):
    words = ["--variant", str(folder / "w8a8.safetensors"), "--classes", str(folder / "classes.yaml")]
    main.main(["export", str(folder / "model.safetensors"), *words, "--output", str(folder / "w8a8")])
    return folder / "w8a8"


def test_a_variant_becomes_a_folder_with_its_figures_and_rows(capsys, folder, exported, tmp_path):
    model, variant, table = folder / "model.safetensors", folder / "w8a8.safetensors", tmp_path / "rows.parquet"
    words = ("--data", folder / "photos", "--resamples", 200, "--rows", table)
    run(capsys, "evaluate", "--model", model, "--variant", variant, *words)
    hub = ("--base-model", "a/b", "--license", "mit")
    out = run(
        capsys,
        "export",
        model,
        "--variant",
        variant,
        "--tower",
        "image",
        "--rows",
        table,
        *hub,
        "--output",
        tmp_path / "out",
    )
    assert out.startswith(f"{tmp_path / 'out'}: README.md, image.onnx, rows.parquet (")
    facts = read_export(tmp_path / "out")
    measured = {line["measure"]: line for line in facts["measured"]}
    rows = pl.read_parquet(table)
    assert measured["accuracy"]["value"] == rows.filter(scheme="w8a8", measure="accuracy", scale="native")["value"][0]
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert (front["base_model"], front["license"], front["library_name"]) == ("a/b", "mit", "onnx")
    assert front["model-index"][0]["results"][0]["metrics"]
    with pytest.raises(SystemExit) as end:
        main.main(["check", str(tmp_path / "out"), "--wish", "accuracy >= 0.999"])
    assert end.value.code in (1, 2)
    assert "accuracy" in capsys.readouterr().out
    assert "has no rows of this variant (w4a8" in refused(
        "export", model, "--variant", folder / "w4a8.safetensors", "--rows", table, "--output", tmp_path / "other"
    )
    assert not (tmp_path / "other").exists()


def test_classes_and_checked_tokens_are_what_the_exported_text_tower_gives(exported):
    facts = read_export(exported)
    assert facts["prompts"]["classes"] == ["circle", "square"]
    head = np.load(exported / "classes.npy")
    assert head.shape[0] == 2
    session = opened(exported / "text.onnx", "onnxruntime")
    tokens = np.array(list(facts["tokenizer"]["check"].values()))
    assert session.run(tokens).shape == (len(tokens), head.shape[1])


def test_several_variants_have_a_folder_each(capsys, folder, tmp_path):
    variants = [folder / "w8a8.safetensors", folder / "w4a8.safetensors"]
    out = run(
        capsys, "export", folder / "model.safetensors", "--variant", *variants, "--tower", "image", "--output", tmp_path
    )
    assert len(out.splitlines()) == 2
    sizes = [read_export(tmp_path / name)["bytes"] for name in ("w8a8", "w4a8")]
    assert sizes[1] < 0.75 * sizes[0]


def test_fp32_exports_too(capsys, folder, tmp_path):
    run(capsys, "export", folder / "model.safetensors", "--tower", "text", "--output", tmp_path)
    facts = read_export(tmp_path)
    assert facts["variant_sha256"] == ""
    assert list(facts["towers"]) == ["text"]


def test_where_a_checkpoint_lies_is_not_told(tmp_path):
    (tmp_path / "mine.pt").touch()
    entry = {"tower": "openclip", "architecture": "ViT-B-32", "pretrained": str(tmp_path / "mine.pt")}
    assert _without_paths(entry) == {**entry, "pretrained": "mine.pt"}
    assert _without_paths({"architecture": f"local-dir:{tmp_path}"}) == {"architecture": tmp_path.name}
    assert _without_paths({"architecture": "hf-hub:owner/name"}) == {"architecture": "hf-hub:owner/name"}


def test_variants_of_one_name_have_folders_of_two_names(folder, tmp_path):
    paths = [folder / "rtn" / "w8a8.safetensors", folder / "lsq" / "w8a8.safetensors", folder / "w4a8.safetensors"]
    assert list(_named(paths).values()) == ["rtn-w8a8", "lsq-w8a8", "w4a8"]
    told = refused("export", folder / "model.safetensors", "--variant", paths[2], paths[2], "--output", tmp_path)
    assert "another one has the name 'folder-w4a8', too".replace("folder", folder.name) in told


def test_what_onnx_cannot_say_is_refused_in_a_line_and_written_in_floats_on_request(capsys, folder, tmp_path):
    words = ("export", folder / "model.safetensors", "--variant", folder / "wmxfp4a16.safetensors", "--tower", "image")
    told = refused(*words, "--output", tmp_path / "x")
    assert "wmxfp4a16: ONNX cannot say what visual." in told
    assert "weights are numbers of e2m1" in told
    assert not (tmp_path / "x").exists()
    run(capsys, *words, "--float-weights", "--output", tmp_path / "x")
    assert "**Weights in float32** in " in (tmp_path / "x" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.safetensors", "--output", "out"), "nowhere.safetensors: no such file"),
        (("model.safetensors", "--variant", "nowhere.safetensors", "--output", "out"), "nowhere.safetensors"),
        (("model.safetensors", "--variant", "model.safetensors", "--output", "out"), "model.safetensors"),
        (("other.safetensors", "--variant", "w8a8.safetensors", "--output", "out"), "made from other weights"),
        (("model.safetensors", "--classes", "nowhere.yaml", "--output", "out"), "nowhere.yaml"),
        (("model.safetensors", "--classes", "pairs.csv", "--output", "out"), "pairs.csv: "),
        (("model.safetensors", "--output", "pairs.csv"), "pairs.csv: is a file; name a folder"),
        (("model.safetensors", "--rows", "nowhere.parquet", "--output", "out"), "nowhere.parquet: no such file"),
        (("model.safetensors", "--rows", "pairs.csv", "--output", "out"), "pairs.csv: "),
        (("ViT-B-32", "--output", "out"), "ViT-B-32"),
        (("model.safetensors", "--to", "torch", "--code-bits", "8", "--output", "out"), "--code-bits 8: programs of"),
        (("lab-vit-curated", "--variant", "w8a8.safetensors", "--output", "out"), "w8a8.safetensors"),
    ],
)
def test_bad_input_is_refused_in_a_line_that_names_it(folder, monkeypatch, words, told):
    monkeypatch.chdir(folder)
    if not (folder / "other.safetensors").exists():
        save_model("other.safetensors", plugins.load("tower", {**ENTRY, "seed": 1})(None), {**ENTRY, "seed": 1})
    assert told in refused("export", *words)
    assert not (folder / "out").exists()


def test_a_readme_of_somebody_else_is_not_overwritten(folder, tmp_path):
    (tmp_path / "README.md").write_text("# mine\n")
    told = refused("export", folder / "model.safetensors", "--output", tmp_path)
    assert "README.md: is of no export, and would be overwritten" in told
    assert (tmp_path / "README.md").read_text() == "# mine\n"


@pytest.mark.parametrize("package", ["onnx_ir", "ml_dtypes"])
def test_without_the_extra_it_says_what_to_install(folder, tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("reliquant.deploy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    told = refused("export", folder / "model.safetensors", "--output", tmp_path)
    assert "pip install 'reliquant[deploy]'" in told
    assert package in told


def test_a_word_that_is_unknown_is_told_with_those_that_there_are(folder, capsys):
    with pytest.raises(SystemExit):
        main.main(["export", str(folder / "model.safetensors"), "--tower", "sound", "--output", "x"])
    assert "invalid choice: 'sound'" in capsys.readouterr().err


def test_json_of_a_card_is_not_written_twice(exported):
    facts = json.loads((exported / "export.json").read_text())
    assert "measured" not in facts
    assert "Nothing was measured" in (exported / "README.md").read_text()


def test_codes_that_will_be_unpacked_in_each_run_are_told_and_can_have_bytes(capsys, folder, tmp_path):
    told = []
    for bits in ("4", "8"):
        words = ["--variant", folder / "w4a8.safetensors", "--tower", "image", "--code-bits", bits]
        main.main([str(word) for word in ["export", folder / "model.safetensors", *words, "--output", tmp_path / bits]])
        told.append(capsys.readouterr().err)
    assert ["--code-bits 8 has integers multiplied" in one for one in told] == [True, False]
    layers = [opened(tmp_path / bits / "image.onnx", "onnxruntime").facts["layers"] for bits in ("4", "8")]
    assert ["int8" in each for each in layers] == [False, True]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_evaluate_measures_what_a_runtime_makes_of_an_export_and_says_so(capsys, folder, exported, tmp_path, runtime):
    words = ["--model", folder / "model.safetensors", "--variant", folder / "w8a8.safetensors", "--resamples", 200]
    words += ["--data", folder / "photos", "--exported", exported, "--runtime", runtime]
    main.main(["evaluate", *map(str, words), "--rows", str(tmp_path / "rows.parquet"), "--save", str(tmp_path / "f")])
    told = capsys.readouterr().err
    assert f"{exported} runs in {runtime} " in told
    assert "in int8" in told
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert set(rows["scheme"]) == {f"w8a8@{runtime}", "fp32"}
    agreement = rows.filter(pl.col("measure") == "agreement", scheme=f"w8a8@{runtime}")["value"].item()
    assert agreement > 0.9
    embeddings = opened(exported / "image.onnx", runtime, threads=1)
    assert embeddings.facts["layers"]["int8"] == 16  # of a lab ViT's four blocks, as the line says


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--exported", "w8a8"], "was exported from another model, or from a variant; export it again"),
        (["--variant", "w4a8.safetensors", "--exported", "w8a8"], "was exported from another variant or model"),
        (["--runtime", "openvino"], "--runtime: runs what was exported: give --exported"),
        (["--exported", "w8a8", "--backend", "integer"], "--exported: is run by --runtime on the CPU"),
        (["--exported", "photos"], "photos is no exported folder"),
    ],
)
def test_evaluate_refuses_an_export_of_something_else(folder, exported, words, told):
    paths = [str(folder / word) if (folder / word).exists() else word for word in words]
    with pytest.raises(SystemExit) as stop:
        main.main(["evaluate", "--model", str(folder / "model.safetensors"), "--data", str(folder / "photos"), *paths])
    assert told in str(stop.value)


def test_of_several_variants_one_that_cannot_be_said_is_told_before_any_is_written(folder, tmp_path):
    words = ["--variant", folder / "w8a8.safetensors", folder / "wmxfp4a16.safetensors", "--output", tmp_path / "out"]
    assert "wmxfp4a16: ONNX cannot say" in refused("export", folder / "model.safetensors", *words)
    assert not (tmp_path / "out").exists()
