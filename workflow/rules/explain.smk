# Why: what quantization did to features, layers and frequencies, for the variants that `explain` names.
EXPLAINED = paths.explain_rows(study.name, "{variant}")


rule explain:
    input:
        model=lambda w: paths.model(variant(w).model),
        variant=QUANTIZED,
        samples=lambda w: explain_records(w.variant),
        baseline=lambda w: [] if variant(w).scheme == "fp32" else explain_records(variant(w).baseline),
        data=explain_images,
        inventories=lambda w: [INVENTORY.format(model=variant(w).model, shard=shard) for shard in explain_shards()],
    output:
        EXPLAINED,
    log:
        f"{LOGS}/explain/{{variant}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        gpu=GPU,
        mem_mb=more(4000),
        runtime=more(120),
    params:
        cells=entry(lambda w: study.explain_cells(variant(w).model)),
        records=entry(lambda w: study.explain_record_cells(variant(w).model)),
        labels=entry(lambda w: study.row_labels(variant(w))),
        images=lambda w: study.config.explain.images,
        waves=lambda w: study.config.explain.waves,
        wave_images=lambda w: study.config.explain.wave_images,
        batch=study.config.batch,
        device=[study.config.device, *DETERMINISTIC],
        tower=tower_words,
        code=code(
            "explain",
            SHIPPED,
            tower=lambda w: study.tower_entry(variant(w).model)["tower"],
        ),
    shell:
        "python -m reliquant.steps.explain"
        " --model {input.model:q}"
        " {params.tower:q}"
        " --variant {input.variant:q}"
        " --samples {input.samples:q}"
        " --baseline {input.baseline:q}"
        " --data {input.inventories:q}"
        " --cells {params.cells:q}"
        " --records {params.records:q}"
        " --labels {params.labels:q}"
        " --images {params.images:q}"
        " --waves {params.waves:q}"
        " --wave-images {params.wave_images:q}"
        " --batch {params.batch:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --output {output:q} 2> {log:q}"
