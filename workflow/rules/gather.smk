# What is gathered from many jobs, shards and all that tables, figures and report show. No rule is defined here.


def rollout_shards(wildcards):
    """All shards of an arm's repeated answers."""
    path = "results/{run}/sample_rollouts/{arm}/seed{seed}/shard{shard}.jsonl"
    shards = range(run_of(wildcards)["selection"]["shards"])
    return expand(path, run=wildcards.run, arm=wildcards.arm, seed=wildcards.seed, shard=shards)


def prediction_shards(wildcards):
    """All shards of an arm's answers to a benchmark."""
    path = "results/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.jsonl"
    shards = range(run_of(wildcards)["evaluation"]["shards"][wildcards.benchmark])
    return expand(path, shard=shards, **wildcards)


def arms_by(wildcards, *methods):
    """Arms of a run with one of these methods, in the order of the configuration."""
    arms = run_of(wildcards)["arms"]
    return [name for name, arm in arms.items() if arm["method"] in methods]


def every_score(wildcards, kind):
    """One file for every arm, seed and benchmark of a run."""
    settings = run_of(wildcards)
    return expand(
        "results/{run}/score/{arm}/seed{seed}/{benchmark}.{kind}",
        kind=kind,
        run=wildcards.run,
        arm=settings["arms"],
        seed=settings["seeds"],
        benchmark=settings["benchmarks"],
    )


def run_scores(wildcards):
    """All scores of a run."""
    return every_score(wildcards, "score.json")


def run_judged(wildcards):
    """All judged answers of a run, in the order of the scores."""
    return every_score(wildcards, "scored.jsonl")


def selections(wildcards, name):
    """One file of every selection of a run."""
    settings = run_of(wildcards)
    parents = {weights_arm(settings, settings["arms"][arm]["parent"]): None for arm in arms_by(wildcards, "grpo")}
    path = "results/{run}/select_by_variance/{arm}/seed{seed}/{name}"
    return expand(path, run=wildcards.run, arm=parents, seed=settings["seeds"], name=name)


def run_histograms(wildcards):
    """How often the questions were answered right, for every selection."""
    return selections(wildcards, "histogram.csv")


def run_dropped(wildcards):
    """Questions that every selection left out."""
    return selections(wildcards, "dropped.csv")


def run_clips(wildcards):
    """What decoding every clip of a run gave."""
    datasets = ["nextqa", "coldstart", *run_of(wildcards)["benchmarks"]]
    tables = [path for dataset in datasets for path in frame_tables(wildcards, dataset)]
    return [path.replace(".parquet", ".clips.jsonl") for path in tables]


def training_metrics(wildcards, method):
    """Training curves of a run's arms."""
    path = "results/{run}/train_{method}/{arm}/seed{seed}/metrics.jsonl"
    arms, seeds = arms_by(wildcards, method), run_of(wildcards)["seeds"]
    return expand(path, run=wildcards.run, method=method, arm=arms, seed=seeds)


def run_sft_metrics(wildcards):
    """Training curves of the SFT arms."""
    return training_metrics(wildcards, "sft")


def run_grpo_metrics(wildcards):
    """Training curves of the GRPO arms."""
    return training_metrics(wildcards, "grpo")


def arms_shown(wildcards):
    """What tables say about the arms; hyper-parameters change no table."""
    keys = ("label", "answer", "method", "parent", "frames")
    arms = run_of(wildcards)["arms"]
    return {name: {key: arm[key] for key in keys if key in arm} for name, arm in arms.items()}


def benchmarks_shown(wildcards):
    """Benchmarks of a run in the order of the columns."""
    return list(run_of(wildcards)["benchmarks"])


def published_of(wildcards):
    """The papers' numbers; a world of its own is not to be compared with them."""
    return [] if wildcards.run in WORLDS else "config/published.tsv"


def run_questions(wildcards):
    """Questions of all benchmarks of a run."""
    names = run_of(wildcards)["benchmarks"]
    return expand("results/{run}/questions/{dataset}.jsonl", run=wildcards.run, dataset=names)


def run_benchmark_frames(wildcards):
    """Frame tables of all benchmarks of a run."""
    return [path for dataset in run_of(wildcards)["benchmarks"] for path in frame_tables(wildcards, dataset)]
