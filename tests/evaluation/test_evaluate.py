from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import softmax

from reliquant import plugins
from reliquant.evaluation.evaluate import evaluate
from reliquant.evaluation.features import Features
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.files.artifacts import read_sealed_json, save_array, save_sealed_json
from reliquant.files.digests import DamagedFile
from reliquant.images.dataset import Dataset, subset
from reliquant.images.prepare import load, prepare

CELL = {"group": "", "corruption": "", "severities": [0], "images": None}
WORDS = {"batch": 8, "device": "cpu", "dtype": "float32"}


@pytest.fixture
def folders(tmp_path):
    """Two prepared datasets of twenty images; the second has groups."""
    found = {}
    for seed, name in enumerate(("inside", "outside")):
        images = np.random.default_rng(seed).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        names, labels = [str(i) for i in range(20)], np.arange(20) % 3
        groups = ["common", "counter"] * 10 if name == "outside" else None
        data = Dataset(["cat", "dog", "cow"], ["a {}"], labels, images.__getitem__, names, groups=groups)
        found[name] = tmp_path / name / "native"
        prepare(data, found[name], form="native", entry={})
    return {name: str(path) for name, path in found.items()}


def cell(folders, suite, dataset, **more):
    where = {"suite": suite, "dataset": dataset, "reference": "inside"}
    return {**CELL, **where, "folder": folders[dataset], "head": folders["inside"], **more}


def test_records_equal_a_softmax_by_hand(clip, folders):
    frame = evaluate(clip, [cell(folders, "clean", "inside")], {}, **WORDS)
    prepared = load(folders["inside"])
    image, head = image_features(clip, prepared.images), text_head(clip, ["cat", "dog", "cow"], ["a {}"])
    p = softmax(logit_scale_and_bias(clip)[0] * image @ head.T, axis=1)
    assert frame["prediction"].to_list() == p.argmax(1).tolist()
    np.testing.assert_allclose(frame["confidence"], p.max(1), atol=1e-5)
    np.testing.assert_allclose(frame["nll"], -np.log(p[np.arange(20), prepared.labels]), atol=1e-4)
    assert frame["index"].to_list() == list(range(20))


def test_ood_images_have_no_label_but_scores(clip, folders):
    scores = {"mcm": plugins.load("score", {"score": "mcm"})}
    cells = [cell(folders, "clean", "inside"), cell(folders, "ood", "outside", group="near")]
    frame = evaluate(clip, cells, scores, **WORDS)
    ood = frame.filter(suite="ood")
    assert ood["label"].to_list() == [-1] * 20
    assert ood["nll"].null_count() == 20
    assert ood["group"].unique().to_list() == ["near"]
    assert frame["score:mcm"].null_count() == 0


def test_groups_come_from_the_dataset_and_scores_only_where_asked(clip, folders):
    frame = evaluate(clip, [cell(folders, "spurious", "outside")], {"mcm": None}, **WORDS)
    assert frame["group"].to_list() == ["common", "counter"] * 10
    assert "score:mcm" not in frame.columns


def save_corrupted(folder, images, severities):
    """Save corrupted images (severities, n, h, w, 3) as the step does."""
    arrays = load(folder).meta["arrays"]
    about = {"corruption": "negative", "severities": severities, "images": arrays["images.npy"]}
    save_array(Path(folder, "corrupt", "negative.npy"), images, about)


def test_corrupted_images_of_another_corruption_or_of_other_images_are_refused(clip, folders):
    images = load(folders["inside"]).images[:][None]
    place = Path(folders["inside"], "corrupt")
    noise = cell(folders, "noise", "inside", corruption="negative", severities=[1])
    other = {"corruption": "fog", "severities": [1], "images": load(folders["inside"]).meta["arrays"]["images.npy"]}
    for about in (
        other,
        other | {"corruption": "negative", "severities": [2]},
        {**other, "corruption": "negative", "images": "x"},
    ):
        save_array(place / "negative.npy", images, about)
        with pytest.raises(
            DamagedFile, match=r"negative\.npy: holds another corruption, other severities or other images"
        ):
            evaluate(clip, [noise], {}, **WORDS)


