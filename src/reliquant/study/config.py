"""The shape of a study config, and what its entries mean; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from reliquant import names, plugins
from reliquant.grid import parse_precision
from reliquant.study.layer_words import Layers
from reliquant.study.refusals import refusals


def _without(problem_of: Callable[[str], str]) -> AfterValidator:
    """Refuse a text of which a check says what is wrong."""

    def check(text: str) -> str:
        if problem := problem_of(text):
            raise PydanticCustomError("name", "{problem}", {"problem": problem})
        return text

    return AfterValidator(check)


Name = Annotated[str, _without(names.name_problem)]
Device = Annotated[str, _without(names.device_problem)]
Place = Annotated[str, _without(names.path_problem)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Entry = dict[str, Any]
Suite = Literal["clean", "ood", "shift", "noise", "spurious"]
Runtime = Literal["onnxruntime", "openvino"]  # what runs exported files; `deploy/runtimes.py` opens them
SUITES: tuple[Suite, ...] = get_args(Suite)  # of evaluation jobs, whose records are of images and their classes
PieceKind = Literal["figures", "tables"]  # of what a report shows
RETRIEVAL = "retrieval"  # the suite of images and captions, which has jobs of its own


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


HELD_OUT = 0.2  # of the proxy pairs: no variant is calibrated or trained on them, its logit scale is tuned on them
EQUIVALENCE = 0.01  # a change within one point, or 1 % relative, is read as none: less changes no decision
FEWEST_HELD_OUT = 10  # pairs to tune a logit scale on


class Proxy(_Part):
    """Image-caption pairs: how many, of which captioned dataset, and which share of them only logit scales see."""

    of: Name
    pairs: int = Field(1000, ge=1)
    held_out: float = Field(HELD_OUT, ge=0, lt=1)


class Noise(_Part):
    """Corruptions laid over a dataset: which, how strong, and over how many of its images (None: all)."""

    corruptions: list[Name]
    severities: list[Annotated[int, Field(ge=1, le=5)]] = [1, 2, 3, 4, 5]
    images: int | None = Field(None, ge=1)


class Retrieval(_Part):
    """Which captioned datasets are searched, in which stored forms beside float32, and for which part of the grid."""

    datasets: list[Name] = Field(min_length=1)
    indexes: dict[Name, Entry] = {}
    schemes: list[Name] | None = None
    precisions: list[str] | None = None
    scopes: list[Literal["image", "both"]] | None = None
    seeds: list[int] | None = None


class Suites(_Part):
    """Which datasets every variant is evaluated on, by suite; see config/README.md."""

    clean: list[Name]
    ood: dict[Name, dict[Literal["near", "far"], list[Name]]] = {}
    shift: dict[Name, list[Name]] = {}
    noise: dict[Name, Noise] = {}
    spurious: list[Name] = []
    retrieval: Retrieval | None = None


class Explain(_Part):
    """What `explain` computes: on which clean datasets and how many of their images, and for which part of the grid."""

    datasets: list[Name] = Field(min_length=1)
    images: int = Field(500, ge=20)
    waves: int = Field(5, ge=0)
    wave_images: int = Field(50, ge=1)
    schemes: list[Name] | None = None
    precisions: list[str] | None = None
    scopes: list[Literal["image", "both"]] | None = None
    seeds: list[int] | None = None


class Sensitivity(_Part):
    """Where each layer (or block) is quantized alone, and what is measured: clean datasets, and OOD sets of theirs."""

    datasets: list[Name] = Field(min_length=1)
    ood: dict[Name, list[Name]] = {}
    by: Literal["layer", "block"] = "layer"
    schemes: list[Name] | None = None
    precisions: list[str] | None = None
    scopes: list[Literal["image", "both"]] | None = None
    seeds: list[int] | None = None


class Time(_Part):
    """How exported files are timed: at batch 1 and another, in turns with FP32's over so many rounds."""

    batch: int = Field(32, ge=1)
    rounds: int = Field(7, ge=1, le=1000)


