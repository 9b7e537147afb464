# From a hub to files on disk, once for all runs. lock_source and fetch_source need a network and run where snakemake runs;
# everything after them works without one. A source is fetched again only when its entry in config/sources.yaml or its lock
# changes, never because code did.


rule fetch_sources:
    input:
        expand("data/{source}/fetched.json", source=sources_of(RUNS[config["run"]])),


rule lock_source:
    output:
        lock="config/locks/{source}.json",
    log:
        "logs/lock_source/{source}.log",
    benchmark:
        "logs/lock_source/{source}.tsv"
    wildcard_constraints:
        source=one_of(UNLOCKED),
    retries: 1
    conda:
        "../../envs/video.yaml"
    params:
        source=lookup(dpath="{source}", within=SOURCES),
    script:
        "../scripts/lock_source.py"


rule fetch_source:
    input:
        lock=lock_of,
    output:
        fetched="data/{source}/fetched.json",
    log:
        "logs/fetch_source/{source}.log",
    benchmark:
        "logs/fetch_source/{source}.tsv"
    retries: 1
    conda:
        "../../envs/video.yaml"
    params:
        source=lookup(dpath="{source}", within=SOURCES),
    script:
        "../scripts/fetch_source.py"


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
        source=lookup(dpath="{source}", within=SOURCES),
        delete_archives=RUNS[config["run"]]["delete_archives"],
    script:
        "../scripts/unpack_source.py"


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
        frame_size=lookup(dpath="{run}/frames/size", within=RUNS),
        code=code_digest("vidreason.model.published"),
    script:
        "../scripts/import_weights.py"


rule plan:
    log:
        "logs/plan.log",
    conda:
        "../../envs/tables.yaml"
    params:
        settings=RUNS[config["run"]],
    script:
        "../scripts/plan.py"