def test_corrupted_images_keep_the_index_of_the_clean_ones(clip, folders):
    chosen = subset(20, 6)
    clean = load(folders["inside"]).images
    corrupt = np.stack([clean[chosen], 255 - clean[chosen]])
    save_corrupted(folders["inside"], corrupt, [1, 2])
    noise = cell(folders, "noise", "inside", corruption="negative", severities=[1, 2], images=6)
    frame = evaluate(clip, [cell(folders, "clean", "inside"), noise], {}, **WORDS)
    first = frame.filter(suite="noise", severity=1).select("index", "label", "confidence")
    same = frame.filter(pl.col("suite") == "clean", pl.col("index").is_in(chosen.tolist()))
    assert first["index"].to_list() == chosen.tolist()
    np.testing.assert_allclose(first["confidence"], same["confidence"], atol=1e-5)


def test_records_name_the_photograph_corrupted_or_not(clip, folders):
    chosen, prepared = subset(20, 6), load(folders["inside"])
    save_corrupted(folders["inside"], 255 - prepared.images[chosen][None], [1])
    noise = cell(folders, "noise", "inside", corruption="negative", severities=[1], images=6)
    ood = cell(folders, "ood", "outside", group="near")
    frame = evaluate(clip, [cell(folders, "clean", "inside"), noise, ood], {}, **WORDS)
    assert frame.schema["photograph"] == pl.UInt64
    assert frame.filter(suite="clean")["photograph"].to_list() == prepared.photographs.tolist()
    assert frame.filter(suite="noise")["photograph"].to_list() == prepared.photographs[chosen].tolist()
    assert frame.filter(suite="ood")["photograph"].to_list() == load(folders["outside"]).photographs.tolist()


def test_shifted_images_have_scores_too_for_the_full_spectrum(clip, folders):
    scores = {"mcm": plugins.load("score", {"score": "mcm"}), "knn": plugins.load("score", {"score": "knn", "k": 3})}
    shifted = cell(folders, "shift", "outside", fit=folders["outside"])
    frame = evaluate(clip, [fitting(folders), shifted], scores, **WORDS, needs={"knn": "train"})
    image, head = (
        image_features(clip, load(folders["outside"]).images),
        text_head(clip, ["cat", "dog", "cow"], ["a {}"]),
    )
    features = Features(image, head, np.zeros(20, int), *logit_scale_and_bias(clip))
    found = frame.filter(suite="shift")
    np.testing.assert_allclose(found["score:mcm"], scores["mcm"](features, None), atol=1e-6)
    assert found["score:knn"].null_count() == 0


def test_records_count_the_classes_above_thresholds_where_sets_are_measured(clip, folders):
    suites = ("clean", "shift", "spurious", "ood")
    cells = [cell(folders, suite, "inside" if suite == "clean" else "outside") for suite in suites]
    frame = evaluate(clip, cells, {}, **WORDS)
    prepared = load(folders["inside"])
    image, head = image_features(clip, prepared.images), text_head(clip, ["cat", "dog", "cow"], ["a {}"])
    p = softmax(logit_scale_and_bias(clip)[0] * image @ head.T, axis=1)
    counts = frame.filter(suite="clean")["set_sizes"].to_numpy()
    assert counts[:, 0].tolist() == (p >= 0.5).sum(axis=1).tolist()
    assert counts[:, 8].tolist() == (p >= 0.5 / np.e).sum(axis=1).tolist()
    nulls = {suite: frame.filter(suite=suite)["set_sizes"].null_count() for suite in suites}
    assert nulls == {"clean": 0, "shift": 0, "spurious": 20, "ood": 20}


