"""The grammar of paths: where every file of a run stands. Rules, plan and tests take their paths from here.

A path says what made it: `results/{run}/<rule>/...`. Words in braces are Snakemake's wildcards:
source (a name in config/sources.yaml), run, arm, dataset and benchmark (names in the configuration), seed and shard (numbers).
"""

from collections.abc import Collection
from pathlib import Path

SOURCES = Path("data")
"""Folder of the sources, each in a folder of its name."""

RESULTS = Path("results")
"""Folder of the runs, each in a folder of its name."""

LOCKS = Path("config/locks")

LOCK = "config/locks/{source}.json"
"""Commit and digests of a source, requested from the hub once."""
FETCHED = "data/{source}/fetched.json"
"""The files of a source are there."""
UNPACKED = "data/{source}/unpacked.json"
"""The archives of a source are unpacked."""
WORLD = "results/{run}/make_world"
"""Generated data sets, each in a folder of its name."""
TRUTH = "results/{run}/make_world/truth.jsonl"
WORLD_SUMMARY = "results/{run}/make_world/world.json"
PRETRAINED = "results/{run}/pretrain_base/checkpoint"
PRETRAINING_CURVES = "results/{run}/pretrain_base/metrics.jsonl"
IMPORTED = "results/{run}/import_weights/{arm}/checkpoint"
"""Given weights, checked."""
QUESTIONS = "results/{run}/questions/{dataset}.jsonl"
"""Usable questions of a data set: of one that is trained on, those that its filter kept for training."""
VALIDATION = "results/{run}/filter_questions/{dataset}/validation.jsonl"
"""Training questions that are held out; none where no video is."""
FILTERED = "results/{run}/filter_questions/{dataset}/{table}"
"""dropped.csv, durations.csv and clips.jsonl of a training set's filter."""
SET_ASIDE = "results/{run}/read_questions/{dataset}/dropped.csv"
"""Records of a benchmark or of demonstrations that cannot be used."""
FRAMES = "results/{run}/extract_frames/{dataset}/shard{shard}.parquet"
"""Pixels of 1/n of the clips."""
CLIPS = "results/{run}/extract_frames/{dataset}/shard{shard}.clips.jsonl"
"""What decoding each of them gave."""
SPEC = "results/{run}/specs/{arm}/seed{seed}.json"
"""Everything that decides an arm's weights."""
SFT = "results/{run}/train_sft/{arm}/seed{seed}/checkpoint"
SFT_CURVES = "results/{run}/train_sft/{arm}/seed{seed}/metrics.jsonl"
SFT_TIMING = "results/{run}/train_sft/{arm}/seed{seed}/timing.jsonl"
GRPO = "results/{run}/train_grpo/{arm}/seed{seed}/checkpoint"
GRPO_ROLLOUTS = "results/{run}/train_grpo/{arm}/seed{seed}/rollouts.jsonl"
GRPO_CURVES = "results/{run}/train_grpo/{arm}/seed{seed}/metrics.jsonl"
GRPO_TIMING = "results/{run}/train_grpo/{arm}/seed{seed}/timing.jsonl"
"""What every step cost. Times differ from run to run, so nothing that a digest decides may depend on it."""
ROLLOUTS = "results/{run}/sample_rollouts/{arm}/{dataset}/seed{seed}/shard{shard}.jsonl"
"""Repeated answers of an arm to 1/n of a training set's questions."""
SELECTED = "results/{run}/select_by_variance/{arm}/seed{seed}/selected.jsonl"
"""The questions that an arm is trained on."""
DROPPED = "results/{run}/select_by_variance/{arm}/seed{seed}/dropped.csv"
HISTOGRAM = "results/{run}/select_by_variance/{arm}/seed{seed}/histogram.csv"
LEAKS = "results/{run}/check_leaks/leaks.csv"
"""Clips of the benchmarks that are among the training clips, or look like one."""
LEAK_COUNTS = "results/{run}/check_leaks/counts.csv"
MISSING = "results/{run}/count_missing/{benchmark}.csv"
"""Questions without frames, by category."""
PREDICTIONS = "results/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.jsonl"
"""Answers of an arm to 1/n of a benchmark."""
TIMING = "results/{run}/predict/{arm}/seed{seed}/{benchmark}/shard{shard}.timing.csv"
SAMPLES = "results/{run}/sample_answers/{arm}/seed{seed}/{benchmark}/shard{shard}.jsonl"
"""Several answers of an arm to each of 1/n of a benchmark's questions."""
SAMPLE_TIMING = "results/{run}/sample_answers/{arm}/seed{seed}/{benchmark}/shard{shard}.timing.csv"
SCORED_SAMPLES = "results/{run}/score_samples/{arm}/seed{seed}/{benchmark}.jsonl"
"""Grades of these answers."""
SCORE = "results/{run}/score/{arm}/seed{seed}/{benchmark}.score.json"
SCORED = "results/{run}/score/{arm}/seed{seed}/{benchmark}.scored.jsonl"
CARD = "results/{run}/write_card/{arm}/seed{seed}/README.md"
"""Model card of a trained arm. Not in the checkpoint, whose digest it would change."""
TABLE = "results/{run}/tables/{table}"
FIGURE = "results/{run}/figures/{figure}.png"
THUMBNAILS = "results/{run}/thumbnails"
"""Folder with the frames of the shown clips, one small picture a clip."""
REPORT = "results/{run}/report/index.html"
GALLERY = "results/{run}/report/gallery"
"""Folder of the pages that show every answer."""

