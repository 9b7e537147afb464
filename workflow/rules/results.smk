# From scores to tables, figures and the report. Tables and figures are registered in src/vidreason/results/registry.py.


rule make_tables:
    input:
        scores=run_scores,
        scored=run_judged,
        histograms=run_histograms,
        dropped=run_dropped,
        filtered="results/{run}/filter_nextqa/dropped.csv",
        durations="results/{run}/filter_nextqa/durations.csv",
        clips=run_clips,
        published=published_of,
    output:
        **{
            table.name: report(table.path, caption=f"../report/{table.caption}.rst", category="Tables")
            for table in TABLES
        },
    log:
        "logs/{run}/make_tables.log",
    benchmark:
        "results/{run}/benchmarks/make_tables.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        arms=arms_shown,
        benchmarks=benchmarks_shown,
        code=code_digest(*modules_of(TABLES)),
    script:
        "../scripts/make_tables.py"


rule make_figures:
    input:
        scores=run_scores,
        histograms=run_histograms,
        tables=[table.path for table in TABLES],
        grpo=run_grpo_metrics,
        sft=run_sft_metrics,
    output:
        **{
            figure.name: report(figure.path, caption=f"../report/{figure.caption}.rst", category="Figures")
            for figure in FIGURES
        },
    log:
        "logs/{run}/make_figures.log",
    benchmark:
        "results/{run}/benchmarks/make_figures.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        arms=arms_shown,
        benchmarks=benchmarks_shown,
        code=code_digest(*modules_of(FIGURES)),
    script:
        "../scripts/make_figures.py"


rule report:
    input:
        scores=run_scores,
        scored=run_judged,
        questions=run_questions,
        clips=run_clips,
        frames=run_benchmark_frames,
        filtered="results/{run}/filter_nextqa/dropped.csv",
        published=published_of,
        tables=[table.path for table in TABLES],
        figures=[figure.path for figure in FIGURES],
        captions=sorted({f"workflow/report/{item.caption}.rst" for item in (*TABLES, *FIGURES)}),
    output:
        page="results/{run}/report/index.html",
    log:
        "logs/{run}/report.log",
    benchmark:
        "results/{run}/benchmarks/report.tsv"
    conda:
        "../../envs/video.yaml"
    params:
        arms=arms_shown,
        benchmarks=benchmarks_shown,
        seed=setting("seed"),
        code=code_digest("vidreason.results.report"),
        templates=content_digest(TEMPLATES)[:16],
    script:
        "../scripts/report.py"
