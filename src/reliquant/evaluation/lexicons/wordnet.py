"""Words of WordNet 3.0 (Miller 1995), from the database's index files as NLTK's data collection publishes them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from reliquant.download.source import Source

REVISION = "550b6625bcef1f2abff2ff770a5a0d272c9c6b2a"  # of nltk_data
SOURCES = (
    Source(
        url=f"https://raw.githubusercontent.com/nltk/nltk_data/{REVISION}/packages/corpora/wordnet.zip",
        sha256="cbda5ea6eef7f36a97a43d4a75f85e07fccbb4f23657d27b4ccbc93e2646ab59",
        bytes=10_775_600,
        licence="WordNet 3.0 licence: free use with its notice; cite Miller, WordNet, 1995",
        unpack=True,
    ),
)
FILES = {"noun": "index.noun", "adjective": "index.adj", "verb": "index.verb", "adverb": "index.adv"}


def lexicon(
    root: Path,
    /,
    *,
    parts: list[Literal["noun", "adjective", "verb", "adverb"]] | None = None,
    words: int | None = None,
) -> list[str]:
    """Return the words of some parts of speech, sorted, without repetition; those with digits or signs are left out.

    Nouns and adjectives by default, as in NegLabel (Jiang et al. 2024). `words` keeps that many, evenly spread.
    Raises FileNotFoundError without the unpacked archive, ValueError when there are fewer words than asked for.
    """
    lemmas: set[str] = set()
    for part in parts or ["noun", "adjective"]:
        path = root / "wordnet" / FILES[part]
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; WordNet's index files are expected there")
        lines = path.read_text(encoding="utf-8").splitlines()
        lemmas |= {line.split(" ", 1)[0] for line in lines if not line.startswith(" ")}  # wndb(5WN): first the lemma
    known = sorted(name.replace("_", " ") for name in lemmas if name.replace("_", "").replace("-", "").isalpha())
    if words is None:
        return known
    if not 1 <= words <= len(known):
        raise ValueError(f"lexicon 'wordnet': {words} words asked for; there are {len(known)}")
    return [known[i] for i in np.arange(words) * len(known) // words]
