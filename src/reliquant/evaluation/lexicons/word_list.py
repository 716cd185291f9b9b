"""Words of your own: a list in the config, or a file."""

from __future__ import annotations

from pathlib import Path

PLACE = None  # nothing is read from `root`


def lexicon(root: Path, /, *, words: list[str] | None = None, file: str | None = None) -> list[str]:
    """Return the words of a list or of a text file, one per line, without empty lines and lines that start with #.

    A path that is not absolute starts where the study runs. Nothing is read from `root`. Raises ValueError unless
    exactly one of the two is given, or when there is no word, or one comes twice.
    """
    if (words is None) == (file is None):
        raise ValueError("lexicon 'word_list': give either words (a list) or file (a path)")
    if file is not None:
        lines = (line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines())
        words = [line for line in lines if line and not line.startswith("#")]
    if not words:
        raise ValueError(f"lexicon 'word_list': {file or 'words'}: there is no word")
    if len(set(words)) < len(words):
        twice = next(word for i, word in enumerate(words) if word in words[:i])
        raise ValueError(f"lexicon 'word_list': {file or 'words'}: {twice!r} comes twice")
    return words
