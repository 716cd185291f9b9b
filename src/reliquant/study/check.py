"""Read a study from a config, or say all that is wrong with it: the one door to a `Study`.

First each section and entry is checked by itself, then what is wrong across sections: names that lead nowhere, and
suites that are in no shard or in two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reliquant import names, plugins
from reliquant.files.bounded import TooMuch, require_small
from reliquant.study.config import FAMILY_OF, FEWEST_HELD_OUT, SUITES, Config, own_words
from reliquant.study.deployment import deployment_problems
from reliquant.study.entries import entry_problems, is_malformed, precision_problems
from reliquant.study.model_entries import NO_WEIGHTS, names_weights, preprocessing_problems, tower_problems
from reliquant.study.pieces import report_problems
from reliquant.study.retrieval import retrieval_problems
from reliquant.study.sensitivity import sensitivity_problems
from reliquant.study.study import Study
from reliquant.study.unpaired import unpaired_problems
from reliquant.study.variants import part_problems


def read_study(given: Mapping[str, Any], /) -> Study:
    """Check a config and expand it; raise ConfigError with all that is wrong with it."""
    problems: list[str] = []
    config = None
    try:
        require_small(given)
    except TooMuch as error:
        raise plugins.ConfigError([str(error)]) from error
    try:
        config = Config.model_validate(dict(given))
    except ValidationError as error:
        problems += _shape_problems(error)
    problems += _entry_problems(given)
    if config is None or _has_malformed_entries(given):
        raise plugins.ConfigError(dict.fromkeys(problems))
    study = Study(config)
    problems += _study_problems(study)
    if problems:
        raise plugins.ConfigError(dict.fromkeys(problems))
    return study


def _shape_problems(error: ValidationError) -> Iterator[str]:
    """Say what pydantic found, each with its key, the fault and what is allowed."""
    for e in error.errors():
        where = ".".join(str(part) for part in e["loc"])
        if e["type"] == "extra_forbidden":
            yield plugins.unknown("key", where, Config.model_fields)
        elif e["type"] == "missing":
            yield f"{where}: missing"
        else:
            yield f"{where}: {e['msg']}, got {_short(e['input'])}"


def _short(value: object) -> str:
    """Write a value as in Python, and only the start of a long one."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]} ... ({len(text)} characters)"


