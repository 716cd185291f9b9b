"""Which variants of rows are meant, chosen by the words that name them; free of torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

import polars as pl

from reliquant.report.common_sets import named, some_of
from reliquant.report.frames import VARIANT, Rows, quantized

WORDS = tuple(name for name in VARIANT if name not in ("source", "family"))  # those that a variant is called by
FP32 = "fp32"


def variants(rows: Rows, chosen: Mapping[str, Sequence[str]], words: Sequence[str] = (), /) -> pl.DataFrame:
    """Return the variants of rows, sorted, of which each column in `chosen` is one of its words, and that have `words`.

    Each of `words` must be the model, scheme, precision, scope, proxy or seed. FP32, also as a runtime runs it, is left
    out unless its name is among the words or there is nothing else. Raises ValueError for a word that no variant has,
    with those that are near, and where no variant has them all.
    """
    finished = pl.col("iteration").is_null() & (pl.col("scale") == "native")
    every = rows.lazy().filter(finished).select(VARIANT).unique().collect()
    every = every.with_columns(pl.col(pl.Categorical).cast(pl.String)).sort(VARIANT)
    if every.is_empty():
        raise ValueError("there are no rows of a variant")
    texts = every.select(pl.col(WORDS).cast(pl.String).fill_null(""))
    kept = pl.Series([True] * every.height)
    for column, asked in chosen.items():
        for word in asked:
            _require(word, set(texts[column]), f"--{column}")
        kept &= texts[column].is_in(list(asked)) if asked else True
    for word in words:
        _require(word, {cell for column in texts for cell in column}, "--variant")
        kept &= texts.select(pl.any_horizontal(pl.col(WORDS) == word)).to_series()
    found = every.filter(kept)
    said = {word.partition("@")[0] for word in (*words, *chosen.get("scheme", ()), *chosen.get("precision", ()))}
    if FP32 not in said:
        found = quantized(found) if quantized(every).height else found
    if found.is_empty():
        raise ValueError(f"no variant has all of these words; there are {some_of(names(every))}")
    return found


def names(found: pl.DataFrame, /) -> list[str]:
    """Name variants by the words in which they differ, and always by model, scheme, precision and scope.

    >>> line = {"model": ["vit"], "source": ["web"], "scheme": ["rtn"], "family": ["PTQ"], "precision": ["w8a8"]}
    >>> names(pl.DataFrame({**line, "scope": ["image"], "proxy": ["captions"], "seed": [0]}))
    ['vit rtn w8a8 image']
    """
    always = ("model", "scheme", "precision", "scope")
    apart = [name for name in WORDS if name in always or found[name].n_unique() > 1]
    lines = found.select(apart).rows()
    return [" ".join(str(word) for word in dict.fromkeys(line) if word not in (None, "", "none")) for line in lines]


def near(word: str, known: Collection[str], /) -> str:
    """List the known words that are nearest to one, or some of them where none is near.

    >>> near("acuracy", ["accuracy", "brier"])
    'did you mean accuracy?'
    """
    close = get_close_matches(word, sorted(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {some_of(sorted(filter(None, known)))}"


def partners(chosen: pl.DataFrame, others: pl.DataFrame, /) -> pl.DataFrame:
    """Return for each chosen variant, in their order, the one of another table to which it is compared.

    That is the same variant; else the same but for what its scheme has behind an @, the runtime; else the only one
    that there is. Raises ValueError where it cannot be told which is meant.
    """
    plain = others.with_columns(base=_base())
    found = []
    for line, name in zip(chosen.with_columns(base=_base()).iter_rows(named=True), names(chosen), strict=True):
        but_scheme = [pl.col(word).eq_missing(pl.lit(line[word])) for word in WORDS if word != "scheme"]
        same = plain.filter(*but_scheme, pl.col("scheme") == line["scheme"])
        for candidates in (same, plain.filter(*but_scheme, pl.col("base") == line["base"]), plain):
            if candidates.height == 1:
                found.append(candidates.drop("base"))
                break
        else:
            there = some_of(named(others))
            raise ValueError(f"{name}: has no partner of its own; name one with --against-variant: there are {there}")
    return pl.concat(found)


def _base() -> pl.Expr:
    return pl.col("scheme").str.replace("@.*$", "")


def _require(word: str, known: Collection[str], of: str) -> None:
    if word not in known:
        raise ValueError(f"{of} {word}: no variant has this word; {near(word, known)}")
