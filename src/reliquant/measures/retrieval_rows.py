"""From embeddings of a captioned set to rows: every measure of retrieval, its change to FP32, each stored form.

Free of torch. Intervals resample images with their captions; the gallery stays as it is (`query_means`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant import plugins
from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures import ranked, search_shift
from reliquant.measures.average_precision import average_precisions, moved_by_answers
from reliquant.measures.index import Index, float32
from reliquant.measures.pair_products import similarities
from reliquant.measures.query_means import Asked, Mean, Median
from reliquant.measures.rescored import rescored
from reliquant.measures.retrieval import DIRECTIONS, Captioned, Task, require_same_set, right_answers, task
from reliquant.measures.row import Row, as_column
from reliquant.measures.search import ITEMS, Found, searched

KS = (1, 5, 10)
TOP = 10  # places of which the overlap is measured
CORRELATED = 100  # of the items nearest for FP32 the order is compared
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
        self.library, self.photographs = asked.gallery, keys
        self.most = int(right_answers(asked).max())
        self.k = TOP + 1 if self.of_images else min(max(TOP, self.most + 1), ITEMS)

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
        means = {name: self.asked.mean(values) for name, values in self._values(at, found, shortlist).items()}
        if self.of_images:
            for name, mean in means.items():
                if name == "map":
                    moved = moved_by_answers(at, _first(found, shortlist))
                else:
                    moved = ranked.moved_by_answers(found, len(at.gallery), k=int(name.rpartition("_")[2]))
                means[name] = self.asked.and_answers(mean, self.photographs, moved)
        return _Search(at, found, means, median)

    def _values(self, at: Task, found: Found, shortlist: int) -> dict[str, Floats]:
        nothing = np.full(len(at.query), np.nan)
        kind = ranked.precision if self.of_images else ranked.recall
        values = {f"{kind.__name__}_at_{k}": kind(found, k=k) if k <= at.candidates else nothing for k in KS}
        if self.of_images:
            return values | {"map": average_precisions(at, _first(found, shortlist))}
        values["map_at_r"] = ranked.map_at_r(found) if self.most <= found.top.shape[1] else nothing
        values["ndcg_at_10"] = ranked.ndcg(found) if at.candidates >= TOP else nothing
        return values

    def rows(self, indexes: Mapping[str, Mapping[str, Any]], /) -> Iterator[tuple[str, Row]]:
        """Yield each row with the stored form that it is of."""
        own = self.search(self.variant, self.variant)
        fp32 = None if self.fp32 is None else self.search(self.fp32, self.fp32, least=CORRELATED)
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
        mean = self.asked.mean(self._margin(one))
        rows = [self.asked.plain_row("margin", mean)]
        if fp32 is not None:
            rows.append(self.asked.plain_row("margin_change", mean, self.asked.mean(self._margin(fp32))))
        return rows

    def _margin(self, one: _Search) -> Floats:
        """Return the margin of each query; NaN for all where right answers alone may fill the places of one."""
        return np.full(len(one.task.query), np.nan) if self.most >= ITEMS else ranked.margin(one.found)

    def moved(self, one: _Search, before: _Search, /) -> list[Row]:
        """Return the rows of what changed in the list of the nearest, and in the rank of the right answer."""
        lists = [search.found.top[:, :TOP] for search in (one, before)]
        shares = {"top10_jaccard": search_shift.jaccard(*lists)}
        shares["top10_rank_biased_overlap"] = search_shift.rank_biased_overlap(*lists)
        rows = [self.asked.share_row(name, self.asked.mean(values)) for name, values in shares.items()]
        moved = self.asked.mean(search_shift.right_answer_moved(one.found, before.found))
        return [*rows, self.asked.distance_row("right_answer_moved", moved)]

    def correlated(self, one: _Search, fp32: _Search, /) -> list[Row]:
        """Return the row of the correlation between both models' similarities of the items nearest for FP32."""
        items = fp32.found.top[:, :CORRELATED]
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        again = similarities(one.task.query, one.task.gallery, rows, items.ravel()).reshape(items.shape)
        values = search_shift.rank_correlation(again, fp32.found.similarity[:, :CORRELATED])
        return [self.asked.gap_row("rank_correlation", self.asked.mean(values))]


def _first(found: Found, shortlist: int) -> tuple[NDArray[np.int64], Floats] | None:
    """Return the items that come before all others because they were ordered anew."""
    return (found.top[:, :shortlist], found.similarity[:, :shortlist]) if shortlist else None


def _rest(one: Task) -> tuple[Any, ...]:
    return one.query_key, one.gallery_key, one.asker, one.itself


def _fact(name: str, value: float, n: int) -> Row:
    """Return the row of a number that is counted, and exact."""
    return Row(measure=name, value=value, low=None, high=None, p=None, n=n, replicates=None)
