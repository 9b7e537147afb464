# From given weights to trained arms. Weights are not `protected()`: a protected file makes every later rerun fail, and
# what protects them here is that nothing but their own spec, data and code ever asks for them again.
# `exec`: a signal that asks a training to save and stop must not end a shell between it and Snakemake first.


rule pretrain_base:
    output:
        checkpoint=directory("results/{run}/pretrain_base/checkpoint"),
        metrics="results/{run}/pretrain_base/metrics.jsonl",
    log:
        "logs/{run}/pretrain_base.log",
    benchmark:
        "results/{run}/benchmarks/pretrain_base.tsv"
    wildcard_constraints:
        run=one_of(WORLDS),
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        gpu=0,
    params:
        settings=setting("base"),
        image_size=setting("frames/size"),
        seed=setting("seed"),
        state="results/{run}/state/pretrain_base",
        cards=one_card,
        code=code_digest("vidreason.world.pretraining"),
    script:
        "../scripts/pretrain_base.py"


rule resolve_spec:
    output:
        spec="results/{run}/specs/{arm}/seed{seed}.json",
    log:
        "logs/{run}/resolve_spec/{arm}/seed{seed}.log",
    benchmark:
        "results/{run}/benchmarks/resolve_spec/{arm}/seed{seed}.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        spec=spec_of,
    script:
        "../scripts/resolve_spec.py"


rule train_sft:
    input:
        spec="results/{run}/specs/{arm}/seed{seed}.json",
        init=parent_weights,
        questions=training_questions,
        frames=training_frames,
    output:
        checkpoint=directory("results/{run}/train_sft/{arm}/seed{seed}/checkpoint"),
        metrics="results/{run}/train_sft/{arm}/seed{seed}/metrics.jsonl",
    log:
        "logs/{run}/train_sft/{arm}/seed{seed}.log",
    benchmark:
        "results/{run}/benchmarks/train_sft/{arm}/seed{seed}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        nodes=1,
        gpu=0,
    params:
        launch=launch,
        running=running_settings,
        state="results/{run}/state/train_sft/{arm}/seed{seed}",
        script=file_digest("workflow/scripts/train_sft.py"),
        code=code_digest("vidreason.training.sft"),
    shell:
        "exec {params.launch} workflow/scripts/train_sft.py --spec {input.spec:q} --running {params.running:q} --init {input.init:q} "
        "--questions {input.questions:q} --frames {input.frames:q} --out {output.checkpoint:q} "
        "--metrics {output.metrics:q} --state {params.state:q} > {log:q} 2>&1"


rule sample_rollouts:
    input:
        weights=own_weights,
        questions="results/{run}/questions/nextqa.jsonl",
        frames=nextqa_frames,
    output:
        rollouts="results/{run}/sample_rollouts/{arm}/seed{seed}/shard{shard}.jsonl",
    log:
        "logs/{run}/sample_rollouts/{arm}/seed{seed}/shard{shard}.log",
    benchmark:
        "results/{run}/benchmarks/sample_rollouts/{arm}/seed{seed}/shard{shard}.tsv"
    conda:
        "../../envs/train.yaml"
    # Beside a GPU, each thread beyond the first is a process that reads frames ahead.
    threads: 1
    resources:
        gpu=0,
    params:
        settings=setting("selection/generation"),
        answer=setting("arms/{arm}/answer"),
        protocol=setting("protocol"),
        shards=setting("selection/shards"),
        state="results/{run}/state/sample_rollouts/{arm}/seed{seed}/shard{shard}",
        cards=one_card,
        code=code_digest("vidreason.training.rollouts"),
    script:
        "../scripts/sample_rollouts.py"


rule select_by_variance:
    input:
        rollouts=rollout_shards,
        questions="results/{run}/questions/nextqa.jsonl",
        clips=nextqa_clips,
    output:
        selected="results/{run}/select_by_variance/{arm}/seed{seed}/selected.jsonl",
        dropped="results/{run}/select_by_variance/{arm}/seed{seed}/dropped.csv",
        histogram="results/{run}/select_by_variance/{arm}/seed{seed}/histogram.csv",
    log:
        "logs/{run}/select_by_variance/{arm}/seed{seed}.log",
    benchmark:
        "results/{run}/benchmarks/select_by_variance/{arm}/seed{seed}.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        rule=setting("selection/rule"),
        rollouts=setting("selection/generation/rollouts"),
        code=code_digest("vidreason.training.selection"),
    script:
        "../scripts/select_by_variance.py"


rule train_grpo:
    input:
        spec="results/{run}/specs/{arm}/seed{seed}.json",
        init=parent_weights,
        questions=selected_questions,
        validation="results/{run}/questions/validation.jsonl",
        frames=training_frames,
    output:
        checkpoint=directory("results/{run}/train_grpo/{arm}/seed{seed}/checkpoint"),
        metrics="results/{run}/train_grpo/{arm}/seed{seed}/metrics.jsonl",
    log:
        "logs/{run}/train_grpo/{arm}/seed{seed}.log",
    benchmark:
        "results/{run}/benchmarks/train_grpo/{arm}/seed{seed}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        nodes=1,
        gpu=0,
    params:
        launch=launch,
        running=running_settings,
        state="results/{run}/state/train_grpo/{arm}/seed{seed}",
        script=file_digest("workflow/scripts/train_grpo.py"),
        code=code_digest("vidreason.training.grpo"),
    shell:
        "exec {params.launch} workflow/scripts/train_grpo.py --spec {input.spec:q} --running {params.running:q} --init {input.init:q} "
        "--questions {input.questions:q} --validation {input.validation:q} --frames {input.frames:q} "
        "--out {output.checkpoint:q} --metrics {output.metrics:q} --state {params.state:q} > {log:q} 2>&1"
