"""`reliquant plan`: what a scheme would quantize in a model, or what a study expands to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import yaml

from reliquant import plugins
from reliquant.cli.output import Output
from reliquant.cli.plan_layers import layer_problems
from reliquant.cli.plan_study import as_text, estimate
from reliquant.cli.plan_text import model_text
from reliquant.cli.words import add_model_words, read_scheme
from reliquant.files.bounded import load_yaml
from reliquant.study.check import read_study
from reliquant.study.study import Study

EXAMPLE = "reliquant plan --model ViT-B-32 --scheme rtn --precision w4a8"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("config", type=Path, nargs="?", help="a study config; else give --model")
    add_model_words(parser)
    parser.add_argument("--all", action="store_true", dest="each", help="a line for each layer, also for equal ones")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    config: Path | None,
    model: str | None,
    tower: str | None = None,
    scheme: str,
    precision: str,
    scope: str,
    each: bool = False,
) -> Output:
    """Say what a study expands to, or layer by layer what a scheme quantizes in a model."""
    if (config is None) == (model is None):
        raise ValueError("give a study config or --model, one of them")
    return _of_study(config) if config else _of_model(model, tower, scheme, precision, scope, each)


def _of_model(model: str, tower: str | None, scheme: str, precision: str, scope: str, each: bool) -> Output:
    from reliquant.cli.plan_model import open_to_plan, plan_model  # here: importing torch and open_clip takes seconds

    entry = read_scheme(scheme, precision)
    found = plan_model(open_to_plan(model, tower=tower), entry, scope, in_place=True)
    return Output(found, model_text(found, each=each))


def _of_study(config: Path) -> Output:
    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such file")
    study = read_config(config.read_bytes(), str(config))
    if problems := list(layer_problems(study)):
        raise plugins.ConfigError(problems)
    found = estimate(study, lock=config.with_name("weights.lock.json"))
    return Output(found, as_text(found))


def read_config(text: str | bytes, name: str, /, *, command: str = "plan") -> Study:
    """Expand a study's config; end with exit code 2 where it is wrong, as a config is part of the command line."""
    try:
        given = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        told = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}" if mark else str(error)
        _wrong_config(command, f"{name}: no YAML: {' '.join(told.split())}")
    if not isinstance(given, dict):
        _wrong_config(command, f"{name}: must hold keys and values (study, models, ...), not {given!r:.40}")
    try:
        return read_study(given)
    except plugins.ConfigError as error:
        _wrong_config(command, f"{name}: {error}")


def _wrong_config(command: str, message: str) -> NoReturn:
    print(f"reliquant {command}: error: {message}", file=sys.stderr)
    sys.exit(2)
