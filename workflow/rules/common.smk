# What all rules share: the checked study, and short words for paths and parameters.
import inspect
import json
import re
from functools import cache
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

from reliquant import fingerprint, plugins
from reliquant.study import deployment, made_of, paths, placed, retrieval, sensitivity
from reliquant.study.check import read_study
from reliquant.study.slices import sliced

try:
    whole = {}
    for path in workflow.configfiles:
        update_config(whole, load_configfile(path))
    config = sliced(config, whole)  # --config models=[a,b] names a slice
    study = read_study(config)
except plugins.ConfigError as error:
    raise WorkflowError(
        f"the config has {len(error.problems)} problems:\n" + "\n".join(f"  {p}" for p in error.problems)
    )

changed = "\n".join(filter(None, map(placed.model_problem, study.config.models)))
if changed:
    raise WorkflowError(changed)

in_conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method  # which then has the packages
if not in_conda and (absent := deployment.absent_packages(study)):
    raise WorkflowError(absent)

# In a command every word is quoted (:q); a parameter that is a list is so many words, an empty one is none.
DETERMINISTIC = ["--deterministic"] if study.config.deterministic else []
SIGNATURE = inspect.signature(lambda w: None)
GROWING = inspect.signature(lambda wildcards, attempt: None)
LOGS = f"logs/{study.name}"
PREPARED = paths.prepared("{dataset}", "{form}")
MODEL = paths.model("{model}")
SAMPLES = paths.samples(study.name, "{variant}", "{shard}")
INVENTORY = paths.inventory(study.name, "{model}", "{shard}")  # one input file in place of a hundred
QUANTIZED = paths.variant(study.name, "{variant}")
GPU = int(study.config.device.startswith("cuda"))  # one job per GPU, where the config asks for one
KEPT = paths.snapshots(QUANTIZED)
REPORT = paths.report(study.name)
SHIPPED = ("models/architectures/*", "models/vocabulary.txt", "models/shipped/table.json")  # what a tower reads


wildcard_constraints:
    model="[^/]+",
    dataset="[^/]+",
    form="[^/]+",
    folder=r"\w[^/]*(/\w[^/]*)*",
    corruption="[^/]+",
    shard="[^/]+",
    variant="[^/]+/[^/]+/[^/]+",
    runtime="[^/]+",


def variant(w):
    """The Variant that the wildcards mean."""
    return study.variants[w.variant]


def quick(function, signature=SIGNATURE):
    """Fix the signature, which Snakemake would otherwise inspect anew for each of ten thousands of jobs."""
    function.__signature__ = signature
    return function


def folder_of(path):
    """A parameter: the folder in which an input or output lies."""
    return lambda w, input, output: str(Path(path(input, output)).parent)


def more(amount):
    """A resource: a job that ran out of it gets more at its next try, if the profile retries."""
    return quick(lambda wildcards, attempt: amount * attempt, GROWING)


def entry(function):
    """A parameter: what a function of the wildcards returns, as JSON; a change of it reruns the job."""
    return quick(lambda w: json.dumps(function(w), sort_keys=True))


@cache
def cells(model, shard):
    """What an evaluation job forwards, as JSON; kept, because many variants ask for the same."""
    return json.dumps(study.cells(model, shard), sort_keys=True)


@cache
def hashed(step, data, families):
    """Hash the code of a step, the data files it reads, and the chosen plugins, as (family, names) pairs."""
    return fingerprint.code(f"reliquant.steps.{step}", data=data, **dict(families))


def code(step, data=(), **families):
    """A parameter: a hash of the code that a step really runs, with the plugins that the wildcards choose.

    `families` has a function of the wildcards for each family: it returns the name of a plugin, or a list of names.
    """

    if not families:
        return hashed(step, data, ())

    def of_wildcards(w):
        plugins_run = []
        for family, choose in families.items():
            names = choose(w)
            plugins_run.append((family, names if isinstance(names, str) else tuple(names)))
        return hashed(step, data, tuple(plugins_run))

    return quick(of_wildcards)


@quick
def model_of(w):
    """The FP32 model of a variant."""
    return paths.model(variant(w).model)


