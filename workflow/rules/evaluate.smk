# From weights to scored answers.


rule count_missing:
    input:
        questions=paths.questions("{benchmark}"),
        clips=of_run(job_inputs.clips, "benchmark"),
    output:
        table=paths.MISSING,
    log:
        paths.log("count_missing"),
    benchmark:
        paths.cost("count_missing")
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_digest("vidreason.evaluation.coverage"),
    script:
        "../scripts/count_missing.py"


rule predict:
    input:
        weights=of_run(job_inputs.weights, "arm", "seed"),
        questions=paths.questions("{benchmark}"),
        frames=of_run(job_inputs.frames, "benchmark"),
        missing=ancient(paths.MISSING),
    output:
        predictions=paths.PREDICTIONS,
        timing=paths.TIMING,
    log:
        paths.log("predict"),
    benchmark:
        paths.cost("predict")
    conda:
        "../../envs/train.yaml"
    # Beside a GPU, each thread beyond the first is a process that reads frames ahead.
    threads: 1
    resources:
        gpu=0,
    params:
        settings=setting("evaluation.generation"),
        style=setting("arms.{arm}.style"),
        view=setting("arms.{arm}.shown_view"),
        options=of_run(job_inputs.option_edit, "arm"),
        missing=uncompared(of_run(job_inputs.allowed_missing, "benchmark")),
        shards=setting("datasets.{benchmark}.shards.predict"),
        state=paths.state("predict"),
        gpus=functions.single_gpu,
        code=of_run(registered.code, "benchmark", module="vidreason.evaluation.predict"),
    script:
        "../scripts/predict.py"


rule sample_answers:
    input:
        weights=of_run(job_inputs.weights, "arm", "seed"),
        questions=paths.questions("{benchmark}"),
        frames=of_run(job_inputs.frames, "benchmark"),
        missing=ancient(paths.MISSING),
    output:
        samples=paths.SAMPLES,
        timing=paths.SAMPLE_TIMING,
    log:
        paths.log("sample_answers"),
    benchmark:
        paths.cost("sample_answers")
    conda:
        "../../envs/train.yaml"
    # Beside a GPU, each thread beyond the first is a process that reads frames ahead.
    threads: 1
    resources:
        gpu=0,
    params:
        settings=of_run(job_inputs.answer_sampling),
        style=setting("arms.{arm}.style"),
        view=setting("arms.{arm}.shown_view"),
        missing=uncompared(of_run(job_inputs.allowed_missing, "benchmark")),
        shards=setting("datasets.{benchmark}.shards.predict"),
        state=paths.state("sample_answers"),
        gpus=functions.single_gpu,
        code=of_run(registered.code, "benchmark", module="vidreason.evaluation.sample_answers"),
    script:
        "../scripts/sample_answers.py"


rule score_samples:
    input:
        questions=paths.questions("{benchmark}"),
        samples=of_run(job_inputs.samples, "arm", "seed", "benchmark"),
    output:
        scored=paths.SCORED_SAMPLES,
    log:
        paths.log("score_samples"),
    benchmark:
        paths.cost("score_samples")
    conda:
        "../../envs/tables.yaml"
    params:
        settings=setting("evaluation.scoring"),
        limit=of_run(job_inputs.sampled_questions),
        style=setting("arms.{arm}.style"),
        code=of_run(registered.code, "benchmark", module="vidreason.evaluation.score_samples"),
    script:
        "../scripts/score.py"


rule score:
    input:
        questions=paths.questions("{benchmark}"),
        predictions=of_run(job_inputs.predictions, "arm", "seed", "benchmark"),
        truth=of_run(job_inputs.truth),
    output:
        scored=paths.SCORED,
        score=paths.SCORE,
    log:
        paths.log("score"),
    benchmark:
        paths.cost("score")
    conda:
        "../../envs/tables.yaml"
    params:
        settings=setting("evaluation.scoring"),
        known_missing=of_run(job_inputs.known_missing, "benchmark"),
        style=setting("arms.{arm}.style"),
        options=of_run(job_inputs.option_edit, "arm"),
        code=of_run(registered.code, "benchmark", module="vidreason.evaluation.score"),
    script:
        "../scripts/score.py"


rule check_leaks:
    input:
        benchmarks=of_run(job_inputs.benchmark_frames),
        training=of_run(job_inputs.all_training_frames),
    output:
        leaks=paths.LEAKS,
        counts=paths.LEAK_COUNTS,
    log:
        paths.log("check_leaks"),
    benchmark:
        paths.cost("check_leaks")
    conda:
        "../../envs/video.yaml"
    params:
        code=code_digest("vidreason.evaluation.leaks"),
    script:
        "../scripts/check_leaks.py"
