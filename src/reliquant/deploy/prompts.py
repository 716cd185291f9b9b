"""Classes and templates of a zero-shot classifier, as a file or a prepared folder holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from reliquant.files.bounded import load_yaml, read_bytes
from reliquant.images.meta import read_meta
from reliquant.study.prompts import class_problems, template_problems

Prompts = dict[str, list[str]]


def read_prompts(path: Path, /) -> Prompts:
    """Return `classes` and `templates`, from a prepared folder or from a JSON or YAML file with those two lists.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        meta = read_meta(path)
        found: Any = {"classes": meta["classes"], "templates": meta["templates"]}
    else:
        try:
            found = load_yaml(read_bytes(path))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: is no YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(found, dict) or not {"classes", "templates"} <= set(found):
        raise ValueError(f"{path}: must hold `classes` and `templates`, two lists of texts")
    problems = [f"classes: {problem}" for problem in class_problems(found["classes"])]
    problems += [] if found["classes"] else ["classes: must be a list of at least one name"]
    problems += [f"templates: {problem}" for problem in template_problems(found["templates"])]
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}")
    return {word: list(found[word]) for word in ("classes", "templates")}
