"""Pieces of Markdown whose words come from code: what they say is shown, and never read as markup."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

CODE_SPAN = re.compile(r"(`+)(.+?)\1(?!`)")
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~%^$])")  # what Markdown, MyST or HTML would read


def escaped(words: str, /) -> str:
    """Escape everything that Markdown or HTML would read as markup."""
    return MARKUP.sub(r"\\\1", words).replace("&", "&amp;")


def prose(words: str, /) -> str:
    """Escape a sentence in which only code between backticks is markup; in one line."""
    line, pieces, end = " ".join(words.split()), [], 0
    for span in CODE_SPAN.finditer(line):
        pieces += [escaped(line[end : span.start()]), code(span[2])]
        end = span.end()
    return "".join([*pieces, escaped(line[end:])])


def code(words: str, /) -> str:
    """Write words as a code span, whatever backticks they hold."""
    inner = " ".join(words.split())
    longest = max((len(run) for run in re.findall("`+", inner)), default=0)
    mark = "`" * (longest + 1)
    return f"{mark} {inner} {mark}" if longest else f"`{inner}`"


def fenced(words: str, language: str, /) -> str:
    """Write a block of code, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall("`+", words)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{words}\n{mark}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]], /) -> str:
    """Write a table of cells that are Markdown already; a bar inside a code span does not end its cell."""
    written = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in written)


def _cell(cell: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", cell)


def docstring(words: str, /) -> str:
    """Turn a docstring into Markdown: paragraphs, lists, and doctests as blocks of Python."""
    blocks = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(words)):
        if block.lstrip().startswith(">>>"):
            blocks.append(fenced(block, "python"))
        elif block.startswith("- "):
            items = re.split(r"\n(?=- )", block)
            blocks.append("\n".join(f"- {prose(item.removeprefix('- '))}" for item in items))
        else:
            blocks.append(prose(block))
    return "\n\n".join(blocks)


def first_paragraph(words: str, /) -> str:
    """Return the first paragraph of a docstring, as Markdown."""
    return prose(re.split(r"\n\s*\n", inspect.cleandoc(words))[0])
