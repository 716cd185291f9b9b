"""What is known of prepared images (`meta.json`): its words, and how the file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from reliquant.files.artifacts import DamagedFile, read_sealed_json, require_words
from reliquant.study import paths
from reliquant.study.prompts import template_problems

WORDS = {"n": int, "classes": list, "templates": list, "entry": dict, "skipped": list, "sha256": str, "arrays": dict}
OF_IMAGES = ("captions", "groups", "names")  # a text for each image, where there are any
MORE = {"passed_over": dict, "assumed": list, "label_problem": str}


class Meta(TypedDict):
    """Say what is known of prepared images, as `meta.json` holds it.

    `entry` is the config entry of the dataset, `skipped` names the images that could not be read, `sha256` is that of
    all pixels and labels, `arrays` holds the identity of each array (`digests.Seal`). Datasets with captions also name
    each image. `passed_over` counts by suffix what was no data, `assumed` says what the reader chose by itself,
    `label_problem` why the labels cannot be used; each is there only where there is something to say.
    """

    n: int
    classes: list[str]
    templates: list[str]
    entry: dict[str, Any]
    skipped: list[str]
    sha256: str
    arrays: dict[str, str]
    captions: NotRequired[list[str]]
    groups: NotRequired[list[str]]
    names: NotRequired[list[str]]
    passed_over: NotRequired[dict[str, int]]
    assumed: NotRequired[list[str]]
    label_problem: NotRequired[str]


def read_meta(folder: Path, /) -> Meta:
    """Read `meta.json` of a prepared folder.

    Raises FileNotFoundError; DamagedFile naming the file and the word that is missing, of another type or length.
    """
    path = Path(paths.meta(folder))
    found = read_sealed_json(path)
    optional = {word: kind for word, kind in [*dict.fromkeys(OF_IMAGES, list).items(), *MORE.items()] if word in found}
    require_words(found, WORDS | optional, f"{path}:")
    problems = [f"{word!r} is unknown" for word in found if word not in {*WORDS, *OF_IMAGES, *MORE}]
    texts = ("classes", "templates", "skipped", *(word for word in (*OF_IMAGES, "assumed") if word in found))
    for word in texts:
        if not all(isinstance(text, str) for text in found[word]):
            problems.append(f"{word!r} must be a list of texts")
    for word in OF_IMAGES:
        if word in found and len(found[word]) != found["n"]:
            problems.append(f"{len(found[word])} {word} for {found['n']} images")
    problems += [f"templates: {problem}" for problem in template_problems(found["templates"])]
    if not all(isinstance(count, int) for count in found.get("passed_over", {}).values()):
        problems.append("'passed_over' must hold a number for each kind of file")
    if ("captions" in found) != ("names" in found):
        problems.append("must have 'captions' and 'names', or neither")
    if problems:
        raise DamagedFile(f"{path}: {'; '.join(problems)[:1000]}; prepare the images again")
    return cast(Meta, found)
