"""An exported folder: the files of towers, what they are, and how images and captions must be prepared for them.

| file | what it holds |
|---|---|
| `image.onnx`, `text.onnx` | the towers; `.xml` with `.bin` of OpenVINO, `.pt2` of torch.export |
| `classes.npy` | unit embeddings of classes (c, d), float32, where an export was told the classes |
| `export.json` | all else, with the sha256 of each file |
| `README.md` | a model card |
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from reliquant.files.artifacts import DamagedFile, read_json, require_words

FACTS, CARD, CLASSES = "export.json", "README.md", "classes.npy"
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
WORDS = {"kind": str, "to": str, "files": dict, "towers": dict, "model_sha256": str, "variant_sha256": str}
AGAIN = "export it again"


def read_export(folder: Path, /) -> dict[str, Any]:
    """Read what an exported folder says of itself, where all its files are those that were written.

    Raises FileNotFoundError or DamagedFile naming the file that is missing, cut, changed or of another export.
    """
    path = Path(folder, FACTS)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file: {folder} is no exported folder")
    facts = read_json(path)
    if facts.get("kind") != "export":
        raise DamagedFile(f"{path}: is a {facts.get('kind')!r:.100}, not an export; {AGAIN}")
    require_words(facts, WORDS, str(path))
    if facts["sha256"] != digest_of_facts(facts):
        raise DamagedFile(f"{path}: was changed after it was written; {AGAIN}")
    for name, sha256 in facts["files"].items():
        if Path(name).name != name:
            raise DamagedFile(f"{path}: names the file {name!r:.100}, which is not in the folder; {AGAIN}")
        if not Path(folder, name).is_file():
            raise FileNotFoundError(f"{Path(folder, name)}: no such file, though {FACTS} names it; {AGAIN}")
        if sha256_of(Path(folder, name)) != sha256:
            raise DamagedFile(
                f"{Path(folder, name)}: is not the file that was exported (its sha256 is another); {AGAIN}"
            )
    return facts


def sha256_of(path: Path, /) -> str:
    """Return the sha256 of a file, read piece by piece."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_facts(facts: dict[str, Any], /) -> str:
    """Return the sha256 of what a folder says of itself, but for that digest."""
    rest = {name: value for name, value in facts.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_of(folder: Path, facts: dict[str, Any], tower: str, /) -> Path:
    """Return the file of a tower; raise ValueError where it was not exported."""
    if tower not in facts["towers"]:
        raise ValueError(f"{folder}: holds no {tower} tower, only {', '.join(facts['towers'])}")
    return Path(folder, facts["towers"][tower]["file"])
