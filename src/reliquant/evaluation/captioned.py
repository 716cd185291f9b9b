"""Embed the images and all captions of a dataset: what searches are measured on, and the file that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from reliquant.evaluation.zero_shot import Dtype, image_features
from reliquant.images.prepare import Prepared
from reliquant.measures.retrieval import Captioned
from reliquant.models.clip import Clip
from reliquant.progress import progress, say


@dataclass(frozen=True)
class Gallery:
    """Say which images of a dataset are searched, and which captions they have, before anything is embedded.

    `images` (n,) numbers the images that are kept, `texts` (m,) are captions, `image_of` (m,) says of which kept image
    each is, `label` (n,) numbers classes, -1 outside them, or is None without any; `photographs` (n,) are keys.
    `facts` counts what was put together or left out.
    """

    images: NDArray[np.int64]
    texts: list[str]
    image_of: NDArray[np.int64]
    label: NDArray[np.int64] | None
    photographs: NDArray[np.uint64]
    facts: Mapping[str, int]


def gallery(prepared: Prepared, name: str, /) -> Gallery:
    """Choose what is searched of a prepared dataset; `name` is for messages.

    An image that is there several times (equal keys of photographs) is one image with all its captions, since its
    copies would have one embedding and only one of them would count as right. Its class is none where copies differ in
    it. Blank captions are left out; an image without another asks for nothing, but is in the library that is searched.
    Raises ValueError where the dataset has no captions, or fewer than two different images.
    """
    meta = prepared.meta
    if "captions" not in meta:
        raise ValueError(f"{name}: has no captions, and retrieval searches by them")
    every = meta.get("all_captions") or [[text] for text in meta["captions"]]
    keys = prepared.photographs
    assert keys is not None  # of every folder that `prepare.load` opened
    copies: dict[int, list[int]] = {}
    for i in range(len(keys)):
        copies.setdefault(int(keys[i]), []).append(i)
    kept, texts, image_of, label = [], [], [], []
    for of_image in copies.values():
        own = _said([every[i] for i in of_image])
        image_of += [len(kept)] * len(own)
        texts += own
        kept.append(of_image[0])
        classes = set(prepared.labels[of_image].tolist())
        label.append(classes.pop() if len(classes) == 1 else -1)
    if len(kept) < 2 or not texts:
        raise ValueError(
            f"{name}: {len(kept)} images and {len(texts)} captions; a search needs two images and a caption"
        )
    facts = {"images": len(kept), "captions": len(texts), "copies": len(keys) - len(copies)}
    facts |= {"without_caption": len(kept) - len(set(image_of)), "repeated": _repeated(texts, image_of)}
    _tell(name, facts)
    number = np.array(label)
    classes_known = not meta.get("label_problem") and len(set(number[number >= 0].tolist())) > 1
    images = np.array(kept)
    return Gallery(images, texts, np.array(image_of), number if classes_known else None, keys[images], facts)


def embed_captioned(
    clip: Clip, prepared: Prepared, name: str, /, *, batch: int = 256, device: str = "cpu", dtype: Dtype = "float32"
) -> tuple[Captioned, Mapping[str, int]]:
    """Embed the images and captions of a dataset as unit rows, and say how many there are (`Gallery.facts`).

    Captions that fill all tokens that the model reads are counted as `full`, too: they may have been cut. Raises
    ValueError where the dataset has no captions, or an embedding is not finite.
    """
    found = gallery(prepared, name)
    images = prepared.images if len(found.images) == len(prepared.labels) else prepared.images[found.images]
    image = image_features(clip, images, batch=batch, device=device, dtype=dtype, label=name)
    text, full = _text_features(clip, found.texts, batch, device, f"{name}, captions")
    if full:
        say(
            name, f"{full} of {len(text)} captions fill all tokens that the model reads: what is beyond them is cut off"
        )
    for what, rows in (("images", image), ("captions", text)):
        if bad := int((~np.isfinite(rows).all(axis=1)).sum()):
            raise ValueError(f"{name}: {bad} {what} have NaN or infinite embeddings")
    return Captioned(image, text, found.image_of, found.label, found.photographs), {**found.facts, "full": full}


@torch.no_grad()
def _text_features(
    clip: Clip, texts: list[str], batch: int, device: str, label: str
) -> tuple[NDArray[np.float32], int]:
    """Embed texts as unit rows (m, d), float32 whatever the type of the forward; count those that leave no token over.

    A tokenizer with a fixed number of tokens ends a short text with its padding, and a full one with another.
    """
    parts, full, short = [], 0, clip.tokenizer(["a"])
    for start in progress(range(0, len(texts), batch), label=label, total=-(-len(texts) // batch)):
        tokens = clip.tokenizer(texts[start : start + batch])
        if tokens.shape[1] == short.shape[1]:
            full += int((tokens[:, -1] != short[0, -1]).sum())
        embedded = clip.model.encode_text(tokens.to(device), normalize=False)
        parts.append(normalize(embedded.float(), dim=1).cpu().numpy())
    return np.concatenate(parts), full


def _said(captions: list[list[str]]) -> list[str]:
    """Return the captions of all copies of an image that say something."""
    found: list[str] = []
    for texts in captions:
        found += [text for text in texts if text.strip()]
    return found


def _repeated(texts: list[str], image_of: list[int]) -> int:
    """Count the captions whose words, but for case and spaces, another image has, too."""
    images: dict[str, set[int]] = {}
    plain = [" ".join(text.casefold().split()) for text in texts]
    for text, image in zip(plain, image_of, strict=True):
        images.setdefault(text, set()).add(image)
    return sum(len(images[text]) > 1 for text in plain)


def _tell(name: str, facts: Mapping[str, int]) -> None:
    """Say what was put together or left out, and that captions repeat; nothing where there is nothing to say."""
    if facts["copies"]:
        say(name, f"{facts['copies']} images are copies of others: their captions are those of one image")
    if facts["without_caption"]:
        say(name, f"{facts['without_caption']} images have no caption: they may be found, and ask for nothing")
    if facts["repeated"]:
        told = f"{facts['repeated']} of {facts['captions']} captions are those of another image, too"
        say(name, f"{told}: only its own image counts as right")
