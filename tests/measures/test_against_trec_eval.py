"""Measures against trec_eval itself, and the search against faiss: the extra `oracles`; skipped where absent."""

import numpy as np
import pytest

from reliquant.measures import ranked
from reliquant.measures.average_precision import average_precisions
from reliquant.measures.retrieval import Captioned, task, unit_rows
from reliquant.measures.search import searched


def captioned(n=80, captions=5, d=24):
    rng = np.random.default_rng(0)
    label, image_of = np.arange(n) % 6, np.repeat(np.arange(n), captions)
    base = rng.normal(size=(n, d)) + 0.8 * rng.normal(size=(6, d))[label]
    text = base[image_of] + 1.5 * rng.normal(size=(len(image_of), d))
    return Captioned(unit_rows(base), unit_rows(text), image_of, label)


def judged(asked, names):
    """Return each measure of trec_eval, (q,), for runs of all similarities."""
    trec_eval = pytest.importorskip("pytrec_eval", reason="pytrec_eval is not installed")
    right, run = {}, {}
    for i, row in enumerate(asked.query.astype(float) @ asked.gallery.T.astype(float)):
        items = [j for j in range(len(row)) if asked.itself is None or j != asked.itself[i]]
        run[str(i)] = {str(j): float(row[j]) for j in items}
        right[str(i)] = {str(j): int(asked.gallery_key[j] == asked.query_key[i]) for j in items}
    found = trec_eval.RelevanceEvaluator(right, names).evaluate(run)
    return {name: np.array([found[str(i)][name] for i in range(len(run))]) for name in found["0"]}


@pytest.mark.parametrize("direction", ["image_to_text", "text_to_image"])
def test_captions_are_judged_as_trec_eval_does(direction):
    asked = task(direction, captioned(), captioned())
    theirs = judged(asked, {"success.1,5,10", "ndcg_cut.10", "map_cut.1,5", "recip_rank", "map"})
    found = searched(asked, k=10)
    for k in (1, 5, 10):
        np.testing.assert_allclose(ranked.recall(found, k=k), theirs[f"success_{k}"], atol=1e-12)
    np.testing.assert_allclose(ranked.ndcg(found), theirs["ndcg_cut_10"], atol=1e-12)
    np.testing.assert_allclose(1 / ranked.first_rank(found), theirs["recip_rank"], atol=1e-12)
    r = int(found.answers[0])  # the same of every query: mAP@R is trec_eval's map cut at R
    np.testing.assert_allclose(ranked.map_at_r(found), theirs[f"map_cut_{r}"], atol=1e-12)
    np.testing.assert_allclose(average_precisions(asked), theirs["map"], atol=1e-12)


def test_images_of_a_class_are_judged_as_trec_eval_does():
    asked = task("image_to_image", captioned(), captioned())
    theirs = judged(asked, {"P.1,5,10", "map"})
    found = searched(asked, k=10)
    for k in (1, 5, 10):
        np.testing.assert_allclose(ranked.precision(found, k=k), theirs[f"P_{k}"], atol=1e-12)
    np.testing.assert_allclose(average_precisions(asked), theirs["map"], atol=1e-12)


def test_the_nearest_items_are_those_of_a_flat_index():
    faiss = pytest.importorskip("faiss", reason="faiss is not installed")
    rng = np.random.default_rng(1)
    one = Captioned(*(unit_rows(rng.normal(size=(n, 40))) for n in (300, 9000)), np.arange(9000) % 300)
    asked = task("image_to_text", one, one)
    index = faiss.IndexFlatIP(40)
    index.add(asked.gallery)
    similarity, items = index.search(asked.query, 10)
    found = searched(asked, k=10)
    np.testing.assert_array_equal(found.top, items)
    np.testing.assert_allclose(found.similarity, similarity, atol=1e-6)
