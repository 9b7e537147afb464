# From scores to what people read.


rule make_tables:
    input:
        scores=run_scores,
        judged=run_judged,
        histograms=run_histograms,
        dropped=run_dropped,
        filtered="results/{run}/filter_nextqa/dropped.csv",
        durations="results/{run}/filter_nextqa/durations.csv",
        clips=run_clips,
        published=published_of,
    output:
        main=report(
            "results/{run}/tables/main.csv",
            caption="../report/main.rst",
            category="Tables",
        ),
        markdown="results/{run}/tables/main.md",
        by_task=report(
            "results/{run}/tables/by_task.csv",
            caption="../report/by_task.rst",
            category="Tables",
        ),
        by_group=report(
            "results/{run}/tables/by_group.csv",
            caption="../report/by_group.rst",
            category="Tables",
        ),
        controls=report(
            "results/{run}/tables/controls.csv",
            caption="../report/controls.rst",
            category="Tables",
        ),
        thinking=report(
            "results/{run}/tables/thinking.csv",
            caption="../report/thinking.rst",
            category="Tables",
        ),
        gains=report(
            "results/{run}/tables/gains.csv",
            caption="../report/gains.rst",
            category="Tables",
        ),
        selection=report(
            "results/{run}/tables/selection.csv",
            caption="../report/selection.rst",
            category="Tables",
        ),
        data=report(
            "results/{run}/tables/data.csv",
            caption="../report/data.rst",
            category="Tables",
        ),
    log:
        "logs/{run}/make_tables.log",
    benchmark:
        "results/{run}/benchmarks/make_tables.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        arms=arms_shown,
        benchmarks=benchmarks_shown,
        code=code_digest("vidreason.evaluation.tables"),
    script:
        "../scripts/make_tables.py"


rule make_figures:
    input:
        scores=run_scores,
        histograms=run_histograms,
        controls="results/{run}/tables/controls.csv",
        grpo=run_grpo_metrics,
        sft=run_sft_metrics,
    output:
        accuracy=report(
            "results/{run}/figures/accuracy.png",
            caption="../report/accuracy.rst",
            category="Figures",
        ),
        selection=report(
            "results/{run}/figures/selection.png",
            caption="../report/selection.rst",
            category="Figures",
        ),
        grpo=report(
            "results/{run}/figures/grpo.png",
            caption="../report/grpo.rst",
            category="Figures",
        ),
        sft=report(
            "results/{run}/figures/sft.png",
            caption="../report/sft.rst",
            category="Figures",
        ),
        temporal=report(
            "results/{run}/figures/temporal.png",
            caption="../report/temporal.rst",
            category="Figures",
        ),
    log:
        "logs/{run}/make_figures.log",
    benchmark:
        "results/{run}/benchmarks/make_figures.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        arms=arms_shown,
        benchmarks=benchmarks_shown,
        keep_min=lookup(dpath="{run}/selection/rule/keep_min", within=RUNS),
        keep_max=lookup(dpath="{run}/selection/rule/keep_max", within=RUNS),
        code=code_digest("vidreason.evaluation.figures"),
    script:
        "../scripts/make_figures.py"


rule report:
    input:
        scores=run_scores,
        judged=run_judged,
        questions=run_questions,
        clips=run_clips,
        frames=run_benchmark_frames,
        filtered="results/{run}/filter_nextqa/dropped.csv",
        main="results/{run}/tables/main.csv",
        markdown="results/{run}/tables/main.md",
        by_task="results/{run}/tables/by_task.csv",
        by_group="results/{run}/tables/by_group.csv",
        controls="results/{run}/tables/controls.csv",
        thinking="results/{run}/tables/thinking.csv",
        gains="results/{run}/tables/gains.csv",
        selection="results/{run}/tables/selection.csv",
        data="results/{run}/tables/data.csv",
        figures=expand("results/{{run}}/figures/{figure}.png", figure=FIGURES),
        captions=expand("workflow/report/{figure}.rst", figure=FIGURES),
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
        seed=lookup(dpath="{run}/seed", within=RUNS),
        code=code_digest("vidreason.evaluation.report"),
    script:
        "../scripts/report.py"
