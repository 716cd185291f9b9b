"""Names that become parts of paths and words of commands: what each may be, so that it is nothing else there.

Every check returns what is wrong, "" where nothing is. Patterns are matched whole, newline at the end included.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

LONGEST_NAME = 64  # letters: three names and a form are one file's name, which may have 255 bytes
LONGEST_FILE = 200  # bytes: parts of a download add to it
LONGEST_PATH = 1024
DEEPEST_FOLDER = 8
NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
_DEVICE = re.compile(r"[a-z]{1,16}(:[0-9]{1,3})?", re.ASCII)


def name_problem(name: str, /) -> str:
    """Say why a word cannot name a study, a model, a dataset and the like: small letters, so no two differ by case.

    >>> name_problem("vit-b.32"), name_problem("../up")
    ('', 'must be small letters and digits, with single . _ or - between them')
    """
    if not NAME.fullmatch(name):
        return "must be small letters and digits, with single . _ or - between them"
    return f"must have at most {LONGEST_NAME} letters" if len(name) > LONGEST_NAME else ""


def device_problem(word: str, /) -> str:
    """Say why a word is no device.

    >>> device_problem("cuda:1"), device_problem("cpu; true")
    ('', 'must read auto, cpu, cuda, cuda:1 and the like')
    """
    return "" if _DEVICE.fullmatch(word) else "must read auto, cpu, cuda, cuda:1 and the like"


def module_problem(name: str, /) -> str:
    """Say why a word is no dotted path of a Python module: plain identifiers, at least two of them.

    >>> module_problem("my_models.pocket")
    ''
    """
    parts = name.split(".")
    if len(parts) > 1 and name.isascii() and all(part.isidentifier() for part in parts):
        return f"must have at most {LONGEST_FILE} letters" if len(name) > LONGEST_FILE else ""
    return "must be the dotted name of a module, my_package.my_module"


def folder_problem(folder: str, /) -> str:
    """Say why a folder is none for a download: relative, below where downloads lie, of parts that are plain names.

    >>> folder_problem("mine/first"), folder_problem("../../outside")[:30]
    ('', 'must lie below the folder of d')
    """
    parts = folder.split("/")
    if len(parts) > DEEPEST_FOLDER or not all(_PART.fullmatch(part) for part in parts):
        return (
            "must lie below the folder of downloads: letters, digits and . _ - in each part, none of which begins with"
            f" . or -, at most {DEEPEST_FOLDER} parts"
        )
    return f"each part must have at most {LONGEST_NAME} letters" if max(map(len, parts)) > LONGEST_NAME else ""


def path_problem(path: str, /) -> str:
    """Say why a text is no path that a person means: empty, an option, or with signs that no terminal shows.

    >>> path_problem("/data/My photos (2024)"), path_problem("--output")
    ('', 'must not begin with -: write ./--output')
    """
    if not path or len(path) > LONGEST_PATH:
        return f"must be a path of 1 to {LONGEST_PATH} letters"
    if path.startswith("-"):
        return f"must not begin with -: write ./{path}"
    return "must not have control characters in it" if _has_controls(path) else ""


def file_problem(name: str, /) -> str:
    """Say why a name, such as the end of an address, is none for a downloaded file in its folder.

    >>> file_problem("a photo (1).jpg"), file_problem("..")
    ('', 'must not begin with . or -')
    """
    plain = unicodedata.normalize("NFKC", name)
    if not name or len(name.encode("utf-8", "replace")) > LONGEST_FILE:
        return f"must have 1 to {LONGEST_FILE} bytes"
    if plain.startswith((".", "-")):
        return "must not begin with . or -"
    if set(plain) & set("/\\:") or _has_controls(name):
        return "must not have a slash, a colon or control characters in it"
    return ""


def folded(name: str | PurePosixPath, /) -> str:
    """Return what a file system that takes no notice of case, or of how letters are composed, makes of a path.

    >>> folded("Ma\u0301s") == folded("mÁs")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", str(name)).casefold())


def visible(text: str, /) -> str:
    r"""Write signs that are not to be seen as escapes, so that a message is one line, and a terminal obeys none of it.

    >>> visible("a\nb\x1b[2J é")
    'a\\nb\\x1b[2J é'
    """
    return "".join(repr(sign)[1:-1] if _is_hidden(sign) else sign for sign in text) if _has_controls(text) else text


def _has_controls(text: str) -> bool:
    return any(map(_is_hidden, text))


def _is_hidden(sign: str) -> bool:
    """Whether a sign is not to be seen: a control, a line end, a mark of direction, half of a sign."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")
