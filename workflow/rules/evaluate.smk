# Evaluation: for each shard a record of every image, then rows.


rule inventory:
    input:
        lambda w: study.inputs(w.model, w.shard),
    output:
        INVENTORY,
    log:
        f"{LOGS}/inventory/{{model}}-{{shard}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(1000),
        runtime=more(60),
    params:
        placed=quick(lambda w: placed_lexicon()),
        entries=entry(lambda w: made_of.entries_of(study, w.model, w.shard)),
        code=code("inventory"),
    shell:
        "python -m reliquant.steps.inventory"
        " --files {input:q}"
        " --entries {params.entries:q}"
        " --output {output:q} 2> {log:q}"


rule evaluate:
    input:
        model=model_of,
        variant=quick(lambda w: KEPT if w.shard == study.SNAPSHOTS else QUANTIZED),
        data=quick(lambda w: INVENTORY.format(model=variant(w).model, shard=w.shard)),
    output:
        SAMPLES,
    log:
        f"{LOGS}/evaluate/{{variant}}/{{shard}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        gpu=GPU,
        mem_mb=more(4000),
        runtime=more(480),
    params:
        cells=quick(lambda w: cells(variant(w).model, w.shard)),
        scores=entry(lambda w: study.config.scores),
        negatives=negative_words,
        templates_alone=study.config.templates_alone,
        batch=study.config.batch,
        dtype=study.config.dtype,
        backend=study.config.backend,
        device=[study.config.device, *DETERMINISTIC],
        tower=tower_words,
        code=code(
            "evaluate",
            SHIPPED,
            tower=lambda w: study.tower_entry(variant(w).model)["tower"],
            score=lambda w: [entry["score"] for entry in study.config.scores.values()],
            lexicon=lambda w: study.negatives()[0].get("lexicon", []),
        ),
    shell:
        "python -m reliquant.steps.evaluate"
        " --model {input.model:q}"
        " {params.tower:q}"
        " --variant {input.variant:q}"
        " --cells {params.cells:q}"
        " --data {input.data:q}"
        " --scores {params.scores:q}"
        " {params.negatives:q}"
        " --templates-alone {params.templates_alone:q}"
        " --batch {params.batch:q}"
        " --dtype {params.dtype:q}"
        " --backend {params.backend:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --output {output:q} 2> {log:q}"


rule measure:
    input:
        samples=quick(lambda w: shards_of(variant(w), w.shard)),
        baseline=quick(lambda w: [] if variant(w).scheme == "fp32" else shards_of(variant(w).baseline, w.shard)),
        variant=QUANTIZED,
        data=quick(lambda w: made_of.inventories_of(study, variant(w), w.shard)),
    output:
        paths.shard_rows(study.name, "{variant}", "{shard}"),
    log:
        f"{LOGS}/measure/{{variant}}/{{shard}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        labels=entry(lambda w: study.row_labels(variant(w))),
        suites=quick(lambda w: study.suites_in(w.shard)),
        resamples=study.config.resamples,
        code=code("measure"),
    shell:
        "python -m reliquant.steps.measure"
        " --samples {input.samples:q}"
        " --baseline {input.baseline:q}"
        " --variant {input.variant:q}"
        " --data {input.data:q}"
        " --labels {params.labels:q}"
        " --suites {params.suites:q}"
        " --resamples {params.resamples:q}"
        " --output {output:q} 2> {log:q}"
