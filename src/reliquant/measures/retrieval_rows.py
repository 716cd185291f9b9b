"""From embeddings of a captioned set to rows: every measure of retrieval, its change to FP32, each stored form.

Free of torch. Intervals resample images with their captions, which ask and are found (`query_means`, `left_out`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant import plugins
from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures import ranked, search_shift
from reliquant.measures.answering import Answering
from reliquant.measures.average_precision import average_precisions, moved_by_answers
from reliquant.measures.index import Index, float32
from reliquant.measures.left_out import LeftOut, Measure, best_wrong, first_places, upto_best, upto_right
from reliquant.measures.pair_products import similarities
from reliquant.measures.query_means import Asked, Mean, Median
from reliquant.measures.rescored import rescored
from reliquant.measures.retrieval import DIRECTIONS, Captioned, Task, require_same_set, right_answers, task
from reliquant.measures.row import Row, as_column
from reliquant.measures.search import ITEMS, Found, searched

KS = (1, 5, 10)
TOP = 10  # places of which the overlap is measured
CORRELATED = 100  # of the items nearest for FP32 the order is compared
SPARE = 20  # items behind these that may move up: more captions of one image are left out without others in their place
COLUMNS = ("group", "score", "measure", "value", "low", "high", "p", "n", "replicates")
SCHEMA = {name: ROW_SCHEMA[name] for name in COLUMNS}
OWN = ""  # the score of the embeddings as they are
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Search:
    """Hold one search: what was asked, what was found, and the mean of each measure."""

    task: Task
    found: Found
    means: Mapping[str, Mean]
    median: Median | None  # of the rank of the first right answer


def retrieval_rows(
    variant: Captioned,
    fp32: Captioned | None,
    /,
    *,
    indexes: Mapping[str, Mapping[str, Any]] = {},
    resamples: int,
    seed: int = 0,
) -> pl.DataFrame:
    """Return a row for each direction (`group`), stored form (`score`) and measure: columns `COLUMNS`.

    `indexes` names stored forms: {"truncated_64": {"index": "truncated", "dimensions": 64}}; the float32 embeddings
    themselves, with the score "", are always measured. With `fp32`, the same set by the unquantized model, each measure
    has a change to FP32's float32 search, and there are what changed in the search itself and mixed indexes; each form
    has `_index_change` to the same model's float32 search. `n` counts photographs. A measure whose k exceeds the
    gallery is null; so is `map_at_r` of a form whose shortlist is shorter than the right answers of a query, and both
    `map_at_r` and `margin` where these fill all places that a search lists (2,040). Raises ValueError where the two
    sets differ, or where no query has a right answer.
    """
    if fp32 is not None:
        require_same_set(variant, fp32)
    found: list[tuple[str, str, Row]] = []
    for number, direction in enumerate(DIRECTIONS):
        asked = task(direction, variant, variant)
        if asked is not None:
            made = _Direction(direction, variant, fp32, asked, np.random.default_rng([seed, number]), resamples)
            found += [(direction, score, row) for score, row in made.rows(indexes)]
    if not found:
        raise ValueError("no image has a text and no class has two images: there is nothing to search for")
    kept, known = np.full((len(found), KEPT), np.nan, np.float32), np.zeros(len(found), bool)
    for place, (_, _, row) in enumerate(found):
        if row["replicates"] is not None:
            kept[place], known[place] = row["replicates"], True
    plain = [{"group": group, "score": score, **row, "replicates": None} for group, score, row in found]
    schema = {name: kind for name, kind in SCHEMA.items() if name != "replicates"}
    return pl.DataFrame(plain, schema=schema, infer_schema_length=None).with_columns(as_column(kept, known))


class _Direction:
    """Measure one direction of search: by the variant, by FP32, mixed, and in each stored form."""

    def __init__(
        self,
        direction: str,
        variant: Captioned,
        fp32: Captioned | None,
        asked: Task,
        rng: np.random.Generator,
        resamples: int,
        /,
    ) -> None:
        self.direction, self.variant, self.fp32 = direction, variant, fp32
        keys = np.arange(len(variant.image), dtype=np.uint64) if variant.photographs is None else variant.photographs
        alike = asked.query_key if self.of_images else np.zeros(len(asked.asker), np.int64)
        self.asked = Asked(keys[asked.asker], alike, rng, resamples)
        owner = variant.image_of if direction == "image_to_text" else np.arange(len(variant.image))
        self.left = LeftOut(self.asked.of, self.asked.places(keys[owner], owner >= 0), self.asked.number)
        self.library, self.most = asked.gallery, int(right_answers(asked).max())
        need = TOP if self.of_images else max(TOP, self.most + 1)
        self.k = min(need + self.left.most, ITEMS)  # what stands behind moves up where a photograph is left out
        self.ordered = CORRELATED + min(self.left.most, SPARE)

    @property
    def of_images(self) -> bool:
        return self.direction == "image_to_image"

    def search(
        self, asking: Captioned, library: Captioned, index: Index | None = None, /, *, least: int = TOP
    ) -> _Search:
        """Search the library of one model, in a stored form, by the queries of another or the same."""
        plain = task(self.direction, asking, library)
        assert plain is not None  # what asks is known from the variant, and the same in both
        if index is None:
            at, whole, shortlist = plain, False, 0
        else:
            at = Task(index.asked(plain.query), index.library, *_rest(plain))
            whole, shortlist = index.whole, index.shortlist
        found = searched(at, k=max(self.k, least, shortlist), whole=whole)
        if shortlist:
            found = rescored(found, Task(plain.query, at.gallery, *_rest(plain)), shortlist)
        median = None if self.of_images else self.asked.median(ranked.first_rank(found))
        means = self._means(first_places(found, self.k))
        if self.of_images:
            first = _first(found, shortlist)
            moved = np.bincount(self.left.item + 1, moved_by_answers(at, first), self.left.number + 1)[1:].astype(float)
            means["map"] = self.asked.and_answers(self.asked.mean(average_precisions(at, first)), Answering(moved))
        return _Search(at, found, means, median)

    def _means(self, found: Found) -> dict[str, Mean]:
        """Return the mean of each measure of the places that were searched; not a number where these are too few."""
        values, measures, listed = {}, self._measures(), found.top.shape[1]
        for name, (places, measure) in measures.items():
            values[name] = measure(found) if places <= listed else np.full(len(found.top), np.nan)
        enough = {name: of for name, (places, of) in measures.items() if places <= listed - self.left.most}
        moved = self.left.rises([found], [upto_right(found)], enough, values)
        return {name: self.asked.and_answers(self.asked.mean(of), moved.get(name)) for name, of in values.items()}

    def _measures(self) -> dict[str, tuple[int, Measure]]:
        """Return measures of one list of a query, with how many places of it each needs."""
        kind = ranked.precision if self.of_images else ranked.recall
        found: dict[str, tuple[int, Measure]] = {f"{kind.__name__}_at_{k}": (k, partial(kind, k=k)) for k in KS}
        if not self.of_images:
            found |= {"map_at_r": (self.most, ranked.map_at_r), "ndcg_at_10": (TOP, ranked.ndcg)}
        return found

    def rows(self, indexes: Mapping[str, Mapping[str, Any]], /) -> Iterator[tuple[str, Row]]:
        """Yield each row with the stored form that it is of."""
        own = self.search(self.variant, self.variant)
        fp32 = None if self.fp32 is None else self.search(self.fp32, self.fp32, least=self.ordered)
        n = len(self.library)
        yield OWN, _fact("bytes_a_vector", float32(self.library).bytes_a_vector, n)
        rows = self.measured(own, "", {"_change": fp32}) + self.margins(own, fp32)
        if self.fp32 is not None and fp32 is not None:
            rows += self.moved(own, fp32) + self.correlated(own, fp32)
            mixed = {"_fp32_library": (self.variant, self.fp32), "_fp32_queries": (self.fp32, self.variant)}
            for name, (asking, library) in mixed.items():
                rows += self.measured(self.search(asking, library), name, {"_change": fp32})
        yield from ((OWN, row) for row in rows)
        for score, entry in indexes.items():
            index = plugins.load("index", entry)(self.library)
            yield score, _fact("bytes_a_vector", index.bytes_a_vector, n)
            stored = self.search(self.variant, self.variant, index)
            rows = self.measured(stored, "", {"_change": fp32, "_index_change": own})
            rows += self.moved(stored, own if fp32 is None else fp32)
            yield from ((score, row) for row in rows)

    def measured(self, one: _Search, suffix: str, before: Mapping[str, _Search | None], /) -> list[Row]:
        """Return the rows of one search, and of its changes to others, by how they are called."""
        rows, asked = [], self.asked
        for name, mean in one.means.items():
            rows.append(asked.share_row(f"{name}{suffix}", mean))
            for word, other in before.items():
                if other is not None:
                    rows.append(asked.change_row(f"{name}{suffix}{word}", mean, other.means[name]))
        if one.median is not None:
            rows.append(asked.median_row(f"median_rank{suffix}", one.median))
            for word, other in before.items():
                if other is not None:
                    rows.append(asked.median_row(f"median_rank{suffix}{word}", one.median, other.median))
        return rows

    def margins(self, one: _Search, fp32: _Search | None, /) -> list[Row]:
        """Return the rows of the margin between the right and the best wrong answer; none between images of classes."""
        if self.of_images:
            return []
        mean = self._margin(one)
        rows = [self.asked.plain_row("margin", mean)]
        if fp32 is not None:
            rows.append(self.asked.plain_row("margin_change", mean, self._margin(fp32)))
        return rows

    def _margin(self, one: _Search) -> Mean:
        """Return the mean margin; not a number where right answers alone may fill the places of a query."""
        found = first_places(one.found, self.k)
        if self.most >= ITEMS:
            return self.asked.mean(np.full(len(found.top), np.nan))
        values = ranked.margin(found)
        moved = self.left.rises([found], [best_wrong(found)], {"margin": ranked.margin}, {"margin": values})
        return self.asked.and_answers(self.asked.mean(values), moved["margin"])

    def moved(self, one: _Search, before: _Search, /) -> list[Row]:
        """Return the rows of what changed in the list of the nearest, and in the rank of the right answer."""
        lists = [first_places(search.found, self.k) for search in (one, before)]
        measures = {of.__name__: partial(search_shift.of_lists, of, TOP) for of in search_shift.OVERLAPS}
        values = {name: of(*lists) for name, of in measures.items()}
        places = [np.broadcast_to(np.arange(found.top.shape[1]) < TOP, found.top.shape) for found in lists]
        shares = {name: self.asked.mean(of) for name, of in values.items()}
        if min(found.top.shape[1] for found in lists) >= TOP + self.left.most:
            rises = self.left.rises(lists, places, measures, values)
            shares = {name: self.asked.and_answers(mean, rises[name]) for name, mean in shares.items()}
        rows = [self.asked.share_row(f"top10_{name}", mean) for name, mean in shares.items()]
        moved = search_shift.right_answer_moved
        far, before_right = moved(*lists), [upto_best(found) for found in lists]
        rise = self.left.rises(lists, before_right, {"far": moved}, {"far": far})["far"]
        mean = self.asked.and_answers(self.asked.mean(far), rise)
        return [*rows, self.asked.distance_row("right_answer_moved", mean)]

    def correlated(self, one: _Search, fp32: _Search, /) -> list[Row]:
        """Return the row of the correlation between both models' similarities of the items nearest for FP32."""
        found = first_places(fp32.found, self.ordered)
        items, before = found.top, found.similarity
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        again = similarities(one.task.query, one.task.gallery, rows, items.ravel()).reshape(items.shape)
        values = search_shift.rank_correlation(again[:, :CORRELATED], before[:, :CORRELATED])
        moved = self.left.correlations(items, again, before, values, CORRELATED)
        return [self.asked.gap_row("rank_correlation", self.asked.and_answers(self.asked.mean(values), moved))]


def _first(found: Found, shortlist: int) -> tuple[NDArray[np.int64], Floats] | None:
    """Return the items that come before all others because they were ordered anew."""
    return (found.top[:, :shortlist], found.similarity[:, :shortlist]) if shortlist else None


def _rest(one: Task) -> tuple[Any, ...]:
    return one.query_key, one.gallery_key, one.asker, one.itself


def _fact(name: str, value: float, n: int) -> Row:
    """Return the row of a number that is counted, and exact."""
    return Row(measure=name, value=value, low=None, high=None, p=None, n=n, replicates=None)
