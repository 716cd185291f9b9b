"""The site: built without a warning, every link leads somewhere, and a real Chromium can read, search and walk it."""

import functools
import http.server
import json
import os
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from forked_programs import OF_STEPS, programs

from reliquant import plugins

pytest.importorskip("sphinx", reason="sphinx is not installed (pip install 'reliquant[docs]')")
ROOT = plugins.PACKAGE.parents[1]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
OWN = ("file:", "data:", "http://127.0.0.1:")
WALKED = ("index", "reference/commands", "measures")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built with warnings as errors, without a network, by a process that has its imports."""
    folder = tmp_path_factory.mktemp("site")
    words = ["--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", str(ROOT / "docs"), str(folder)]
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    run = programs(*OF_STEPS).run("sphinx", *words, cwd=ROOT, env=os.environ | nowhere)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return folder


def pages_of(site):
    """Name the pages that people read, without the indexes that Sphinx makes."""
    return sorted(path for path in site.rglob("*.html") if path.name not in ("genindex.html", "py-modindex.html"))


class Links(HTMLParser):
    """What a page links to, what can be linked to in it, and paragraphs that are lines of a broken table."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.anchors, self.broken_tables, self._text = set(), set(), [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.anchors |= {said[word] for word in ("id", "name") if said.get(word)}
        self.targets |= {said[word] for word in ("href", "src") if said.get(word)}
        self._text = ""

    def handle_data(self, data):
        self._text += data
        if self._text.startswith("| ") and self._text.count(" | ") > 1:
            self.broken_tables.append(self._text[:80])


@pytest.fixture(scope="module")
def read(site):
    return {path.resolve(): Links(path) for path in site.rglob("*.html")}


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor_that_are_there(read, site):
    lost, external = [], set()
    for path, page in read.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                external.add(target)
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file():
                lost.append(f"{path.relative_to(site)}: {target}: no such file")
            elif parts.fragment and there.suffix == ".html" and unquote(parts.fragment) not in read[there].anchors:
                lost.append(f"{path.relative_to(site)}: {target}: no such anchor")
    print("\n".join(sorted(external)))
    assert lost == []


def test_every_document_is_a_page_that_the_menu_leads_to(site, read):
    documents = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    menu = {(site / urlsplit(target).path).resolve() for target in read[(site / "index.html").resolve()].targets}
    for document in documents:
        page = (site / document.with_suffix(".html")).resolve()
        assert page in read
        assert page in menu or document.name == "index", f"{document} is in no toctree that the front page shows"


def test_no_page_shows_the_source_of_a_table(read, site):
    assert {str(p.relative_to(site)): page.broken_tables for p, page in read.items() if page.broken_tables} == {}


def test_words_of_a_command_keep_their_two_dashes(site):
    page = (site / "reference" / "commands.html").read_text()
    assert "once for each: --ood A1 A2" in page
    assert "\N{EN DASH}" not in re.sub("<[^>]+>", "", page.partition("<article")[2].partition("</article>")[0])


