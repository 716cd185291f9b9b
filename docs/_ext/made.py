"""Fill in what pages leave to the code: a Sphinx extension.

A page may hold the line `<!-- made at build time: MAKER WORDS -->`. When Sphinx reads the page, the line is replaced by
the Markdown that the maker of that name returns, in memory: there is no copy on disk that could go stale.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import command_pages
import config_pages
import measure_pages
import module_pages
import pictures
import plugin_pages
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^<!-- made at build time: (\w+) ?(.*?) -->$", re.M)
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
MAKERS = {
    "commands": command_pages.commands,
    "config": config_pages.parts,
    "file": lambda name: (ROOT / name).read_text(),
    "measures": measure_pages.index,
    "modules": module_pages.modules,
    "plugins": plugin_pages.family,
    "families": plugin_pages.families,
    "picture": pictures.picture,
}


def whole_files() -> dict[str, str]:
    """Find the files of the repository that are pages: path from the root -> path of the page below docs/."""
    found = {}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for maker, words in MARK.findall(page.read_text()):
            if maker == "file":
                found[words] = page.relative_to(ROOT / "docs").as_posix()
    return found


def fill(_: Sphinx, page: str, content: list[str]) -> None:
    """Replace the marks of a page, and lead its links to files of the repository to their pages."""
    home, folder = posixpath.dirname(f"docs/{page}"), posixpath.dirname(page)
    whole = whole_files()

    def made(mark: re.Match[str]) -> str:
        maker, words = mark.groups()
        if maker not in MAKERS:
            raise ValueError(f"docs/{page}.md: there is no maker {maker!r}; there are {', '.join(sorted(MAKERS))}")
        text = MAKERS[maker](*words.split())
        return led(text, posixpath.dirname(words), folder, whole) if maker == "file" else text

    content[0] = MARK.sub(made, led(content[0], home, folder, whole))


def led(text: str, home: str, folder: str, whole: dict[str, str]) -> str:
    """Lead links of a text that lies in `home` to where their files are pages, seen from a page in docs/`folder`."""

    def target(link: re.Match[str]) -> str:
        there = posixpath.normpath(posixpath.join(home, link[2]))
        if not (ROOT / there).is_file():
            return link[0]
        page = f"docs/{whole[there]}" if there in whole else there  # a file that is no page can be downloaded
        return link[1] + posixpath.relpath(page, posixpath.join("docs", folder)) + link[3]

    return LINK.sub(target, text)


def always(app: Sphinx, *_: Any) -> list[str]:
    """Name the pages that are read anew in every build, as code that they show may have changed."""
    pages = [(app.srcdir / f"{page}.md", page) for page in app.env.found_docs]
    return [page for path, page in pages if MARK.search(Path(path).read_text())]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", always)
    app.connect("autodoc-process-docstring", module_pages.as_rst)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
