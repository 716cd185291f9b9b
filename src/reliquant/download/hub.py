"""Fetch published weights from the hub, at the revision that a lock file pins; free of torch.

`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the proxy variables mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reliquant.download import published
from reliquant.download.http import BUSY, LONGEST_PAUSE, FetchError, offline, sha256_of
from reliquant.download.lock import Pin
from reliquant.names import folder_problem

TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
WEIGHTS = (  # in the order in which open_clip looks for them: a repository may hold the same model for others, too
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    *TRANSFORMERS,
    "pytorch_model.pth",
    "model.pth",
)
BESIDE = (".json", ".txt", ".model")  # the ends of the names of configs and tokenizers


def name_of(entry: Mapping[str, Any], /) -> str | None:
    """Name the published weights of a tower entry: `architecture/tag` or a repository; None for local weights."""
    architecture, pretrained = str(entry.get("architecture", "")), entry.get("pretrained")
    if entry.get("tower") == "openclip" and ":" not in architecture:
        return f"{architecture}/{pretrained}" if published.tag(architecture, pretrained) else None
    local = Path(str(pretrained)).is_file() if pretrained else Path(architecture).is_dir()
    if local or entry.get("tower") == "small" or architecture.startswith("local-dir:"):
        return None
    return f"{architecture}/{pretrained}" if pretrained else architecture.removeprefix("hf-hub:")


def hub_folder(
    repository: str,
    /,
    *,
    names: Sequence[str] = WEIGHTS,
    revision: str | None = None,
    cache: str | None = None,
    tries: int = 5,
    pause: float = 1.0,
) -> Path:
    """Return the cached folder of a hub repository: configs, tokenizer and one weights file, the first of the names.

    What is cached already at a fixed `revision` needs no network, unless an earlier name may be on the hub: a cache
    that another program filled may hold only its own weights. A busy or silent hub is tried again, up to `tries`
    times, after `pause` seconds, doubled each time; broken downloads resume. Raises FetchError naming the repository
    when offline, when there is no such repository, or when it is gated.
    """
    from huggingface_hub.constants import ENDPOINT, HF_HUB_CACHE

    if revision is not None and folder_problem(revision):  # the cache has a file of this name
        raise ValueError(f"{repository}: revision {revision!r:.100}: must be a commit, a tag or a branch")
    words: dict[str, Any] = {"names": names, "revision": revision, "cache_dir": cache}
    folder, is_first = _cached(repository, **words) if offline() or revision else (None, False)
    if folder and (is_first or offline()):
        return folder
    if offline():
        where = f"{repository}, revision {revision}" if revision else repository
        said = f"HF_HUB_OFFLINE is set, and its weights are not in the cache {cache or HF_HUB_CACHE}"
        raise FetchError(f"{repository}: {said}; they are published at {ENDPOINT}/{where}")
    try:
        return _fetched(repository, tries, pause, **words)
    except FetchError:
        if folder is None:
            raise
        return folder


def _fetched(repository: str, tries: int, pause: float, /, **words: Any) -> Path:
    """Download, again after a pause where the hub is busy or silent."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    for left in reversed(range(tries)):
        try:
            return _download(repository, **words)
        except GatedRepoError as error:
            raise FetchError(f"{repository}: accept its licence on the hub and set HF_TOKEN") from error
        except RepositoryNotFoundError as error:
            raise FetchError(f"{repository}: the hub has no such repository, or hides it (HF_TOKEN)") from error
        except OSError as error:
            _raise_unless_passing(repository, error, left)
        except Exception as error:  # the hub's client raises those of httpx: connection, timeout, protocol
            if not type(error).__module__.startswith("http"):
                raise
            _raise_unless_passing(repository, error, left)
        time.sleep(min(pause, LONGEST_PAUSE))
        pause *= 2
    raise AssertionError


def weights_in(folder: Path, /, names: Sequence[str] = WEIGHTS) -> Path | None:
    """Return the weights file in a folder, the first of the names that is there; None if there is none."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def facts_of(path: Path, /) -> Pin:
    """Describe a weights file: its revision if it lies in the hub's cache (else None), name, sha256 and bytes."""
    revision = path.parent.name if path.parent.parent.name == "snapshots" else None
    return {"revision": revision, "file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def _cached(
    repository: str, /, *, names: Sequence[str], revision: str | None, cache_dir: str | None
) -> tuple[Path | None, bool]:
    """Return the cached folder that holds one of the names, and whether no earlier name can be on the hub."""
    from huggingface_hub import try_to_load_from_cache

    is_first = True
    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision, cache_dir=cache_dir)
        if isinstance(path, str):
            return Path(path).parent, is_first
        is_first = is_first and path is not None  # else a mark that the repository has no such file
    return None, False


def _download(repository: str, /, *, names: Sequence[str], revision: str | None, cache_dir: str | None) -> Path:
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or []}
    weights = next((name for name in names if name in files), None)
    if weights is None:
        raise FetchError(f"{repository}: holds none of {', '.join(names)}")
    beside = [name for name in files if "/" not in name and name.endswith(BESIDE)]
    for name in [*beside, weights]:
        path = Path(hf_hub_download(repository, name, revision=revision, cache_dir=cache_dir))
        if path.parent.name != info.sha:
            raise ConnectionError(f"the repository changed from {info.sha} while it was fetched")
    published = getattr(files[weights].lfs, "sha256", None)
    if published:
        sha256 = sha256_of(path)
        if sha256 != published:
            path.resolve().unlink()  # what the cache links to
            raise ConnectionError(f"{weights} came with the sha256 {sha256}, not {published}")
    return path.parent


def _raise_unless_passing(repository: str, error: Exception, left: int) -> None:
    """Raise FetchError unless another try may help."""
    if isinstance(error, FetchError):
        raise error
    status = getattr(getattr(error, "response", None), "status_code", None)
    if left == 0 or (status is not None and status not in BUSY):
        raise FetchError(f"{repository}: {error}") from error
