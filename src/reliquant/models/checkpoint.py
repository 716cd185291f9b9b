"""Read the weights that somebody saved: a state dict as safetensors or by torch.save, never anything that runs code."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from reliquant.files.artifacts import DamagedFile
from reliquant.files.bounded import require
from reliquant.images.formats import described, head_of

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network", "net", "weights", "params")
AGAIN = "save the weights alone: torch.save(model.state_dict(), path), or safetensors.torch.save_file"
JOIN = "join its parts: safetensors.torch.save_file({**load_file(one), **load_file(two), ...}, path)"
PART = re.compile(r"-0*(\d+)-of-0*(\d+)(\.|\Z)")  # in the name of a sharded checkpoint's file
ZIP = b"PK\x03\x04"
LONGEST_HEADER = 2**27  # bytes, of safetensors
EXPANSION, ROOM = 20, 2**26  # a zip's files may have so many times its size, and so many bytes more


@dataclass(frozen=True)
class Checkpoint:
    """Hold the tensors of a file by name, and what a person should know of how they were found, a line each."""

    state: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path, /) -> Checkpoint:
    """Read a state dict from a file, by its content whatever its name, onto the CPU.

    What trainers wrap around it (`state_dict`, `model`, ...) is taken off, and said. Raises FileNotFoundError;
    DamagedFile naming the file, what it is, and how to save it again.
    """
    if path.is_dir():
        raise DamagedFile(f"{path}: is a folder; name the file in it, or open it as local-dir:{path}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    head = head_of(path)
    if not head:
        raise DamagedFile(f"{path}: is empty; fetch or save it again")
    if told := sharded(path.name):
        raise DamagedFile(f"{path}: {told}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LONGEST_HEADER:
        return _state_in(_safetensors(path), path)
    return _state_in(_pickled(path, head), path)


def sharded(name: str, /) -> str:
    """Say that a file is a part of a checkpoint, or the index of the parts, by its name; empty where it is not.

    >>> sharded("model-00001-of-00001.safetensors"), sharded("model-00001-of-00003.safetensors")[:14]
    ('', 'is part 1 of 3')
    """
    part = PART.search(name)
    if part and int(part[2]) > 1:
        return f"is part {part[1]} of {part[2]} of a sharded checkpoint; {JOIN}"
    return f"is the index of a sharded checkpoint; {JOIN}" if name.endswith(".index.json") else ""


def is_arrays(path: Path, /) -> bool:
    """Whether a file is a .npz, as big_vision publishes SigLIP's weights; any other zip is not."""
    names = _members(path)
    return bool(names) and all(name.endswith(".npy") for name in names)


def _members(path: Path) -> list[str]:
    """List the files in a zip; none where it is no zip, or a damaged one.

    Raises TooMuch where they unpack to much more than the zip: weights hardly can be compressed, and are read whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except Exception:  # damaged bytes make it raise anything
        return []
    size = sum(info.file_size for info in infos)
    require(path, "bytes, unpacked,", size, ROOM + EXPANSION * path.stat().st_size)
    return [info.filename for info in infos]


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFile(f"{path}: truncated or not a safetensors file ({error})") from error


def _pickled(path: Path, head: bytes) -> Any:
    """Read what torch.save wrote, tensors and plain containers only."""
    if head.startswith(ZIP):
        _check_zip(path)
    elif head[0] != 0x80 or described(head) == "text":  # every pickle of torch's begins so
        what = described(head)
        raise DamagedFile(f"{path}: is no checkpoint, but {what}" + ("" if "pointer" in what else f"; {AGAIN}"))
    try:
        with warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)  # which judges a path by its suffix
    except Exception as error:  # of the unpickler, of zip, of torch, and whatever damaged bytes make them raise
        _refuse(path, error)


def _check_zip(path: Path) -> None:
    """Say which zip is no checkpoint."""
    names = _members(path)
    if not names:
        raise DamagedFile(f"{path}: a checkpoint of torch.save that is truncated, or damaged; fetch or save it again")
    leaves = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in leaves:
        how = "torch.save(torch.jit.load(path).state_dict(), other)"
        raise DamagedFile(f"{path}: is a TorchScript program, not weights alone; {how}")
    if "data.pkl" not in leaves:
        raise DamagedFile(f"{path}: is a zip of {len(names)} files ({first(names)}), no checkpoint; {AGAIN}")


def _refuse(path: Path, error: Exception) -> NoReturn:
    """Name what a file holds beside weights, where torch.load refused it for that; else call it damaged."""
    try:
        others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it reads no older format, and damaged files no better than torch.load
        others = re.findall(r"GLOBAL ([\w.]+)", str(error).rpartition("WeightsUnpickler error:")[2])
    if others:
        named = ", ".join(sorted(set(others))[:3])
        why = "only tensors and plain containers are read, because such objects can run any code"
        raise DamagedFile(f"{path}: holds {named} beside or in place of weights; {why}: {AGAIN}") from error
    text = " ".join(str(error).split())
    if not text or "Weights only load failed" in text:  # torch's own advice would be to run the file's code
        text = "torch.load cannot follow its bytes"
    raise DamagedFile(
        f"{path}: is no checkpoint, or truncated or damaged ({text[:160]}); fetch it again, or {AGAIN}"
    ) from error


def _state_in(found: Any, path: Path) -> Checkpoint:
    """Take off what is wrapped around a mapping of names to tensors."""
    notes: list[str] = []
    while isinstance(found, Mapping):
        inner = [key for key, value in found.items() if _holds_tensors(value)]
        known = [key for key in WRAPPERS if key in inner]
        plain = any(isinstance(value, torch.Tensor) for value in found.values())
        if not known and (plain or len(inner) != 1):
            break
        chosen = (known or inner)[0]
        others = [str(key) for key in inner if key != chosen]
        notes.append(f"the weights under {chosen!r}" + (f", not those under {', '.join(others)}" if others else ""))
        found = found[chosen]
    if not isinstance(found, Mapping) or not any(isinstance(value, torch.Tensor) for value in found.values()):
        raise DamagedFile(f"{path}: {_shape_of(found)}; {AGAIN}")
    others = [str(key) for key, value in found.items() if not isinstance(value, torch.Tensor)]
    if others:
        notes.append(f"without {some(others)}, which {'is no tensor' if len(others) == 1 else 'are no tensors'}")
    state = {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}
    return Checkpoint(state, tuple(notes))


def _holds_tensors(value: Any) -> bool:
    """Whether a value is a state dict, or one wrapped once more; what optimizers keep is none."""
    if not isinstance(value, Mapping) or "param_groups" in value or not all(isinstance(key, str) for key in value):
        return False
    values = value.values()
    return any(isinstance(inner, torch.Tensor) for inner in values) or any(
        _holds_tensors(inner) for key, inner in value.items() if key in WRAPPERS
    )


def _shape_of(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"holds a {type(found).__name__}, not names and tensors"
    if not found:
        return "holds nothing: an empty mapping"
    return f"holds no tensors by name, and which of its keys hold weights is not known: {some(list(map(str, found)))}"


def first(names: Sequence[str], /) -> str:
    """Name the first three.

    >>> first(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def some(names: Sequence[str], /) -> str:
    """Name the first three, and say how many there are where there are more."""
    return first(names) + (f" ({len(names)} in all)" if len(names) > 3 else "")
