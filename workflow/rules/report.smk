# All rows of the study, what stands behind them, and the report.


rule collect:
    input:
        [paths.shard_rows(study.name, *evaluation) for evaluation in study.evaluations],
        expand(EXPLAINED, variant=study.explained),
        expand(ALONE, variant=sensitivity.tried(study)),
        expand(SEARCHED, variant=retrieval.searched(study)),
    output:
        paths.rows(study.name),
    log:
        f"{LOGS}/collect.log",
    conda:
        "../envs/reliquant.yaml"
    threads: 2  # above 300 shards it uses both
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        study=entry(lambda w: config),
        code=code("collect"),
    shell:
        "python -m reliquant.steps.collect"
        " --study {params.study:q}"
        " --processes {threads}"
        " --output {output:q} 2> {log:q}"


rule facts:
    input:
        models=expand(MODEL, model=study.config.models),
        data=described_images(),
    output:
        paths.facts(study.name),
    log:
        f"{LOGS}/facts.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        study=entry(lambda w: config),
        code=code("facts"),
    shell:
        "python -m reliquant.steps.facts --study {params.study:q} --output {output:q} 2> {log:q}"


rule report:
    input:
        rows=paths.rows(study.name),
        facts=paths.facts(study.name),
        deployed=DEPLOYED,
    output:
        html=report(paths.page(REPORT), caption="../report/page.rst", category="Report"),
        summary=paths.summary(REPORT),
        claims=report(paths.claims(REPORT), caption="../report/claims.rst", category="Claims"),
        figures=report(
            directory(paths.figures(REPORT)),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        tables=report(
            directory(paths.tables(REPORT)),
            patterns=["{table,[a-z0-9_]+}.csv"],
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        plots=[paths.plot(REPORT, name) for name in paths.PLOTS],
        digests=paths.digests(REPORT),
    log:
        f"{LOGS}/report.log",
    conda:
        "../envs/reliquant.yaml"
    threads: 2
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        code=code(
            "report",
            ("report/figures/*.mplstyle", "report/template/*", "report/reference_numbers.csv"),
            figure=lambda w: plugins.names("figure"),
            table=lambda w: plugins.names("table"),
        ),
        folder=folder_of(lambda input, output: output.html),
        deployed=["--deployed", *DEPLOYED] if DEPLOYED else [],
    shell:
        "python -m reliquant.steps.report"
        " --rows {input.rows:q}"
        " --facts {input.facts:q}"
        " {params.deployed:q}"
        " --processes {threads}"
        " --output {params.folder:q} 2> {log:q}"