def test_a_model_with_a_logit_bias_has_sigmoids_on_clean_and_shifted_images(vit, folders):
    cells = [cell(folders, suite, "outside") for suite in ("shift", "spurious")] + [cell(folders, "clean", "inside")]
    assert "confidence_sigmoid" not in evaluate(vit, cells, {}, **WORDS).columns
    vit.model.logit_bias = torch.nn.Parameter(torch.tensor(-3.0))
    frame = evaluate(vit, cells, {}, **WORDS)
    image = image_features(vit, load(folders["inside"]).images)
    scale, bias = logit_scale_and_bias(vit)
    logits = scale * image @ text_head(vit, ["cat", "dog", "cow"], ["a {}"]).T + bias
    found = frame.filter(suite="clean")["confidence_sigmoid"]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits.max(axis=1))), rtol=1e-4)
    nulls = {suite: frame.filter(suite=suite)["nll_sigmoid"].null_count() for suite in ("shift", "spurious")}
    assert nulls == {"shift": 0, "spurious": 20}


def test_single_templates_are_judged_on_clean_images_where_asked(clip, tmp_path, folders):
    path = Path(folders["inside"], "meta.json")
    save_sealed_json(path, read_sealed_json(path) | {"templates": ["a {}", "my {}", "no {}"]})
    cells = [cell(folders, "clean", "inside"), cell(folders, "shift", "outside")]
    frame = evaluate(clip, cells, {}, **WORDS, templates_alone=2)
    prepared, classes = load(folders["inside"]), ["cat", "dog", "cow"]
    image = image_features(clip, prepared.images)
    clean = frame.filter(suite="clean")
    for template in ("a {}", "no {}"):
        told = (image @ text_head(clip, classes, [template]).T).argmax(axis=1)
        assert clean[f"template:{template}"].to_list() == (told == prepared.labels).tolist()
    assert "template:my {}" not in frame.columns
    assert frame.filter(suite="shift")["template:a {}"].null_count() == 20
    np.testing.assert_array_equal(clean["confidence"], evaluate(clip, cells, {}, **WORDS)["confidence"][:20])


def test_one_forward_serves_all_cells_of_a_dataset(clip, folders, monkeypatch):
    from reliquant.evaluation import evaluate as module

    calls = []

    def counted(*args, **words):
        calls.append(words["label"])
        return image_features(*args, **words)

    monkeypatch.setattr(module, "image_features", counted)
    cells = [cell(folders, "clean", "inside"), cell(folders, "shift", "outside"), cell(folders, "spurious", "outside")]
    evaluate(clip, cells, {}, **WORDS)
    assert calls == ["inside", "outside"]


def test_every_prepared_folder_is_opened_once(clip, folders, monkeypatch):
    from reliquant.evaluation import evaluate as module

    opened = []

    def counted(folder):
        opened.append(str(folder))
        return load(folder)

    monkeypatch.setattr(module, "load", counted)
    scores = {"knn": plugins.load("score", {"score": "knn", "k": 3})}
    cells = [fitting(folders), cell(folders, "shift", "outside"), cell(folders, "ood", "outside", group="near")]
    evaluate(clip, cells, scores, **WORDS, needs={"knn": "train"})
    assert sorted(opened) == sorted(folders.values())


def test_images_prepared_for_another_model_are_refused(clip, folders):
    wrong = {**cell(folders, "clean", "inside"), "folder": "data/prepared/x/224-shortest-bicubic"}
    with pytest.raises(ValueError, match="prepared as 224-shortest-bicubic, but the model wants `form: 32-shortest"):
        evaluate(clip, [wrong], {}, **WORDS)


def test_features_that_are_not_finite_name_the_dataset(vit, folders):
    with torch.no_grad():
        vit.model.visual.proj[0, 0] = float("nan")
    with pytest.raises(ValueError, match="inside: 20 images have NaN"):
        evaluate(vit, [cell(folders, "clean", "inside")], {}, **WORDS)


def fitting(folders, **more):
    return cell(folders, "clean", "inside", fit=folders["outside"], **more)


