"""Find the columns of a table of images by type and name, and read its labels and captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from PIL import Image

from reliquant.images.dataset import UnreadableImage
from reliquant.images.decoding import opened
from reliquant.images.numbering import Labels, numbered

IMAGES = ["image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content"]
PATHS = ["path", "filepath", "file_path", "file", "filename", "file_name", "image_path", "img_path", "image_file"]
LABELS = ["label", "labels", "class", "cls", "class_name", "category", "target", "y"]
MUCH = 200  # letters of a path in a message
CAPTIONS = ["caption", "captions", "text", "texts", "sentence", "sentences", "title", "description"]


@dataclass(frozen=True)
class Columns:
    """Name the columns of a table that hold images, labels and captions; None where there are none, and why."""

    image: str
    label: str | None
    caption: str | None
    label_problem: str | None = None
    caption_problem: str | None = None
    assumed: tuple[str, ...] = ()


def choose_columns(
    schema: pl.Schema, where: str, /, *, image: str | None, label: str | None, caption: str | None
) -> Columns:
    """Choose columns: those named by a word, which must be there, else the first of the usual names and a fitting type.

    Without a word for images a column of encoded images comes before one of paths, and the only struct with bytes or
    the only binary column is taken whatever its name. `label` is looked for under other names when it is "label" and
    not there; None: no labels. Raises ValueError naming a missing column or one of another type, and those there are.
    """
    columns = ", ".join(f"{name} ({kind})" for name, kind in schema.items())
    for word in (image, caption, None if label == "label" else label):
        if word is not None and word not in schema:
            raise ValueError(f"{where}: has no column {word!r}; there are {columns}")
    pictures = image or _image_column(schema)
    if pictures is None:
        usual = ", ".join(IMAGES[:3])
        raise ValueError(f"{where}: has no column of images ({usual}, ... of bytes or paths); there are {columns}")
    if not holds_images(schema[pictures]):
        kinds = "images are bytes, a struct with the field bytes or path, or paths"
        raise ValueError(f"{where}: column {pictures!r} is {schema[pictures]}; {kinds}")
    captions = caption or _named(schema, CAPTIONS, holds_captions)
    if captions and not holds_captions(schema[captions]):
        raise ValueError(f"{where}: column {captions!r} is {schema[captions]}; captions are texts, or lists of texts")
    labels = label if label != "label" or label in schema else _named(schema, LABELS, lambda kind: not kind.is_nested())
    no_labels = f"has no column of labels ({', '.join(LABELS)}); there are {columns}"
    return Columns(
        pictures,
        labels,
        captions,
        None if labels else f"{where}: {no_labels if label else 'is read without labels (`label: null`)'}",
        None if captions else f"{where}: has no column of captions ({', '.join(CAPTIONS)}); there are {columns}",
        tuple(_assumed({"images": (image, pictures), "labels": (label, labels), "captions": (caption, captions)})),
    )


def holds_images(kind: pl.DataType, /) -> bool:
    """Whether a column of this type may hold encoded images or their paths."""
    if isinstance(kind, pl.Struct):
        fields = {field.name: field.dtype for field in kind.fields}
        return fields.get("bytes") == pl.Binary or (fields.get("bytes", pl.Null) == pl.Null and "path" in fields)
    return kind in (pl.Binary, pl.String, pl.Categorical, pl.Enum)


def holds_captions(kind: pl.DataType, /) -> bool:
    """Whether a column of this type may hold a caption, or several, for each image."""
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else kind
    return inner in (pl.String, pl.Categorical, pl.Enum)


def read_labels(
    table: pl.DataFrame, columns: Columns, classes: Sequence[str] | None, names: Sequence[str], /
) -> Labels:
    """Return the labels (n,) of a table's rows; without a column of them all are -1."""
    if columns.label is None:
        return Labels(numbered([None] * len(names), classes, names).numbers, list(classes or []), columns.label_problem)
    return numbered(table[columns.label].to_list(), classes, names)


def read_captions(table: pl.DataFrame, columns: Columns, /) -> tuple[list[str] | None, tuple[str, ...]]:
    """Return a caption for each row, "" where there is none, and what was chosen: of several captions the first."""
    if columns.caption is None:
        return None, ()
    told: tuple[str, ...] = ()
    captions = []
    for value in table[columns.caption].to_list():
        if isinstance(value, list):
            told = (f"column {columns.caption!r} holds lists of captions: the first of each is taken",)
            value = next((text for text in value if text and text.strip()), None)
        captions.append(value or "")
    return captions, told


def read_all_captions(table: pl.DataFrame, columns: Columns, /) -> list[list[str]] | None:
    """Return every caption of each row that says something, [""] where there is none; None without such a column."""
    if columns.caption is None:
        return None
    found = []
    for value in table[columns.caption].to_list():
        texts = value if isinstance(value, list) else [value]
        found.append([text for text in texts if text and text.strip()] or [""])
    return found


def open_image_of_row(source: bytes | Path | None, name: str, /) -> Image.Image:
    """Open the image of a table's row; raise UnreadableImage naming the row, and the path where no file is there."""
    if source is None:
        raise UnreadableImage(f"{name}: has no image")
    if isinstance(source, Path) and not _is_file(source):
        if len(str(source)) > MUCH:
            told = f"{str(source)[:MUCH]} ... ({len(str(source))} letters)"
            raise UnreadableImage(f"{name[:MUCH]}: its image {told} is no path; images are bytes or paths to them")
        link = "is a link: download the images" if "://" in str(source) or ":/" in str(source) else "is not there"
        raise UnreadableImage(f"{name}: its image {source} {link}; paths are read from the folder of the table")
    return opened(source, name)


def located(folder: Path, name: str, /) -> Path:
    r"""Return where the file lies that a table names: below its folder; `a\b` of Windows is `a/b` where no file is."""
    path = folder / name
    if "\\" in name and not _is_file(path):
        return folder / name.replace("\\", "/")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a path, as images in base64 are
        return False


def _image_column(schema: pl.Schema) -> str | None:
    """Return the column of encoded images, else that of paths."""

    def encoded(kind: pl.DataType) -> bool:
        return kind == pl.Binary or (isinstance(kind, pl.Struct) and holds_images(kind))

    if (usual := _named(schema, IMAGES, encoded)) is not None:
        return usual
    structs = [name for name, kind in schema.items() if isinstance(kind, pl.Struct) and encoded(kind)]
    binary = [name for name, kind in schema.items() if kind == pl.Binary]
    for candidates in (structs, binary):
        if len(candidates) == 1:
            return candidates[0]
    return _named(schema, [*PATHS, *IMAGES], lambda kind: kind == pl.String)


def _named(schema: pl.Schema, usual: Sequence[str], fits: Callable[[pl.DataType], bool]) -> str | None:
    """Return the first of the usual names, in letters of either case, that a column of a fitting type has."""
    by_name = {name.lower(): name for name, kind in reversed(schema.items()) if fits(kind)}
    return next((by_name[name] for name in usual if name in by_name), None)


def _assumed(chosen: dict[str, tuple[str | None, str | None]]) -> list[str]:
    """Say which columns were found under a name that nobody gave."""
    usual = ("image", "path", "label", "caption")
    found = {what: name for what, (word, name) in chosen.items() if name not in (word, None, *usual)}
    return [f"{what} are read from column {name!r}" for what, name in found.items()]
