# From scores to tables, figures and the report. Tables and figures are registered in src/vidreason/results/registry.py.


rule make_tables:
    input:
        scores=of_run(job_inputs.scored, pattern=paths.SCORE),
        scored=of_run(job_inputs.scored, pattern=paths.SCORED),
        histograms=of_run(job_inputs.of_arms, pattern=paths.HISTOGRAM, method="grpo"),
        dropped=of_run(job_inputs.of_arms, pattern=paths.DROPPED, method="grpo"),
        selected=of_run(job_inputs.of_arms, pattern=paths.SELECTED, method="grpo"),
        filtered=of_run(job_inputs.set_aside),
        durations=of_run(job_inputs.filtered, table="durations.csv"),
        clips=of_run(job_inputs.all_clips),
        published=of_run(job_inputs.published),
        leaks=paths.LEAKS,
        leak_counts=paths.LEAK_COUNTS,
    output:
        **{
            table.name: report(table.path, caption=f"../report/{table.caption}.rst", category="Tables")
            for table in TABLES
        },
    log:
        paths.log("make_tables"),
    benchmark:
        paths.cost("make_tables")
    conda:
        "../../envs/tables.yaml"
    params:
        arms=of_run(job_inputs.shown_arms),
        benchmarks=of_run(job_inputs.shown_benchmarks),
        # What trainings cost, as far as it is known. No inputs: tables are made from cached answers, and train nothing.
        costs=paths.COSTS,
        curves=of_run(job_inputs.of_arms, pattern=paths.GRPO_CURVES, method="grpo"),
        code=of_run(registered.results_code, modules=modules_of(TABLES)),
    script:
        "../scripts/make_tables.py"


rule make_figures:
    input:
        scores=of_run(job_inputs.scored, pattern=paths.SCORE),
        histograms=of_run(job_inputs.of_arms, pattern=paths.HISTOGRAM, method="grpo"),
        tables=[table.path for table in TABLES],
        grpo=of_run(job_inputs.of_arms, pattern=paths.GRPO_CURVES, method="grpo"),
        sft=of_run(job_inputs.of_arms, pattern=paths.SFT_CURVES, method="sft"),
    output:
        **{
            figure.name: report(figure.path, caption=f"../report/{figure.caption}.rst", category="Figures")
            for figure in FIGURES
        },
    log:
        paths.log("make_figures"),
    benchmark:
        paths.cost("make_figures")
    conda:
        "../../envs/tables.yaml"
    params:
        arms=of_run(job_inputs.shown_arms),
        benchmarks=of_run(job_inputs.shown_benchmarks),
        code=of_run(registered.results_code, modules=modules_of(FIGURES)),
    script:
        "../scripts/make_figures.py"


rule report:
    input:
        scores=of_run(job_inputs.scored, pattern=paths.SCORE),
        scored=of_run(job_inputs.scored, pattern=paths.SCORED),
        questions=of_run(job_inputs.benchmark_questions),
        clips=of_run(job_inputs.all_clips),
        frames=of_run(job_inputs.benchmark_frames),
        checked=of_run(job_inputs.filtered, table="clips.jsonl"),
        selected=of_run(job_inputs.of_arms, pattern=paths.SELECTED, method="grpo"),
        published=of_run(job_inputs.published),
        tables=[table.path for table in TABLES],
        figures=[figure.path for figure in FIGURES],
        captions=sorted({f"workflow/report/{item.caption}.rst" for item in (*TABLES, *FIGURES)}),
    output:
        page=paths.REPORT,
        gallery=directory(paths.GALLERY),
    log:
        paths.log("report"),
    benchmark:
        paths.cost("report")
    conda:
        "../../envs/video.yaml"
    params:
        arms=of_run(job_inputs.shown_arms),
        benchmarks=of_run(job_inputs.shown_benchmarks),
        seed=setting("seed"),
        most_clips=setting("gallery.clips"),
        # Rollouts and their frames as far as they are there. No inputs: a run from before they were kept trains nothing again.
        rollouts=of_run(job_inputs.of_arms, pattern=paths.GRPO_ROLLOUTS, method="grpo"),
        training_frames=of_run(job_inputs.all_training_frames),
        code=of_run(registered.results_code, modules=["vidreason.results.report", "vidreason.results.gallery.write"]),
        templates=content_digest(TEMPLATES)[:16],
    script:
        "../scripts/report.py"
