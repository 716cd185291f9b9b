"""What leaving out a photograph does, against searches of the set without it."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

from reliquant.measures import ranked, search_shift
from reliquant.measures.left_out import LeftOut, best_wrong, first_places, upto_best, upto_right
from reliquant.measures.retrieval import DIRECTIONS, Captioned, task, unit_rows
from reliquant.measures.retrieval_rows import _Direction, retrieval_rows
from reliquant.measures.search import searched

ALL = 2000  # places, more than any gallery here has
MEASURES = {
    "image_to_text": [*(partial(ranked.recall, k=k) for k in (1, 5, 10)), ranked.ndcg, ranked.map_at_r, ranked.margin],
    "image_to_image": [partial(ranked.precision, k=k) for k in (1, 5, 10)],
}
MEASURES["text_to_image"] = MEASURES["image_to_text"]


def sets(n=40, seed=0, noise=0.5):
    """Make two models' embeddings of images with up to four captions, with equal rows and repeated photographs."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % 3)
    photographs = rng.permutation(np.arange(n, dtype=np.uint64) + 7)
    photographs[:4] = photographs[[4, 4, 17, 16]]
    image_of = np.repeat(np.arange(n), np.r_[0, 0, np.resize([3, 1, 2, 4], n - 2)])
    image_of[[3, 9]] = -1
    base = rng.normal(size=(n, 6)) + rng.normal(size=(3, 6))[label]
    text = base[image_of] + rng.normal(size=(len(image_of), 6))
    made, same = [], np.tile(np.arange(20, 26), 2)
    for _ in range(2):
        image, words = (rows + noise * rng.normal(size=rows.shape) for rows in (base, text))
        for rows in (image, words):
            rows[8:20] = rows[same]
        made.append(Captioned(unit_rows(image), unit_rows(words), image_of, label, photographs))
    return made


def left(one, photograph):
    """Return a set without a photograph, which of its images and texts stay, and where its images were."""
    images = one.photographs != photograph
    texts = (one.image_of < 0) | images[one.image_of]
    place = np.where(one.image_of >= 0, (np.cumsum(images) - 1)[one.image_of], -1)[texts]
    return Captioned(one.image[images], one.text[texts], place, one.label[images], one.photographs[images]), texts


def places(direction, models, k):
    """Search by each model for k places, or 10 and as many as move up; return the lists, who asks, and photographs."""
    tasks = [task(direction, one, one) for one in models]
    one, asked = models[0], tasks[0]
    owner = one.image_of if direction == "image_to_text" else np.arange(len(one.image))
    keys, of = np.unique(one.photographs[asked.asker], return_inverse=True)
    item = np.array([np.flatnonzero(keys == one.photographs[i])[0] if i >= 0 else -1 for i in owner])
    leaver = LeftOut(of, np.where(owner < 0, -1, item), len(keys))
    k = 10 + leaver.most if k is None else k
    return [searched(each, k=min(k, each.candidates)) for each in tasks], leaver, keys


def rise_of(direction, models, photograph, value):
    """Return by new searches how far a measure of other photographs' queries rises in sum without a photograph."""
    with_all, leaver, keys = places(direction, models, ALL)
    without, _, _ = places(direction, [left(one, photograph)[0] for one in models], ALL)
    stay = keys[leaver.query] != photograph
    return (value(*without) - value(*with_all)[stay]).sum()


def repeated(models):
    """Return photographs to leave out: those that come twice, and some others."""
    return sorted({*models[0].photographs[:8].tolist(), *models[0].photographs[10:30:3].tolist()})


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_a_photograph_moves_is_what_searches_without_it_find(direction):
    models = sets()[:1]
    (found,), leaver, keys = places(direction, models, None)
    measures = {str(number): of for number, of in enumerate(MEASURES[direction])}
    values = {name: of(found) for name, of in measures.items()}
    moved = leaver.rises([found], [upto_right(found) | best_wrong(found)], measures, values)
    assert leaver.most == {"image_to_text": 7}.get(direction, 3)
    for name, of in measures.items():
        assert np.count_nonzero(moved[name].rise) > 1
        for photograph in set(repeated(models)) & set(keys.tolist()):
            expected = rise_of(direction, models, photograph, of)
            found_here = moved[name].rise[keys == photograph]
            assert found_here == pytest.approx([expected], abs=1e-10), f"{of} without {photograph}"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_a_photograph_moves_in_two_lists_is_what_searches_without_it_find(direction):
    models = sets()
    found, leaver, keys = places(direction, models, ALL)
    first = [first_places(one, 10 + leaver.most) for one in found]
    tens = [np.broadcast_to(np.arange(one.top.shape[1]) < 10, one.top.shape) for one in first]
    for lists, matters, of in (
        (first, tens, partial(search_shift.of_lists, search_shift.jaccard, 10)),
        (first, tens, partial(search_shift.of_lists, search_shift.rank_biased_overlap, 10)),
        (found, [upto_best(one) for one in found], search_shift.right_answer_moved),
    ):
        moved = leaver.rises(lists, matters, {"of": of}, {"of": of(*lists)})["of"].rise
        assert np.count_nonzero(moved) > 3
        for photograph in set(repeated(models)) & set(keys.tolist()):
            expected = rise_of(direction, models, photograph, of)
            assert moved[keys == photograph] == pytest.approx([expected], abs=1e-10), f"{of} without {photograph}"


