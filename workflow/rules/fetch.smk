# From a hub to files on disk, once for all runs. lock_source and fetch_source need a network and run where snakemake runs;
# everything after them works without one. A source is fetched again only when its entry in config/sources.yaml or its lock
# changes, never because code did: what depends on it is a week of GPUs. So these rules carry no digest of code, and start
# their scripts by name; `settings` is the whole entry, counts to check included, and no part of what Snakemake compares.


rule fetch_sources:
    input:
        [paths.FETCHED.format(source=source) for source in RUN.used_sources()],


rule lock_source:
    output:
        lock=paths.LOCK,
    log:
        paths.log("lock_source"),
    benchmark:
        paths.cost("lock_source")
    wildcard_constraints:
        source=one_of(UNLOCKED),
    conda:
        "../../envs/video.yaml"
    params:
        python=functions.interpreter,
        settings=uncompared(of_run(prerequisites.source_json, "source")),
    shell:
        "{params.python} workflow/scripts/lock_source.py {wildcards.source:q} --settings {params.settings:q} "
        "--lock {output.lock:q} > {log:q} 2>&1"


rule fetch_source:
    input:
        lock=of_run(prerequisites.checked_lock, "source"),
    output:
        fetched=paths.FETCHED,
    log:
        paths.log("fetch_source"),
    benchmark:
        paths.cost("fetch_source")
    conda:
        "../../envs/video.yaml"
    params:
        python=functions.interpreter,
        settings=uncompared(of_run(prerequisites.source_json, "source")),
        decisive=of_run(prerequisites.fetched_by, "source"),
    shell:
        "{params.python} workflow/scripts/fetch_source.py {wildcards.source:q} --settings {params.settings:q} "
        "--lock {input.lock:q} --out {output.fetched:q} > {log:q} 2>&1"


rule unpack_source:
    input:
        fetched=paths.FETCHED,
    output:
        unpacked=paths.UNPACKED,
    log:
        paths.log("unpack_source"),
    benchmark:
        paths.cost("unpack_source")
    conda:
        "../../envs/video.yaml"
    params:
        python=functions.interpreter,
        settings=uncompared(of_run(prerequisites.source_json, "source")),
        decisive=of_run(prerequisites.unpacked_by, "source"),
        delete_archives=uncompared(of_run(prerequisites.delete_archives)),
    shell:
        "{params.python} workflow/scripts/unpack_source.py {wildcards.source:q} --settings {params.settings:q} "
        "--fetched {input.fetched:q} --out {output.unpacked:q} --delete-archives {params.delete_archives:q} > {log:q} 2>&1"


rule import_weights:
    input:
        ready=of_run(prerequisites.weights_ready, "arm"),
    output:
        checkpoint=directory(paths.IMPORTED),
    log:
        paths.log("import_weights"),
    benchmark:
        paths.cost("import_weights")
    conda:
        "../../envs/train.yaml"
    params:
        weights=of_run(Run.given, "arm", key="weights"),
        tokenizer=of_run(Run.given, "arm", key="tokenizer"),
        processor=of_run(Run.given, "arm", key="processor"),
        own=of_run(prerequisites.own_weights, "arm"),
        frame_size=setting("frames.size"),
        code=code_digest("vidreason.models.tinyllava.import_published"),
    script:
        "../scripts/import_weights.py"


rule plan:
    log:
        "logs/plan.log",
    conda:
        "../../envs/tables.yaml"
    params:
        settings=RUN.model_dump(mode="json"),
    script:
        "../scripts/plan.py"
