"""`reliquant evaluate`: embed labelled images and print every measure."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from reliquant.cli.measure import with_scores
from reliquant.cli.measure_paired import add_row_words, kept, labels_of_rows, scheme_names, usual_scores
from reliquant.cli.output import Output
from reliquant.cli.words import IMAGES, MODEL, RANDOM_WEIGHTS, TOWER, UNREADABLE, positive, writable
from reliquant.deploy.folder import variant_of
from reliquant.deploy.runtimes import RUNTIMES, Runtime
from reliquant.device import choose
from reliquant.evaluation.answers import Answers, answers_of_features
from reliquant.evaluation.embed import embed_images
from reliquant.evaluation.features import Features
from reliquant.evaluation.paired import Quantized, measure_paired
from reliquant.files.artifacts import UNKNOWN, whole
from reliquant.images.open import named_images, open_images
from reliquant.layers.backend import Backend, use_backend
from reliquant.layers.variant import load_variant
from reliquant.models.clip import Clip
from reliquant.models.files import sha256_of_model
from reliquant.models.open import open_model
from reliquant.progress import say
from reliquant.stored.features import features_of
from reliquant.stored.read import read_table
from reliquant.study.prompts import template_problems
from reliquant.study.scheme import precision_of

EXAMPLE = "reliquant evaluate --model lab-vit-curated --data photos/ --ood others/ --save features.safetensors"
BACKEND = (
    "of a variant: simulate rounds in floating point, integer multiplies int8 codes and says where it cannot, auto"
    " multiplies codes where that is possible and faster"
)
EXPORTED = (
    "the folder of `reliquant export` of this very model or variant: its towers are run by --runtime, a tower that it"
    " lacks by torch"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--tower", help=TOWER)
    parser.add_argument("--random-weights", action="store_true", help=RANDOM_WEIGHTS)
    parser.add_argument("--variant", type=Path, help="made by `reliquant quantize`; FP32 if left out")
    parser.add_argument("--data", required=True, help=f"labelled images: {IMAGES}")
    parser.add_argument("--ood", nargs="*", default=[], help="out-of-distribution images, likewise; without labels")
    parser.add_argument("--templates", nargs="+", help="prompts with {} for the class, in place of the dataset's own")
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop", help=UNREADABLE)
    parser.add_argument("--batch", type=positive, default=256)
    parser.add_argument("--resamples", type=positive, default=10_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backend", choices=["auto", "simulate", "integer"], default="auto", help=BACKEND)
    parser.add_argument("--exported", type=Path, help=EXPORTED)
    parser.add_argument("--runtime", choices=RUNTIMES, help="what runs --exported (onnxruntime)")
    parser.add_argument("--scale", choices=["native", "tuned"], default="native", help="logit scale of the softmax")
    reference = "FP32's features of the same images, kept by --save, so that FP32 need not embed them again"
    parser.add_argument("--reference", type=Path, help=reference)
    alone = "of a variant: leave out the changes to FP32, which take a second model's time"
    parser.add_argument("--no-reference", action="store_true", help=alone)
    add_row_words(parser, model=False, dataset=False)
    parser.add_argument("--save", type=Path, help="keep the features, for `reliquant measure`")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    model: str,
    tower: str | None = None,
    random_weights: bool = False,
    variant: Path | None,
    data: str,
    ood: list[str],
    templates: list[str] | None,
    unreadable: Literal["stop", "skip"],
    batch: int,
    resamples: int,
    device: str,
    backend: Backend,
    exported: Path | None = None,
    runtime: Runtime | None = None,
    scale: str,
    save: Path | None,
    reference: Path | None,
    no_reference: bool,
    rows: Path | None,
    study: str | None,
    source: str | None,
) -> Output:
    """Embed labelled images with a model, or with a variant of it, and measure, at its own logit scale or the tuned.

    Of a variant changes to FP32 are measured too, which embeds the same images.
    """
    paired = _require_words(variant, reference, no_reference, rows, ood, scale)
    if runtime and not exported:
        raise ValueError("--runtime: runs what was exported: give --exported")
    if exported and (backend != "auto" or device not in ("auto", "cpu")):
        raise ValueError("--exported: is run by --runtime on the CPU; leave out --backend and --device")
    for problem in () if templates is None else template_problems(templates):
        raise ValueError(f"--templates: {problem}")
    if save:
        writable(save, "--save")
    name = named_images(data, "labelled").name  # what is wrong with paths is told before a model is read
    for word in ood:
        named_images(word, "ood")
    if variant and random_weights:
        raise ValueError(f"{variant}: a variant has the weights of its model: leave out --random-weights")
    if variant:
        clip, header = load_variant(Path(model), variant, tower=tower)
    else:
        clip, header = open_model(model, random_weights=random_weights, tower=tower), {}
    if scale == "tuned" and header.get("logit_scale_tuned") is None:
        raise ValueError(f"{variant or model}: has no tuned logit scale; `reliquant quantize --tuning` makes one")
    said: list[str] = []
    if exported:
        clip = _run_exported(clip, exported, runtime or "onnxruntime", model, header, said)
        device = "cpu"
    else:
        device = choose(device)
        clip.model.to(device)
    if variant and not exported:
        use_backend(clip.model, backend, str(variant))
    images = open_images(data, clip.form, role="labelled", unreadable=unreadable)
    logit_scale = header["logit_scale_tuned"] if scale == "tuned" else None
    test = embed_images(clip, images, templates=templates, logit_scale=logit_scale, batch=batch, device=device)
    if save:
        _save(save, test)
    sets, others = {word: open_images(word, clip.form, role="ood", unreadable=unreadable) for word in ood}, {}
    for word, other in sets.items():
        others[word] = embed_images(clip, other, beside=test, batch=batch, device=device)
    name = data if name in others else name
    if variant is None or not paired:
        for line in said:
            say("reliquant", line)
        return with_scores(name, test, others, resamples)
    del clip
    if reference:
        exact, exact_others = stored_features(reference, test, said), {}
    else:
        fp32 = open_model(model, tower=tower)
        fp32.model.to(device)
        exact = embed_images(fp32, images, templates=templates, batch=batch, device=device)
        exact_others = {word: embed_images(fp32, sets[word], beside=exact, batch=batch, device=device) for word in sets}
    scores = usual_scores()
    answers, of_fp32 = answers_of_features(test, others, scores), answers_of_features(exact, exact_others, scores)
    scheme = scheme_names([variant])[0] + (f"@{runtime or 'onnxruntime'}" if exported else "")
    quantized = {scheme: described(variant, answers, header)}
    words = {"study": study, "source": source, "dataset": name}
    frame = measure_paired(quantized, of_fp32, labels_of_rows(rows, Path(model).stem, words), resamples=resamples)
    output = kept(frame, str(reference or "FP32"), [*said, *answers.said], rows)
    return output._replace(data=next(iter(output.data["variants"].values())))


def _run_exported(
    clip: Clip,
    folder: Path,
    runtime: Runtime,
    model: str,
    header: Mapping[str, Any],
    said: list[str],
) -> Clip:
    """Let a runtime run the exported towers of a model or variant; say which, and in which type its layers run."""
    try:
        from reliquant.deploy.runtime_model import require_export_of, told_of_runs, with_runtime
    except ImportError as error:
        raise ValueError(f"--exported: needs pip install 'reliquant[deploy]' ({error.name} is not there)") from error
    changed, told = with_runtime(clip, folder, runtime)
    if header:
        require_export_of(folder, told["export"], header["model_sha256"], variant_of(header))
    else:
        require_export_of(folder, told["export"], sha256_of_model(model, clip), "")
    said.append(told_of_runs(folder, told["runs"]))
    return changed


def _require_words(
    variant: Path | None, reference: Path | None, alone: bool, rows: Path | None, ood: Sequence[str], scale: str
) -> bool:
    """Say whether changes to FP32 are measured; raise ValueError, before a model is read, for words that do not fit."""
    given = [word for word, value in (("--reference", reference), ("--rows", rows)) if value is not None]
    if given and (variant is None or alone):
        told = "leave out --no-reference" if variant else "needs --variant: rows and changes are a variant's"
        raise ValueError(f"{given[0]}: {told}")
    if reference is not None and ood:
        raise ValueError("--reference: holds no embeddings of OOD sets; leave it out, or leave out --ood")
    if rows is not None:
        writable(rows, "--rows")
        if scale == "tuned":
            raise ValueError("--rows: are of the model's own logit scale; leave out --scale tuned")
    return variant is not None and not alone


def stored_features(path: Path, test: Features, said: list[str], /) -> Features:
    """Read the features of FP32 that `--save` kept; raise ValueError unless they are of the very images and classes."""
    found = features_of(read_table(path), labelled=True)
    for what, mine, theirs in (
        ("labels", test.label, found.label),
        ("photographs", test.photographs, found.photographs),
    ):
        if theirs is not None and (len(mine) != len(theirs) or (mine != theirs).any()):
            raise ValueError(f"{path}: is of other images than --data: their {what} differ")
    if found.text.shape != test.text.shape:
        raise ValueError(f"{path}: has {len(found.text)} classes, --data {len(test.text)}")
    said.append(f"FP32's features are those of {path}: that the same model and templates made them is assumed")
    return found.held()


def described(variant: Path, answers: Answers, header: Mapping[str, Any], /) -> Quantized:
    """Return a variant's answers with what its file says of it: precision, method, scope, bytes and stored bits."""
    entry, labels = header.get("entry") or {}, header.get("labels") or {}
    precision = precision_of(entry)
    measures = {name: float(value) for name, value in (header.get("measures") or {}).items()}
    family, scope = (str(found or UNKNOWN) for found in (entry.get("quantizer"), labels.get("scope")))
    return Quantized(answers, precision, measures, family, scope)


def _save(path: Path, features: Features) -> None:
    """Write features as `reliquant measure` reads them."""
    scale, bias = np.float32([features.logit_scale]), np.float32([features.logit_bias])
    arrays = {"image": features.image, "label": features.label, "text": features.text}
    if features.photographs is not None:
        arrays["photograph"] = features.photographs
    with whole(path) as part:
        save_file({**arrays, "logit_scale": scale, "logit_bias": bias}, part)
