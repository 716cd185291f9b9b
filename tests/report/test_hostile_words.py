"""Names that are formulas, links, markup or escape sequences, through a report and on a terminal."""

import csv
import io
import itertools
import json
import re
import warnings
from html.parser import HTMLParser

import polars as pl
import pytest
from markdown_it import MarkdownIt

from reliquant import plugins
from reliquant.cli.compare_text import compared_text
from reliquant.cli.output import measured_output
from reliquant.cli.recommend_text import recommended_text
from reliquant.report import claims, escaping, frames, page, plotting, tabling
from reliquant.report.compare import compare
from reliquant.report.recommend import judged, wish
from reliquant.report.synthetic import Shape, rows

WORDS = [
    r"$\foo{$",
    r"$x^{2$ \$ \input{/etc/passwd}",
    "=HYPERLINK(1)",
    "+1+cmd|' /C calc'!A0",
    "-x",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "a|b`c` [d](javascript:alert(1)) <img src=x onerror=alert(1)> https://e.vil www.e.vil",
    "</script><script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "**bold** _em_ # $m$ @you",
    "\x1b[2J\x1b]0;title\x07\u202e",
    "_hidden",
    "two\nlines\n\nthree",
    "[0]",
    "&lt;b&gt;",
    "n" * 300,
]
TEXTS = ["study", "model", "source", "scheme", "family", "scope", "proxy", "dataset", "group", "corruption", "score"]
FEW = {"precisions": ("w8a8", "w4a8"), "severities": (1, 5), "iterations": (0, 100), "ranks": (0, 8, 64)}  # no words
SHAPE = Shape(seeds=(0,), clean=("shapes", "colours"), corruptions=("fog", "snow"), **FEW)


def hostile(frame):
    """Replace the words of every column that a config, a file or a row fills, but FP32's own."""
    for k, name in enumerate(TEXTS):
        known = ("", "fp32", "FP32", "mean") if name != "group" else (*frame["group"].unique(),)
        words = sorted(set(frame[name].unique()) - set(known))
        to = {word: f"{WORDS[(i + 5 * k) % len(WORDS)]}{i // len(WORDS) or ''}" for i, word in enumerate(words)}
        frame = frame.with_columns(pl.col(name).replace(to))
    classes = frame["measure"].str.contains("class_accuracy")
    renamed = pl.concat_str(pl.lit(WORDS[0]), "group")
    return frame.with_columns(group=pl.when(classes).then(renamed).otherwise("group"))


@pytest.fixture(scope="module")
def clean():
    """The rows whose words are replaced."""
    return rows(SHAPE)


@pytest.fixture(scope="module", params=range(0, len(WORDS), 3))
def foul(request, clean):
    turned = WORDS[request.param :] + WORDS[: request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.WORDS", turned)
        return hostile(clean).with_columns(value=pl.when(pl.int_range(pl.len()) % 997 != 5).then("value"))


@pytest.fixture(scope="module")
def some(clean):
    return hostile(clean)


@pytest.mark.filterwarnings("ignore")  # of glyphs and room
@pytest.mark.parametrize("name", plugins.names("figure"))
def test_every_figure_is_drawn(name, some):
    figure = plugins.module("figure", name).figure(some, columns=2)
    assert all(plotting.save_all(figure, "pdf", "svg"))


@pytest.mark.parametrize("word", WORDS)
def test_a_legend_shows_every_name_as_it_is(word):
    @plotting.styled
    def draw():
        figure, axes = plotting.canvas(1, 2.0)
        plotting.key(axes[0, 0], [(word, {"marker": "o"})])
        axes[0, 0].set_title(plotting.label(word))
        return figure

    figure = draw()
    with warnings.catch_warnings(action="ignore"):
        plotting.save(figure, "png")
    (shown,) = figure.axes[0].get_legend().get_texts()
    assert not shown.get_parse_math()
    assert shown.get_text() == escaping.label(word)


@pytest.mark.parametrize("name", plugins.names("table"))
def test_no_table_holds_a_formula_a_link_or_a_command(name, foul):
    frame = plugins.module("table", name).table(foul)
    lines = list(csv.reader(io.StringIO(tabling.to_csv(frame))))
    assert len(lines) == frame.height + 1
    for cell in itertools.chain(*lines):
        assert not re.match(r"\s*[=@+-]", cell) or escaping.NUMBER.fullmatch(cell), cell
        assert cell.replace("\n", "").replace("\t", "").isprintable()
    text = tabling.to_markdown(frame, "title", "note " + WORDS[8])
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    assert set(re.findall(r"<(\w+)", shown)) <= {"h3", "table", "thead", "tbody", "tr", "th", "td", "strong", "p"}
    assert shown.count("<tr>") == frame.height + 1
    assert len(re.findall("<t[hd]>", shown)) == (frame.height + 1) * frame.width
    assert not re.search(r"https?://|www\.", text)
    tex = tabling.to_latex(frame, "title", "note", name)
    body = tex[tex.index(r"\endfoot") :]
    assert not re.search(r"\\\\\s*[\[*]", tex)
    assert len(re.findall(r"(?<!\\)&", body)) == frame.height * (frame.width - 1)
    assert set(re.findall(r"\\([a-zA-Z]+)", body)) <= {"endfoot", "end", "textbf", "to", "pm"} | {
        f"text{sign}" for sign in ("asciitilde", "asciicircum", "backslash", "less", "greater", "bar")
    }


class Found(HTMLParser):
    """Gather what is active in a page, and the questions behind its numbers."""

    def __init__(self):
        super().__init__()
        self.tags, self.active, self.asked = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                name in ("href", "src") and not re.match(r"(#|tables/|figures/|\w+\.json$|data:image/|$)", value)
            ):
                self.active.append((tag, name, value))
            if name == "data-where":
                self.asked.append(json.loads(value))


