# reliquant: how far can a vision-language model be quantized before it stops being trustworthy?
#
# path                                                          rule         content
#   data/raw/<folder>/fetched.json                              fetch        the record of a download, beside its files
#   data/prepared/<dataset>/<form>/images.npy                   prepare      images decoded once, for all variants
#   data/prepared/<dataset>/<form>/labels.npy                   prepare
#   data/prepared/<dataset>/<form>/photographs.npy              prepare      a key of each photograph, by its content
#   data/prepared/<dataset>/<form>/meta.json                    prepare      classes, templates, captions
#   data/prepared/<dataset>/<form>/corrupt/<corruption>.npy     corrupt      one corruption at each severity
#   data/prepared/inventory/<study>/<model>/<shard>.json        inventory    sha256 of all that a shard reads
#   data/models/<model>.safetensors                             fetch_model  a model in FP32
#   data/models/<model>.safetensors                             pretrain     a model that the workflow itself trains
#   results/<study>/quantize/<variant>.safetensors              quantize     codes and scales; fp32 is a variant too
#   results/<study>/quantize/<variant>.snapshots.tar            quantize     its states on the way through training
#   results/<study>/evaluate/<variant>/<shard>/samples.parquet  evaluate     one record per image
#   results/<study>/evaluate/<variant>/<shard>/rows.parquet     measure      one measured value per row
#   results/<study>/explain/<variant>/rows.parquet              explain      why, where the config asks for it
#   results/<study>/sensitivity/<variant>/rows.parquet          sensitivity  what each layer does alone, where asked for
#   results/<study>/retrieval/<variant>/embeddings.safetensors  embed        images and captions, where they are searched
#   results/<study>/retrieval/<variant>/rows.parquet            retrieve     what searches find
#   results/<study>/export/<variant>/image.onnx                 export       a tower that other runtimes run, where asked for
#   results/<study>/export/<variant>/text.onnx                  export
#   results/<study>/export/<variant>/export.json                export       what they are, with the sha256 of all files
#   results/<study>/export/<variant>/classes.npy                export       embeddings of the first clean set's classes
#   results/<study>/export/<variant>/README.md                  export       a model card
#   results/<study>/export/<variant>.float64.parquet            export       records of the simulation in float64
#   results/<study>/run_exported/<variant>/<runtime>/<shard>/samples.parquet  run_exported      one record per image
#   results/<study>/run_exported/<variant>/<runtime>/<shard>/rows.parquet     measure_exported  what a runtime changed
#   results/<study>/time_exported/<model>.parquet               time_exported  how long runtimes take, where asked for
#   results/<study>/deployed.parquet                            deployed     all rows of what runtimes ran
#   results/<study>/rows.parquet                                collect      all rows
#   results/<study>/facts.json                                  facts        what stands behind the rows
#   reports/<study>/report.html                                 report       the page
#   reports/<study>/summary.json                                report       its main numbers
#   reports/<study>/claims.json                                 report       the verdicts on the paper's claims
#   reports/<study>/digests.json                                 report       sha256 of the report's files
#   reports/<study>/figures/                                    report
#   reports/<study>/tables/                                     report
#   reports/<study>/plots/                                      report       what `dvc plots` draws
#
# <variant> = <model>/<scheme>/<precision>-<scope>-<proxy>-<seed>. The science is in config/, the machine in profiles/.
# The paths are those of src/reliquant/study/paths.py.


if not workflow.overwrite_configfiles:  # --configfile replaces the lab; Snakemake itself would merge the two

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


resource_scopes:
    gpu="local",  # the limit in profiles/default holds for one machine or one submission, not for a cluster


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/retrieval.smk"
include: "workflow/rules/deploy.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    inputs,
    measured,


rule all:
    default_target: True
    input:
        paths.page(REPORT),
        DEPLOYED,


rule inputs:  # all that is downloaded: run it where there is a network, before jobs on nodes that have none
    input:
        [paths.model(model) for model in study.config.models if not study.trains(model)],
        study.fetched_lexicon(),
        [paths.fetched(study.root(dataset)) for dataset in study.config.datasets if study.is_fetched(dataset)],


rule measured:  # every row, but no table of all: so that several people can share the work in slices
    input:
        [paths.shard_rows(study.name, variant, shard) for variant, shard in study.evaluations],
        expand(EXPLAINED, variant=study.explained),
        expand(ALONE, variant=sensitivity.tried(study)),
        expand(SEARCHED, variant=retrieval.searched(study)),
        [paths.run_rows(study.name, *each) for each in deployment.runs(study)],
