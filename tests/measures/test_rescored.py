import numpy as np
import pytest

from reliquant.measures import ranked
from reliquant.measures.rescored import rescored
from reliquant.measures.retrieval import Task
from reliquant.measures.search import searched

CODES = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1], [-1, -1, -1]], np.float32)


def both(right, shortlist):
    """Search by signs, then by the query itself, which is nearest to item 2 of those at distance 1."""
    key = np.where(np.arange(5) == right, 0, -1)
    rest = (np.array([0]), key, np.array([0]))
    query = np.array([[0.7, -0.1, 0.69]], np.float32)
    coarse = searched(Task(np.ones((1, 3), np.float32), CODES, *rest), k=shortlist, whole=True)
    return coarse, rescored(coarse, Task(query, CODES, *rest), shortlist)


def test_the_shortlist_is_ordered_by_the_query_itself():
    coarse, fine = both(right=2, shortlist=4)
    assert coarse.top.tolist() == [[0, 1, 2, 3]]
    assert fine.top.tolist() == [[2, 0, 3, 1]] or fine.top.tolist() == [[2, 0, 1, 3]]
    assert ranked.first_rank(coarse) == pytest.approx([1 + 4 / 2])
    assert ranked.first_rank(fine).tolist() == [1]
    assert ranked.recall(fine, k=1).tolist() == [1]


def test_what_is_not_in_the_shortlist_stays_behind_it():
    coarse, fine = both(right=3, shortlist=2)
    assert fine.top.tolist() == [[0, 1]]
    assert (coarse.above[0], coarse.level[0]) == (1, 3)
    assert (fine.above[0], fine.level[0], fine.level_right[0]) == (2, 2, 1)  # item 2 or 3 comes next
    assert ranked.first_rank(fine).tolist() == [3.5]
    assert ranked.recall(fine, k=2).tolist() == [0]
