# vidreason: from videos to the results table.
#
# Paths say what made them, `results/{run}/<rule>/...`:
#   config/locks/{source}.json                                           commit and digests of a source
#   data/{source}/fetched.json, unpacked.json                            its files are fetched, its archives are unpacked
#   results/{run}/import_weights/{arm}/checkpoint/                       given weights, checked
#   results/{run}/questions/{dataset}.jsonl                              records of filter_questions and read_questions
#   results/{run}/filter_questions/{dataset}/validation.jsonl            training questions that are held out
#   results/{run}/extract_frames/{dataset}/shard{shard}.parquet          pixels of 1/n of the clips
#   results/{run}/specs/{arm}/seed{seed}.json                            everything that decides an arm's weights
#   results/{run}/train_sft/{arm}/seed{seed}/checkpoint/                 weights (train_grpo alike)
#   results/{run}/sample_rollouts/{arm}/{dataset}/seed{seed}/shard{shard}.jsonl    repeated answers of an arm to a training set
#   results/{run}/select_by_variance/{arm}/seed{seed}/selected.jsonl     the questions that a GRPO arm is trained on
#   results/{run}/check_leaks/leaks.csv                                  benchmark videos among the training videos
#   results/{run}/count_missing/{benchmark}.csv                          questions without frames, by category
#   results/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.jsonl    answers of an arm to 1/n of a benchmark
#   results/{run}/sample_answers/{arm}/seed{seed}/{benchmark}/shard{shard}.jsonl    several answers to each of these questions
#   results/{run}/score_samples/{arm}/seed{seed}/{benchmark}.jsonl        their grades
#   results/{run}/score/{arm}/seed{seed}/{benchmark}.score.json          accuracy, coverage, interval
#   results/{run}/write_card/{arm}/seed{seed}/README.md                  model card of a trained arm
#   results/{run}/thumbnails/                                            frames of the clips that are shown, small
#   results/{run}/tables/, figures/, report/                             tables, figures, and page and gallery that show them
#   logs/{run}/<rule>/... and results/{run}/benchmarks/<rule>/...        logs, and time and memory of every job
#
# Wildcards: source (config/sources.yaml), run (config/*.yaml), arm and benchmark (names in the config), dataset, seed and shard (numbers).
# Any of these files can be asked for by name: `snakemake results/demo/tables/main.csv`.

from snakemake.utils import min_version

min_version("9.27")


# Reads the configuration first, so that mistakes in it get our messages and not Snakemake's.
include: "workflow/rules/common.smk"


configfile: "config/sources.yaml"
configfile: "config/config.yaml"


include: "workflow/rules/fetch.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/results.smk"


# These run where snakemake runs, not in a cluster's queue: they need the internet, or take seconds.
localrules:
    all,
    plan,
    fetch_sources,
    lock_source,
    fetch_source,
    resolve_spec,
    select_by_variance,
    count_missing,
    score,
    score_samples,
    make_tables,
    make_figures,
    report,
    write_card,


onstart:
    start()
    remove_leftovers("results")


rule all:
    default_target: True
    input:
        expand([item.path for item in (*TABLES, *FIGURES)], run=RUN.run),
        expand(paths.REPORT, run=RUN.run),
        job_inputs.cards(RUN),
