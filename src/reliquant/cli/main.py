"""The console command `reliquant`: one model without a workflow, over the same functions as the steps."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from typing import NoReturn

from reliquant.progress import one_line_errors, printable

SUBCOMMANDS = {  # each is a file beside this one, imported when it is asked for: torch takes seconds
    "measure": "every measure and OOD score of stored features or probabilities; no model",
    "plan": "what a scheme would quantize in a model, or what a study expands to",
    "quantize": "quantize a model on image-caption pairs of your own",
    "export": "a model or a variant as files that ONNX Runtime, OpenVINO or torch run",
    "time": "how fast exported towers run beside FP32, and what memory they need",
    "evaluate": "embed labelled images and print every measure",
    "sensitivity": "quantize one layer at a time, and rank layers by the harm that it does",
    "recommend": "the variants of a study that meet a wish, and how sure that is",
    "check": "a gate for CI: whether variants hold what is wished, with what confidence",
    "shift": "effective robustness of many models, from their answers on clean and shifted images",
    "search": "Recall@k and more of stored embeddings of images and captions, and what quantization changed",
    "report": "the page, figures and tables of rows: of a study, or of `measure --rows`",
    "card": "a model card: what was measured of a variant, with intervals, and what was not",
    "verify": "whether every file of a study is as it was written, and what it is taken for",
    "compare": "two studies side by side: what changed significantly",
}
ERROR = {"check": 3}  # the exit code of bad input where 1 and 2 are answers; 1, and 2 for a wrong word, elsewhere


class _Parser(argparse.ArgumentParser):
    """A parser whose error ends the process with the code of its subcommand."""

    code = 2

    def error(self, message: str) -> NoReturn:
        """Show the usage and what is wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(self.code, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and run a subcommand; bad input ends in one line on stderr and exit code 1 (see ERROR)."""
    words = sys.argv[1:] if argv is None else argv
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where plugins of one's own lie, as for `python -m` and so for a study's steps
    parser = _Parser(prog="reliquant", description=__doc__)
    subparsers = parser.add_subparsers(dest="subcommand", required=True)
    by_name = {name: subparsers.add_parser(name, help=told) for name, told in SUBCOMMANDS.items()}
    asked = words[0] if words and words[0] in SUBCOMMANDS else None
    if asked is None:
        parser.parse_args(words)  # shows the help, or says what is wrong, and ends
        raise AssertionError(words)
    module = importlib.import_module(f"reliquant.cli.{asked}")
    by_name[asked].epilog = f"example: {module.EXAMPLE}"
    module.add_words(by_name[asked])
    by_name[asked].add_argument("--debug", action="store_true", help="show the traceback of an error")
    if asked in ERROR:
        parser.code = by_name[asked].code = ERROR[asked]
    given = vars(parser.parse_args(words))
    as_json, debug = given.pop("json", False), given.pop("debug")
    with one_line_errors(f"reliquant {asked}", debug=debug, code=ERROR.get(asked, 1)):
        output = module.run(**{name: value for name, value in given.items() if name != "subcommand"})
    try:
        print(json.dumps(output.data, indent=2) if as_json else printable(output.text), flush=True)
    except BrokenPipeError:  # `reliquant ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if output.code:
        sys.exit(output.code)


if __name__ == "__main__":
    main()
