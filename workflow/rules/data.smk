# Datasets: fetched as published, decoded once, corrupted once.


rule fetch:
    output:
        paths.fetched(f"{paths.RAW}/{{folder}}"),
    log:
        f"{LOGS}/fetch/{{folder}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(720),
    params:
        family=lambda w: study.published_in(w.folder)[0],
        entry=entry(lambda w: study.published_in(w.folder)[1]),
    shell:
        "python -m reliquant.steps.fetch"
        " --family {params.family:q}"
        " --entry {params.entry:q}"
        " --lock config/data.lock.json"
        " --output {output:q} 2> {log:q}"


rule prepare:
    input:
        lambda w: [paths.fetched(study.root(w.dataset))] if study.is_fetched(w.dataset) else [],
    output:
        images=paths.images(PREPARED),
        labels=paths.labels(PREPARED),
        photographs=paths.photographs(PREPARED),
        meta=paths.meta(PREPARED),
    log:
        f"{LOGS}/prepare/{{dataset}}-{{form}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(120),
    params:
        entry=entry(lambda w: study.dataset_entry(w.dataset)),
        root=lambda w: study.root(w.dataset),
        unreadable=study.config.unreadable,
        folder=folder_of(lambda input, output: output.images),
        placed=quick(lambda w: placed_images(w.dataset, PREPARED.format(dataset=w.dataset, form=w.form))),
        code=code("prepare", dataset=lambda w: study.dataset_entry(w.dataset)["dataset"]),
    shell:
        "python -m reliquant.steps.prepare"
        " --entry {params.entry:q}"
        " --root {params.root:q}"
        " --form {wildcards.form:q}"
        " --unreadable {params.unreadable:q}"
        " --workers {threads}"
        " {params.placed:q}"
        " --output {params.folder:q} 2> {log:q}"


rule corrupt:
    input:
        images=paths.images(PREPARED),
        meta=paths.meta(PREPARED),
    output:
        paths.corrupted(PREPARED, "{corruption}"),
    log:
        f"{LOGS}/corrupt/{{dataset}}-{{form}}-{{corruption}}.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(120),
    params:
        severities=lambda w: study.config.suites.noise[w.dataset].severities,
        images=corrupted_images,
        folder=folder_of(lambda input, output: input.images),
        code=code("corrupt", corruption=lambda w: w.corruption),
    shell:
        "python -m reliquant.steps.corrupt"
        " --prepared {params.folder:q}"
        " --corruption {wildcards.corruption:q}"
        " --severities {params.severities:q}"
        " {params.images:q}"
        " --output {output:q} 2> {log:q}"
