"""A word-level tokenizer over a vocabulary file: what the small text towers read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<start>", "<end>"


@dataclass(frozen=True)
class WordTokenizer:
    """Map captions to token ids (n, context): <start>, the caption's words, <end>, then <pad>.

    Words are runs of letters and digits in lower case; a word outside `words` becomes <unk>; long captions are cut
    before <end>. Ids: 0 <pad>, 1 <unk>, 2 <start>, then the words, and <end> last, the highest id, where a text tower
    of CLIP pools.

    >>> WordTokenizer(("a", "red", "square"), context=6)(["A red square.", "a red elephant"]).tolist()
    [[2, 3, 4, 5, 6, 0], [2, 3, 4, 1, 6, 0]]
    """

    words: tuple[str, ...]
    context: int

    @cached_property
    def ids(self) -> dict[str, int]:
        """The number of each token."""
        return {token: i for i, token in enumerate((PAD, UNKNOWN, START, *self.words, END))}

    def __call__(self, captions: list[str], /) -> torch.Tensor:
        """Return int64 token ids (n, context)."""
        rows = torch.full((len(captions), self.context), self.ids[PAD], dtype=torch.int64)
        for row, caption in zip(rows, captions, strict=True):
            words = re.findall(r"[a-z0-9]+", caption.lower())[: self.context - 2]
            tokens = [self.ids[START], *(self.ids.get(word, self.ids[UNKNOWN]) for word in words), self.ids[END]]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows


def read_words(path: Path, /) -> tuple[str, ...]:
    """Read a vocabulary, one word per line, past empty lines and # comments; raise ValueError on a repeated word."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    words = tuple(line for line in lines if line and not line.startswith("#"))
    repeated = sorted({word for word in words if words.count(word) > 1})
    if repeated:
        raise ValueError(f"{path}: repeated words: {', '.join(repeated)}")
    return words
