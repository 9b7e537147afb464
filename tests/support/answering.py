"""A few questions about a few clips, some of which cannot be read, and the two ways of asking them."""

from tests.support import micro
from vidreason.config.settings import AnswerSampling, EvaluationGeneration, SelectionGeneration
from vidreason.config.types import Sampling
from vidreason.engine.batch_inference import Shard
from vidreason.evaluation.predict import predict
from vidreason.evaluation.sample_answers import sample_answers
from vidreason.records import OK
from vidreason.tasks.option_edits import UNCHANGED
from vidreason.training.sample_rollouts import sample_rollouts

CLIPS = {**dict.fromkeys("abcdefg", OK), "gone": "missing", "short": "truncated"}
ASKED = [
    micro.question(10 * number + n, clip, "ABC"[n], "mmvu")
    for number, clip in enumerate(reversed(CLIPS))
    for n in range(2 if clip != "a" else 3)
]
GREEDY = {"decoding": "greedy", "max_new_tokens": 6, "batch_size": 4, "precision": "fp32"}
GENERATION = SelectionGeneration(
    rollouts=3, sampling=Sampling(temperature=1.0, top_k=50, max_new_tokens=6), batch_size=4, precision="fp32"
)
SAMPLING = AnswerSampling(
    answers=3,
    sampling=Sampling(temperature=1.0, top_k=50, max_new_tokens=6),
    batch_size=4,
    questions=None,
    arms=None,
)


def world_in(folder, asked=ASKED):
    """Weights, questions and frames."""
    return {
        "weights": micro.checkpoint(folder / "checkpoint"),
        "questions": micro.write_questions(folder / "questions.jsonl", asked),
        "frames": [micro.write_frames(folder / "shard0.parquet", CLIPS)],
    }


def shard_of(world, folder, number=0, count=1, seed=0, workers=0, identity="0" * 64):
    return Shard(
        **world,
        seed=seed,
        number=number,
        count=count,
        state=folder / f"state{number}",
        identity=identity,
        workers=workers,
    )


def answers(world, folder, shards=1, settings=GREEDY, view="ordered", options=UNCHANGED, **others):
    """Predictions of all shards."""
    paths = [folder / f"shard{number}.jsonl" for number in range(shards)]
    for number, path in enumerate(paths):
        shard = shard_of(world, folder, number, shards, **others)
        generation, timing = EvaluationGeneration.model_validate(settings), path.with_suffix(".timing.csv")
        predict(shard, generation, "option", view, path, timing, options)
    return paths


def rollouts(world, folder, shards=1, generation=GENERATION, **options):
    """Rollouts of all shards."""
    paths = [folder / f"rollouts{number}.jsonl" for number in range(shards)]
    for number, path in enumerate(paths):
        sample_rollouts(shard_of(world, folder, number, shards, **options), generation, "upstream", "reason", path)
    return paths


def samples(world, folder, shards=1, settings=SAMPLING, view="ordered", **options):
    """Sampled answers of all shards."""
    paths = [folder / f"samples{number}.jsonl" for number in range(shards)]
    for number, path in enumerate(paths):
        shard = shard_of(world, folder, number, shards, **options)
        sample_answers(shard, settings, "fp32", "reason", view, path, path.with_suffix(".timing.csv"))
    return paths


def lines(paths):
    return sorted(line for path in paths for line in path.read_bytes().splitlines())
