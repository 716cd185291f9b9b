"""The reference of the console command, from the parsers that it runs."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

from markup import code, fenced, prose, table

from reliquant.cli.main import ERROR, SUBCOMMANDS

DOCS = Path(__file__).resolve().parents[1]
WIDTH = 100  # columns of a usage
READ_ON = 3  # pages that are named to read on
KINDS = {  # of the type that reads a word: what one is called, and several
    "Path": ("path", "paths"),
    "str": ("word", "words"),
    "int": ("whole number", "whole numbers"),
    "positive": ("whole number above 0", "whole numbers above 0"),
    "float": ("number", "numbers"),
}


def commands() -> str:
    """Write all subcommands: first a table of them, then each with usage, words and example."""
    overview = table(
        ["command", "what it tells or does"], [[_link(name), prose(SUBCOMMANDS[name])] for name in SUBCOMMANDS]
    )
    return "\n\n".join([overview, *(_command(name) for name in SUBCOMMANDS)])


def _link(name: str) -> str:
    return f"[{code(name)}](#{_anchor(name)})"


def _anchor(name: str) -> str:
    return f"reliquant-{name}"


def _command(name: str) -> str:
    module = importlib.import_module(f"reliquant.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"reliquant {name}", formatter_class=_wide, add_help=False)
    module.add_words(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    lines = [_word(parser, action) for action in parser._actions]
    pieces = [
        f"({_anchor(name)})=\n## {code(f'reliquant {name}')}",
        prose(_sentence(SUBCOMMANDS[name])),
        fenced(module.EXAMPLE, "sh"),
        table(["word", "takes", "default", "meaning"], lines),
        _exit_codes(name),
    ]
    if pages := _pages(name):
        pieces.append("Read on: " + ", ".join(f"[{title}](../{path})" for path, title in pages) + ".")
    return "\n\n".join([*pieces, fenced(parser.format_usage().strip(), "text")])


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=WIDTH)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _word(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    """Write a word of a command line: its name, what it takes, its default, its meaning."""
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    help_text = parser._get_formatter()._expand_help(action) if action.help else ""
    return [code(name), _takes(action), _default(action), prose(help_text)]


def _takes(action: argparse.Action) -> str:
    """Say what a word takes, in the plural where it takes several."""
    if action.nargs == 0:
        return ""
    kind = getattr(action.type, "__name__", "str")
    one, several = KINDS.get(kind, KINDS["str"])
    if action.choices is not None:
        one = several = ", ".join(code(str(choice)) for choice in action.choices)
    if isinstance(action.nargs, int):
        return f"{action.nargs} {several}"
    return several if action.nargs in ("*", "+") else one


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    if action.nargs == 0 or action.default is None or action.default == []:
        return ""
    return code(" ".join(map(str, action.default)) if isinstance(action.default, list | tuple) else str(action.default))


def _exit_codes(name: str) -> str:
    if name in ERROR:
        return f"Exit code {ERROR[name]}: bad input, told in one line on stderr. Other codes are answers."
    return "Exit code 1: bad input, told in one line on stderr; 2: a word that the command does not know."


def _pages(name: str) -> list[tuple[str, str]]:
    """Find the pages that show the command most often: their paths and titles."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if (shown := len(re.findall(rf"\breliquant {name}\b", text))) and page.name != "decisions.md":
            found.append((-shown, page.name, text.partition("\n")[0].removeprefix("# ")))
    return [(path, title) for _, path, title in sorted(found)[:READ_ON]]
