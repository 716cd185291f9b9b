"""`--data`, `--ood`, `--pairs` and `--templates`, on folders and files as people have them."""

import io
import json
import sys
import tarfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reliquant import embed_images, open_images, open_model
from reliquant.cli import main
from reliquant.evaluation.zero_shot import text_head
from reliquant.images.open import named_images

MODEL = "lab-vit-curated"
CLASSES = ["circle", "square", "triangle"]
DATA = "{dataset: lab, task: shape, images: 12}"
WORDS = ("--model", MODEL, "--resamples", "100", "--json")


def evaluated(capsys, *words):
    main.main(["evaluate", *WORDS, *map(str, words)])
    return json.loads(capsys.readouterr().out)


def refused(command, *words):
    with pytest.raises(SystemExit) as stop:
        main.main([command, "--model", MODEL, *map(str, words)])
    told = str(stop.value)
    assert told.startswith(f"reliquant {command}: error: ")
    assert "\n" not in told
    return told


def encoded(image, form="PNG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def shapes():
    """Twelve pictures of the lab, with the names of their shapes."""
    images = open_images(DATA, "native")
    pictures = [Image.fromarray(pixels).resize((48, 48)) for pixels in images.images]
    return [(picture, images.meta["classes"][label]) for picture, label in zip(pictures, images.labels, strict=True)]


@pytest.fixture
def tree(tmp_path, shapes):
    for i, (picture, name) in enumerate(shapes):
        folder = tmp_path / "photos-r1.0.1" / name
        folder.mkdir(parents=True, exist_ok=True)
        suffix, form = (("png", "PNG"), ("avif", "AVIF"), ("jfif", "JPEG"), ("", "WEBP"))[i % 4]
        (folder / f"{i}.{suffix}").write_bytes(encoded(picture, form))
    return tmp_path / "photos-r1.0.1"


def test_a_folder_of_mixed_formats_is_read_whole_and_hidden_copies_are_told(capsys, tree, tmp_path):
    plain = evaluated(capsys, "--data", tree)["photos-r1.0.1"]
    assert plain["accuracy"]["n"] == 12
    some = next(path for path in tree.rglob("*.png"))
    for place in (some.parent / ".ipynb_checkpoints" / "copy.png", tree / "__MACOSX" / "x" / "0.png"):
        place.parent.mkdir(parents=True)
        place.write_bytes(some.read_bytes())
    (some.parent / f"._{some.name}").write_bytes(b"\x00\x05\x16\x07")
    (some.parent / "notes.txt").write_text("words")
    main.main(["evaluate", *WORDS, "--data", str(tree)])
    said = capsys.readouterr()
    assert json.loads(said.out)["photos-r1.0.1"] == plain
    assert "photos-r1.0.1: 12 read, 4 passed over: .png (hidden) 3, .txt 1" in said.err


def test_a_flat_folder_is_out_of_distribution_whatever_it_is_called(capsys, tree, tmp_path, shapes):
    flat = tmp_path / "other" / "photos-r1.0.1"
    flat.mkdir(parents=True)
    for i, (picture, _) in enumerate(shapes[:5]):
        (flat / f"{i}.png").write_bytes(encoded(picture.rotate(90)))
    found = evaluated(capsys, "--data", tree, "--ood", flat)
    assert set(found) == {"photos-r1.0.1", str(flat)}
    assert found[str(flat)]["mcm_auroc"]["n"] == 17


def test_labels_that_are_no_classes_are_refused_as_data_and_do_not_matter_as_ood(capsys, tree, tmp_path, shapes):
    rows = [{"image": encoded(picture), "label": -1} for picture, _ in shapes]
    header = {"info": {"features": {"label": {"names": CLASSES, "_type": "ClassLabel"}}}}
    pl.DataFrame(rows).write_parquet(tmp_path / "test.parquet", metadata={"huggingface": json.dumps(header)})
    told = refused("evaluate", "--data", tmp_path / "test.parquet")
    assert "test.parquet row 0: label -1 is outside the 3 classes (12 such images)" in told
    found = evaluated(capsys, "--data", tree, "--ood", tmp_path / "test.parquet")
    assert found[str(tmp_path / "test.parquet")]["mcm_auroc"]["n"] == 24


def test_numbers_of_any_type_are_classes_and_never_prompts_of_their_digits(capsys, tmp_path, shapes):
    classes = sorted({name for _, name in shapes})
    figures = []
    for kind in (pl.Int64, pl.Float64, pl.String):
        labels = pl.Series([classes.index(name) for _, name in shapes]).cast(kind)
        folder = tmp_path / str(kind)
        folder.mkdir()
        pl.DataFrame({"image": [encoded(p) for p, _ in shapes], "label": labels}).write_parquet(folder / "a.parquet")
        assert "the labels are numbers: say what they mean" in refused("evaluate", "--data", folder / "a.parquet")
        (folder / "classes.json").write_text(json.dumps(classes))
        figures.append(evaluated(capsys, "--data", folder / "a.parquet")["a"])
    assert figures[0] == figures[1] == figures[2]


def test_all_samples_of_a_tar_whose_keys_have_dots_are_read(capsys, tmp_path, shapes):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for i, (picture, name) in enumerate(shapes):
            key = f"img_{'v1.0_' if i % 2 else ''}{i}"
            for suffix, data in (("png", encoded(picture)), ("cls", name.encode())):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert evaluated(capsys, "--data", tmp_path / "0.tar")["0"]["accuracy"]["n"] == 12


def test_an_image_that_a_decoder_trips_over_stops_by_name_or_is_counted(capsys, tree, monkeypatch):
    bad = next(tree.rglob("*.png")).parent / "photo.jpg"
    data = bytearray(encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 4), np.uint8)), "AVIF"))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    bad.write_bytes(data)
    assert f"{bad}: cannot be decoded: " in refused("evaluate", "--data", tree)
    main.main(["evaluate", *WORDS, "--data", str(tree), "--unreadable", "skip"])
    said = capsys.readouterr()
    assert json.loads(said.out)["photos-r1.0.1"]["accuracy"]["n"] == 12
    assert "1 of 13 images cannot be read and are skipped; the first: " in said.err


