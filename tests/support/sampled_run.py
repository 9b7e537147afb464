"""Four sampled answers to each question of the hand-written run, whose numbers of right ones the tests are worked out from."""

from dataclasses import replace
from pathlib import Path

from tests.support.scored_run import ARMS, BENCHMARKS, SETTINGS, completion_of, questions_of, write_run
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import Scoring
from vidreason.evaluation.score import Subject
from vidreason.evaluation.score_samples import score_samples
from vidreason.records import OK, Completion, Question, SampledAnswers
from vidreason.results.result_inputs import ResultInputs

DRAWS = 4
RIGHT_DRAWS = {
    # Of the 8 questions of each benchmark, by number: right ones among the four draws.
    "base": (1, 1, 1, 1, 1, 1, 1, 1),
    "coldstart": (2, 2, 2, 2, 0, 0, 1, 1),
    "r1": (4, 4, 4, 4, 4, 4, 0, 0),
}


def samples_of(arm: str, benchmark: str) -> list[SampledAnswers]:
    """The sampled answers of an arm to one benchmark; all wrong ones say the same."""
    return [_sampled(arm, number, question) for number, question in enumerate(questions_of(benchmark))]


def _sampled(arm: str, number: int, question: Question) -> SampledAnswers:
    texts = [completion_of(arm, question, draw < RIGHT_DRAWS[arm][number]) for draw in range(DRAWS)]
    completions = tuple(Completion(text, 20, finished=True) for text in texts)
    return SampledAnswers(question.id, OK, "0" * 64, completions, question.sha256)


def score_some(root: Path, arm: str, benchmark: str, rows: list[SampledAnswers], seed: int = 0) -> Path:
    """Grade some sampled answers, and return the file of their grades."""
    questions, shard = root / "questions" / f"{benchmark}.jsonl", root / "sample_answers" / arm / f"{benchmark}.jsonl"
    write_jsonl(questions, questions_of(benchmark))
    write_jsonl(shard, rows)
    out = root / "score_samples" / arm / f"seed{seed}" / f"{benchmark}.jsonl"
    score_samples(Subject(benchmark, arm, ARMS[arm]["style"], seed), questions, [shard], out, Scoring(**SETTINGS))
    return out


def write_sampled_run(root: Path, seeds: tuple[int, ...] = (0,)) -> ResultInputs:
    """The hand-written run with sampled answers of all arms but the control."""
    paths = [
        score_some(root, arm, benchmark, samples_of(arm, benchmark), seed)
        for arm in RIGHT_DRAWS
        for seed in seeds
        for benchmark in BENCHMARKS
    ]
    return replace(write_run(root, seeds), samples=paths)
