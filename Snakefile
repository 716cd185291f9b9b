# reliquant: how far can a vision-language model be quantized before it stops being trustworthy?
#
#   data/raw/<folder>/                              fetch       a dataset as published
#   data/prepared/<dataset>/<form>/                 prepare     images decoded once, shared by all variants
#   data/prepared/<dataset>/<form>/corrupt/<c>.npy  corrupt     one common corruption at each severity
#   data/prepared/inventory/<study>/                inventory   sha256 of all that a shard reads
#   data/models/<model>.safetensors                 pretrain or fetch_model
#   results/<study>/quantize/<variant>.safetensors  quantize    codes and scales; fp32 is a variant too
#   results/<study>/evaluate/<variant>/<shard>/     evaluate    samples.parquet, a record an image
#                                                   measure     rows.parquet, a measured value a row
#   results/<study>/explain/<variant>/rows.parquet  explain     why, where the config asks for it
#   results/<study>/rows.parquet                    collect
#   reports/<study>/                                report      figures, tables, report.html, claims.json
#
# <variant> = <model>/<scheme>/<precision>-<scope>-<proxy>-<seed>. Science is in config/, the machine in profiles/.


if not workflow.overwrite_configfiles:  # --configfile replaces the lab; Snakemake itself would merge the two

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


resource_scopes:
    gpu="local",  # a limit (profiles/default) is for one machine or one submission, not for a cluster


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    inputs,
    measured,


rule all:
    default_target: True
    input:
        f"{REPORT}/report.html",


rule inputs:  # all that the network gives: for a node that has it, before jobs on nodes that have not
    input:
        [paths.model(m) for m in study.config.models if not study.trains(m)],
        study.fetched_lexicon(),
        [paths.fetched(study.root(d)) for d in study.config.datasets if study.is_fetched(d)],


rule measured:  # every row, without a table of them: so that a group shares the work by slices
    input:
        [paths.shard_rows(study.name, v, shard) for v, shard in study.evaluations],
        expand(EXPLAINED, variant=study.explained),
