"""What code says is shown as it is said: no word of it is markup, in Markdown, HTML or reStructuredText."""

import re
from html import unescape

import pytest

pytest.importorskip("myst_parser", reason="myst-parser is not installed (pip install 'reliquant[docs]')")
import markup
import module_pages
from docutils.core import publish_parts
from docutils.parsers.rst import Parser as RstParser
from myst_parser.parsers.docutils_ import Parser as MystParser

HOSTILE = [
    "<script>alert(1)</script> & <b>bold</b>",
    "a *star* and **two**, under_score_ and __init__",
    "[a link](http://example.org) and ![a picture](x.png)",
    "{role}name, {{ value }}, $x$ and $$y$$",
    "a | b || c, # head, ~ ^ back\\slash",
    "X X^T, mean|X|^alpha, x_1 ... x_n, ~~gone~~ &amp; &lt;",
    "http://example.org is no link and -- no dash",
]


def shown(text, parser):
    """Return the body of the page that a parser makes of a text, and the words that a reader sees."""
    settings = {"report_level": 2, "halt_level": 2, "smart_quotes": False, "raw_enabled": True}
    body = publish_parts(text, parser=parser, writer="html5", settings_overrides=settings)["body"]
    return body, " ".join(unescape(re.sub("<[^>]+>", "", body)).split())


@pytest.mark.parametrize("words", HOSTILE)
def test_prose_is_shown_as_it_is_and_makes_no_element(words):
    body, seen = shown(markup.prose(words), MystParser())
    assert seen == words
    assert set(re.findall("<([a-z]+)", body)) <= {"p"}


@pytest.mark.parametrize("words", [*HOSTILE, "a `tick` and ``two``", "`"])
def test_code_is_shown_as_it_is_also_in_a_table(words):
    _, seen = shown(markup.table(["head"], [[markup.code(words)]]), MystParser())
    assert seen == f"head {words}"


@pytest.mark.parametrize("words", HOSTILE)
def test_a_docstring_is_shown_as_it_is_by_autodoc(words):
    lines = [words, "", "and `code *here*`s end"]
    module_pages.as_rst("app", "function", "name", None, None, lines)
    body, seen = shown("\n".join(lines), RstParser())
    assert seen == f"{words} and code *here*s end"
    assert "<em>" not in body


def test_a_docstring_keeps_its_paragraphs_lists_and_doctests():
    told = "One *star*.\n\n- first <b>\n  goes on\n- second\n\n>>> 1 + 1\n2\n\nLast `x`."
    assert markup.docstring(told).split("\n\n") == [
        r"One \*star\*.",
        "- first \\<b\\> goes on\n- second",
        "```python\n>>> 1 + 1\n2\n```",
        "Last `x`.",
    ]
    assert markup.first_paragraph("One\nline.\n\nAnother.") == "One line."


def test_a_fence_is_longer_than_those_inside_it():
    assert markup.fenced("```\ninside\n```", "sh").splitlines()[0] == "````sh"
