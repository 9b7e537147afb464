# From weights to scored answers.


rule count_missing:
    input:
        questions="results/{run}/questions/{benchmark}.jsonl",
        clips=benchmark_clips,
    output:
        table="results/{run}/count_missing/{benchmark}.csv",
    log:
        "logs/{run}/count_missing/{benchmark}.log",
    benchmark:
        "results/{run}/benchmarks/count_missing/{benchmark}.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_digest("vidreason.evaluation.coverage"),
    script:
        "../scripts/count_missing.py"


rule predict:
    input:
        weights=own_weights,
        questions="results/{run}/questions/{benchmark}.jsonl",
        frames=benchmark_frames,
        missing=ancient("results/{run}/count_missing/{benchmark}.csv"),
    output:
        predictions="results/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.jsonl",
        timing="results/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.timing.csv",
    log:
        "logs/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.log",
    benchmark:
        "results/{run}/benchmarks/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.tsv"
    conda:
        "../../envs/train.yaml"
    # Beside a GPU, each thread beyond the first is a process that reads frames ahead.
    threads: 1
    resources:
        gpu=0,
    params:
        settings=setting("evaluation/generation"),
        answer=setting("arms/{arm}/answer"),
        view=view_of,
        missing=missing_allowed,
        shards=setting("evaluation/shards/{benchmark}"),
        state="results/{run}/state/predict/{arm}/seed{seed}/{benchmark}/shard{shard}",
        cards=one_card,
        code=code_digest("vidreason.evaluation.predict"),
    script:
        "../scripts/predict.py"


rule score:
    input:
        questions="results/{run}/questions/{benchmark}.jsonl",
        predictions=prediction_shards,
        truth=truth_of,
    output:
        scored="results/{run}/score/{arm}/seed{seed}/{benchmark}.scored.jsonl",
        score="results/{run}/score/{arm}/seed{seed}/{benchmark}.score.json",
    log:
        "logs/{run}/score/{arm}/seed{seed}/{benchmark}.log",
    benchmark:
        "results/{run}/benchmarks/score/{arm}/seed{seed}/{benchmark}.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        settings=setting("evaluation/scoring"),
        known_missing=known_missing,
        answer=setting("arms/{arm}/answer"),
        code=code_digest("vidreason.evaluation.score"),
    script:
        "../scripts/score.py"