class Deploy(_Part):
    """Which part of the grid is exported, with FP32 of the `models`, and which runtimes run it on which suites."""

    runtimes: list[Runtime] = Field(min_length=1)
    towers: Literal["both", "image", "text"] = "both"
    float_weights: bool = False
    code_bits: Literal[4, 8] = 4
    threads: int = Field(1, ge=1, le=1024)
    suites: list[Suite] | None = Field(None, min_length=1)
    time: Time | None = None
    models: list[Name] | None = Field(None, min_length=1)
    schemes: list[Name] | None = None
    precisions: list[str] | None = None
    scopes: list[Literal["image", "both"]] | None = None
    seeds: list[int] | None = None


class Config(_Part):
    """The shape of a study config; whether the names in it lead somewhere is checked in `check.py`."""

    study: Name
    title: str
    note: str = ""
    data_root: Place | None = None
    from_scratch: bool = False
    unreadable: Literal["stop", "skip"] = "stop"
    resamples: int = Field(10_000, ge=100)
    equivalence: float = Field(EQUIVALENCE, gt=0, lt=1)
    checkpoint_every: int = Field(100, ge=1)
    tuning: Literal["none", "contrastive", "match_fp32"] = "contrastive"
    batch: int = Field(256, ge=1)
    device: Device = "auto"
    deterministic: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    backend: Literal["auto", "simulate", "integer"] = "auto"
    models: dict[Name, Entry] = Field(min_length=1)
    schemes: dict[Name, Entry] = {}
    precisions: list[str] = ["w8a8"]
    scopes: list[Literal["image", "both"]] = ["image"]
    proxies: dict[Name, Proxy] = {}
    seeds: list[Seed] = [0]
    datasets: dict[Name, Entry] = Field(min_length=1)
    suites: Suites
    snapshot_suites: list[Suite] = ["clean"]
    shards: dict[Name, list[str]] = {}
    templates_alone: int = Field(8, ge=0)
    scores: dict[Name, Entry] = {}
    fits: dict[Name, Name] = {}
    negatives: Entry | None = None
    explain: Explain | None = None
    sensitivity: Sensitivity | None = None
    deploy: Deploy | None = None
    report: dict[PieceKind, list[str]] = {}


# keys that variants keep, beside a quantizer's words
OF_VARIANTS = ("least_share", "bias_correction", "compensation", "layers")
LEAST_SHARE = 0.8  # of the weights in the blocks: what a scheme means to quantize, unless its `least_share` says so
FP32_SCHEME: Entry = {"quantizer": "none", "family": "FP32"}

FAMILY_OF = {"models": "tower", "schemes": "quantizer", "datasets": "dataset", "scores": "score"}
STUDY_KEYS: dict[str, dict[str, Any]] = {  # the keys of an entry that the study itself reads, not the plugin
    "models": {"source": str, "form": str, "pretrain": dict[str, Any]},
    "schemes": {
        "precisions": list[str],
        "scopes": list[str],
        "proxies": list[str],
        "family": str,
        "seeds": list[Seed],
        "least_share": Annotated[float, Field(ge=0, le=1)],
        "bias_correction": bool,
        "compensation": Literal["qwt"],
        "layers": Layers,
        "snapshots": list[int] | dict[str, list[int]],
    },
    "datasets": {"folder": str, "native": bool},
    "scores": {},
    "negatives": {"folder": str},
}


def own_words(section: str, entry: Mapping[str, Any], /) -> Entry:
    """Return the plugin's words of an entry, without the keys that the study itself reads."""
    return {word: value for word, value in entry.items() if word not in STUDY_KEYS[section]}


def least_share(entry: Mapping[str, Any], /) -> float:
    """Return the share of the weights in the blocks below which a scheme's variant is warned of."""
    return float(entry.get("least_share", LEAST_SHARE))


def quantizer_words(entry: Mapping[str, Any], /) -> Entry:
    """Return the words of a scheme's entry that its quantizer takes."""
    return {word: value for word, value in entry.items() if word not in OF_VARIANTS}


