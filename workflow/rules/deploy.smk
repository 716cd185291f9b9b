# What really runs: variants exported, run by other runtimes and measured, where the config has `deploy`.
EXPORTED = paths.exported(study.name, "{variant}")
RUN_SAMPLES = paths.run_samples(study.name, "{variant}", "{runtime}", "{shard}")
RUN_ROWS = paths.run_rows(study.name, "{variant}", "{runtime}", "{shard}")
DEPLOYED = [paths.deployed(study.name)] if study.config.deploy else []


rule export:
    input:
        model=model_of,
        variant=QUANTIZED,
        images=quick(lambda w: paths.images(deployment.classified_in(study, variant(w).model))),
        meta=quick(lambda w: paths.meta(deployment.classified_in(study, variant(w).model))),
    output:
        towers=[paths.exported_tower(EXPORTED, tower) for tower in deployment.towers_of(study)],
        facts=paths.exported_facts(EXPORTED),
        classes=paths.exported_classes(EXPORTED),
        card=paths.exported_card(EXPORTED),
        doubled=paths.doubled(study.name, "{variant}"),
    log:
        f"{LOGS}/export/{{variant}}.log",
    conda:
        "../envs/deploy.yaml"
    resources:
        gpu=GPU,
        mem_mb=more(6000),
        runtime=more(120),
    params:
        classes=folder_of(lambda input, output: input.meta),
        dataset=deployment.classified(study),
        entry=entry(lambda w: study.dataset_entry(deployment.classified(study))),
        towers=deployment.towers_of(study),
        float_weights=["--float-weights"] if study.config.deploy and study.config.deploy.float_weights else [],
        code_bits=study.config.deploy.code_bits if study.config.deploy else 4,
        images=deployment.YARDSTICK,
        batch=study.config.batch,
        device=[study.config.device, *DETERMINISTIC],
        tower=tower_words,
        code=code("export", SHIPPED, tower=lambda w: study.tower_entry(variant(w).model)["tower"]),
        folder=folder_of(lambda input, output: output.facts),
    shell:
        "python -m reliquant.steps.export"
        " --model {input.model:q}"
        " {params.tower:q}"
        " --variant {input.variant:q}"
        " --classes {params.classes:q}"
        " --dataset {params.dataset:q}"
        " --dataset-entry {params.entry:q}"
        " --towers {params.towers:q}"
        " {params.float_weights:q}"
        " --code-bits {params.code_bits:q}"
        " --images {params.images:q}"
        " --batch {params.batch:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --doubled {output.doubled:q}"
        " --output {params.folder:q} 2> {log:q}"


rule run_exported:
    input:
        model=model_of,
        variant=QUANTIZED,
        towers=[paths.exported_tower(EXPORTED, tower) for tower in deployment.towers_of(study)],
        facts=paths.exported_facts(EXPORTED),
        data=quick(lambda w: INVENTORY.format(model=variant(w).model, shard=w.shard)),
    output:
        RUN_SAMPLES,
    log:
        f"{LOGS}/run_exported/{{variant}}/{{runtime}}/{{shard}}.log",
    conda:
        "../envs/deploy.yaml"
    threads: study.config.deploy.threads if study.config.deploy else 1
    resources:
        mem_mb=more(4000),
        runtime=more(480),
    params:
        exported=folder_of(lambda input, output: input.facts),
        cells=entry(lambda w: deployment.cells_of(study, variant(w).model, w.shard)),
        scores=entry(lambda w: deployment.scores_of(study)),
        left_out=["--left-out", *deployment.left_out_of(study)] if deployment.left_out_of(study) else [],
        negatives=negative_words,
        templates_alone=study.config.templates_alone,
        batch=study.config.batch,
        threads=study.config.deploy.threads if study.config.deploy else 1,
        tower=tower_words,
        code=code(
            "run_exported",
            SHIPPED,
            tower=lambda w: study.tower_entry(variant(w).model)["tower"],
            score=lambda w: [entry["score"] for entry in deployment.scores_of(study).values()],
            lexicon=lambda w: study.negatives()[0].get("lexicon", []),
        ),
    shell:
        "python -m reliquant.steps.run_exported"
        " --model {input.model:q}"
        " {params.tower:q}"
        " --variant {input.variant:q}"
        " --exported {params.exported:q}"
        " --runtime {wildcards.runtime:q}"
        " --cells {params.cells:q}"
        " --data {input.data:q}"
        " --scores {params.scores:q}"
        " {params.left_out:q}"
        " {params.negatives:q}"
        " --templates-alone {params.templates_alone:q}"
        " --batch {params.batch:q}"
        " --threads {params.threads:q}"
        " --output {output:q} 2> {log:q}"


