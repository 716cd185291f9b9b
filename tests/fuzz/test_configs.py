"""Mutated configs: each is read, or refused as a ConfigError whose lines name a key; never a traceback."""

import copy
import random

import pytest
import yaml

from reliquant import plugins
from reliquant.plugins import ConfigError
from reliquant.study.check import read_study

ROOT = plugins.PACKAGE.parents[1]
CONFIGS = sorted([*(ROOT / "config").glob("*.yaml"), ROOT / ".test" / "config" / "config.yaml"])
ODD = [None, True, False, 0, 1, -1, 2**70, 0.5, -0.0, float("nan"), float("inf")]
ODD += ["", " ", "x", "w4a8", "a/b", "../up", "/", "é", "a\nb", "\0", "{}", "null", "1e3", ".", "..", "a" * 5000]
ODD += [[], {}, [[]], [{}], [None], [1, "a"], {"a": 1}, {1: 2}, {"a": {"b": []}}, {None: 1}, (1, 2)]
ODD += [{"quantizer": ["rtn"]}, {"dataset": {}}, {"score": 3}, "reliquant.nothing", "os.path", "rtn."]


def places(value, path=()):
    """List the paths to everything inside a config."""
    found = [path] if path else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        found += places(inner, (*path, key))
    return found


def mutate(config, rng):
    """Change a few places: another value, another key, one more, one less, two swapped, a whole part elsewhere."""
    mutated = copy.deepcopy(config)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        path = rng.choice(places(mutated) or [()])
        if not path:
            return mutated
        holder = mutated
        for key in path[:-1]:
            holder = holder[key]
        key, change = path[-1], rng.randrange(6)
        if change == 0:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif change == 1:
            del holder[key]
        elif change == 2 and isinstance(holder, dict):
            holder[rng.choice(["", "x", 1, None, 2.5, "Model", "w4a8", (1, 2), *holder])] = copy.deepcopy(holder[key])
        elif change == 3 and isinstance(holder, list):
            holder.append(copy.deepcopy(rng.choice(ODD)))
        elif change == 4:
            other = rng.choice(places(mutated))
            source = mutated
            for step in other:
                source = source[step]
            holder[key] = copy.deepcopy(source)
        else:
            holder[key] = [holder[key], holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
    return mutated


def problems_of(config):
    try:
        study = read_study(config)
    except ConfigError as error:
        return error.problems
    variants = study.variants.values()
    for variant in variants:
        study.row_labels(variant)
    for variant in {(each.scheme, each.precision, each.scope): each for each in variants}.values():
        study.scheme_entry(variant), study.losses(variant)  # of these three alone
    for model in list(study.config.models)[:1]:
        for shard in study.shards:
            study.inputs(model, shard)
    return []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_mutated_config_is_read_or_refused_with_reasons(path, cases):
    config = yaml.safe_load(path.read_text())
    tracebacks, refused = {}, 0
    for seed in range(cases(120)):
        mutated = mutate(config, random.Random(f"{path.stem}-{seed}"))
        try:
            problems = problems_of(mutated)
        except Exception as error:
            tracebacks.setdefault(f"{type(error).__name__}: {error}", seed)
            continue
        refused += bool(problems)
        assert all(problem and len(problem) < 8000 for problem in problems), seed
    assert tracebacks == {}
    assert refused
