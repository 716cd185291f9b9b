"""Tables of many models on clean and on shifted images: which answers are right, image by image in one order."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from reliquant.evaluation.answers import Answers
from reliquant.files.bounded import load_yaml, read_bytes
from reliquant.stored.beside import Said, answers_of, beside, class_names, gather, kind_of
from reliquant.stored.read import NO_NAMES, Table, read_table

FP32 = "fp32"
NEEDED, OPTIONAL = ("model", "clean", "shifted"), ("scheme", "precision", "baseline")
LARGEST = 2**24  # bytes of a list of models
YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class Listed:
    """Name a model's tables, and say what it is: of scheme fp32, or quantized; whether the line goes through it."""

    model: str
    clean: Path
    shifted: Path
    scheme: str = FP32
    precision: str = ""
    baseline: bool = True

    @property
    def name(self) -> str:
        """The model's name, with its scheme where it is quantized."""
        return self.model if self.scheme == FP32 else f"{self.model} {self.scheme}"


@dataclass(frozen=True)
class Side:
    """Hold the answers of models on the same images: the class of each, (n,), and which answers are right, (n, m)."""

    label: NDArray[np.int64]
    right: NDArray[np.bool_]
    answers: Sequence[Answers]


def read_list(path: Path, /) -> list[Listed]:
    """Read a list of models: a CSV with the columns model, clean, shifted, or YAML, a list of such words.

    Beside them may stand scheme (by default fp32), precision, and baseline (yes or no: whether the line goes through
    it; by default FP32 models alone). Paths of tables are beside the list. Raises FileNotFoundError, and ValueError
    naming the file, the line and the word.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder, not a list of models' if path.is_dir() else 'no such file'}")
    try:
        text = read_bytes(path, LARGEST).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text: a list of models is a CSV or YAML") from error
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            found = load_yaml(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: is no YAML ({' '.join(str(error).split())[:200]})") from error
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ValueError(f"{path}: must be a list of models, each with {', '.join(NEEDED)}")
        lines: list[Mapping[str, Any]] = found
    else:
        lines = list(csv.DictReader(text.splitlines(), restkey="more", restval=""))
    if not lines:
        raise ValueError(f"{path}: names no models")
    return checked([_listed(line, number, path) for number, line in enumerate(lines, 1)], str(path))


def _listed(line: Mapping[Any, Any], number: int, path: Path) -> Listed:
    about = f"{path}: model {number}"
    if unknown := [str(word) for word in line if word not in (*NEEDED, *OPTIONAL)]:
        raise ValueError(f"{about}: {unknown[0]!r} is unknown; there are {', '.join((*NEEDED, *OPTIONAL))}")
    words = {word: str(value).strip() for word, value in line.items() if value not in (None, "")}
    if missing := [word for word in NEEDED if not words.get(word)]:
        raise ValueError(f"{about}: has no {missing[0]}")
    scheme = words.get("scheme", FP32)
    told = words.get("baseline", "yes" if scheme == FP32 else "no").lower()
    if told not in YES:
        raise ValueError(f"{about}: baseline must be yes or no, not {told!r}")
    clean, shifted = (path.parent / words[word] for word in ("clean", "shifted"))
    return Listed(words["model"], clean, shifted, scheme, words.get("precision", ""), YES[told])


def checked(models: Sequence[Listed], about: str, /) -> list[Listed]:
    """Return models as they are; raise ValueError for one that is there twice, or quantized without its FP32."""
    seen: set[tuple[str, str]] = set()
    for one in models:
        if (one.model, one.scheme) in seen:
            raise ValueError(f"{about}: {one.name} is there twice; each needs a model or a scheme of its own")
        seen.add((one.model, one.scheme))
    for one in models:
        if (one.model, FP32) not in seen:
            raise ValueError(f"{about}: {one.name} is quantized, and {one.model} of scheme {FP32} is not there")
    return list(models)


def read_sides(models: Sequence[Listed], said: Said, /, *, names: Mapping[str, str] = NO_NAMES) -> tuple[Side, Side]:
    """Read the tables of models on clean and on shifted images; what was assumed is added to `said`.

    Raises ValueError naming the files that cannot be of the same images.
    """
    return _side([one.clean for one in models], names, said), _side([one.shifted for one in models], names, said)


def _side(paths: Sequence[Path], names: Mapping[str, str], said: Said) -> Side:
    tables = [read_table(path, names=names) for path in paths]
    for table in tables:
        said += table.said
    same = [tables[0], *(beside(table, tables[0], said) for table in tables[1:])]
    gather(said)
    classes = class_names(same)
    answers = [_answers(table, said, classes) for table in same]
    right = np.stack([(one.clean["prediction"] == one.clean["label"]).to_numpy() for one in answers], axis=1)
    labels = [one.clean["label"].to_numpy().astype(np.int64) for one in answers]
    for path, label in zip(paths, labels, strict=True):
        if (label != labels[0]).any():
            first = int(np.argmax(label != labels[0]))
            raise ValueError(f"{path}: image {first} has another label than in {paths[0]}")
    return Side(labels[0], right, answers)


def _answers(table: Table, said: Said, classes: list[str] | None) -> Answers:
    """Return a table's answers; of what predictions alone lack nothing is needed here, so nothing is said."""
    kind = "prediction" if "prediction" in table.arrays else kind_of([table])
    told: list[str] = []
    found = answers_of(table, {}, {}, told, kind=kind, classes=classes)
    said += [line for line in told if "predictions" not in line]
    return found
