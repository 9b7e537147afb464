"""Repeated answers of an arm to the training questions, from whose variance questions are selected."""

from pathlib import Path

from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import SelectionGeneration
from vidreason.config.types import Protocol
from vidreason.engine.batch_inference import Answers, InferenceConfig, Shard, answer_shard
from vidreason.engine.generation import Decoding
from vidreason.media.views import ORDERED
from vidreason.records import UNANSWERED, Completion, Rollout
from vidreason.rl.protocols import protocol_rules
from vidreason.tasks.base import grade


def sample_rollouts(shard: Shard, generation: SelectionGeneration, protocol: Protocol, style: str, out: Path) -> None:
    """Sample repeated answers of one arm to one shard of the training questions.

    A question that is not answered has one row with the reason as its status; selection counts it under that reason.

    Args:
        shard: The questions and the checkpoint.
        generation: How answers are sampled.
        protocol: Whose accuracy rule decides what is correct: `upstream` or `paper`.
        style: `option` or `reason`.
        out: Rollout records to write.

    Raises:
        MemoryError: A batch does not fit into memory.
    """
    rule = protocol_rules(protocol).rule
    sampling = generation.sampling
    config = InferenceConfig(
        purpose="selection",
        style=style,
        training=True,
        view=ORDERED,
        decoding=Decoding(sampling.max_new_tokens, sampling.temperature, sampling.top_k, sampling.top_p),
        group=generation.rollouts,
        batch_size=generation.batch_size,
        precision=generation.precision,
        key="selection.generation.batch_size",
    )

    def record(answers: Answers) -> list[Rollout]:
        question, status = answers.question, answers.status
        if not answers.completions:
            return [Rollout(question.id, 0, Completion(), UNANSWERED, question.sha256, status)]
        return [
            Rollout(question.id, number, one, grade(one.text, question, rule, style), question.sha256, status)
            for number, one in enumerate(answers.completions)
        ]

    batches = answer_shard(shard, config, record)
    write_jsonl(out, (row for batch in batches for row in batch.rows))
