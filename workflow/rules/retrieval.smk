# Retrieval: images and captions embedded once a variant, then searched, where the suite retrieval asks for it.
EMBEDDINGS = paths.embeddings(study.name, "{variant}")
SEARCHED = paths.retrieval_rows(study.name, "{variant}")


rule embed:
    input:
        model=model_of,
        variant=QUANTIZED,
        images=lambda w: retrieval.images_of(study, variant(w).model),
        seen=lambda w: retrieval.seen_by(study, variant(w)),
    output:
        EMBEDDINGS,
    log:
        f"{LOGS}/embed/{{variant}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        gpu=GPU,
        mem_mb=more(4000),
        runtime=more(240),
    params:
        sets=entry(lambda w: retrieval.sets_of(study, variant(w).model)),
        seen=entry(lambda w: retrieval.seen_sets(study, variant(w))),
        batch=study.config.batch,
        dtype=study.config.dtype,
        backend=study.config.backend,
        device=[study.config.device, *DETERMINISTIC],
        tower=tower_words,
        code=code("embed", SHIPPED, tower=lambda w: study.tower_entry(variant(w).model)["tower"]),
    shell:
        "python -m reliquant.steps.embed"
        " --model {input.model:q}"
        " {params.tower:q}"
        " --variant {input.variant:q}"
        " --sets {params.sets:q}"
        " --seen {params.seen:q}"
        " --batch {params.batch:q}"
        " --dtype {params.dtype:q}"
        " --backend {params.backend:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --output {output:q} 2> {log:q}"


rule retrieve:
    input:
        embeddings=EMBEDDINGS,
        baseline=lambda w: retrieval.embeddings_of(study, variant(w))[1:],
    output:
        SEARCHED,
    log:
        f"{LOGS}/retrieve/{{variant}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(120),
    params:
        labels=entry(lambda w: study.row_labels(variant(w))),
        indexes=entry(lambda w: retrieval.indexes_of(study)),
        baseline=lambda w, input: ["--baseline", *input.baseline] if input.baseline else [],
        resamples=study.config.resamples,
        code=code("retrieve", index=lambda w: [each["index"] for each in retrieval.indexes_of(study).values()]),
    shell:
        "python -m reliquant.steps.retrieve"
        " --embeddings {input.embeddings:q}"
        " {params.baseline:q}"
        " --labels {params.labels:q}"
        " --indexes {params.indexes:q}"
        " --resamples {params.resamples:q}"
        " --output {output:q} 2> {log:q}"
