"""Tables of variants beside a reference's: which images, which sets, which columns, or a refusal by name."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from reliquant import plugins
from reliquant.evaluation.paired import Labels, Quantized, measure_paired
from reliquant.stored.beside import Files, answers_of, class_names, kind_of, paired_answers, same_sets, unique_names
from reliquant.stored.column import column_of
from reliquant.stored.read import Table

SCORES = {"msp": plugins.load("score", {"score": "msp"})}


def arrays(n=60, c=4, d=8, seed=0):
    rng = np.random.default_rng(seed)
    text, label = rng.normal(size=(c, d)).astype(np.float32), rng.integers(0, c, n)
    image = (text[label] + rng.normal(size=(n, d))).astype(np.float32)
    return {"image": image, "text": text, "label": label, "logit_scale": np.float32([15])}


def table(path="t.npz", **columns):
    return Table(Path(path), {name: column_of(np.asarray(values)) for name, values in columns.items()}, ())


def stored(folder, name, found):
    save_file({key: np.ascontiguousarray(value) for key, value in found.items()}, folder / name)
    return folder / name


def test_what_a_variant_lacks_is_the_references_and_is_said(tmp_path):
    a = arrays()
    fp32 = stored(tmp_path, "fp32.safetensors", a)
    q = stored(tmp_path, "q.safetensors", {"image": a["image"]})
    said = []
    found, exact = paired_answers({"q": Files(q)}, Files(fp32), {}, said)
    assert found["q"].clean.equals(exact.clean)
    assert f"{q}: has no label, text, logit_scale, so {fp32}'s is taken" in said


def test_rows_in_another_order_are_matched_by_their_ids(tmp_path):
    a, order = arrays(), np.random.default_rng(1).permutation(60)
    fp32 = stored(tmp_path, "fp32.safetensors", a | {"id": np.arange(60)})
    turned = {name: values[order] if len(values) == 60 else values for name, values in a.items()}
    q = stored(tmp_path, "q.safetensors", turned | {"id": np.arange(60)[order]})
    said = []
    found, exact = paired_answers({"q": Files(q)}, Files(fp32), {}, said)
    rows = measure_paired({"q": Quantized(found["q"])}, exact, Labels("s", "m"), resamples=50)
    assert rows.filter(measure="agreement", scale="native")["value"].to_list() == [1.0]
    assert f"{q} and {fp32}: rows are matched by id" in said


def test_ood_sets_are_paired_by_name_where_names_are_the_same_and_else_by_order():
    said = []
    a, b = Path("f/near.npz"), Path("f/far.npz")
    assert same_sets([Path("q/far.npz"), Path("q/near.npz")], [a, b], Path("q.npz"), said) == {
        "near": Path("q/near.npz"),
        "far": Path("q/far.npz"),
    }
    assert said == []
    assert same_sets([Path("q1.npz"), Path("q2.npz")], [a, b], Path("q.npz"), said) == {
        "near": Path("q1.npz"),
        "far": Path("q2.npz"),
    }
    assert said[0] == "q1.npz is taken for the set near, by their order"
    with pytest.raises(ValueError, match=r"q.npz: 1 tables of sets, and 2 of the reference's; each set needs both"):
        same_sets([Path("x.npz")], [a, b], Path("q.npz"), said)


def test_several_tables_that_are_matched_by_position_are_said_in_one_sentence(tmp_path):
    a = arrays()
    fp32, one, two = (stored(tmp_path, f"{name}.safetensors", a) for name in ("fp32", "one", "two"))
    said = []
    paired_answers({"one": Files(one), "two": Files(two)}, Files(fp32), {}, said)
    assert said == [f"{one}, {two} and {fp32}: rows are matched by their position, as not all have ids"]


def test_answers_are_made_of_what_all_tables_have():
    whole = table(probabilities=np.ones((2, 1)), image=np.ones((2, 3)), label=[0, 0])
    image = table("i.npz", image=np.ones((2, 3)))
    assert kind_of([whole]) == "probabilities"
    assert kind_of([whole, image]) == "image"
    assert kind_of([image, table(prediction=[0, 1])]) is None
    with pytest.raises(ValueError, match=r"e.npz: has none of probabilities, .*; there are label"):
        kind_of([whole, table("e.npz", label=[0])])


def test_a_doubt_about_logits_is_said_with_the_answers():
    said = []
    answers_of(table(logits=[[0.25, 0.75], [0.9, 0.1]], label=[1, 0]), {}, {}, said)
    assert any("as probabilities do" in line for line in said)


def test_names_as_labels_need_classes_in_order_beside_text_or_columns():
    names = ["dog", "cat"]
    for arrays in ({"logits": [[0.0, 1.0], [1.0, 0.0]]}, {"image": np.eye(2, dtype=np.float32)}):
        text = {"text": np.eye(2, dtype=np.float32), "logit_scale": [20.0]}
        with pytest.raises(ValueError, match="label holds names, and which number each class has is not known"):
            answers_of(table(label=names, **arrays, **text), {}, {}, [], classes=sorted(names))
        found = answers_of(table(label=names, **arrays, **text, classes=names), {}, {}, [])
        assert found.clean["label"].to_list() == [0, 1]


def test_names_of_classes_are_numbered_alike_in_all_tables():
    one = table("a.csv", label=["dog", "cat"], prediction=["dog", "dog"])
    two = table("b.csv", label=["dog", "cat"], prediction=["dog", "fox"])
    assert class_names([one, two]) == ["cat", "dog", "fox"]
    assert class_names([table(label=[0, 1])]) is None
    stored_names = table("c.npz", classes=["dog", "cat"], label=["dog", "cat"])
    assert class_names([stored_names, one]) == ["dog", "cat"]
    with pytest.raises(ValueError, match=r"n.npz: has numbers as labels, and another table names"):
        class_names([one, table("n.npz", label=[0, 1])])
    with pytest.raises(ValueError, match=r"d.npz: has other classes than c.npz, or in another order"):
        class_names([stored_names, table("d.npz", classes=["cat", "dog"])])


def test_predictions_with_names_are_measured(tmp_path):
    from reliquant.stored.beside import answers_of

    label, predicted = ["dog", "cat", "dog", "fox"], ["dog", "cat", "cat", "fox"]
    found = answers_of(table(label=label, prediction=predicted), {}, {}, [])
    assert (found.clean["label"] == found.clean["prediction"]).to_list() == [True, True, False, True]
    with pytest.raises(ValueError, match=r"t.npz: predictions give no OOD scores"):
        answers_of(table(label=[0], prediction=[0]), {"o": table(prediction=[1])}, {}, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"image": a["image"][:50], "label": a["label"][:50]}, "50 images in one and 60 in the other"),
        (lambda a: a | {"label": a["label"][::-1].copy()}, "have another label than in"),
        (
            lambda a: a | {"text": a["text"][:3], "label": np.minimum(a["label"], 2)},
            "label than|need the same",
        ),
        (lambda a: a | {"image": np.where(np.arange(60)[:, None] == 3, np.nan, a["image"])}, "image holds NaN"),
        (lambda a: a | {"image": np.where(np.arange(60)[:, None] == 3, 0, a["image"])}, "row 3 of image holds zeros"),
        (lambda a: a | {"id": np.r_[np.arange(59), 5]}, "id '5' is that of image 5 and of image 59"),
        (lambda a: a | {"id": np.arange(1, 61)}, "id '0' of .*fp32.safetensors is not in .*q.safetensors"),
    ],
)
def test_tables_that_cannot_be_of_the_same_images_are_refused_by_name(tmp_path, change, message):
    a = arrays()
    fp32 = stored(tmp_path, "fp32.safetensors", a | {"id": np.arange(60)})
    q = stored(tmp_path, "q.safetensors", change(a))
    with pytest.raises(ValueError, match=message) as error:
        paired_answers({"q": Files(q)}, Files(fp32), {}, [])
    assert str(q) in str(error.value)


def test_ood_tables_beside_each_other_give_changes(tmp_path):
    a, other = arrays(), arrays(seed=3)["image"]
    fp32, q = (stored(tmp_path, f"{name}.safetensors", a) for name in ("fp32", "q"))
    mine, theirs = (stored(tmp_path, f"{name}.safetensors", {"image": other}) for name in ("q-far", "far"))
    found, exact = paired_answers({"q": Files(q, [mine])}, Files(fp32, [theirs]), SCORES, [])
    rows = measure_paired({"q": Quantized(found["q"])}, exact, Labels("s", "m"), resamples=50)
    change = rows.filter(suite="ood", measure="auroc_change")
    assert change.select("dataset", "score", "value").rows() == [("far", "msp", 0.0)]
    shorter = stored(tmp_path, "short.safetensors", {"image": other[:7]})
    with pytest.raises(ValueError, match=r"short.safetensors and .*far.safetensors: 7 images in one and 60"):
        paired_answers({"q": Files(q, [shorter])}, Files(fp32, [theirs]), SCORES, [])


@pytest.mark.parametrize("kind", ["ood", "shifted"])
def test_other_and_shifted_images_in_another_order_are_refused(tmp_path, kind):
    a, b = arrays(d=40), arrays(d=40, seed=3)
    b["label"] = np.zeros_like(b["label"])  # which cannot tell the order
    other = {name: b[name] for name in ("image", "label")}
    fp32, q = (stored(tmp_path, f"{name}.safetensors", a) for name in ("fp32", "q"))
    theirs = stored(tmp_path, "far.safetensors", other)
    mine = stored(tmp_path, "q-far.safetensors", other | {"image": other["image"][::-1]})
    with pytest.raises(ValueError, match=r"q-far\.safetensors: \d+ of 60 images looked at are clearly other images"):
        paired_answers({"q": Files(q, **{kind: [mine]})}, Files(fp32, **{kind: [theirs]}), SCORES, [])


def test_names_of_files_are_told_apart_by_their_folders():
    assert unique_names([Path("a/q.npz"), Path("b/q.npz")]) == ["a/q", "b/q"]
    with pytest.raises(ValueError, match="a/q: is named twice"):
        unique_names([Path("a/q.npz"), Path("a/q.csv")])


def test_shifted_images_have_the_classes_of_their_own_model_and_rows_of_the_suite_shift(tmp_path):
    a, b = arrays(), arrays(seed=5)
    moved = {"image": b["image"], "label": b["label"]}
    fp32 = stored(tmp_path, "fp32.safetensors", a)
    q = stored(tmp_path, "q.safetensors", a | {"text": a["text"][::-1].copy()})  # a text tower that has gone wrong
    mine, theirs = (stored(tmp_path, f"{name}.safetensors", moved) for name in ("q-v2", "v2"))
    said = []
    found, exact = paired_answers({"q": Files(q, (), [mine])}, Files(fp32, (), [theirs]), {}, said)
    assert f"{mine}: has no text, logit_scale, so {q}'s is taken" in said
    rows = measure_paired({"q": Quantized(found["q"])}, exact, Labels("s", "m"), resamples=50)
    accuracy = rows.filter(suite="shift", dataset="v2", measure="accuracy", scale="native")
    text = {"fp32": a["text"], "q": a["text"][::-1]}
    for scheme, value in accuracy.select("scheme", "value").rows():
        unit = text[scheme] / np.linalg.norm(text[scheme], axis=1, keepdims=True)
        assert value == pytest.approx(np.mean((b["image"] @ unit.T).argmax(axis=1) == b["label"])), scheme
    with pytest.raises(ValueError, match="two sets of images are called v2"):
        measure_paired({"q": Quantized(found["q"])}, exact, Labels("s", "m", dataset="v2"), resamples=50)
