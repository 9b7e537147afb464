"""Several answers of one arm to every question of a benchmark, for pass@k and the answer of the majority."""

from pathlib import Path

from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import AnswerSampling
from vidreason.config.types import Precision
from vidreason.engine.batch_inference import Answers, InferenceConfig, Shard, answer_shard, write_timing
from vidreason.engine.generation import Decoding
from vidreason.records import SampledAnswers


def sample_answers(
    shard: Shard, settings: AnswerSampling, precision: Precision, style: str, view: str, out: Path, timing: Path
) -> None:
    """Sample answers to one shard of a benchmark: one line for every question.

    Each answer is drawn with a seed of its own, made of the arm's seed, the question and the number of the answer: more answers
    begin with the same ones. A question that is not answered has no completions and the reason as its status.

    Args:
        shard: The questions and the checkpoint.
        settings: How many answers are sampled to which questions, and how.
        precision: Number format that answers are computed in.
        style: `option` or `reason`.
        view: One of `vidreason.media.views.VIEWS`.
        out: SampledAnswers records to write.
        timing: CSV to write, as that of `vidreason.evaluation.predict`.

    Raises:
        MemoryError: A batch does not fit into memory.
    """
    sampling = settings.sampling
    config = InferenceConfig(
        purpose="samples",
        style=style,
        training=False,
        view=view,
        decoding=Decoding(sampling.max_new_tokens, sampling.temperature, sampling.top_k, sampling.top_p),
        group=settings.answers,
        batch_size=settings.batch_size,
        precision=precision,
        key="evaluation.sampling.batch_size",
        limit=settings.questions,
    )
    batches = answer_shard(shard, config, _record)
    write_jsonl(out, (row for batch in batches for row in batch.rows))
    write_timing(timing, batches)


def _record(answers: Answers) -> list[SampledAnswers]:
    """The record of one question."""
    return [
        SampledAnswers(
            question_id=answers.question.id,
            status=answers.status,
            prompt_sha256=sha256_text(answers.prompt),
            completions=tuple(answers.completions),
            question_sha256=answers.question.sha256,
        )
    ]
