"""The report in a real Chromium: clicks, no network, no JavaScript, a phone, print."""

import json
import os
from pathlib import Path

import pytest

from reliquant.report import claims, frames, page, source_rows
from reliquant.report.synthetic import Shape, rows

SHAPE = Shape(seeds=(0,), clean=("shapes", "colours"), corruptions=("fog", "snow"), severities=(1, 5))
FACTS = {"study": "small", "title": "A small study", "note": "Synthetic.", "config": "study: small\n", "commit": ""}
FACTS |= {"models": {"vit-wit": {"source": "wit", "architecture": "ViT-B-32", "n_parameters": 10}}, "versions": {}}
FACTS |= {"datasets": {"shapes": {"n": 1000, "classes": 8, "entry": {"dataset": "lab"}}}}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report of synthetic rows, with two figures only: the browser does not care what they show."""
    folder = tmp_path_factory.mktemp("report")
    frame = rows(SHAPE)
    pieces = [page.figure(frame, "dichotomy"), page.figure(frame, "accuracy_by_bits")]
    pieces += [page.table(frame, n) for n in ("main", "fp32", "ood")]
    recorded = frames.Recorded(frame)
    judged = claims.judge(recorded)
    facts = page.summary(frame) | page.counts(frame)
    behind = source_rows.gathered(recorded.read.values())
    (folder / "report.html").write_text(page.page(pieces, judged, facts, FACTS, behind))
    return folder / "report.html"


@pytest.fixture
def opened(browser, page_file, request):
    """Open the report with the words of a browser context; fail on any request beyond the file and on any error."""
    words = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **words})
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(page_file.as_uri())
    if words.get("java_script_enabled", True):
        page.wait_for_selector("html[data-tables=ready]")
    yield page
    if folder := os.environ.get("RELIQUANT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{request.node.name.replace('/', '-')[:80]}.png")
    context.close()
    assert not errors
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def column(page, table, i):
    return page.eval_on_selector_all(f"#{table} tbody tr td:nth-child({i})", "cells => cells.map(c => c.innerText)")


def test_a_table_sorts_and_filters_by_clicking(opened):
    before = column(opened, "rows-table-main", 4)
    opened.locator("#rows-table-main thead .dt-column-order").nth(3).click()
    opened.wait_for_function("document.querySelector('#rows-table-main tbody td:nth-child(4)').innerText == 'W4A8'")
    after = column(opened, "rows-table-main", 4)
    assert after != before
    assert after[:12] == ["W4A8"] * 12
    opened.locator("#rows-table-main_wrapper .dt-search input").fill("laion")
    opened.wait_for_function("document.querySelector('#rows-table-main tbody td').innerText == 'laion'")
    assert set(column(opened, "rows-table-main", 1)) == {"laion"}


def test_a_figure_enlarges_and_closes(opened):
    picture = opened.locator("#large-figure-dichotomy img")
    small = picture.bounding_box()["width"]
    picture.click()
    assert picture.bounding_box()["width"] > small
    opened.keyboard.press("Escape")
    opened.wait_for_timeout(200)
    assert picture.bounding_box()["width"] == pytest.approx(small, abs=2)


def test_a_number_shows_its_rows_and_they_have_its_mean(opened):
    link = opened.locator("#rows-table-main tbody tr").first.locator("a.behind").first
    asked = json.loads(link.get_attribute("data-where"))
    shown = float(link.inner_text().split()[0])
    link.click()
    dialog = opened.locator("dialog#behind[open]")
    assert dialog.count() == 1
    head = dialog.locator("thead th").all_inner_texts()
    found = [dict(zip(head, r.split("\t"), strict=False)) for r in dialog.locator("tbody tr").all_inner_texts()]
    assert {r["scheme"] for r in found} == {asked["scheme"]}
    assert sum(float(r["value"]) for r in found) / len(found) * 100 == pytest.approx(shown, abs=0.06)
    dialog.locator("button").click()
    assert opened.locator("dialog#behind[open]").count() == 0


def test_a_claims_effect_shows_its_rows(opened):
    opened.locator("#claim-2 a.behind").click()
    dialog = opened.locator("dialog#behind[open]")
    assert "measure = squared_ce_change, ece_relative_change" in dialog.locator(".read").inner_text()
    assert dialog.locator("tbody tr").count() > 10


@pytest.mark.parametrize("opened", [{"java_script_enabled": False}], indirect=True)
def test_without_javascript_everything_can_be_read(opened):
    assert opened.locator("#rows-table-main tbody tr").count() == 2 * 3 * 3 * 2
    assert opened.locator("#figure-dichotomy").is_visible()
    link = opened.locator("#rows-table-main a.behind").first
    assert link.get_attribute("href") == "tables/main-rows.csv"
    opened.locator("#large-figure-dichotomy a.enlarge").click()
    assert opened.locator("#large-figure-dichotomy a.close").is_visible()


@pytest.mark.parametrize(
    "opened", [{"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}], indirect=True
)
def test_on_a_phone_the_page_does_not_scroll_sideways(opened):
    width = opened.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    assert opened.locator("nav a").first.is_visible()
    size = opened.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    assert size >= 14


def test_in_print_tables_are_whole_and_menus_stay_away(opened, tmp_path):
    opened.emulate_media(media="print")
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert not opened.locator("body > nav").is_visible()
    assert opened.locator("#rows-table-main tbody tr").count() == 2 * 3 * 3 * 2
    opened.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
