"""What a study needs and does not find here: weights, data, packages, and how to get them; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from reliquant import plugins
from reliquant.download.hub import name_of
from reliquant.download.lock import Pin, read_lock
from reliquant.download.source import Source, sources_of, trusted_on_first_use
from reliquant.files.bounded import load_yaml, read_json
from reliquant.study import deployment, paths, retrieval
from reliquant.study.config import Entry
from reliquant.study.model_entries import RANDOM
from reliquant.study.study import Study

LAB = "reliquant_lab"  # the package of the lab's trained models
INSTALLED_AS = {LAB: "reliquant-lab", "sklearn": "scikit-learn"}  # what pip calls a package
LICENCES = load_yaml((plugins.PACKAGE / "cli" / "costs.yaml").read_bytes())["licences"]


def missing(study: Study, lock: Path, /) -> dict[str, str]:
    """Name what is not here, with how to get it, size and licence; the lock file says what weights are pinned."""
    absent = deployment.absent_packages(study)
    told = {"extra deploy": absent.removeprefix("deploy: ")} if absent else {}
    return {**_missing_extras(study), **told, **_missing_models(study, read_lock(lock)), **_missing_data(study)}


def trusted(study: Study, lock: Path, /) -> dict[str, str]:
    """Name what is trusted as it first comes, since nobody publishes its sha256 and no lock file has it yet, and why.

    Data are pinned in `data.lock.json` beside the lock file of weights.
    """
    pins, data, found = read_lock(lock), read_lock(lock.with_name("data.lock.json")), {}
    for name, sources in sources_fetched(study).items():
        words = [trusted_on_first_use(source) for source in sources if not data.get(source.url, {}).get("sha256")]
        if told := "; ".join(word for word in words if word):
            found[name] = told
    for model in study.config.models:
        name = None if study.trains(model) else name_of(study.tower_entry(model))
        if name and not (pin := pins.get(name, {})).get("sha256"):
            revision = (pin.get("revision") or "")[:12]
            found[f"model {model}"] = (
                f"weights {name}{f', revision {revision},' * bool(revision)}: no sha256 is pinned yet"
            )
    return found


def files_read(study: Study, /) -> set[str]:
    """Return the files that evaluation jobs, and those of searches, read besides models and variants."""
    files: set[str] = set()
    for model in study.config.models:
        for shard in study.shards:
            files.update(study.inputs(model, shard))
        files.update(retrieval.images_of(study, model))
    return files


def images_read(study: Study, /) -> set[tuple[str, str]]:
    """Return (dataset, form) of everything that is decoded: for suites, proxies and pre-training."""
    folders = {str(Path(file).parent) for file in files_read(study) if Path(file).name == paths.META}
    for model in study.config.models:
        if study.config.schemes:
            folders.update(study.prepared(proxy.of, model) for proxy in study.config.proxies.values())
        if study.trains(model):
            folders.add(study.prepared(study.pretrain_words(model)[0], model))
    return {paths.dataset_and_form(folder) for folder in folders}


class _Needed(NamedTuple):
    """A dataset that is decoded, or the lexicon: its plugin's entry, and the folder of its published files."""

    family: str
    entry: Entry
    folder: str


def _needed(study: Study) -> dict[str, _Needed]:
    names = sorted({dataset for dataset, _ in images_read(study)})
    needed = {f"dataset {name}": _Needed("dataset", study.dataset_entry(name), study.root(name)) for name in names}
    entry, folder = study.negatives()
    if entry:
        needed[f"lexicon {entry['lexicon']}"] = _Needed("lexicon", entry, folder)
    return needed


def sources_fetched(study: Study, /) -> dict[str, list[Source]]:
    """Return what is published of each dataset and lexicon that the workflow downloads."""
    sources = {}
    for name, (family, entry, _) in _needed(study).items():
        if not study.config.data_root and plugins.published(family, entry[family]):
            sources[name] = list(sources_of(family, entry))
    return sources