def with_grids(entry: Mapping[str, Any], precision: str, /) -> Entry:
    """Add what a precision says, its bits and the words of its formats, to an entry's grids.

    By default weights have one scale per channel, activations one per tensor.
    """
    weight, activation = parse_precision(precision)
    return {
        **entry,
        "weight": {"granularity": "channel", **entry.get("weight", {}), **weight},
        "activation": {"granularity": "tensor", **entry.get("activation", {}), **activation},
    }


def format_problems(entry: Mapping[str, Any], precision: str, /) -> Iterator[str]:
    """Say where a scheme's grids contradict the formats of a precision, and where its method takes none of them.

    Where they fit, say what the method refuses of a scheme whose words are right by themselves.
    """
    problems = list(_contradictions(entry, precision)) or refusals(with_grids(entry, precision))
    yield from problems


def at_own_precision(entry: Mapping[str, Any], precision: str, /) -> Entry:
    """Return an entry as layers of another precision (`layers: other`) take it: their floats have no zero points."""
    words = dict(entry)
    for role, of_format in zip(("weight", "activation"), parse_precision(precision), strict=True):
        if len(of_format) > 1 and role in entry:
            words[role] = {word: said for word, said in entry[role].items() if word not in ("symmetric", "signed")}
    return words


def _contradictions(entry: Mapping[str, Any], precision: str) -> Iterator[str]:
    for role, words in zip(("weight", "activation"), parse_precision(precision), strict=True):
        own = entry.get(role, {})
        fixed = {**words, "symmetric": True, "signed": True} if len(words) > 1 else words
        for word in fixed.keys() & own.keys():
            if own[word] != fixed[word]:
                told = f"{role}: {word}: {own[word]!r} is not what {precision} means, {fixed[word]!r}"
                yield f"{told}; leave it out, or give the scheme `precisions` without {precision}"
        if len(words) > 1 and not plugins.literal("quantizer", entry["quantizer"], "FORMATS"):
            yield f"precision {precision}: {entry['quantizer']} takes plain integers only; give the scheme `precisions`"
            return


def correction_problems(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say where a scheme asks for a correction of a method that has none: it trains biases, or rounds nothing."""
    method = entry.get("quantizer", "")
    if method not in plugins.names("quantizer"):
        return
    for word, value in (("bias_correction", "true"), ("compensation", "qwt")):
        told = f"{word}: {value} is for methods that round and train nothing"
        if not entry.get(word):
            continue
        if method == "mixed" and word == "compensation":
            yield f"{word}: {value} stores weights beyond the budget of mixed; leave one of them out"
        elif method == "none":
            yield f"{told}; none rounds nothing; leave it out"
        elif "losses" in plugins.words(plugins.source("quantizer", method), "quantizer"):
            yield f"{told}; {method} trains the biases itself; leave it out"


NOT_OF_SCHEMES = {  # words of a grid that a scheme does not say, and where they come from
    "bits": "come from the precision, such as w4a8",
    "element": "comes from the precision's format, such as wfp4a8",
    "tensor_scale": "is found from each tensor, where the precision's format has one, such as nvfp4",
}


def grid_problems(entry: Mapping[str, Any], /) -> Iterator[str]:
    """Say what is wrong with the grids of a scheme's entry before a precision adds the bits."""
    for grid in ("weight", "activation"):
        words = entry.get(grid, {})
        if not isinstance(words, Mapping):
            yield f"{grid}: must be a mapping of grid words, got {words!r}"
            continue
        for word, origin in NOT_OF_SCHEMES.items():
            if word in words:
                yield f"{grid}: {word}: {origin}; leave {word}: {words[word]} out"


def snapshots_of(entry: Mapping[str, Any], precision: str, scope: str, /) -> list[int]:
    """Return the iterations after which a scheme keeps a variant, in order.

    The entry names them for all its variants, or by precision (`w4a8`), or by precision and scope (`w4a8-image`).

    >>> snapshots_of({"snapshots": {"w4a8": [50, 0]}}, "w4a8", "image")
    [0, 50]
    """
    iterations = entry.get("snapshots", [])
    if isinstance(iterations, Mapping):
        iterations = iterations.get(f"{precision}-{scope}", iterations.get(precision, []))
    return sorted(set(iterations))