@pytest.fixture(scope="module")
def served(site):
    """The address of the site on a server of this machine, as on the web."""
    handler = functools.partial(QuietHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def opened(browser, request):
    """A tab of a given size; fails on errors of its scripts, and on any request beyond files and this machine."""
    context = browser.new_context(viewport=getattr(request, "param", DESKTOP), reduced_motion="reduce")
    tab = context.new_page()
    wrong = []
    tab.on("pageerror", lambda error: wrong.append(f"{tab.url}: {error}"))
    tab.on("console", lambda told: wrong.append(f"{tab.url}: {told.text}") if told.type == "error" else None)
    tab.on("requestfailed", lambda asked: wrong.append(f"{tab.url}: {asked.url} did not come"))
    tab.on("request", lambda asked: None if asked.url.startswith(OWN) else wrong.append(asked.url))
    yield tab
    context.close()
    assert wrong == []


def is_wide(tab):
    return tab.evaluate("document.documentElement.scrollWidth > innerWidth")


def pale(tab):
    """Name the texts that do not stand out, in both themes."""
    found = []
    for theme in ("light", "dark"):
        tab.emulate_media(color_scheme=theme)
        found += [f"{tab.url}, {theme}: {text}" for text in tab.evaluate(CONTRAST)]
    return found


def test_pages_fit_their_window_and_every_text_stands_out_from_its_background(opened, site):
    """On a desktop, and in a window of a phone's width, whose texts have the same colours; it narrows or widens."""
    wide, found, sizes = [], [], [DESKTOP, PHONE]
    for path in pages_of(site):
        opened.goto(path.as_uri())
        for size in sizes:
            opened.set_viewport_size(size)
            wide += [f"{path.relative_to(site)}, {size['width']}"] if is_wide(opened) else []
            found += pale(opened) if size == DESKTOP else []
        sizes.reverse()  # the window is that of the next page
    assert wide == []
    assert found == []


@pytest.mark.parametrize("opened", [PHONE], indirect=True, ids=["phone"])
@pytest.mark.parametrize("page", WALKED)
def test_pages_that_a_phone_opens_fit_and_stand_out(opened, site, page):
    opened.goto((site / f"{page}.html").as_uri())
    assert not is_wide(opened)
    assert pale(opened) == []


def test_a_page_that_is_too_wide_is_noticed(opened):
    opened.set_content("<p style='width:800px'>wide</p>")
    assert not is_wide(opened)
    opened.set_viewport_size(PHONE)
    assert is_wide(opened)


def test_contrast_is_really_measured(opened):
    opened.set_content("<body style='background:#fff'><p style='color:#888'>grey</p><p style='color:#666'>dark</p>")
    assert [found.split()[0] for found in opened.evaluate(CONTRAST)] == ["3.54"]


@pytest.mark.parametrize("way", ["file", "server"])
def test_the_search_finds_pages_by_their_words(opened, site, served, way):
    opened.goto((site / "index.html").as_uri() if way == "file" else f"{served}/index.html")
    opened.locator("input.sidebar-search").fill("conformal coverage")
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#search-results ul.search li a")
    found = opened.eval_on_selector_all("#search-results ul.search li a", "links => links.map(a => a.href)")
    assert any("/measures.html" in link for link in found)
    if way == "server":
        opened.wait_for_selector("#search-results li p.context")


def focused(tab):
    """What has the focus: its text, whether it can be seen in the window, and whether an outline or its box says so."""
    script = """async () => {
        for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);  // until it is drawn so
        const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
        const seen = b.right > 0 && b.left < innerWidth && b.bottom > 0 && b.top < innerHeight;
        const told = (e.getAttribute("aria-label") || e.innerText || e.placeholder || "").trim().slice(0, 60);
        return {tag: e.tagName, told, seen: seen && s.visibility == "visible", outline: parseFloat(s.outlineWidth),
                style: s.outlineStyle, href: e.href || ""};
    }"""
    return tab.evaluate(script)


@pytest.mark.parametrize("opened", [DESKTOP, PHONE], indirect=True, ids=["desktop", "phone"])
@pytest.mark.parametrize("page", WALKED)
def test_a_keyboard_reaches_what_can_be_pressed_and_shows_where_it_is(opened, site, page):
    opened.goto((site / f"{page}.html").as_uri())
    stops = []
    for _ in range(25):
        opened.keyboard.press("Tab")
        stops.append(focused(opened))
    assert stops[0]["told"] == "Skip to content"
    stops = [stop for stop in stops if stop["tag"] != "BODY"]  # behind the last one the walk begins anew
    hidden = [stop for stop in stops if not (stop["seen"] and stop["outline"] >= 1 and stop["style"] != "none")]
    assert hidden == []
    assert len({json.dumps(stop) for stop in stops}) > 15
    assert any(stop["told"].startswith("Toggle Light / Dark") for stop in stops) or opened.viewport_size == DESKTOP


@pytest.mark.parametrize("opened", [PHONE], indirect=True, ids=["phone"])
def test_on_a_phone_the_menu_opens_and_closes_by_keys(opened, site):
    opened.goto((site / "measures.html").as_uri())
    menu = opened.locator("label.nav-overlay-icon")
    link = opened.locator(".sidebar-tree a", has_text="Your own images")
    assert not link.is_visible()
    menu.focus()
    opened.keyboard.press("Enter")
    link.wait_for(state="visible")
    assert menu.get_attribute("aria-expanded") == "true"
    opened.keyboard.press("Escape")
    link.wait_for(state="hidden")
    assert focused(opened)["told"] == "Site navigation"


def test_below_a_page_of_the_menu_its_pages_unfold_by_keys(opened, site):
    opened.goto((site / "index.html").as_uri())
    inner = opened.locator(".sidebar-tree a", has_text="OOD scores")
    assert not inner.is_visible()
    opened.locator(".sidebar-tree label[aria-label='Pages below Plugins']").focus()
    opened.keyboard.press("Space")
    inner.wait_for(state="visible")
