"""Read a study from a config, or say all that is wrong with it: the one door to a `Study`.

`config.check_config` looks at each section by itself; here is what is wrong across sections: names that lead nowhere,
suites without a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.study.config import SUITES, check_config, precision_problems
from reliquant.study.study import Study


def read_study(given: Mapping[str, Any], /) -> Study:
    """Check a config and expand it; raise ConfigError with all that is wrong with it."""
    config, found = check_config(given)
    if config is None:
        raise plugins.ConfigError(found)
    study = Study(config)
    if found := list(dict.fromkeys([*found, *problems(study)])):
        raise plugins.ConfigError(found)
    return study


def problems(study: Study, /) -> Iterator[str]:
    """Say what is wrong with a study across the sections of its config, one line each."""
    c = study.config
    for name, entry in c.models.items():
        if (pairs := dict(entry.get("pretrain") or {}).get("pairs")) is not None:
            yield from _known(study, f"model {name}: pretrain", pairs)
    if "fp32" in c.schemes:
        yield "scheme fp32: is built in as the baseline; leave it out"
    for name, proxy in c.proxies.items():
        yield from _known(study, f"proxy {name}", proxy.of)
    if c.schemes and not c.proxies:
        yield "proxies: missing; schemes need image-caption pairs, such as {captions: {of: <dataset>, pairs: 1000}}"
    for precision in c.precisions:
        yield from (f"precisions: {p}" for p in precision_problems(precision))
    yield from _suite_problems(study)
    yield from _explain_problems(study)
    if c.suites.ood and not c.scores:
        yield "scores: missing; the ood suite needs at least one, such as {mcm: {score: mcm}}"
    if study.SNAPSHOTS in study.shards:
        yield f"shards: {study.SNAPSHOTS!r} is the name of a shard that the workflow makes; choose another"
    if "clean" not in c.snapshot_suites:
        yield "snapshot_suites: 'clean' must be among them"
    yield from (f"snapshot_suites: {s!r} is not among the suites" for s in c.snapshot_suites if s not in study.suites)
    yield from _score_problems(study)
    yield from _shard_problems(study)
    yield from _folder_problems(study)
    if c.data_root:
        roots = {study.root(d) for d in _with_a_plugin(study) if study.is_published(d)}
        yield from (f"data_root: {r}: no such folder" for r in sorted(roots) if not Path(r).is_dir())


def _with_a_plugin(study: Study) -> list[str]:
    return [d for d, e in study.config.datasets.items() if e.get("dataset") in plugins.names("dataset")]


def _folder_problems(study: Study) -> Iterator[str]:
    """Say which datasets would be downloaded into one folder: the second would silently be read as the first."""
    from reliquant.download.source import sources_of  # only here: importing what downloads takes a while

    by_folder: dict[str, list[str]] = {}
    for dataset in filter(study.is_fetched, _with_a_plugin(study)):
        by_folder.setdefault(study.root(dataset), []).append(dataset)
    for folder, shared in by_folder.items():
        entries = [study.dataset_entry(d) for d in shared]
        if all(e == entries[0] for e in entries) or any(plugins.check("dataset", e) for e in entries):
            continue
        urls = {tuple(s.url for s in sources_of("dataset", entry)) for entry in entries}
        if len(urls) > 1:
            yield f"datasets: {', '.join(shared)} download different files into {folder}; give each its own `folder`"


def _shard_problems(study: Study) -> Iterator[str]:
    placed = [word for words in study.shards.values() for word in words]
    for suite in study.suites:
        if placed.count(suite) != 1:
            yield f"shards: suite {suite!r} must be in exactly one shard, not {placed.count(suite)}"
    for word in dict.fromkeys(placed):
        suite, _, dataset = word.partition("/")
        if suite not in SUITES:
            yield f"shards: {plugins.unknown('suite', suite, SUITES)}"
        elif dataset and dataset not in (there := _in_suite(study, suite)):
            yield f"shards: {word}: {plugins.unknown('dataset', dataset, there)}"
        elif placed.count(word) > 1 and dataset:
            yield f"shards: {word!r} must be in exactly one shard, not {placed.count(word)}"


def _in_suite(study: Study, suite: str) -> list[str]:
    return list(dict.fromkeys(c[role] for role in ("dataset", "reference") for c in study.suite_cells(suite)))


def _suite_problems(study: Study) -> Iterator[str]:
    clean = study.config.suites.clean
    for suite in study.suites:
        for cell in study.suite_cells(suite):
            yield from _known(study, f"suite {suite}", cell["dataset"], cell["reference"])
            if cell["corruption"]:
                entry = {"corruption": cell["corruption"], "severity": 1}
                yield from (f"suite {suite}: {p}" for p in plugins.check("corruption", entry))
            if suite in ("ood", "shift", "noise") and cell["reference"] not in clean:
                there = ", ".join(clean)
                yield f"suite {suite}: {cell['reference']!r} must be in the clean suite too; there are {there}"


def _score_problems(study: Study) -> Iterator[str]:
    c = study.config
    for reference, fit in c.fits.items():
        yield from _known(study, "fits", reference, fit)
        if reference not in c.suites.clean:
            yield f"fits: {reference!r} is not in the clean suite; there are {', '.join(c.suites.clean)}"
        if reference == fit:
            yield f"fits: {reference}: scores must not be fitted on the images that they are tested on"
    missing = [reference for reference in c.suites.ood if reference not in c.fits]
    for score in study.scores_that_need("train") if missing else []:
        there = "name a dataset of the same classes"
        yield f"fits: {', '.join(missing)}: missing; score {score} fits on training images: {there}"
    for score in study.scores_that_need("negatives") if c.negatives is None else []:
        there = ", ".join(plugins.names("lexicon"))
        yield f"negatives: missing; score {score} needs words, such as {{lexicon: wordnet}}; there are {there}"


def _explain_problems(study: Study) -> Iterator[str]:
    asked, c = study.config.explain, study.config
    if asked is None:
        return
    clean = ", ".join(c.suites.clean)
    for d in asked.datasets:
        yield from _known(study, "explain: datasets", d)
        if d in c.datasets and d not in c.suites.clean:
            yield f"explain: datasets: {d!r} must be in the clean suite too; there are {clean}"
    for axis in ("schemes", "precisions", "scopes", "seeds"):
        there = {s: None for e in c.schemes.values() for s in study.axis(e, axis)} if axis != "schemes" else c.schemes
        for word in getattr(asked, axis) or []:
            if word not in there:
                yield f"explain: {axis}: {word!r} is not in the grid; there are {', '.join(map(str, there))}"


def _known(study: Study, where: str, *names: str) -> Iterator[str]:
    for name in names:
        if name not in study.config.datasets:
            yield f"{where}: {plugins.unknown('dataset', name, study.config.datasets)}"
