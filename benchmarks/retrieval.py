"""Time a search with every measure of it against faiss's flat index, which finds the 10 nearest alone; one thread each.

`python benchmarks/retrieval.py [--queries N] [--library N] [--dimensions D]`. Queries are images, the library texts of
which five belong to each image, drawn so that about half of the images find one of theirs first. Ours gives the 10
nearest, the rank of the best right answer with equal similarities told apart in float64, Recall@1/5/10, median rank,
mAP@R, nDCG@10 and the margin. Both sides search the same slice of queries in turn; processor time counts. The full
size is 50,000 x 250,000: --queries 50000 --library 250000, some ten minutes. Where faiss (extra `benchmarks`) is absent
ours is timed alone, the last line says so and the exit status is 3.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by both libraries when they are loaded

import numpy as np
from numpy.typing import NDArray
from peers import ABSENT, absent

from reliquant.measures import ranked
from reliquant.measures.retrieval import Task
from reliquant.measures.search import Found, searched

TARGET, CAPTIONS, SLICE = 1.0, 5, 10_000
Rows = NDArray[np.float32]


def drawn(queries: int, library: int, dimensions: int) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """Draw images, texts, and the image of each text, -1 for none; no more than the two tables is held."""
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((n, dimensions), dtype=np.float32) for n in (queries, library))
    image_of = np.full(library, -1)
    captions = min(CAPTIONS, library // queries)
    place = rng.permutation(library)[: queries * captions].reshape(captions, queries)
    for at in place:
        image_of[at] = np.arange(queries)
        for low in range(0, queries, 1000):
            text[at[low : low + 1000]] += np.float32(0.15) * image[low : low + 1000]
    for rows in (image, text):
        rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return image, text, image_of


def measured(parts: list[Found]) -> dict[str, float]:
    """Return every measure of the whole search."""
    columns = {f"recall_at_{k}": [ranked.recall(part, k=k) for part in parts] for k in (1, 5, 10)}
    columns["map_at_r"] = [ranked.map_at_r(part) for part in parts]
    columns["ndcg_at_10"] = [ranked.ndcg(part) for part in parts]
    columns["margin"] = [ranked.margin(part) for part in parts]
    means = {name: float(np.mean(np.concatenate(column))) for name, column in columns.items()}
    return means | {"median_rank": float(np.median(np.concatenate([ranked.first_rank(part) for part in parts])))}


def flat_index(text: Rows) -> Any:
    """Return faiss's exact index of the texts."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(text.shape[1])
    index.add(text)
    return index


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--library", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=512)
    args = parser.parse_args()
    image, text, image_of = drawn(args.queries, args.library, args.dimensions)
    slices = [np.arange(low, min(low + SLICE, len(image))) for low in range(0, len(image), SLICE)]
    tasks = [Task(image[rows], text, rows, image_of, rows) for rows in slices]
    few = np.arange(min(64, len(image)))
    searched(Task(image[few], text, few, image_of, few))  # what a first call loads
    memory, index, missing = None, None, absent("faiss")
    ours, theirs, same, parts = 0.0, 0.0, 0, []
    for number, task in enumerate(tasks):
        start = time.process_time()
        parts.append(searched(task))
        ours += time.process_time() - start
        if number == 0:  # before faiss copies the library
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            index = None if missing else flat_index(text)
        if index is not None:
            start = time.process_time()
            nearest = index.search(task.query, 10)[1]
            theirs += time.process_time() - start
            same += int((nearest == parts[-1].top).sum())
    start = time.process_time()
    found = measured(parts)
    ours += time.process_time() - start
    print(f"{args.queries} queries x {args.library} texts of {args.dimensions} numbers, one thread, processor time")
    print(f"reliquant, 10 nearest, ranks and all measures  {ours:8.2f} s, peak {memory:.2f} GiB with both tables")
    print(" ".join(f"{name} {value:.4g}" for name, value in found.items()))
    facts = {"name": "retrieval", "target": TARGET, "better": "higher", "memory_gib": memory, "reliquant_s": ours}
    if missing:
        print(json.dumps({**facts, "ratio": None, "absent": missing}))
        return ABSENT
    agree = same / args.queries / 10
    print(f"faiss, IndexFlatIP, 10 nearest                 {theirs:8.2f} s; {agree:.6f} of places agree")
    print(json.dumps({**facts, "ratio": theirs / ours, "faiss_s": theirs, "agree": agree}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