def orders(direction, models, k):
    """Return Spearman's correlation of each query's k items nearest for the second model, by scipy, and their lists."""
    (_, before), _, _ = places(direction, models, ALL)
    asking = [task(direction, one, one) for one in models]
    values, lists = [], []
    for i, items in enumerate(before.top):
        lists.append([(each.gallery[items].astype(float) @ each.query[i].astype(float)).round(12) for each in asking])
        values.append(spearmanr(*(side[:k] for side in lists[-1])).statistic)
    return np.array(values), before.top, *np.array(lists).swapaxes(0, 1)


@pytest.mark.parametrize(("direction", "k"), [(name, k) for name in DIRECTIONS for k in (12, 100)])
def test_what_a_photograph_moves_in_an_order_is_what_searches_without_it_find(direction, k):
    models = sets()
    _, leaver, keys = places(direction, models, None)
    values, top, one, before = orders(direction, models, k)
    near = slice(None, k + leaver.most)
    assert (np.diff(before, axis=1) == 0).any()
    moved = leaver.correlations(top[:, near], one[:, near], before[:, near], values, k).rise
    assert np.count_nonzero(moved) > 10
    for photograph in sorted(set(repeated(models)) & set(keys.tolist()))[:6]:
        without = orders(direction, [left(each, photograph)[0] for each in models], k)[0]
        expected = (without - values[keys[leaver.query] != photograph]).sum()
        assert moved[keys == photograph] == pytest.approx([expected], abs=1e-9)


def test_the_first_places_of_a_list_are_those_of_a_shorter_search():
    asked = task("image_to_text", sets()[0], sets()[0])
    ties = 0
    for k in (1, 5, 10, 20):
        short, cut = searched(asked, k=k), first_places(searched(asked, k=25), k)
        for name, of in vars(short).items():
            np.testing.assert_array_equal(getattr(cut, name), of, err_msg=name)
        ties += short.beyond.sum()
    assert ties


def test_pairs_of_photographs_add_up_to_what_each_moves():
    models = sets()[:1]
    (found,), leaver, _ = places("text_to_image", models, None)
    of = partial(ranked.recall, k=5)
    moved = leaver.rises([found], [upto_right(found)], {"of": of}, {"of": of(found)})["of"]
    low, high = np.divmod(moved.pair, leaver.number)
    assert (low < high).all()
    assert (np.diff(moved.pair) > 0).all()
    assert moved.shared.sum() == pytest.approx(moved.rise.sum())


def test_measures_of_a_study_take_each_photograph_out_in_both_roles():
    one, rng = sets()[0], np.random.default_rng(0)
    for direction in DIRECTIONS:
        made = _Direction(direction, one, None, task(direction, one, one), rng, 10)
        means = made.search(one, one).means
        for photograph in repeated([one])[::3]:
            without = retrieval_rows(left(one, photograph)[0], None, resamples=10).filter(group=direction, score="")
            at, own = made.asked.keys == photograph, made.asked.of == np.flatnonzero(made.asked.keys == photograph)
            value = dict(without.select("measure", "value").iter_rows())
            for name, mean in means.items():
                if name != "map":  # of which a photograph that comes twice moves what each of its images does
                    rest = 1 - own.sum() / mean.number
                    expected = (mean.value - value[name]) * rest
                    assert mean.parts[at] - mean.answering.rise[at] == pytest.approx([expected], abs=1e-9), name
