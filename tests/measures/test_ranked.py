"""Each measure against its mean over every order of equal items, and cases worked by hand."""

import itertools

import numpy as np
import pytest

from reliquant.measures import ranked
from reliquant.measures.average_precision import average_precisions
from reliquant.measures.retrieval import Task
from reliquant.measures.search import searched

LINE = np.linspace(0, 1, 5)  # similarities that a gallery on a circle has to (1, 0)


def asked(levels, right):
    """Make a task of one query whose similarity to item i is that of its level: equal levels are equally near."""
    angle = LINE[np.asarray(levels)]
    gallery = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    key = np.where(np.asarray(right), 0, -1)
    return Task(np.array([[1, 0]], np.float32), gallery, np.array([0]), key, np.array([0]))


def orders(levels, right):
    """Return the lists of right and wrong that every order of equal items gives."""
    groups = [[r for level, r in zip(levels, right, strict=True) if level == at] for at in sorted(set(levels))]
    for parts in itertools.product(*(list(itertools.permutations(group)) for group in groups)):
        yield np.concatenate(parts)


def of_order(answers):
    """Compute each measure of one list of right and wrong answers, by its definition."""
    rank, r = np.flatnonzero(answers) + 1, int(answers.sum())
    precision = np.cumsum(answers) / np.arange(1, len(answers) + 1)
    gain = answers / np.log2(np.arange(len(answers)) + 2)
    ideal = np.sort(answers)[::-1] / np.log2(np.arange(len(answers)) + 2)
    return {
        "first_rank": rank[0],
        **{f"recall {k}": rank[0] <= k for k in (1, 2, 3, 5)},
        **{f"precision {k}": answers[:k].mean() for k in (1, 2, 3, 5)},
        **{f"ndcg {k}": gain[:k].sum() / ideal[:k].sum() for k in (1, 3, 5)},
        "map_at_r": (precision[:r] * answers[:r]).sum() / r,
        "average_precision": (precision * answers).sum() / r,
    }


def found_of(task, k=5):
    found = searched(task, k=max(k, int((task.gallery_key == 0).sum())))
    return {
        "first_rank": ranked.first_rank(found),
        **{f"recall {k}": ranked.recall(found, k=k) for k in (1, 2, 3, 5)},
        **{f"precision {k}": ranked.precision(found, k=k) for k in (1, 2, 3, 5)},
        **{f"ndcg {k}": ranked.ndcg(found, k=k) for k in (1, 3, 5)},
        "map_at_r": ranked.map_at_r(found),
        "average_precision": average_precisions(task),
    }


def test_every_measure_is_its_mean_over_all_orders_of_equal_items():
    rng = np.random.default_rng(0)
    for _ in range(60):
        levels, right = rng.integers(0, int(rng.integers(1, 5)), 7), rng.random(7) < 0.4
        right[rng.integers(7)] = True
        each = [of_order(answers) for answers in orders(levels.tolist(), right.tolist())]
        for name, value in found_of(asked(levels, right)).items():
            expected = np.mean([one[name] for one in each])
            assert value == pytest.approx([expected], abs=1e-12), f"{name} of {levels}, {right}"


def test_a_list_worked_by_hand_without_equal_items():
    found = found_of(asked([0, 1, 2, 3, 4], [False, True, True, False, True]))
    assert found["first_rank"] == [2]
    assert [found[f"recall {k}"][0] for k in (1, 2, 3)] == [0, 1, 1]
    assert found["map_at_r"] == pytest.approx([(1 / 2 + 2 / 3) / 3])
    assert found["average_precision"] == pytest.approx([(1 / 2 + 2 / 3 + 3 / 5) / 3])
    gain = 1 / np.log2(3) + 1 / np.log2(4) + 1 / np.log2(6)
    assert found["ndcg 5"] == pytest.approx([gain / (1 + 1 / np.log2(3) + 1 / np.log2(4))])


def test_where_everything_is_equal_recall_is_that_of_chance():
    found = searched(asked([0] * 20, [True] * 2 + [False] * 18), k=10)
    assert found.beyond.tolist() == [10]
    assert ranked.recall(found, k=1) == pytest.approx([2 / 20])
    assert ranked.recall(found, k=10) == pytest.approx([1 - 10 * 9 / (20 * 19)])
    assert ranked.first_rank(found) == pytest.approx([21 / 3])
    assert ranked.precision(found, k=10) == pytest.approx([2 / 20])


def test_the_margin_is_to_the_best_wrong_answer():
    found = searched(asked([1, 2, 0, 4], [True, True, False, False]), k=4)
    assert ranked.margin(found) == pytest.approx([np.cos(LINE[1]) - 1], abs=1e-7)
    assert np.isnan(ranked.margin(searched(asked([0, 1, 2], [True, True, False]), k=2))).all()


def test_more_places_than_were_searched_are_refused():
    found = searched(asked([0, 1, 2, 3], [True, True, True, False]), k=2)
    with pytest.raises(ValueError, match="k is 5; 2 places were searched"):
        ranked.recall(found, k=5)
    with pytest.raises(ValueError, match="a query has 3 right answers, and only 2 places were searched"):
        ranked.map_at_r(found)
