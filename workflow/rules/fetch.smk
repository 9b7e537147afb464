# From a hub to files on disk, once for all runs. lock_source and fetch_source need a network and run where snakemake runs;
# everything after them works without one. A source is fetched again only when its entry in config/sources.yaml or its lock
# changes, never because code did: what depends on it is a week of GPUs. So these rules carry no digest of code, and start
# their scripts by name; `settings` is the whole entry, counts to check included, and no part of what Snakemake compares.


rule fetch_sources:
    input:
        expand("data/{source}/fetched.json", source=sources_of(RUNS[RUN])),


rule lock_source:
    output:
        lock="config/locks/{source}.json",
    log:
        "logs/lock_source/{source}.log",
    benchmark:
        "logs/lock_source/{source}.tsv"
    wildcard_constraints:
        source=one_of(UNLOCKED),
    conda:
        "../../envs/video.yaml"
    params:
        launch=launch,
        settings=source_settings,
    shell:
        "{params.launch} workflow/scripts/lock_source.py {wildcards.source:q} --settings {params.settings:q} "
        "--lock {output.lock:q} > {log:q} 2>&1"


rule fetch_source:
    input:
        lock=lock_of,
    output:
        fetched="data/{source}/fetched.json",
    log:
        "logs/fetch_source/{source}.log",
    benchmark:
        "logs/fetch_source/{source}.tsv"
    conda:
        "../../envs/video.yaml"
    params:
        launch=launch,
        settings=source_settings,
        decisive=fetched_by,
    shell:
        "{params.launch} workflow/scripts/fetch_source.py {wildcards.source:q} --settings {params.settings:q} "
        "--lock {input.lock:q} --out {output.fetched:q} > {log:q} 2>&1"


rule unpack_source:
    input:
        fetched="data/{source}/fetched.json",
    output:
        unpacked="data/{source}/unpacked.json",
    log:
        "logs/unpack_source/{source}.log",
    benchmark:
        "logs/unpack_source/{source}.tsv"
    conda:
        "../../envs/video.yaml"
    params:
        launch=launch,
        settings=source_settings,
        decisive=unpacked_by,
        delete_archives=delete_archives,
    shell:
        "{params.launch} workflow/scripts/unpack_source.py {wildcards.source:q} --settings {params.settings:q} "
        "--fetched {input.fetched:q} --out {output.unpacked:q} --delete-archives {params.delete_archives:q} > {log:q} 2>&1"


rule import_weights:
    input:
        ready=given_ready,
    output:
        checkpoint=directory("results/{run}/import_weights/{arm}/checkpoint"),
    log:
        "logs/{run}/import_weights/{arm}.log",
    benchmark:
        "results/{run}/benchmarks/import_weights/{arm}.tsv"
    conda:
        "../../envs/train.yaml"
    params:
        weights=given_weights,
        tokenizer=given_tokenizer,
        processor=given_processor,
        own=own_weights_files,
        frame_size=setting("frames/size"),
        code=code_digest("vidreason.models.tinyllava.published"),
    script:
        "../scripts/import_weights.py"


rule plan:
    log:
        "logs/plan.log",
    conda:
        "../../envs/tables.yaml"
    params:
        settings=RUNS[RUN],
    script:
        "../scripts/plan.py"
