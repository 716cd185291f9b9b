# Models: fetched or pre-trained in FP32, then quantized.
TRAINED = "|".join(re.escape(model) for model in study.config.models if study.trains(model)) or "none to train"
FETCHED = "|".join(re.escape(model) for model in study.config.models if not study.trains(model)) or "none to fetch"
resizes = not all(dataset.get("native") for dataset in study.config.datasets.values())
with_snapshots = [v for v in study.variants.values() if study.snapshots(v)]
WITH_SNAPSHOTS = "|".join(
    sorted({f"[^/]+/{re.escape(v.scheme)}/{v.precision}-{v.scope}-[^/]+" for v in with_snapshots})
)


rule fetch_model:
    output:
        MODEL,
    log:
        f"{LOGS}/fetch_model/{{model}}.log",
    wildcard_constraints:
        model=FETCHED,
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        entry=entry(lambda w: study.tower_entry(w.model)),
        form=quick(lambda w: study.form(w.model) if resizes else "native"),
        placed=quick(lambda w: placed_model(w.model)),
        code=code("fetch_model", SHIPPED, tower=lambda w: study.tower_entry(w.model)["tower"]),
    shell:
        "python -m reliquant.steps.fetch_model"
        " --entry {params.entry:q}"
        " --lock config/weights.lock.json"
        " --form {params.form:q}"
        " {params.placed:q}"
        " --output {output:q} 2> {log:q}"


rule pretrain:
    input:
        images=lambda w: paths.images(pretrain_folder(w.model)),
        meta=lambda w: paths.meta(pretrain_folder(w.model)),
    output:
        MODEL,
    log:
        f"{LOGS}/pretrain/{{model}}.log",
    wildcard_constraints:
        model=TRAINED,
    priority: 1  # the longest jobs first
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(720),
    params:
        entry=entry(lambda w: study.tower_entry(w.model)),
        folder=folder_of(lambda input, output: input.images),
        recipe=entry(lambda w: study.pretrain_words(w.model)[1]),
        pairs=entry(lambda w: study.dataset_entry(study.pretrain_words(w.model)[0])),
        placed=quick(lambda w: placed_model(w.model)),
        code=code("pretrain", SHIPPED, tower=lambda w: study.tower_entry(w.model)["tower"]),
    shell:
        "python -m reliquant.steps.pretrain"
        " --entry {params.entry:q}"
        " --recipe {params.recipe:q}"
        " --pairs {params.folder:q}"
        " --pairs-entry {params.pairs:q}"
        " --threads {threads}"
        " {params.placed:q}"
        " --output {output:q} 2> {log:q}"


rule quantize:
    input:
        model=model_of,
        proxy=proxy_inputs,
    output:
        variant=QUANTIZED,
    log:
        f"{LOGS}/quantize/{{variant}}.log",
    priority: 1  # most variants that are refused are refused before anything is evaluated
    conda:
        "../envs/reliquant.yaml"
    resources:
        gpu=GPU,
        mem_mb=more(4000),
        runtime=more(240),
        checkpoint_every=study.config.checkpoint_every,  # no parameter: the result does not depend on it
    params:
        entry=entry(lambda w: study.scheme_entry(variant(w))),
        labels=entry(lambda w: study.row_labels(variant(w))),
        proxy=proxy_words,
        tuning=study.config.tuning,
        device=[study.config.device, *DETERMINISTIC],
        tower=tower_words,
        code=code(
            "quantize",
            SHIPPED,
            tower=lambda w: study.tower_entry(variant(w).model)["tower"],
            quantizer=lambda w: study.quantizers(variant(w)),
            loss=lambda w: study.losses(variant(w)),
        ),
    shell:
        "python -m reliquant.steps.quantize"
        " --model {input.model:q}"
        " --entry {params.entry:q}"
        " --labels {params.labels:q}"
        " {params.tower:q}"
        " {params.proxy:q}"
        " --tuning {params.tuning:q}"
        " --every {resources.checkpoint_every:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --output {output.variant:q} 2> {log:q}"


use rule quantize as quantize_snapshots with:
    output:
        variant=QUANTIZED,
        snapshots=KEPT,
    wildcard_constraints:
        variant=WITH_SNAPSHOTS or "none has any",


ruleorder: quantize_snapshots > quantize
