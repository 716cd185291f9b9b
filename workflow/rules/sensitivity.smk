# Which layers to spare: each layer (or block) quantized alone, for the variants that `sensitivity` names.
ALONE = paths.sensitivity_rows(study.name, "{variant}")


rule sensitivity:
    input:
        model=lambda w: paths.model(variant(w).model),
        proxy=proxy_inputs,
        images=lambda w: sensitivity.images_of(study, variant(w)),
        made_of=lambda w: sensitivity.files_of(study, variant(w)),
    output:
        ALONE,
    log:
        f"{LOGS}/sensitivity/{{variant}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        gpu=GPU,
        mem_mb=more(6000),
        runtime=more(480),
    params:
        entry=entry(lambda w: sensitivity.entry_of(study, variant(w))),
        labels=entry(lambda w: study.row_labels(variant(w))),
        proxy=proxy_words,
        sets=entry(lambda w: sensitivity.sets_of(study, variant(w).model)),
        by=lambda w: study.config.sensitivity.by,
        resamples=study.config.resamples,
        batch=study.config.batch,
        device=[study.config.device, *DETERMINISTIC],
        tower=tower_words,
        code=code(
            "sensitivity",
            SHIPPED,
            tower=lambda w: study.tower_entry(variant(w).model)["tower"],
            quantizer=lambda w: study.quantizers(variant(w)),
            loss=lambda w: study.losses(variant(w)),
            score=lambda w: "mcm",
        ),
    shell:
        "python -m reliquant.steps.sensitivity"
        " --model {input.model:q}"
        " {params.tower:q}"
        " --entry {params.entry:q}"
        " --labels {params.labels:q}"
        " {params.proxy:q}"
        " --sets {params.sets:q}"
        " --by {params.by:q}"
        " --resamples {params.resamples:q}"
        " --batch {params.batch:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --output {output:q} 2> {log:q}"
