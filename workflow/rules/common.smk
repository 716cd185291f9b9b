# What all rules share: the checked study, and short words for paths and parameters.
import json
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, f"{workflow.basedir}/src")
from reliquant import plugins
from reliquant.study import Study

try:
    study = Study(config)
except plugins.ConfigError as error:
    raise WorkflowError(
        f"the config has {len(error.problems)} problems:\n" + "\n".join(f"  {p}" for p in error.problems)
    )

shell.prefix(f"export PYTHONPATH={workflow.basedir}/src${{{{PYTHONPATH:+:$PYTHONPATH}}}}; ")

RESULTS = f"results/{study.name}"
LOGS = f"logs/{study.name}"
SAMPLES = f"{RESULTS}/evaluate/{{variant}}/{{shard}}/samples.parquet"
QUANTIZED = f"{RESULTS}/quantize/{{variant}}.safetensors"
KEPT = f"{RESULTS}/quantize/{{variant}}.snapshots"


wildcard_constraints:
    model="[^/]+",
    dataset="[^/]+",
    form="[^/]+",
    corruption="[^/]+",
    shard="[^/]+",
    variant="[^/]+/[^/]+/[^/]+",


def variant(w):
    """The Variant that the wildcards mean."""
    return study.variants[w.variant]


def entry(function):
    """A parameter: what a function of the wildcards returns, as JSON; a change of it reruns the job."""
    return lambda w: json.dumps(function(w), sort_keys=True)


def code(step, data=(), **families):
    """A parameter: a hash of the code that a step really runs, with the plugins that the wildcards choose."""
    return lambda w: plugins.code(
        f"reliquant.steps.{step}", data=data, **{f: choose(w) for f, choose in families.items()}
    )


def proxy_inputs(w):
    """The captioned images of a variant's proxy; FP32 needs none."""
    v = variant(w)
    if v.proxy == "none":
        return []
    folder = study.prepared(study.config.proxies[v.proxy].of, v.model)
    return [f"{folder}/images.npy", f"{folder}/meta.json"]


def proxy_words(w, input):
    """The command line words for `proxy_inputs`."""
    v = variant(w)
    if v.proxy == "none":
        return ""
    folder = study.prepared(study.config.proxies[v.proxy].of, v.model)
    return f"--proxy {folder} --pairs {study.config.proxies[v.proxy].pairs}"


def shards_of(variant, shard):
    """The record files that a shard's measures need: its own, and the clean suite's for comparison.

    Snapshots have theirs in one shard; their baseline is not on its way anywhere and has the usual ones.
    """
    if shard == study.SNAPSHOTS:
        needed = [shard] if study.snapshots(variant) else {study.shard_of(s): 0 for s in study.suites_in(shard)}
    else:
        needed = dict.fromkeys([shard, study.shard_of("clean")])
    return [SAMPLES.format(variant=variant, shard=s) for s in needed]