def _missing_extras(study: Study) -> dict[str, str]:
    """Name each extra of the package of which something is needed and not installed, and for what."""
    entries = {model: study.tower_entry(model) for model in study.config.models}
    kinds = {dataset: study.dataset_entry(dataset)["dataset"] for dataset in {name for name, _ in images_read(study)}}
    needed = [
        ("huggingface", "transformers", [model for model, entry in entries.items() if _needs_transformers(entry)]),
        ("lab", LAB, [model for model, entry in entries.items() if not study.trains(model) and _is_of_lab(entry)]),
        ("lab", "sklearn", sorted(name for name, kind in kinds.items() if plugins.needs("dataset", kind) == "sklearn")),
    ]
    told: dict[str, list[str]] = {}
    for extra, package, names in needed:
        if names and not find_spec(package):
            told.setdefault(extra, []).append(f"{INSTALLED_AS.get(package, package)}, for {', '.join(names)}")
    return {f"extra {each}": f"{'; '.join(what)}: pip install 'reliquant[{each}]'" for each, what in told.items()}


def _is_of_lab(entry: Entry) -> bool:
    """Whether a tower's weights are one of the lab's trained models."""
    return entry["tower"] == "small" and entry.get("pretrained") not in (None, RANDOM)


def _needs_transformers(entry: Entry) -> bool:
    """Whether a tower's file says so, or open_clip's description of the architecture, read without importing it."""
    if plugins.needs("tower", entry["tower"]) == "transformers":
        return True
    folder = Path(find_spec("open_clip").origin).parent / "model_configs"
    described = folder / f"{entry.get('architecture')}.json"
    if entry["tower"] != "openclip" or not described.is_file():
        return False
    return bool(read_json(described)["text_cfg"].keys() & {"hf_tokenizer_name", "hf_model_name"})


def _missing_models(study: Study, lock: Mapping[str, Pin]) -> dict[str, str]:
    found = {}
    for model in study.config.models:
        if study.trains(model) or Path(paths.model(model)).is_file():
            continue
        if (name := name_of(entry := study.tower_entry(model))) is None:
            continue
        revision = (lock.get(name, {}).get("revision") or "")[:12]
        state = f"revision {revision}" if revision else "not pinned yet: the first fetch records it"
        tag = entry.get("pretrained")
        licence = LICENCES.get(tag) if tag else f"see huggingface.co/{name}"
        terms = f"; licence: {licence}" if licence else ""
        found[f"model {model}"] = f"weights {name}, fetched by the workflow; {state}{terms}"
    return found


def _missing_data(study: Study) -> dict[str, str]:
    found, downloads = {}, sources_fetched(study)
    for name, (family, entry, folder) in _needed(study).items():
        if name in downloads:
            if not Path(paths.fetched(folder)).is_file():
                terms = "; ".join(dict.fromkeys(s.licence for s in downloads[name]))
                found[name] = f"{_size(downloads[name])}, fetched by the workflow; licence: {terms}"
            continue
        place = _place(family, entry)
        lacks = "" if place is None else _lacks(Path(folder), Path(folder, place))
        if lacks:
            how = plugins.how(family, entry[family]) or plugins.described(family, entry[family]).splitlines()[0]
            found[name] = f"not downloaded by the workflow, and {lacks}: {how}"
    return found


def _lacks(*folders: Path) -> str:
    """Say which is the first of some folders that is missing, or holds no file but hidden ones."""
    for folder in folders:
        if not folder.is_dir():
            return f"{folder} is missing"
        if not any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*")):
            return f"{folder} is empty"
    return ""


def _place(family: str, entry: Entry) -> str | None:
    """Return the folder that people fill, relative to the plugin's root; None if it reads no files."""
    place = plugins.place(family, entry[family])
    if place is None:
        return None
    defaults = plugins.words(plugins.source(family, entry[family]), family)
    return place.format(**{word: entry.get(word, default) for word, (_, default) in defaults.items()})


def _size(sources: list[Source]) -> str:
    known = sum(s.bytes for s in sources if s.bytes is not None)
    size = f"{known / 2**30:.2f} GiB" if known > 0.1 * 2**30 else f"{known / 2**20:.2f} MiB"
    unknown = any(s.bytes is None for s in sources)
    return " and ".join([size] * bool(known) + ["files of unknown size"] * unknown)
