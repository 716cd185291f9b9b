"""Run a tutorial from its first block to its last, in a fresh folder, and write what it printed and drew into the page.

`python tools/tutorials.py docs/tutorials/1-calibration.md` rewrites the page's ```text blocks and figures, and its time
in index.md. With `--check` it writes nothing, and ends with exit code 1 and the difference where the page shows
something else. A page's first line says how far numbers may differ, as other processors round otherwise:

    <!-- tutorial: numbers agree within 0.5 or 10 % -->

In a page, ```sh blocks are commands of bash ($CLONE is this repository), ```python blocks share one namespace, and a
```text block holds what the block before it printed. A block whose first line is a comment with a file's name
(`# study.yaml`) is written to that file instead. `figures/1-flips.png` is the file `flips.png`, wherever the page's
commands wrote it. A number in backticks in the prose must stand in a ```text block; other decimal numbers in the prose
are refused, as nobody would notice that they are out of date. Commands are found in this Python's environment, then by
PATH; a TUTORIALS_PATH is taken instead of both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: equal sums in every run
os.environ.pop("COLUMNS", None)  # tables of any width

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./-]+\.\w+)\n")  # the first line of a block that is a file
FIGURE = re.compile(r"!\[[^\]]*\]\(figures/(\d+-([\w.-]+\.png))\)")
WITHIN = re.compile(r"<!-- tutorial: numbers agree within ([\d.]+) or ([\d.]+) % -->\n")
NUMBER = re.compile(r"(?<![\w.])([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w])")
TIME = re.compile(r"\d[\d.]*(?= ?(?:ms|s|min)\b)")
COMMAND = re.compile(r"""((?:'[^']*'|"[^"]*"|[^|>;&'"])*)(.*)""", re.DOTALL)  # up to a pipe, and the rest
COLOURS = 96  # of a stored figure
LARGEST = 120_000  # bytes of a stored figure
LEVELS = 5.0  # by which the pixels of a figure may differ from the page's, on average, of 255


@dataclass(frozen=True)
class Block:
    """Hold a fenced block of a page: its language, its text, and where that text starts and ends."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def file(self) -> str | None:
        """The file that the block is, by its first line."""
        found = NAMED.match(self.text)
        return found[1] if found and self.kind != "text" else None


class PageError(Exception):
    """Something on a page that is not so, in words for its author."""


def blocks(page: str, /) -> list[Block]:
    """List the fenced blocks of a page, in order."""
    return [Block(found[1], found[2], found.start(2), found.end(2)) for found in FENCE.finditer(page)]


def commands(text: str, /) -> list[str]:
    """List the commands of a ```sh block, each whole where a backslash goes on with it, without comments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def run_page(page: str, /) -> dict[int, str]:
    """Run the blocks of a page in the current folder; return what each printed, by its place among the blocks.

    Raises PageError where a command fails; what Python code raises goes through.
    """
    printed: dict[int, str] = {}
    namespace: dict[str, object] = {"__name__": "tutorial"}
    sys.path.insert(0, os.getcwd())
    for place, block in enumerate(blocks(page)):
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text)
        elif block.kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, f"block {place}", "exec"), namespace)
            printed[place] = out.getvalue()
        elif block.kind == "sh":
            printed[place] = "".join(run_command(line) for line in commands(block.text))
    return printed


def run_command(line: str, /) -> str:
    """Run a line by bash and return what it printed; `reliquant` in this process, which has imported torch already."""
    own, rest = COMMAND.fullmatch(line).groups()
    if own.split()[0] != "reliquant":
        return bash(line)
    words = bash(f"printf '%s\\0' {own}").split("\0")[1:-1]
    code, told = call_reliquant(words)
    return bash(f"(cat; exit {code}) {rest}", told, named=line)


def bash(line: str, given: str = "", /, *, named: str = "") -> str:
    """Run a line by bash; return what it printed, and raise PageError where it fails."""
    own = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # this environment is not activated
    path = os.environ.get("TUTORIALS_PATH", own)
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "CLONE": str(ROOT)}
    words = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(words, input=given, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if done.returncode:
        raise PageError(f"exit code {done.returncode} of: {named or line}\n{done.stdout[-2000:]}")
    return done.stdout


def call_reliquant(words: list[str], /) -> tuple[int, str]:
    """Run the console command in this process; return its exit code and what it printed."""
    from reliquant.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main.main(words)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
    return code, out.getvalue()


def with_outputs(page: str, printed: dict[int, str], /) -> str:
    """Return the page with what its blocks printed in the ```text blocks behind them."""
    found = blocks(page)
    for place in reversed(range(1, len(found))):
        block = found[place]
        if block.kind == "text":
            if place - 1 not in printed:
                raise PageError(f"no block ran before the output {block.text[:60]!r}")
            page = page[: block.start] + tidy(printed[place - 1]) + page[block.end :]
    return page


def tidy(printed: str, /) -> str:
    """Return text without blanks at the ends of its lines and blank lines at its ends."""
    lines = [line.rstrip() for line in printed.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def differences(shown: str, found: str, within: tuple[float, float], /) -> list[str]:
    """List what differs between a text that a page shows and what was printed, each line `shown` -> `printed`.

    Numbers agree within a distance or a share of the shown one; times and the widths of columns are not compared.
    """
    mine, theirs = shown.splitlines(), tidy(found).splitlines()
    if len(mine) != len(theirs):
        return [f"{len(mine)} lines are shown, {len(theirs)} were printed:\n{found}"]
    return [f"{a.strip()} -> {b.strip()}" for a, b in zip(mine, theirs, strict=True) if not same(a, b, within)]


def same(shown: str, found: str, within: tuple[float, float], /) -> bool:
    """Whether two lines say the same."""
    mine, theirs = (NUMBER.split(TIME.sub("TIME", line)) for line in (shown, found))
    if [plain(part) for part in mine[::2]] != [plain(part) for part in theirs[::2]]:
        return False
    for a, b in zip(mine[1::2], theirs[1::2], strict=True):
        first, second = (float(number.replace(",", "")) for number in (a, b))
        if abs(first - second) > max(within[0], within[1] * abs(first)):
            return False
    return True


def plain(part: str, /) -> str:
    """Return text between numbers without the widths of columns and the lines of tables."""
    return re.sub(r"[\s─━┄-]+", " ", part).strip()


def stale_numbers(page: str, /) -> list[str]:
    """List the numbers of the prose that stand in no output, and those that are not quoted."""
    outputs = " ".join(block.text for block in blocks(page) if block.kind == "text")
    known = {number.lstrip("+") for number in NUMBER.findall(outputs)}
    prose = FENCE.sub("", page.partition("\n")[2])
    quoted = [number for word in re.findall(r"`([^`\n]+)`", prose) for number in re.findall(r"^[+-]?[\d.,]+$", word)]
    wrong = [f"`{number}` stands in no output" for number in quoted if number.lstrip("+") not in known]
    plain_text = re.sub(r"`[^`\n]+`|\]\([^)]*\)|arXiv [\d.]+", "", prose)
    return wrong + [f"{number} is not in backticks" for number in re.findall(r"\b\d+\.\d+\b", plain_text)]


def drawn(folder: Path, file: str, /) -> Image.Image:
    """Return a figure that a page's commands wrote anywhere in their folder, in few colours."""
    found = sorted(folder.rglob(file))
    if len(found) != 1:
        raise PageError(f"{len(found)} files are called {file}; a figure needs one")
    with Image.open(found[0], formats=("PNG",)) as image:
        return image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


