"""What is known of prepared images (`meta.json`): its words, and how the file is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from reliquant.files.artifacts import DamagedFile, read_sealed_json, require_words
from reliquant.study import paths
from reliquant.study.prompts import template_problems

WORDS = {"n": int, "classes": list, "templates": list, "entry": dict, "skipped": list, "sha256": str, "arrays": dict}
OF_IMAGES = ("captions", "groups", "names")  # a text for each image, where there are any
ALL_CAPTIONS = "all_captions"  # a list of texts for each image, where there are several
MORE = {ALL_CAPTIONS: list, "form": str, "passed_over": dict, "assumed": list, "label_problem": str}


class Meta(TypedDict):
    """Say what is known of prepared images, as `meta.json` holds it.

    `entry` is the config entry of the dataset, `skipped` names the images that could not be read, `sha256` is that of
    all pixels and labels, `arrays` holds the identity of each array (`digests.Seal`), `form` is that of the images
    (`study/form.py`; files of an earlier version have none). Datasets with captions also name each image, and list
    `all_captions` of it where there may be several, the first of which is in `captions`. `passed_over` counts by suffix
    what was no data, `assumed` says what the reader chose by itself, `label_problem` why the labels cannot be used;
    each is there only where there is something to say.
    """

    n: int
    classes: list[str]
    templates: list[str]
    entry: dict[str, Any]
    skipped: list[str]
    sha256: str
    arrays: dict[str, str]
    form: NotRequired[str]
    captions: NotRequired[list[str]]
    all_captions: NotRequired[list[list[str]]]
    groups: NotRequired[list[str]]
    names: NotRequired[list[str]]
    passed_over: NotRequired[dict[str, int]]
    assumed: NotRequired[list[str]]
    label_problem: NotRequired[str]


def require_made_of(entry: Mapping[str, Any], meta: Meta, folder: Path, /) -> None:
    """Raise DamagedFile where prepared images are of another entry of a dataset, or of another form, than their place.

    `entry` is that of the config; the folder is called after its form.
    """
    path, wanted = paths.meta(folder), json.loads(json.dumps(entry))
    again = "another folder lies in its place, or it is of another config: delete the folder, and prepare it again"
    if meta["entry"] != wanted:
        told = f"{json.dumps(meta['entry'])[:300]}, not of {json.dumps(wanted)[:300]}"
        raise DamagedFile(f"{path}: its images are of {told}: {again}")
    if meta.get("form", folder.name) != folder.name:
        raise DamagedFile(f"{path}: its images have the form {meta['form']}, not {folder.name}: {again}")


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
    if not _are_all_captions(found):
        problems.append(f"{ALL_CAPTIONS!r} must list the captions of each image, the one in 'captions' first")
    if ("captions" in found) != ("names" in found):
        problems.append("must have 'captions' and 'names', or neither")
    if problems:
        raise DamagedFile(f"{path}: {'; '.join(problems)[:1000]}; prepare the images again")
    return cast(Meta, found)


def _are_all_captions(found: Mapping[str, Any]) -> bool:
    """Whether all captions of images, where they are told, are texts of which the first is the image's caption."""
    if ALL_CAPTIONS not in found:
        return True
    listed = found[ALL_CAPTIONS]
    if not all(isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts) for texts in listed):
        return False
    return [texts[0] for texts in listed] == found.get("captions")
