"""Proxies whose captions say nothing about their images: what a study may not do on them; free of torch."""

from __future__ import annotations

from collections.abc import Iterator

from reliquant import plugins
from reliquant.study.config import own_words
from reliquant.study.mixed import unpaired_measure
from reliquant.study.study import Study


def unpaired_problems(study: Study, /) -> Iterator[str]:
    """Say which schemes would train, and which logit scales be tuned, on the agreement of such images and captions."""
    unpaired = {name for name, proxy in study.config.proxies.items() if _is_unpaired(study, proxy.of)}
    if not unpaired:
        return
    told, names = "the captions of its dataset say nothing about the images", ", ".join(sorted(unpaired))
    if study.config.tuning == "contrastive":
        for name in sorted(unpaired):
            yield f"proxy {name}: {told}: tuning: contrastive fits their agreement; say match_fp32 or none"
    for scheme in dict.fromkeys(v.scheme for v in study.variants.values() if v.proxy in unpaired):
        for loss in _paired_losses(study, scheme):
            learned = f"losses: {loss} learns the agreement of pairs, but of {names} {told}"
            yield f"scheme {scheme}: {learned}; say {{loss: distillation}}, or narrow the scheme's proxies"
        if measure := unpaired_measure(study.schemes[scheme]):
            measured = f"measure: {measure} asks which caption an image has, but of {names} {told}"
            yield f"scheme {scheme}: {measured}; say output_error, or narrow the scheme's proxies"


def _is_unpaired(study: Study, dataset: str) -> bool:
    entry = study.config.datasets.get(dataset, {})
    if plugins.check("dataset", own_words("datasets", entry)):
        return False  # told with the entry
    return bool(plugins.literal("dataset", entry["dataset"], "UNPAIRED"))


def _paired_losses(study: Study, scheme: str) -> list[str]:
    """Name the losses of a trained scheme that are lower where an image and its caption agree."""
    entry = study.schemes[scheme]
    words = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
    losses: list[dict[str, str]] = entry.get("losses") or (words["losses"][1] if "losses" in words else [])
    return [loss["loss"] for loss in losses if plugins.literal("loss", loss["loss"], "PAIRED")]
