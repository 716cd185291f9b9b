"""What columns of tables are called elsewhere, and which of ours each of them is."""

from __future__ import annotations

from collections.abc import Mapping

from reliquant.stored.column import Column

EMBEDDED = ("features", "feature", "feats", "embeds", "embed", "embeddings", "embedding", "emb", "embs")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "image": (
        *("image", "images", *(f"{start}_{end}" for start in ("image", "images", "img") for end in EMBEDDED)),
        *("embeddings", "embedding", "embeds", "embs", "emb", "features", "feats"),
    ),
    "text": ("text", *(f"{start}_{end}" for start in ("text", "texts", "txt") for end in EMBEDDED)),
    "label": ("label", "labels", "y", "y_true", "target", "targets", "class", "class_id", "ground_truth"),
    "image_of": ("image_of", "image_index", "caption_image", "text_image"),
    "logit_scale": ("logit_scale",),
    "logit_bias": ("logit_bias",),
    "photograph": ("photograph", "photographs"),
    "id": (
        *("id", "ids", "key", "keys", "image_id", "image_ids", "filename", "filenames", "file_name", "file_names"),
        *("filepath", "file_path", "path", "paths", "image_path", "image_paths"),
    ),
    "probabilities": ("probabilities", "probability", "probs", "softmax", "proba", "y_prob", "y_proba"),
    "logits": ("logits",),
    "prediction": ("prediction", "predictions", "pred", "preds", "y_pred", "predicted", "predicted_label"),
    "confidence": ("confidence", "confidences", "conf"),
    "classes": ("classes", "class_names", "classnames"),
}
MATRICES = ("image", "text", "probabilities", "logits")  # floating point, (rows, width)
NO_VALUES = ("Binary", "Struct")  # types of columns that are taken for none of ours unless they are named
WORDS = ("id", "label", "image_of", "prediction", "classes")  # may be words


def ours_of(
    columns: Mapping[str, Column], about: str, names: Mapping[str, str], /
) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Return columns by our names, and a sentence for each that was found under another name.

    `names` says which of theirs is which of ours ({"image": "img_emb"}); the others are found by SYNONYMS, without
    regard to capitals. Where several are there, those that cannot be meant by their type and shape are left out.
    Raises ValueError about the file, naming a column that is not there, two that may be meant, and one whose type is
    not read.
    """
    chosen = dict(_told(columns, about, names))
    for ours, known in SYNONYMS.items():
        if ours in chosen:
            continue
        found = [name for name in columns if name.lower().replace("-", "_") in known and name not in chosen.values()]
        fitting = [name for name in found if _may_be(ours, columns[name])]
        if not fitting:
            found = [
                name for name in found if not _holds_words(columns[name]) and columns[name].stored not in NO_VALUES
            ]
        found = fitting or found
        if len(found) > 1:
            words = " or ".join(f"--names {ours}={name}" for name in found)
            raise ValueError(f"{about}: {' and '.join(found)} may each be {ours}; say which: {words}")
        if found:
            chosen[ours] = found[0]
    for name in chosen.values():
        if columns[name].given is None:
            types = "float64, float32, float16, bfloat16, float8 and whole numbers"
            raise ValueError(f"{about}: {name} is of type {columns[name].stored}; {types} are read")
    said = tuple(f"{about}: {ours} is taken from {name}" for ours, name in chosen.items() if ours != name)
    return {ours: columns[name] for ours, name in chosen.items()}, said


def _told(columns: Mapping[str, Column], about: str, names: Mapping[str, str]) -> Mapping[str, str]:
    for ours, theirs in names.items():
        if ours not in SYNONYMS:
            raise ValueError(f"--names {ours}={theirs}: {ours!r} is unknown; there are {', '.join(SYNONYMS)}")
        if theirs not in columns:
            raise ValueError(f"{about}: has no {theirs!r} for {ours}; there are {', '.join(sorted(columns))}")
    return names


def _holds_words(column: Column) -> bool:
    return column.given is not None and column.given.kind == "O"


def _may_be(ours: str, column: Column) -> bool:
    """Whether a column fits one of ours by its type and shape."""
    if column.given is None:
        return False
    if ours in MATRICES:
        return column.given.kind == "f" and len(column.shape) == 2
    return column.shape[1:] in ((), (1,)) and (not _holds_words(column) or ours in WORDS)
