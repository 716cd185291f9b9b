"""The tutorials run as they stand, show what they print and draw; and their tool notices where one does not."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from forked_programs import OF_STEPS, forked_path, programs
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "tutorials.py"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("[0-9]*.md"))
INDEX = (ROOT / "docs" / "tutorials" / "index.md").read_text()
HEAD = "<!-- tutorial: numbers agree within 0.01 or 5 % -->\n"


@pytest.fixture(scope="module")
def tool(imported_tool):
    return imported_tool("tutorials")


def run(page, *words):
    """Run the tool on a page in a process of its own, with this checkout's package; what bash starts is forked, too."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(TOOL.parent)])}
    environment["TUTORIALS_PATH"] = forked_path()
    return programs(*OF_STEPS).run(TOOL.stem, *words, page, cwd=page.parent, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_and_shows_what_it_prints(page):
    done = run(page, "--check")
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]


def test_the_index_names_every_page_with_a_time_below_three_minutes():
    told = re.findall(r"^\| \[.*\]\((\d-[\w-]+\.md)\) \|.*\| (\d+) s \|$", INDEX, re.MULTILINE)
    assert [name for name, _ in told] == [page.name for page in PAGES]
    assert all(0 < int(seconds) <= 180 for _, seconds in told)


def test_every_stored_figure_stands_on_a_page_and_is_small():
    shown = set(re.findall(r"\(figures/([\w.-]+\.png)\)", "".join(page.read_text() for page in PAGES)))
    stored = {path.name: path.stat().st_size for path in (ROOT / "docs/tutorials/figures").iterdir()}
    assert set(stored) == shown
    assert max(stored.values()) <= 120_000


PAGE = f"""{HEAD}
```python
# own/words.py
def greeting(name):
    return f"hello {{name}}"
```
```python
from own.words import greeting
from PIL import Image

Image.new("RGB", (30, 20), "navy").save("blue.png")
print(greeting("you"), 0.5)
```
```text
```
```sh
reliquant plan --model lab-vit-curated --scheme rtn --precision w8a8 | grep -c visual; echo "exit code $?"
echo "a; b" > file.txt \\
    && cat file.txt
```
```text
```
![blue](figures/1-blue.png) It says `0.5`.
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a page into which the tool wrote."""
    folder = tmp_path_factory.mktemp("tutorials")
    (folder / "index.md").write_text("| [one](1-one.md) | what? | 0 s |\n")
    (folder / "1-one.md").write_text(PAGE)
    done = run(folder / "1-one.md")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def page(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "1-one.md"


def test_outputs_figures_and_times_are_written_where_they_belong(page):
    text = page.read_text()
    assert "```text\nhello you 0.5\n```" in text
    assert re.search(r"```text\n\d+\nexit code 0\na; b\n```", text)
    assert re.fullmatch(r"\| \[one\]\(1-one\.md\) \| what\? \| [1-9]\d* s \|\n", (page.parent / "index.md").read_text())
    with Image.open(page.parent / "figures" / "1-blue.png") as image:
        assert image.convert("RGB").getpixel((3, 3)) == (0, 0, 128)
    assert run(page, "--check").returncode == 0


def test_what_a_page_shows_and_is_not_so_is_told(page):
    page.write_text(page.read_text().replace("hello you 0.5", "hello you 0.6").replace("a; b\n```", "a; c\n```"))
    Image.new("RGB", (30, 20), "white").save(page.parent / "figures" / "1-blue.png")
    done = run(page, "--check")
    assert done.returncode == 1
    for told in (
        "hello you 0.6 -> hello you 0.5",
        "a; c -> a; b",
        "`0.5` stands in no output",
        "1-blue.png differs by",
    ):
        assert told in done.stderr


def test_a_command_that_fails_ends_the_run_and_is_named(tmp_path):
    for command, told in {
        "false": "exit code 1 of: false",
        "reliquant check nothing.parquet --wish 'accuracy >= 0'": "exit code 3 of",
        "reliquant plan --model lab-vit-curated --scheme gtpq | cat": "exit code 1 of",
    }.items():
        (tmp_path / "1-bad.md").write_text(f"{HEAD}```sh\n{command}\n```\n")
        done = run(tmp_path / "1-bad.md", "--check")
        assert done.returncode == 1
        assert told in done.stderr


@pytest.mark.parametrize(
    ("shown", "found", "equal"),
    [
        ("accuracy   0.500  [0.40, 0.60]", "accuracy 0.501 [0.409, 0.60]", True),
        ("accuracy 0.50", "accuracy 0.60", False),
        ("bytes 1,000,000", "bytes 1,040,000", True),
        ("bytes 1,000,000", "bytes 1,060,000", False),
        ("took 3.5 s", "took 77.1 s", True),
        ("took 3.5 s", "took 3.5 MB", False),
        ("w4a8 holds", "w8a8 holds", False),
        ("-0.2", "0.2", False),
        ("──── | 7", "── | 7", True),
    ],
)
def test_lines_are_the_same_within_the_tolerance_but_for_times_and_widths(tool, shown, found, equal):
    assert tool.same(shown, found, (0.01, 0.05)) is equal


def test_numbers_in_the_prose_must_be_quoted_from_an_output(tool):
    page = (
        HEAD
        + "It is `-0.25`, `+0.75` and `7`, not 0.5, see [there](a-1.5.md) and `w0.3`.\n```text\n-0.25 0.75 8\n```\n"
    )
    assert tool.stale_numbers(page) == ["`7` stands in no output", "0.5 is not in backticks"]


def test_figures_are_compared_by_size_and_by_what_they_show(tool, tmp_path):
    rng = np.random.default_rng(0)
    one = Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8))
    tool.write_figure(one, tmp_path / "1-one.png")
    assert tool.check_figure(one, tmp_path / "1-one.png") == []
    assert "differs by" in tool.check_figure(one.transpose(Image.Transpose.ROTATE_180), tmp_path / "1-one.png")[0]
    assert "pixels" in tool.check_figure(one.resize((31, 20)), tmp_path / "1-one.png")[0]
    noise = Image.fromarray(rng.integers(0, 256, (500, 500), dtype=np.uint8))
    with pytest.raises(tool.PageError, match="at most 120,000"):
        tool.write_figure(noise, tmp_path / "1-large.png")
