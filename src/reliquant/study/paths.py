"""Where everything lies: the one place that knows the layout of `data/`, `results/` and `reports/`.

Every function takes words or Snakemake's wildcards (`"{model}"`) and returns a path relative to the working folder.
"""

from __future__ import annotations

RAW = "data/raw"  # datasets as published, where the config names no `data_root`


def fetched(folder: str, /) -> str:
    """Return the record of a download into a folder of `data/raw`, or into the folder of a full path."""
    return f"{folder}/fetched.json"


def model(name: str, /) -> str:
    """Return the file of a model in FP32."""
    return f"data/models/{name}.safetensors"


def prepared(dataset: str, form: str, /) -> str:
    """Return the folder of a dataset's decoded images in a form, such as `224-shortest-bicubic` or `native`."""
    return f"data/prepared/{dataset}/{form}"


def images(folder: str, /) -> str:
    """Return the array of the images of a prepared folder, uint8 (n, h, w, 3)."""
    return f"{folder}/images.npy"


def labels(folder: str, /) -> str:
    """Return the array of the labels of a prepared folder, int64 (n,)."""
    return f"{folder}/labels.npy"


def meta(folder: str, /) -> str:
    """Return what is known of the images of a prepared folder: classes, templates, names, captions, groups."""
    return f"{folder}/meta.json"


def corrupted(folder: str, corruption: str, /) -> str:
    """Return the array of the images of a prepared folder under one corruption, uint8 (severities, n, h, w, 3)."""
    return f"{folder}/corrupt/{corruption}.npy"


def inventory(study: str, model: str, shard: str, /) -> str:
    """Return the list of all files that the evaluations of a model on a shard read, with their sha256."""
    return f"data/prepared/inventory/{study}/{model}/{shard}.json"


def variant(study: str, variant: str, /) -> str:
    """Return the file of a variant: codes and scales."""
    return f"results/{study}/quantize/{variant}.safetensors"


def snapshots(study: str, variant: str, /) -> str:
    """Return the archive of a variant's states on its way through training."""
    return f"results/{study}/quantize/{variant}.snapshots.tar"


def samples(study: str, variant: str, shard: str, /) -> str:
    """Return the records of a variant on a shard, one for each image."""
    return f"results/{study}/evaluate/{variant}/{shard}/samples.parquet"


def shard_rows(study: str, variant: str, shard: str, /) -> str:
    """Return what was measured of a variant on a shard."""
    return f"results/{study}/evaluate/{variant}/{shard}/rows.parquet"


def explain_rows(study: str, variant: str, /) -> str:
    """Return the rows that explain a variant."""
    return f"results/{study}/explain/{variant}/rows.parquet"


def rows(study: str, /) -> str:
    """Return the rows of the whole study."""
    return f"results/{study}/rows.parquet"


def facts(study: str, /) -> str:
    """Return what stands behind a study's rows: its models, datasets, config and versions."""
    return f"results/{study}/facts.json"


def report(study: str, /) -> str:
    """Return the folder of a study's report."""
    return f"reports/{study}"
