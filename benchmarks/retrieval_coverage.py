"""How often 95 % intervals of retrieval hold the truth, and how often a change is claimed where there is none.

`python benchmarks/retrieval_coverage.py [--images N] [--replications R] [--worlds NAME ...] [--forms NAME
...]`, forms being those a library is stored in (`binary`, ...). A world draws images of
ten classes, one to seven captions each, and what FP32 and a variant make of them: a unit vector of the image's own, its
class and noise. Every replication draws new images, captions, classes' members and noise, so that the gallery varies
too, as the intervals say. The truth of a measure is its mean over all replications (its median, where it
is one). In the world `nothing` the variant's noise is another draw of what FP32's is: no change is true, so that every
p below .05 is false. The last line's `ratio` is the share of measures held in 0.93 to 0.975, as far as so many
replications can tell (Clopper-Pearson).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import beta

from reliquant.measures.retrieval import Captioned, unit_rows
from reliquant.measures.retrieval_rows import retrieval_rows

D, CLASSES, LEAST, MOST = 24, 10, 0.93, 0.975


@dataclass(frozen=True)
class World:
    """How far texts lie from their images, how noisy both models are alike, and how much noise quantization adds."""

    apart: float = 1.3
    noise: float = 0.4
    added: float = 0.3


WORLDS = {
    "plain": World(),
    "few answers change": World(added=0.02),
    "nearly perfect": World(apart=0.6, noise=0.1, added=0.1),
    "nothing": World(added=0.0),
}


def drawn(world: World, n: int, rng: np.random.Generator) -> tuple[Captioned, Captioned]:
    """Draw a variant and FP32 of one set; with nothing added each has noise of its own."""
    label = rng.permutation(np.arange(n) % CLASSES)
    base = rng.normal(size=(n, D)) + 0.7 * np.random.default_rng(0).normal(size=(CLASSES, D))[label]
    image_of = np.repeat(np.arange(n), rng.integers(1, 8, n))
    text = base[image_of] + world.apart * rng.normal(size=(len(image_of), D))
    keys = rng.integers(0, 2**63, n, dtype=np.uint64)

    def noisy(rows: np.ndarray, size: float) -> np.ndarray:
        return rows + size * rng.normal(size=rows.shape)

    exact = [noisy(rows, world.noise) for rows in (base, text)]
    other = (
        [noisy(rows, world.added) for rows in exact] if world.added else [noisy(r, world.noise) for r in (base, text)]
    )
    variant, fp32 = (Captioned(*map(unit_rows, both), image_of, label, keys) for both in (other, exact))
    return variant, fp32


def replicated(
    world: World, n: int, replications: int, resamples: int, rng: np.random.Generator, forms: Sequence[str] = ()
) -> pl.DataFrame:
    """Return the rows of every replication; those of stored forms alone, named in `group`, where there are any."""
    indexes, frames = {name: {"index": name} for name in forms}, []
    for number in range(replications):
        found = retrieval_rows(*drawn(world, n, rng), indexes=indexes, resamples=resamples, seed=number)
        frames.append(found.drop("replicates"))
    rows = pl.concat(frames)
    if not forms:
        return rows
    return rows.filter(pl.col("score") != "").with_columns(group=pl.format("{} {}", "group", "score"))


def held(rows: pl.DataFrame) -> pl.DataFrame:
    """Return for each measure its truth, how often its interval holds it, and how often p is below .05."""
    median = pl.col("measure").str.starts_with("median")
    key, inside = ["group", "measure"], pl.col("truth").is_between(pl.col("low") - 1e-12, pl.col("high") + 1e-12)
    truth = pl.when(median).then(pl.col("value").median().over(key)).otherwise(pl.col("value").mean().over(key))
    some = rows.filter(pl.col("low").is_not_null()).with_columns(truth=truth)
    return some.group_by(key, maintain_order=True).agg(
        pl.col("truth").first(),
        inside.mean().alias("held"),
        pl.len().alias("number"),
        (pl.col("low") > pl.col("truth") + 1e-12).mean().alias("above"),
        (pl.col("p") < 0.05).mean().alias("claimed"),
    )


def within(share: float, number: int, truth: float, n: int) -> bool:
    """Whether the coverage may be in the band; above it counts where the truth is nearer to 0 than one answer in n."""
    right = round(share * number)
    most = beta.ppf(0.975, right + 1, number - right) if right < number else 1.0
    least = beta.ppf(0.025, right, number - right + 1) if right else 0.0
    return bool(most >= LEAST and (least <= MOST or abs(truth) * n < 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--forms", nargs="*", default=[])
    args = parser.parse_args()
    start, counts, claims = time.process_time(), defaultdict(list), []
    for name in args.worlds:
        rng = np.random.default_rng([args.images, list(WORLDS).index(name)])
        found = held(replicated(WORLDS[name], args.images, args.replications, args.resamples, rng, args.forms))
        for group, measure, truth, share, number, above, claimed in found.rows():
            counts[name].append((share, within(share, number, truth, args.images), number))
            told = "" if claimed is None else f"p < .05 in {claimed:.3f}"
            print(f"{name:20} {group:15} {measure:35} truth {truth:9.4f} held {share:.3f} above {above:.3f} {told}")
            if name == "nothing" and claimed is not None and not measure.startswith("median"):
                claims.append(claimed)
    print(f"\n{'world':20} measures within   mean  least   most   ({args.images} images, {args.replications} times)")
    for name, cells in counts.items():
        shares = [share for share, _, _ in cells]
        good = sum(one for _, one, _ in cells)
        print(f"{name:20} {len(cells):8} {good:6} {np.mean(shares):6.3f} {min(shares):6.3f} {max(shares):6.3f}")
    if claims:
        print(
            f"where nothing changes p < .05 in {np.mean(claims):.3f} of tests (most of one measure {max(claims):.3f})"
        )
    every = [one for cells in counts.values() for _, one, _ in cells]
    facts = {"name": "retrieval_coverage", "ratio": float(np.mean(every)), "target": 1.0, "better": "higher"}
    facts |= {"false_positives": float(np.mean(claims)) if claims else None, "seconds": time.process_time() - start}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
