"""What columns of somebody's tables are called: the word `--names`."""

from __future__ import annotations

from collections.abc import Sequence


def names_of(words: Sequence[str], /) -> dict[str, str]:
    """Read `--names`; raise ValueError for a word that does not read ours=theirs.

    >>> names_of(["image=img_emb"])
    {'image': 'img_emb'}
    """
    found = {}
    for word in words:
        ours, equals, theirs = word.partition("=")
        if not (ours and equals and theirs):
            raise ValueError(f"--names {word!r} must read ours=theirs, such as image=img_emb")
        found[ours] = theirs
    return found