@pytest.mark.parametrize(
    ("template", "where"),
    [("a photo of a {c}.", "word"), ("a photo", "word"), ("a {} {}", "entry"), ("a {0}", "entry")],
)
def test_a_wrong_template_is_refused_before_a_model_is_read(template, where):
    entry = {"dataset": "lab", "task": "shape", "images": 12}
    words = ("--data", DATA, "--templates", "a {}", template)
    if where == "entry":
        entry = {"dataset": "image_folder", "root": "nowhere", "templates": [template]}
        words = ("--data", json.dumps(entry))
    with pytest.raises(SystemExit) as stop:
        main.main(["evaluate", "--model", "no-such-model", *words])
    assert f"template {template!r} must hold {{}} once, where the class name goes" in str(stop.value)


def test_the_templates_of_an_entry_are_used_unless_the_command_line_gives_others(capsys, tree):
    clip = open_model(MODEL)

    def nll(templates):
        images = open_images(str(tree), clip.form)
        features = embed_images(clip, images, templates=templates)
        text = text_head(clip, images.meta["classes"], templates)
        logits = features.logit_scale * features.image @ text.T
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        return -logits[np.arange(12), images.labels].mean()

    def measured(*words):
        return evaluated(capsys, "--data", *words)["photos-r1.0.1"]["nll"]["value"]

    entry = json.dumps({"dataset": "image_folder", "root": str(tree), "templates": ["zzz {}"]})
    default, own, given = nll(["a photo of a {}"]), nll(["zzz {}"]), nll(["one {}", "two {}"])
    assert len({round(float(value), 3) for value in (default, own, given)}) == 3
    assert measured(tree) == pytest.approx(default, rel=1e-4)
    assert measured(entry) == pytest.approx(own, rel=1e-4)
    assert measured(entry, "--templates", "one {}", "two {}") == pytest.approx(given, rel=1e-4)


def quantized(tmp_path, pairs, *words):
    scheme = ("--scheme", "{quantizer: rtn, batch: 4}", "--precision", "w8a8", "--output", tmp_path / "out.safetensors")
    main.main(["quantize", "--model", MODEL, "--pairs", str(pairs), *map(str, scheme), *words])