def test_scores_fit_on_the_training_set_of_the_same_variant(clip, folders):
    scores = {"knn": plugins.load("score", {"score": "knn", "k": 3})}
    frame = evaluate(clip, [fitting(folders)], scores, **WORDS, needs={"knn": "train"})
    image, known = (image_features(clip, load(folders[name]).images) for name in ("inside", "outside"))
    distance = np.sort(np.linalg.norm(image[:, None].astype(float) - known[None], axis=2), axis=1)
    np.testing.assert_allclose(frame["score:knn"], -distance[:, 2], atol=1e-5)


def test_a_cell_without_a_training_set_leaves_the_score_out(clip, folders):
    scores = {"knn": plugins.load("score", {"score": "knn", "k": 3}), "mcm": plugins.load("score", {"score": "mcm"})}
    cells = [cell(folders, "clean", "inside"), {**fitting(folders), "suite": "ood", "group": "far"}]
    frame = evaluate(clip, cells, scores, **WORDS, needs={"knn": "train"})
    assert frame.group_by("suite").agg(pl.col("score:knn").null_count()).sort("suite")["score:knn"].to_list() == [20, 0]
    assert frame["score:mcm"].null_count() == 0


def test_a_training_set_of_other_classes_is_refused(clip, folders):
    path = Path(folders["outside"], "meta.json")
    save_sealed_json(path, read_sealed_json(path) | {"classes": ["cat", "dog", "hen"]})
    with pytest.raises(ValueError, match=r"fits: the classes of .*outside.* are not those of .*inside"):
        evaluate(clip, [fitting(folders)], {"knn": None}, **WORDS, needs={"knn": "train"})


def test_patch_and_negative_scores_equal_the_library_called_by_hand(clip, folders):
    from reliquant.evaluation.zero_shot import features_with_local

    entries = {"gl_mcm": {"score": "gl_mcm"}, "neglabel": {"score": "neglabel", "share": 1.0, "groups": 2}}
    scores = {name: plugins.load("score", entry) for name, entry in entries.items()}
    needs = {"gl_mcm": "patches", "neglabel": "negatives"}
    cells = [cell(folders, "clean", "inside"), cell(folders, "ood", "outside", group="near")]
    frame = evaluate(clip, cells, scores, **WORDS, needs=needs, negatives=["sky", "sea", "mud", "tar"])
    head, words = (
        text_head(clip, ["cat", "dog", "cow"], ["a {}"]),
        text_head(clip, ["sky", "sea", "mud", "tar"], ["a {}"]),
    )
    for name, suite in (("inside", "clean"), ("outside", "ood")):
        parts = list(features_with_local(clip, load(folders[name]).images))
        image, patches = (np.concatenate(x) for x in zip(*parts, strict=True))
        of = Features(image, head, np.zeros(20, int), *logit_scale_and_bias(clip), patches=patches, negatives=words)
        for score, function in scores.items():
            found = frame.filter(suite=suite)[f"score:{score}"]
            np.testing.assert_allclose(found, function(of, None), atol=1e-5)


def test_labels_that_are_no_classes_are_refused_before_anything_is_embedded_but_not_out_of_distribution(clip, folders):
    labels = np.array([0, -1] * 10)
    read, problem = load(folders["inside"]).images.__getitem__, "b: label -1 is outside the 3 classes (10 such images)"
    names = list("abcdefghijklmnopqrst")
    data = Dataset(["cat", "dog", "cow"], ["a {}"], labels, read, names, label_problem=problem)
    folder = Path(folders["inside"]).parents[1] / "odd" / "native"
    prepare(data, folder, form="native", entry={})
    folders["odd"] = str(folder)
    frame = evaluate(clip, [cell(folders, "ood", "odd", group="near")], {}, **WORDS)
    assert frame["label"].to_list() == [-1] * 20
    refused = [
        [cell(folders, "clean", "inside"), cell(folders, "shift", "odd")],
        [cell(folders, "ood", "inside", head=folders["odd"])],
        [cell(folders, "clean", "inside", fit=folders["odd"])],
    ]
    for cells in refused:
        with pytest.raises(ValueError, match=r"^odd: b: label -1 is outside the 3 classes \(10 such images\)"):
            evaluate(clip, cells, {}, **WORDS)