def _entry_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with each entry by itself; what is no mapping is told with the shape."""
    for section in FAMILY_OF:
        entries = given.get(section)
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            if isinstance(entry, Mapping) and (section, name) != ("schemes", "fp32"):
                yield from (f"{section.rstrip('s')} {name}: {p}" for p in entry_problems(section, entry, given))
    negatives = given.get("negatives")
    if isinstance(negatives, Mapping):
        yield from (f"negatives: {p}" for p in plugins.check("lexicon", own_words("negatives", negatives)))


def _has_malformed_entries(given: Mapping[str, Any]) -> bool:
    """Whether some entry has values of types with which no study can be expanded, as `_entry_problems` tells."""
    for section in FAMILY_OF:
        for name, entry in (given.get(section) or {}).items():
            if (section, name) != ("schemes", "fp32") and is_malformed(section, entry):
                return True
    return False


def _study_problems(study: Study) -> Iterator[str]:
    """Say what is wrong with a study across the sections of its config, one line per problem."""
    config = study.config
    for name, entry in config.models.items():
        pairs = entry.get("pretrain", {}).get("pairs")
        if pairs is not None:
            yield from _unknown_datasets(study, f"model {name}: pretrain", pairs)
        yield from (f"model {name}: {problem}" for problem in _model_problems(study, name))
    if "fp32" in config.schemes:
        yield "scheme fp32: is built in as the baseline; leave it out"
    for name, proxy in config.proxies.items():
        yield from _unknown_datasets(study, f"proxy {name}", proxy.of)
        if config.tuning != "none" and proxy.held_out * proxy.pairs < FEWEST_HELD_OUT:
            told = f"{proxy.held_out:g} of {proxy.pairs} pairs are fewer than the {FEWEST_HELD_OUT} that tuning takes"
            yield f"proxy {name}: held_out: {told}: take more pairs, a larger share, or tuning: none"
    if config.schemes and not config.proxies:
        yield "proxies: missing; schemes need image-caption pairs, such as {captions: {of: <dataset>, pairs: 1000}}"
    for precision in config.precisions:
        yield from (f"precisions: {p}" for p in precision_problems(precision))
    yield from unpaired_problems(study)
    yield from _suite_problems(study)
    yield from _explain_problems(study)
    yield from sensitivity_problems(study)
    yield from retrieval_problems(study)
    yield from deployment_problems(study)
    yield from report_problems(config.report)
    if config.suites.ood and not config.scores:
        yield "scores: missing; the ood suite needs at least one, such as {mcm: {score: mcm}}"
    if study.SNAPSHOTS in study.shards:
        yield f"shards: {study.SNAPSHOTS!r} is the name of a shard that the workflow makes; choose another"
    if "clean" not in config.snapshot_suites:
        yield "snapshot_suites: 'clean' must be among them"
    for suite in config.snapshot_suites:
        if suite not in study.suites:
            yield f"snapshot_suites: {suite!r} is not among the suites"
    yield from _score_problems(study)
    yield from _shard_problems(study)
    yield from _place_problems(study)
    yield from _folder_problems(study)


def _model_problems(study: Study, name: str) -> Iterator[str]:
    """Say what is wrong with a model that is known without its weights: that it has none, its words, its form."""
    entry = study.tower_entry(name)
    if plugins.check("tower", entry):
        return  # told with the entry
    if not study.trains(name) and not names_weights(entry):
        yield NO_WEIGHTS
    yield from tower_problems(entry)
    yield from preprocessing_problems(entry, study.config.models[name].get("form"))


def _suite_problems(study: Study) -> Iterator[str]:
    """Say which datasets and corruptions of the suites are unknown, and which references are not in the clean suite."""
    clean = study.config.suites.clean
    for suite in study.suites:
        for cell in study.suite_cells(suite):
            yield from _unknown_datasets(study, f"suite {suite}", cell["dataset"], cell["reference"])
            if cell["corruption"]:
                entry = {"corruption": cell["corruption"], "severity": 1}
                yield from (f"suite {suite}: {p}" for p in plugins.check("corruption", entry))
            if suite in ("ood", "shift", "noise") and cell["reference"] not in clean:
                known = ", ".join(clean)
                yield f"suite {suite}: {cell['reference']!r} must be in the clean suite too; there are {known}"


def _explain_problems(study: Study) -> Iterator[str]:
    """Say which datasets, and which words of the grid, `explain` names that are not there."""
    config, explain = study.config, study.config.explain
    if explain is None:
        return
    for dataset in explain.datasets:
        yield from _unknown_datasets(study, "explain: datasets", dataset)
        if dataset in config.datasets and dataset not in config.suites.clean:
            clean = ", ".join(config.suites.clean)
            yield f"explain: datasets: {dataset!r} must be in the clean suite too; there are {clean}"
    yield from part_problems(config, "explain", explain)


def _score_problems(study: Study) -> Iterator[str]:
    """Say which training images and which negative words are missing that scores need."""
    config = study.config
    for reference, fit in config.fits.items():
        yield from _unknown_datasets(study, "fits", reference, fit)
        if reference not in config.suites.clean:
            yield f"fits: {reference!r} is not in the clean suite; there are {', '.join(config.suites.clean)}"
        if reference == fit:
            yield f"fits: {reference}: scores must not be fitted on the images that they are tested on"
    missing = [reference for reference in config.suites.ood if reference not in config.fits]
    if missing:
        for score in study.scores_that_need("train"):
            there = "name a dataset of the same classes"
            yield f"fits: {', '.join(missing)}: missing; score {score} fits on training images: {there}"
    if config.negatives is None:
        for score in study.scores_that_need("negatives"):
            there = ", ".join(plugins.names("lexicon"))
            yield f"negatives: missing; score {score} needs words, such as {{lexicon: wordnet}}; there are {there}"


def _shard_problems(study: Study) -> Iterator[str]:
    """Say which suites are not in exactly one shard, and which words of the shards are unknown."""
    placed: list[str] = []
    for words in study.shards.values():
        placed += words
    for suite in study.suites:
        if placed.count(suite) != 1:
            yield f"shards: suite {suite!r} must be in exactly one shard, not {placed.count(suite)}"
    for word in dict.fromkeys(placed):
        suite, _, dataset = word.partition("/")
        if suite not in SUITES:
            yield f"shards: {plugins.unknown('suite', suite, SUITES)}"
        elif dataset and dataset not in _datasets_in(study, suite):
            yield f"shards: {word}: {plugins.unknown('dataset', dataset, _datasets_in(study, suite))}"
        elif placed.count(word) > 1 and dataset:
            yield f"shards: {word!r} must be in exactly one shard, not {placed.count(word)}"


def _datasets_in(study: Study, suite: str) -> set[str]:
    """Name the datasets of a suite and the references whose classes tell their images apart."""
    found: set[str] = set()
    for cell in study.suite_cells(suite):
        found |= {cell["dataset"], cell["reference"]}
    return found


def _place_problems(study: Study) -> Iterator[str]:
    """Say which words of a config name no place: folders of downloads that leave theirs, paths that nobody means."""
    roots: dict[str, str] = {}  # of downloads, by what names them
    for name, entry in study.config.datasets.items():
        folder = str(entry.get("folder", entry["dataset"]))
        with suppress(plugins.ConfigError):  # an unknown dataset is told with its entry
            fetched = study.is_fetched(name)
            problem = names.folder_problem(folder) if fetched else names.path_problem(folder)
            if problem:
                yield f"dataset {name}: folder: {problem}, got {folder!r}"
            elif fetched:
                roots[f"dataset {name}"] = study.root(name)
    if study.config.negatives and not plugins.check("lexicon", own_words("negatives", study.config.negatives)):
        words, root = study.negatives()
        folder = str(study.config.negatives.get("folder", words["lexicon"]))
        fetched = bool(study.fetched_lexicon())
        problem = names.folder_problem(folder) if fetched else names.path_problem(folder)
        if problem:
            yield f"negatives: folder: {problem}, got {folder!r}"
        elif fetched:
            roots["negatives"] = root
        file = words.get("file")
        if file is not None and (problem := names.path_problem(file)):
            yield f"negatives: file: {problem}, got {file!r}"
    yield from _entangled(roots)


def _entangled(roots: Mapping[str, str]) -> Iterator[str]:
    """Say which downloads would lie in each other's folder: below it, or in it where capitals do not count."""
    for (one, above), (other, below) in permutations(roots.items(), 2):
        if names.folded(below).startswith(f"{names.folded(above)}/"):
            yield f"{other}: folder: {below} lies in {above}, where {one} is downloaded; give each its own"
        elif above < below and names.folded(above) == names.folded(below):
            yield f"{other}: folder: {below} differs from {above} of {one} by capitals alone; some disks see one folder"


