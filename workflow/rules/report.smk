# All rows of the study, what stands behind them, and the report.


rule collect:
    input:
        [f"{RESULTS}/evaluate/{variant}/{shard}/rows.parquet" for variant, shard in study.evaluations],
        expand(EXPLAINED, variant=study.explained),
    output:
        f"{RESULTS}/rows.parquet",
    log:
        f"{LOGS}/collect.log",
    conda:
        "../envs/reliquant.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        study=entry(lambda w: config),
        code=code("collect"),
    shell:
        "python -m reliquant.steps.collect --study {params.study:q} --output {output:q} 2> {log:q}"


rule facts:
    input:
        models=expand("data/models/{model}.safetensors", model=study.config.models),
        data=sorted(
            {
                f
                for m in study.config.models
                for s in study.shards
                for f in study.inputs(m, s)
                if f.endswith("meta.json")
            }
        ),
    output:
        f"{RESULTS}/facts.json",
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
        rows=f"{RESULTS}/rows.parquet",
        facts=f"{RESULTS}/facts.json",
    output:
        html=report(f"reports/{study.name}/report.html", caption="../report/page.rst", category="Report"),
        summary=f"reports/{study.name}/summary.json",
        claims=report(f"reports/{study.name}/claims.json", caption="../report/claims.rst", category="Claims"),
        figures=report(
            directory(f"reports/{study.name}/figures"),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        tables=report(
            directory(f"reports/{study.name}/tables"),
            patterns=["{table,[a-z0-9_]+}.csv"],
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        plots=directory(f"reports/{study.name}/plots"),
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
            ("figures/*.mplstyle", "report_template/*"),
            figure=lambda w: plugins.names("figure"),
            table=lambda w: plugins.names("table"),
        ),
    shell:
        "python -m reliquant.steps.report"
        " --rows {input.rows:q}"
        " --facts {input.facts:q}"
        " --processes {threads}"
        " --output $(dirname {output.html:q}) 2> {log:q}"