@quick
def tower_words(w):
    """The command line words for a tower's module that the config names, which a model's file alone may not name."""
    named = study.tower_entry(variant(w).model)["tower"]
    return ["--tower", named] if "." in named else []


def proxies_of(variant):
    """The proxies whose pairs a variant sees: its own, or those on which the logit scale of FP32 is tuned."""
    if variant.proxy == "none":
        return study.tuned_on(variant)
    return {variant.proxy: study.proxy(variant.proxy, variant.model)}


@quick
def proxy_inputs(w):
    """The captioned images that a variant sees; FP32 sees none without tuning."""
    folders = [proxy["folder"] for proxy in proxies_of(variant(w)).values()]
    return [file for folder in folders for file in (paths.images(folder), paths.meta(folder))]


def proxy_words(w, input):
    """The command line words for `proxy_inputs`."""
    proxies = proxies_of(variant(w))
    if variant(w).proxy == "none":
        return ["--tune-on", json.dumps(proxies, sort_keys=True)] if proxies else []
    (proxy,) = proxies.values()
    words = ["--proxy", proxy["folder"], "--proxy-entry", json.dumps(proxy["entry"], sort_keys=True)]
    return [*words, "--pairs", str(proxy["pairs"]), "--held-out", str(proxy["held_out"])]


@quick
def negative_words(w):
    """The command line words for the negative words of the score neglabel; none without them."""
    words, folder = study.negatives()
    return ["--negatives", json.dumps(words, sort_keys=True), "--lexicon-root", folder] if words else []


@cache
def placed_images(dataset, folder):
    """The words for a digest of what people put in place for a dataset, so that a change of it prepares it again."""
    if study.is_fetched(dataset) or (workflow.dryrun and not Path(paths.meta(folder)).exists()):
        return []  # the record of a download says what it is of; what is not prepared yet needs no digest to be planned
    now = placed.dataset_digest(study.dataset_entry(dataset), study.root(dataset))
    digest = placed.digest_or_recorded(now, placed.record_of_images(folder))
    return ["--placed", digest] if digest else []


@cache
def placed_model(model):
    """The words for a digest of the files and folders that a model's entry names."""
    now = placed.model_digest(study.tower_entry(model))
    digest = placed.digest_or_recorded(now, placed.record_of_model(model))
    return ["--placed", digest] if digest else []


@cache
def placed_lexicon():
    """A digest of the files of the negative words that people put in place."""
    return "" if study.fetched_lexicon() else placed.lexicon_digest(*study.negatives())


def shards_of(variant, shard):
    """The record files that a shard's measures need: its own first, then those of its OOD sets' references."""
    return [SAMPLES.format(variant=variant, shard=other) for other in made_of.shards_needed(study, variant, shard)]


def explain_shards():
    """The shards whose records an explanation reads: of the clean suite, and of the spurious one if there is one."""
    suites = ["clean", "spurious"] if study.config.suites.spurious else ["clean"]
    return list(dict.fromkeys(study.shard_of(suite) for suite in suites))


def explain_records(variant):
    """The record files that an explanation reads."""
    return [SAMPLES.format(variant=variant, shard=shard) for shard in explain_shards()]


def explain_images(w):
    """The prepared images that an explanation forwards, and the class names of those whose records it reads."""
    model = variant(w).model
    images = [paths.images(cell["folder"]) for cell in study.explain_cells(model)]
    return images + [paths.meta(cell["folder"]) for cell in study.explain_record_cells(model)]


def corrupted_images(w):
    """The command line words for how many images of a dataset are corrupted; none for all of them."""
    images = study.config.suites.noise[w.dataset].images
    return ["--images", str(images)] if images else []


def pretrain_folder(model):
    """The prepared folder of the image-caption pairs that a model is pre-trained on."""
    pairs, _ = study.pretrain_words(model)
    return study.prepared(pairs, model)


def described_images():
    """The descriptions of all prepared images that the study reads."""
    files = set()
    for model in study.config.models:
        for shard in study.shards:
            files |= {file for file in study.inputs(model, shard) if Path(file).name == paths.META}
        files |= {paths.meta(each["folder"]) for each in retrieval.sets_of(study, model)}
    return sorted(files)