COSTS = "results/{run}/benchmarks"
"""Where Snakemake writes what the jobs of a run cost; see `cost`."""

_WILDCARDS = {
    "lock_source": "{source}",
    "fetch_source": "{source}",
    "unpack_source": "{source}",
    "import_weights": "{arm}",
    "filter_questions": "{dataset}",
    "read_questions": "{dataset}",
    "extract_frames": "{dataset}/shard{shard}",
    "resolve_spec": "{arm}/seed{seed}",
    "train_sft": "{arm}/seed{seed}",
    "train_grpo": "{arm}/seed{seed}",
    "sample_rollouts": "{arm}/{dataset}/seed{seed}/shard{shard}",
    "select_by_variance": "{arm}/seed{seed}",
    "count_missing": "{benchmark}",
    "predict": "{arm}/seed{seed}/{benchmark}/shard{shard}",
    "score": "{arm}/seed{seed}/{benchmark}",
    "sample_answers": "{arm}/seed{seed}/{benchmark}/shard{shard}",
    "score_samples": "{arm}/seed{seed}/{benchmark}",
    "write_card": "{arm}/seed{seed}",
}
"""Rule -> the wildcards that tell its jobs apart; rules that are not here have one job a run."""


def questions(dataset: str) -> str:
    """Questions of one data set, or of `{benchmark}`."""
    return QUESTIONS.replace("{dataset}", dataset)


def filtered(table: str) -> str:
    """One table of a training set's filter."""
    return FILTERED.replace("{table}", table)


def log(rule: str) -> str:
    """Where a rule's jobs write what happened.

    Example:
        >>> log("train_grpo"), log("make_tables"), log("fetch_source")
        ('logs/{run}/train_grpo/{arm}/seed{seed}.log', 'logs/{run}/make_tables.log', 'logs/fetch_source/{source}.log')
    """
    job = _job(rule)
    return f"logs/{job}.log" if "{source}" in job else f"logs/{{run}}/{job}.log"


def cost(rule: str) -> str:
    """Where Snakemake writes what a rule's jobs cost: seconds, memory.

    Example:
        >>> cost("train_grpo")
        'results/{run}/benchmarks/train_grpo/{arm}/seed{seed}.tsv'
    """
    job = _job(rule)
    return f"logs/{job}.tsv" if "{source}" in job else f"{COSTS}/{job}.tsv"


def state(rule: str) -> str:
    """Folder of what a rule's jobs have saved on their way; Snakemake does not know it, so it survives a failure.

    Example:
        >>> state("train_grpo")
        'results/{run}/state/train_grpo/{arm}/seed{seed}'
    """
    return f"results/{{run}}/state/{_job(rule)}"


def _job(rule: str) -> str:
    return f"{rule}/{_WILDCARDS[rule]}" if rule in _WILDCARDS else rule


def clips_of(frames: str) -> str:
    """The list of clips beside a frame table."""
    return frames.removesuffix(".parquet") + ".clips.jsonl"


def source_of(path: str, sources: Collection[str]) -> str | None:
    """Name of the source that a path lies in; None for a path that is not fetched.

    Example:
        >>> source_of("data/MLVU/json", ["MLVU"]), source_of("elsewhere/MLVU", ["MLVU"])
        ('MLVU', None)
    """
    inside = Path(path).is_relative_to(SOURCES) and len(Path(path).parts) > len(SOURCES.parts)
    name = Path(path).parts[len(SOURCES.parts)] if inside else None
    return name if name in sources else None


def is_made(path: str, run: str, sources: Collection[str]) -> bool:
    """Whether the graph makes a path, in the run's own results or in a source's folder."""
    return Path(path).is_relative_to(RESULTS / run) or source_of(path, sources) is not None