rule measure_exported:
    input:
        samples=quick(lambda w: deployment.run_samples_of(study, (w.variant, w.runtime, w.shard))),
        simulated=quick(lambda w: deployment.simulated_of(study, w.variant, w.shard)),
        baseline=quick(lambda w: deployment.simulated_of(study, str(variant(w).baseline), w.shard)),
        doubled=quick(lambda w: deployment.doubled_of(study, w.variant, w.shard)),
        variant=QUANTIZED,
        data=quick(lambda w: deployment.inventories_of(study, variant(w), w.shard)),
    output:
        RUN_ROWS,
    log:
        f"{LOGS}/measure_exported/{{variant}}/{{runtime}}/{{shard}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        doubled=lambda w, input: ["--doubled", *input.doubled] if input.doubled else [],
        of=entry(lambda w: study.row_labels(variant(w))),
        labels=entry(lambda w: deployment.labels_of(study, variant(w), w.runtime)),
        suites=quick(lambda w: deployment.words_in(study, w.shard)),
        resamples=study.config.resamples,
        code=code("measure_exported"),
    shell:
        "python -m reliquant.steps.measure_exported"
        " --samples {input.samples:q}"
        " --simulated {input.simulated:q}"
        " --baseline {input.baseline:q}"
        " {params.doubled:q}"
        " --variant {input.variant:q}"
        " --data {input.data:q}"
        " --of {params.of:q}"
        " --labels {params.labels:q}"
        " --runtime {wildcards.runtime:q}"
        " --suites {params.suites:q}"
        " --resamples {params.resamples:q}"
        " --output {output:q} 2> {log:q}"


rule time_exported:
    input:
        facts=lambda w: [paths.exported_facts(folder) for folder in deployment.folders_of(study, w.model)],
    output:
        paths.times(study.name, "{model}"),
    log:
        f"{LOGS}/time_exported/{{model}}.log",
    conda:
        "../envs/deploy.yaml"
    threads: workflow.resource_settings.cores or 1  # the machine alone
    resources:
        mem_mb=more(4000),
        runtime=more(120),
    params:
        folders=lambda w: deployment.folders_of(study, w.model),
        runtimes=study.config.deploy.runtimes if study.config.deploy else [],
        towers=deployment.towers_of(study),
        batches=sorted({1, study.config.deploy.time.batch}) if deployment.timed(study) else [],
        rounds=study.config.deploy.time.rounds if deployment.timed(study) else 1,
        threads=study.config.deploy.threads if study.config.deploy else 1,
        code=code("time_exported"),
    shell:
        "python -m reliquant.steps.time_exported"
        " --exported {params.folders:q}"
        " --runtimes {params.runtimes:q}"
        " --towers {params.towers:q}"
        " --batches {params.batches:q}"
        " --rounds {params.rounds:q}"
        " --threads {params.threads:q}"
        " --output {output:q} 2> {log:q}"


rule deployed:
    input:
        [paths.run_rows(study.name, *each) for each in deployment.runs(study)],
        [paths.times(study.name, model) for model in deployment.timed(study)],
    output:
        paths.deployed(study.name),
    log:
        f"{LOGS}/deployed.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        study=entry(lambda w: config),
        code=code("deployed"),
    shell:
        "python -m reliquant.steps.deployed --study {params.study:q} --output {output:q} 2> {log:q}"