def write_figure(image: Image.Image, path: Path, /) -> None:
    """Store a figure beside the pages; raise PageError where it is too large."""
    path.parent.mkdir(exist_ok=True)
    image.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise PageError(f"{path.name} has {path.stat().st_size:,} bytes; at most {LARGEST:,}")


def check_figure(image: Image.Image, path: Path, /) -> list[str]:
    """Say whether a figure is not the one that the page shows."""
    with Image.open(path, formats=("PNG",)) as stored:
        mine, theirs = (np.asarray(each.convert("L"), float) for each in (stored, image))
    if mine.shape != theirs.shape:
        return [f"{path.name} has {mine.shape} pixels, and was drawn with {theirs.shape}"]
    distance = np.abs(mine - theirs).mean()
    return [f"{path.name} differs by {distance:.1f} levels"] if distance > LEVELS else []


def write_time(index: Path, page: str, seconds: float, /) -> None:
    """Write the processor time that a page took into its line of the index, in steps of five seconds."""
    told = f"| {5 * -(-seconds // 5):.0f} s |"
    index.write_text(re.sub(rf"(\({re.escape(page)}\).*)\| \d+ s \|$", rf"\g<1>{told}", index.read_text(), flags=re.M))


def main() -> None:
    """Run one page, and write or check what it shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the page is out of date")
    words = parser.parse_args()
    path = words.page.resolve()
    text = path.read_text()
    within = WITHIN.match(text)
    if not within:
        sys.exit(f"{path.name}: the first line does not say within which distance numbers agree")
    tolerance = float(within[1]), float(within[2]) / 100
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        try:
            wrong = finish(path, text, run_page(text), tolerance, check=words.check)
        except PageError as error:
            sys.exit(f"{path.name}: {error}")
    seconds = sum(os.times()[:4])  # of this process and of those that it ran: other work does not lengthen it
    if not words.check:
        write_time(path.parent / "index.md", path.name, seconds)
    print(f"{path.name}: {seconds:.0f} s of processor time")
    sys.exit("\n".join(wrong) or None)


def finish(path: Path, text: str, printed: dict[int, str], within: tuple[float, float], /, *, check: bool) -> list[str]:
    """Write what a run printed and drew into its page, or compare the two; return what is wrong."""
    new, figures = with_outputs(text, printed), FIGURE.findall(text)
    pictures = {stored: drawn(Path.cwd(), file) for stored, file in figures}
    if not check:
        path.write_text(new)
        for stored, picture in pictures.items():
            write_figure(picture, path.parent / "figures" / stored)
        return stale_numbers(new)
    wrong = stale_numbers(text)
    for mine, theirs in zip(blocks(text), blocks(new), strict=True):
        wrong += differences(mine.text, theirs.text, within) if mine.kind == "text" else []
    for stored, picture in pictures.items():
        wrong += check_figure(picture, path.parent / "figures" / stored)
    return wrong


if __name__ == "__main__":
    main()
