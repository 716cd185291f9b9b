"""Words of configs, files and rows as plain words in each format of a report: nothing in them is obeyed; free of torch.

What a person wrote into a name may be a formula to a spreadsheet, a link to Markdown, a command to TeX. HTML is escaped
by jinja2 and `html.escape`; figures do not parse their texts (`style.mplstyle`).
"""

from __future__ import annotations

import re

import polars as pl

from reliquant.progress import printable

FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # also as wide signs
ENDS = r" \[[-+\d., ]+\]"  # of an interval
NUMBER = re.compile(rf"[-+]?(?:\d[\d.]*|\.\d+|inf|nan)(?:[eE][-+]?\d+)?(?:{ENDS})?\**(?: !)?")
MARKED = r"^\*\*(.*)\*\*$"  # the best cell of a column
LABEL = 80  # characters of a name in a figure
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "@": "&#64;", "#": "&#35;"}
MARKDOWN = str.maketrans(ENTITIES | {c: f"\\{c}" for c in r"\`*[]{}!|~"})
SIGNS = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
SIGNS |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$", "→": r"$\to$", "²": "$^2$"}
SIGNS |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
TEX = str.maketrans(SIGNS)


def csv_cell(text: str, /) -> str:
    """Return a text that no spreadsheet takes for a formula: with ' before it where it begins as one.

    >>> csv_cell("=1+1"), csv_cell("-0.3"), csv_cell("-2.0 [-3.0, -1.0]*"), csv_cell("-x")
    ("'=1+1", '-0.3', '-2.0 [-3.0, -1.0]*', "'-x")
    """
    text = printable(text)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def csv(frame: pl.DataFrame, /) -> str:
    """Write a frame as csv; a text that begins like a formula has ' before it, numbers stay as they are."""
    texts = [name for name, kind in frame.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    shown = []
    for name in texts:
        cells = frame[name].cast(pl.String)
        shown.append(cells.replace({cell: csv_cell(cell) for cell in cells.drop_nulls().unique()}))
    safe = frame.with_columns(shown)
    return safe.rename({name: csv_cell(name) for name in safe.columns}).write_csv()


def markdown(text: str, /) -> str:
    r"""Return a text that Markdown, GitHub's too, shows as it is, on one line: no link, code, HTML, mention or column.

    >>> markdown("[a](http://b) `c` | rtn_8 @d")
    '\\[a\\](http&#58;//b) \\`c\\` \\| rtn_8 &#64;d'
    """
    text = one_line(text)
    if NUMBER.fullmatch(text):
        return text.replace("*", r"\*")
    text = text.translate(MARKDOWN).replace("://", "&#58;//")
    text = re.sub(r"\b(www)\.", r"\1&#46;", text, flags=re.IGNORECASE)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word it is no emphasis


def latex(text: str, /) -> str:
    r"""Return a text that TeX sets as it is.

    >>> latex("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return one_line(text).translate(TEX)


def latex_line(cells: list[str], /) -> str:
    """Join the cells of a line; a line that begins with [ or * would be read as an option of the line end before it."""
    line = " & ".join(cells) + r" \\"
    return "{}" + line if line[0] in "[*" else line


def label(name: str, /) -> str:
    """Return a name for a figure: on one line, not endless, and not hidden from the legend by a leading underscore.

    >>> label("_x") == "\\u200b_x", len(label("y" * 1000)) == LABEL
    (True, True)
    """
    text = one_line(name)
    if len(text) > LABEL:
        text = f"{text[: LABEL - 20]}...{text[-17:]}"
    return f"\u200b{text}" if text.startswith("_") else text


def one_line(text: str, /) -> str:
    """Return a text on one line, without what steers a terminal."""
    return printable(" ".join(re.split(r"[\t\r\n]+", text)))