@pytest.mark.parametrize("caption", ["caption", "text", "sentences"])
def test_pairs_need_no_labels_and_their_columns_are_found(capsys, tmp_path, shapes, caption):
    texts = [f"a photo of a {name}" for _, name in shapes]
    captions = [[text, "another"] for text in texts] if caption == "sentences" else texts
    structs = [{"bytes": encoded(picture), "path": "p.png"} for picture, _ in shapes]
    pl.DataFrame({"image": structs, caption: captions}).write_parquet(tmp_path / "pairs.parquet")
    quantized(tmp_path, tmp_path / "pairs.parquet")
    said = capsys.readouterr()
    assert "quantized_weight_share: 0.9" in said.out
    assert "no logit scale is tuned: held_out: 0.2 of 12 pairs" in said.err  # a dozen pairs are too few to tune on
    assert (f"pairs: captions are read from column '{caption}'" in said.err) == (caption != "caption")


def test_pairs_with_a_blank_caption_are_left_out_and_counted(capsys, tmp_path, shapes):
    lines = ["path,caption"]
    for i, (picture, name) in enumerate(shapes):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture))
        lines.append(f"{i}.png,{name if i % 3 else ''}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    quantized(tmp_path, tmp_path / "pairs.csv")
    assert "pairs: 4 of 12 have a blank caption and are left out" in capsys.readouterr().err


def test_pairs_without_captions_are_refused_with_the_columns_there_are(tmp_path, shapes):
    frame = pl.DataFrame({"image": [encoded(picture) for picture, _ in shapes], "words": ["x"] * 12})
    frame.write_parquet(tmp_path / "pairs.parquet")
    told = refused("quantize", "--pairs", tmp_path / "pairs.parquet", "--output", tmp_path / "out.safetensors")
    assert "has no column of captions" in told
    assert "there are image (Binary), words (String)" in told


def test_a_dataset_of_ones_own_is_found_in_the_current_folder(capsys, tmp_path, monkeypatch):
    (tmp_path / "own_sets").mkdir()
    (tmp_path / "own_sets" / "__init__.py").write_text("")
    (tmp_path / "own_sets" / "greys.py").write_text(
        "import numpy as np\n"
        "from reliquant.images.dataset import Dataset\n\n\n"
        "def dataset(root, /, *, images: int):\n"
        "    pixels = np.random.default_rng(0).integers(0, 256, (images, 40, 40, 3), dtype=np.uint8)\n"
        "    names = [str(i) for i in range(images)]\n"
        "    return Dataset(['circle', 'square'], ['a {}'], np.arange(images) % 2, pixels.__getitem__, names)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = evaluated(capsys, "--data", "{dataset: own_sets.greys, images: 6}")
    assert found["own_sets.greys"]["accuracy"]["n"] == 6


@pytest.mark.parametrize("word", ["--data", "--ood"])
def test_what_a_path_holds_is_said_where_it_is_no_set_of_images(tmp_path, word):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04")
    words = ("--data", DATA) if word == "--ood" else ()
    told = refused("evaluate", *words, word, tmp_path / "x.npz")
    assert f"{tmp_path / 'x.npz'}: is a zip archive (.npz files are, too): unpack it; it must be a folder" in told
    assert "nowhere: no such file or folder" in refused("evaluate", *words, word, "nowhere")


@pytest.mark.parametrize("word", ["--batch", "--resamples"])
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_numbers_that_count_are_above_0(capsys, word, number):
    with pytest.raises(SystemExit):
        main.main(["evaluate", "--model", MODEL, "--data", DATA, word, number])
    assert f"argument {word}: '{number}' is no whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "images", "word"), [("evaluate", "--data", "--save"), ("quantize", "--pairs", "--output")]
)
def test_a_folder_in_the_place_of_a_result_is_refused_first(tmp_path, command, images, word):
    with pytest.raises(SystemExit) as stop:
        main.main([command, "--model", MODEL, images, str(tmp_path / "nowhere"), word, str(tmp_path)])
    assert f"{word} {tmp_path}: is a folder; name a file in it" in str(stop.value)


def test_an_empty_word_names_no_images():
    with pytest.raises(ValueError, match="'' names nothing"):
        named_images("")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sets").mkdir()
    assert named_images("~/sets").root == tmp_path / "sets"
    assert named_images("{dataset: image_folder, root: ~/sets}").root == tmp_path / "sets"
