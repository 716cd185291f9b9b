"""An exported folder: the files of towers, what they are, and how images and captions must be prepared for them.

| file | what it holds |
|---|---|
| `image.onnx`, `text.onnx` | the towers; `.xml` with `.bin` of OpenVINO, `.pt2` of torch.export |
| `classes.npy` | unit embeddings of classes (c, d), float32, where an export was told the classes |
| `rows.parquet` | what was measured of the variant, where an export was told it |
| `export.json` | all else, with the sha256 of each file |
| `README.md` | a model card |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant.download.http import sha256_of
from reliquant.files.artifacts import DamagedFile, read_facts, read_json, require_words

FACTS, CARD, CLASSES, ROWS = "export.json", "README.md", "classes.npy", "rows.parquet"
BEGUN = ".exporting"  # lies in a folder while it is written: what a killed export left may be overwritten
AGAIN = "export it again"
KIND_OF_ROWS = "rows of an export"
TOWERS = ("image", "text")
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
WRITTEN = tuple(f"{tower}{end}" for tower in TOWERS for end in (".onnx", ".onnx.data", ".xml", ".bin", ".pt2"))
WORDS = {
    "kind": str,
    "to": str,
    "files": dict,
    "towers": dict,
    "model_sha256": str,
    "variant_sha256": str,
    "sha256": str,
}
OF_VARIANT = ("entry", "labels", "measures", "logit_scale_tuned", "model_sha256")
OURS = "\n- reliquant\n"  # among the tags of a card


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
        if Path(name).name != name or name in ("", ".", "..") or "\0" in name:
            raise DamagedFile(f"{path}: names the file {name!r:.100}, which is not in the folder; {AGAIN}")
        if not Path(folder, name).is_file():
            raise FileNotFoundError(f"{Path(folder, name)}: no such file, though {FACTS} names it; {AGAIN}")
        if sha256_of(Path(folder, name)) != sha256:
            told = "is not the file that was exported (its sha256 is another)"
            raise DamagedFile(f"{Path(folder, name)}: {told}; {AGAIN}")
    for tower, told in facts["towers"].items():
        file = told.get("file") if isinstance(told, dict) else None
        if tower not in TOWERS or not isinstance(file, str) or file not in facts["files"]:
            raise DamagedFile(f"{path}: the tower {tower!r:.100} has no file of the export; {AGAIN}")
    return facts


def require_free(folder: Path, /) -> None:
    """Raise OSError where a folder cannot be made, or where an export would overwrite what is of no export."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; name a folder")
    told = "is of no export, and would be overwritten; name another folder"
    if (folder / FACTS).is_file():
        if _is_foreign(folder / FACTS):
            raise FileExistsError(f"{folder / FACTS}: {told}")
        return
    card, rows = folder / CARD, folder / ROWS
    if card.is_file() and OURS not in card.read_text(errors="replace")[:5000]:
        raise FileExistsError(f"{card}: {told}")
    if rows.is_file() and _kind_of(rows) != KIND_OF_ROWS:
        raise FileExistsError(f"{rows}: {told}")
    for name in () if (folder / BEGUN).is_file() else (CLASSES, *WRITTEN):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name}: {told}")


def emptied(folder: Path, /) -> None:
    """Take an earlier export out of a folder; what it is called by goes first, so that what is left is no export.

    The folder is made where there is none, and says until `finished` that an export was begun in it.
    """
    require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BEGUN).touch()
    for name in (FACTS, CARD, CLASSES, ROWS, *WRITTEN):
        (folder / name).unlink(missing_ok=True)


def finished(folder: Path, /) -> None:
    """Say that all files of an export are there."""
    (folder / BEGUN).unlink(missing_ok=True)


def _is_foreign(facts: Path) -> bool:
    """Whether an `export.json` is another program's; one of ours that was damaged is not."""
    try:
        return read_json(facts).get("kind") != "export"
    except (DamagedFile, ValueError):
        return False


def _kind_of(rows: Path) -> Any:
    try:
        return read_facts(rows).get("kind")
    except Exception:  # whatever it is, it is none of ours
        return None


def told_of(header: Mapping[str, Any], /) -> dict[str, Any]:
    """Return what an export tells of the variant that a header describes."""
    return {word: header.get(word) for word in OF_VARIANT} | {"variant_sha256": variant_of(header)}


def variant_of(header: Mapping[str, Any], /) -> str:
    """Return the sha256 by which an export names the variant of a header: empty for FP32, which has no codes."""
    return "" if (header.get("entry") or {}).get("quantizer") == "none" else str(header["sha256"])


def digest_of_facts(facts: dict[str, Any], /) -> str:
    """Return the sha256 of what a folder says of itself, but for that digest."""
    rest = {name: value for name, value in facts.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_of(folder: Path, facts: dict[str, Any], tower: str, /) -> Path:
    """Return the file of a tower; raise ValueError where it was not exported."""
    if tower not in facts["towers"]:
        raise ValueError(f"{folder}: holds no {tower} tower, only {', '.join(facts['towers'])}")
    return Path(folder, facts["towers"][tower]["file"])
