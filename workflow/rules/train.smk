# From given weights to trained arms. Weights are not `protected()`: a protected file makes every later rerun fail, and
# what protects them here is that nothing but their own spec, data and code ever makes them again.
# `exec`: a signal that asks a training to save and stop must not end a shell between it and Snakemake first.


rule pretrain_base:
    output:
        checkpoint=directory(paths.PRETRAINED),
        metrics=paths.PRETRAINING_CURVES,
    log:
        paths.log("pretrain_base"),
    benchmark:
        paths.cost("pretrain_base")
    wildcard_constraints:
        run=one_of(WORLDS),
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        gpu=0,
    params:
        settings=setting("base"),
        image_size=setting("frames.size"),
        seed=setting("seed"),
        state=paths.state("pretrain_base"),
        gpus=functions.single_gpu,
        code=code_digest("vidreason.world.pretraining"),
    script:
        "../scripts/pretrain_base.py"


rule resolve_spec:
    output:
        spec=paths.SPEC,
    log:
        paths.log("resolve_spec"),
    benchmark:
        paths.cost("resolve_spec")
    conda:
        "../../envs/tables.yaml"
    params:
        spec=of_run(job_inputs.training_spec, "arm", "seed"),
    script:
        "../scripts/resolve_spec.py"


rule train_sft:
    input:
        spec=paths.SPEC,
        init=of_run(job_inputs.parent_weights, "arm", "seed"),
        questions=of_run(job_inputs.training_questions, "arm"),
        frames=of_run(job_inputs.training_frames, "arm"),
    output:
        checkpoint=directory(paths.SFT),
        metrics=paths.SFT_CURVES,
        timing=paths.SFT_TIMING,
    log:
        paths.log("train_sft"),
    benchmark:
        paths.cost("train_sft")
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        nodes=1,
        gpu=0,
    params:
        launch=functions.launch,
        runtime=uncompared(of_run(job_inputs.runtime, "arm")),
        state=paths.state("train_sft"),
        script=file_digest("workflow/scripts/train.py"),
        code=of_run(registered.training_code, "arm"),
    shell:
        "exec {params.launch} workflow/scripts/train.py --spec {input.spec:q} --runtime {params.runtime:q} --init {input.init:q} "
        "--questions {input.questions:q} --frames {input.frames:q} "
        "--out {output.checkpoint:q} --metrics {output.metrics:q} --timing {output.timing:q} --state {params.state:q} > {log:q} 2>&1"


rule sample_rollouts:
    input:
        weights=of_run(job_inputs.weights, "arm", "seed"),
        questions=paths.QUESTIONS,
        frames=of_run(job_inputs.frames, "dataset"),
    output:
        rollouts=paths.ROLLOUTS,
    log:
        paths.log("sample_rollouts"),
    benchmark:
        paths.cost("sample_rollouts")
    conda:
        "../../envs/train.yaml"
    # Beside a GPU, each thread beyond the first is a process that reads frames ahead.
    threads: 1
    resources:
        gpu=0,
    params:
        settings=setting("selection.generation"),
        style=setting("arms.{arm}.style"),
        protocol=setting("protocol"),
        shards=setting("selection.shards"),
        state=paths.state("sample_rollouts"),
        gpus=functions.single_gpu,
        code=of_run(registered.code, "dataset", module="vidreason.training.sample_rollouts"),
    script:
        "../scripts/sample_rollouts.py"


rule select_by_variance:
    input:
        rollouts=of_run(job_inputs.rollouts, "arm", "seed"),
        questions=of_run(job_inputs.training_questions, "arm"),
        clips=of_run(job_inputs.training_clips, "arm"),
    output:
        selected=paths.SELECTED,
        dropped=paths.DROPPED,
        histogram=paths.HISTOGRAM,
    log:
        paths.log("select_by_variance"),
    benchmark:
        paths.cost("select_by_variance")
    conda:
        "../../envs/tables.yaml"
    params:
        rule=of_run(job_inputs.selection_rule, "arm"),
        reading=of_run(job_inputs.selection_reading, "arm"),
        style=of_run(job_inputs.sampler_style, "arm"),
        data=of_run(Run.data_of, "arm"),
        rollouts=setting("selection.generation.rollouts"),
        code=of_run(registered.selection_code, "arm"),
    script:
        "../scripts/select_by_variance.py"


rule train_grpo:
    input:
        spec=paths.SPEC,
        init=of_run(job_inputs.parent_weights, "arm", "seed"),
        questions=paths.SELECTED,
        validation=of_run(job_inputs.validation_questions, "arm"),
        frames=of_run(job_inputs.training_frames, "arm"),
    output:
        checkpoint=directory(paths.GRPO),
        metrics=paths.GRPO_CURVES,
        rollouts=paths.GRPO_ROLLOUTS,
        timing=paths.GRPO_TIMING,
    log:
        paths.log("train_grpo"),
    benchmark:
        paths.cost("train_grpo")
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        nodes=1,
        gpu=0,
    params:
        launch=functions.launch,
        runtime=uncompared(of_run(job_inputs.runtime, "arm")),
        state=paths.state("train_grpo"),
        script=file_digest("workflow/scripts/train.py"),
        code=of_run(registered.training_code, "arm"),
    shell:
        "exec {params.launch} workflow/scripts/train.py --spec {input.spec:q} --runtime {params.runtime:q} --init {input.init:q} "
        "--questions {input.questions:q} --validation {input.validation:q} --frames {input.frames:q} "
        "--out {output.checkpoint:q} --metrics {output.metrics:q} --rollouts {output.rollouts:q} --timing {output.timing:q} "
        "--state {params.state:q} > {log:q} 2>&1"