def test_the_page_holds_no_active_word(some):
    recorded = frames.Recorded(some)
    judged = claims.judge(recorded, equivalence=0.01)
    tables = [page.table(some, name) for name in plugins.names("table")]
    word = " ".join(WORDS)
    facts = {
        "title": word, "study": word, "note": word, "commit": word, "config": word, "versions": {word: word},
        "models": {word: {"source": word, "architecture": word, "n_parameters": 3}},
        "datasets": {word: {"n": 3, "classes": 2}},
    }  # fmt: skip
    summary = page.summary(some) | page.counts(some)
    summary["fp32"] = {"accuracy": 0.5}
    summary["change"] = {WORDS[10]: {"accuracy": 0.1}}
    found = Found()
    found.feed(page.page(tables, judged, summary, facts))
    assert found.active == []
    assert found.tags.count("script") == 3
    assert "b" in found.tags
    assert not set(found.tags) & {"img", "iframe", "object", "embed", "base", "form-action", "svg"}
    assert any(question.get("precision") == WORDS[10] for question in found.asked)


def test_a_terminal_is_not_steered_and_keeps_its_lines():
    measures = {WORDS[12]: {"value": 0.1, "low": None, "high": None, "n": 3}}
    assert len(measured_output({WORDS[14]: measures}).text.split("\n")) == 2
    plain = rows(Shape(seeds=(0,), corruptions=(), ranks=(), iterations=()))
    renamed = pl.when(pl.col("scheme") != "fp32").then(pl.lit(WORDS[12])).otherwise("scheme")
    hostile = plain.filter(pl.col("scheme").is_in(["fp32", "rtn"])).with_columns(scheme=renamed)
    changed = compare(hostile, hostile.with_columns(pl.col("value", "low", "high") + 0.5)).with_columns(
        dataset=pl.lit(WORDS[12]), group=pl.lit(WORDS[14]), measure=pl.lit(WORDS[12])
    )
    wishes = [wish("accuracy_delta <= 0.01")]
    answers = recommended_text(judged(hostile, [wishes[0].text]), wishes, "bytes", each=True)
    for told in (compared_text(changed), answers):
        assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "number", ["-0.3", "+12.5", "-2.0 [-3.0, -1.0]***", "-1e-05", "-inf", "+1.0 [-1.0, +3.0]", "9.0 !"]
)
def test_numbers_stay_numbers(number):
    assert escaping.csv_cell(number) == number
    assert escaping.markdown(number) == number.replace("*", r"\*")


@pytest.mark.parametrize("text", ["-1+1", "=1", "-0.3;=1", " =1", "\uff1d1", "-2.0 [=1]", "+", "\x1b=1"])
def test_what_only_looks_like_a_number_is_no_formula(text):
    assert not escaping.FORMULA.match(escaping.csv_cell(text))


def test_a_column_of_numbers_and_categories_is_written_as_it_is():
    frame = pl.DataFrame({"=a": [-0.5, None], "b": pl.Series(["-x", None], dtype=pl.Categorical)})
    assert escaping.csv(frame) == "'=a,b\n-0.5,'-x\n,\n"