def _folder_problems(study: Study) -> Iterator[str]:
    """Say which datasets would be downloaded into one folder, and which folders of `data_root` are missing."""
    known = [name for name, entry in study.config.datasets.items() if entry.get("dataset") in plugins.names("dataset")]
    by_folder: dict[str, list[str]] = {}
    for dataset in filter(study.is_fetched, known):
        by_folder.setdefault(study.root(dataset), []).append(dataset)
    for folder, datasets in by_folder.items():
        try:
            if _would_overwrite(study, datasets):
                told = f"download different files into {folder}; give each its own `folder`"
                yield f"datasets: {', '.join(datasets)} {told}"
        except ValueError as error:  # of a plugin that says where its files are published
            yield f"datasets: {', '.join(datasets)}: {error}"
    if study.config.data_root:
        for root in sorted({study.root(dataset) for dataset in known if study.is_published(dataset)}):
            if not Path(root).is_dir():
                yield f"data_root: {root}: no such folder"


def _would_overwrite(study: Study, datasets: list[str]) -> bool:
    """Whether datasets of one folder download different files: the second would silently be read as the first."""
    entries = [study.dataset_entry(dataset) for dataset in datasets]
    if all(entry == entries[0] for entry in entries) or any(plugins.check("dataset", entry) for entry in entries):
        return False
    from reliquant.download.source import sources_of  # only here: importing what downloads takes a while

    urls = {tuple(source.url for source in sources_of("dataset", entry)) for entry in entries}
    return len(urls) > 1


def _unknown_datasets(study: Study, where: str, *datasets: str) -> Iterator[str]:
    for name in datasets:
        if name not in study.config.datasets:
            yield f"{where}: {plugins.unknown('dataset', name, study.config.datasets)}"
