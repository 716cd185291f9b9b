"""Where everything lies: the one place that knows the layout of `data/`, `results/` and `reports/`.

Every function takes words, or Snakemake's wildcards such as `"{model}"`, and returns a path as text: relative to the
working folder, or below the folder that it is given. The capital names are those of files in a folder.
"""

from __future__ import annotations

from pathlib import Path

RAW = "data/raw"  # the folder of datasets as published, where the config names no `data_root`
FETCHED = "fetched.json"
IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"  # what a prepared folder holds
PHOTOGRAPHS = "photographs.npy"  # and this
PLOTS = ("accuracy_by_bits", "ece_by_bits")  # what `dvc plots` draws of a report
CORRUPT = "corrupt"  # the folder, below a prepared one, of its corrupted images


def fetched(folder: str, /) -> str:
    """Return the record of a download, in the folder of the downloaded files: `data/raw/<dataset>` or another."""
    return f"{folder}/{FETCHED}"


def model(name: str, /) -> str:
    """Return the file of a model in FP32."""
    return f"data/models/{name}.safetensors"


def prepared(dataset: str, form: str, /) -> str:
    """Return the folder of a dataset's decoded images in a form, such as `224-shortest-bicubic` or `native`."""
    return f"data/prepared/{dataset}/{form}"


def dataset_and_form(folder: str | Path, /) -> tuple[str, str]:
    """Return what a prepared folder was made of: the arguments of `prepared`."""
    return Path(folder).parent.name, Path(folder).name


def images(folder: str, /) -> str:
    """Return the array of the images of a prepared folder, uint8 (n, h, w, 3)."""
    return f"{folder}/{IMAGES}"


def labels(folder: str, /) -> str:
    """Return the array of the labels of a prepared folder, int64 (n,)."""
    return f"{folder}/{LABELS}"


def photographs(folder: str, /) -> str:
    """Return the array of the keys of the photographs of a prepared folder, uint64 (n,)."""
    return f"{folder}/{PHOTOGRAPHS}"


def meta(folder: str, /) -> str:
    """Return what is known of the images of a prepared folder: classes, templates, names, captions, groups."""
    return f"{folder}/{META}"


def corrupted(folder: str, corruption: str, /) -> str:
    """Return the array of the images of a prepared folder under one corruption, uint8 (severities, n, h, w, 3)."""
    return f"{folder}/{CORRUPT}/{corruption}.npy"


def inventory(study: str, model: str, shard: str, /) -> str:
    """Return the list of all files that the evaluations of a model on a shard read, with their sha256."""
    return f"data/prepared/inventory/{study}/{model}/{shard}.json"


def variant(study: str, variant: str, /) -> str:
    """Return the file of a variant: codes and scales."""
    return f"results/{study}/quantize/{variant}.safetensors"


def snapshots(variant_file: str | Path, /) -> str:
    """Return the archive of the states that a variant had on its way through training, beside the variant's file."""
    return f"{str(variant_file).removesuffix('.safetensors')}.snapshots.tar"


def samples(study: str, variant: str, shard: str, /) -> str:
    """Return the records of a variant on a shard, one for each image."""
    return f"results/{study}/evaluate/{variant}/{shard}/samples.parquet"


def shard_rows(study: str, variant: str, shard: str, /) -> str:
    """Return what was measured of a variant on a shard."""
    return f"results/{study}/evaluate/{variant}/{shard}/rows.parquet"


def explain_rows(study: str, variant: str, /) -> str:
    """Return the rows that explain a variant."""
    return f"results/{study}/explain/{variant}/rows.parquet"


def sensitivity_rows(study: str, variant: str, /) -> str:
    """Return the rows of what each layer (or block) of a variant does when it alone is quantized."""
    return f"results/{study}/sensitivity/{variant}/rows.parquet"


def embeddings(study: str, variant: str, /) -> str:
    """Return the embeddings of a variant on the captioned sets that are searched."""
    return f"results/{study}/retrieval/{variant}/embeddings.safetensors"


def retrieval_rows(study: str, variant: str, /) -> str:
    """Return what searches with the embeddings of a variant found."""
    return f"results/{study}/retrieval/{variant}/rows.parquet"


def exported(study: str, variant: str, /) -> str:
    """Return the folder of a variant as files that other runtimes run."""
    return f"results/{study}/export/{variant}"


def exported_facts(folder: str | Path, /) -> str:
    """Return what an exported folder says of itself, with the sha256 of its files."""
    return f"{folder}/export.json"


def exported_classes(folder: str | Path, /) -> str:
    """Return the embeddings of the classes of an exported folder, float32 (c, d)."""
    return f"{folder}/classes.npy"


def exported_card(folder: str | Path, /) -> str:
    """Return the model card of an exported folder."""
    return f"{folder}/README.md"


def exported_tower(folder: str | Path, tower: str, /) -> str:
    """Return the ONNX file of a tower, `image` or `text`, of an exported folder."""
    return f"{folder}/{tower}.onnx"


def doubled(study: str, variant: str, /) -> str:
    """Return the records of a variant whose products are computed in float64, of some clean images."""
    return f"results/{study}/export/{variant}.float64.parquet"


def run_samples(study: str, variant: str, runtime: str, shard: str, /) -> str:
    """Return the records of an exported variant that a runtime ran on a shard, one for each image."""
    return f"results/{study}/run_exported/{variant}/{runtime}/{shard}/samples.parquet"


def run_rows(study: str, variant: str, runtime: str, shard: str, /) -> str:
    """Return what was measured of an exported variant that a runtime ran on a shard."""
    return f"results/{study}/run_exported/{variant}/{runtime}/{shard}/rows.parquet"


def times(study: str, model: str, /) -> str:
    """Return how long the exported variants of a model take in each runtime, as rows."""
    return f"results/{study}/time_exported/{model}.parquet"


def deployed(study: str, /) -> str:
    """Return the rows of all exported variants of a study."""
    return f"results/{study}/deployed.parquet"


def rows(study: str, /) -> str:
    """Return the rows of the whole study."""
    return f"results/{study}/rows.parquet"


def facts(study: str, /) -> str:
    """Return what stands behind a study's rows: its models, datasets, config and versions."""
    return f"results/{study}/facts.json"


def report(study: str, /) -> str:
    """Return the folder of a study's report."""
    return f"reports/{study}"


def page(report: str | Path, /) -> str:
    """Return the page of a report's folder."""
    return f"{report}/report.html"


def claims(report: str | Path, /) -> str:
    """Return the verdicts on the paper's claims of a report's folder."""
    return f"{report}/claims.json"


def summary(report: str | Path, /) -> str:
    """Return the main numbers of a report's folder."""
    return f"{report}/summary.json"


def digests(report: str | Path, /) -> str:
    """Return the list of the files of a report's folder with their digests."""
    return f"{report}/digests.json"


def figures(report: str | Path, /) -> str:
    """Return the folder of the figures of a report's folder."""
    return f"{report}/figures"


def tables(report: str | Path, /) -> str:
    """Return the folder of the tables of a report's folder."""
    return f"{report}/tables"


def plot(report: str | Path, name: str, /) -> str:
    """Return the numbers of one of the `PLOTS`, of a report's folder."""
    return f"{report}/plots/{name}.csv"
