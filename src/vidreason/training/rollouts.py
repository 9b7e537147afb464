"""Repeated answers of an arm to the training questions, from which the selection by variance chooses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import write_jsonl
from vidreason.engine.batch_inference import InferenceConfig, Shard, Spoken, answer_shard
from vidreason.engine.generation import Decoding
from vidreason.records import Completion, Grade, Question, Rollout
from vidreason.rl.rewards import question_reward, rules_for


def sample_rollouts(shard: Shard, settings: Mapping[str, Any], protocol: str, answer: str, out: Path) -> None:
    """Sample repeated answers of one arm to one shard of the training questions.

    A question that cannot be asked has one row, which says why; selection counts it under that reason.

    Args:
        shard: The questions and who answers them.
        settings: `rollouts` (answers a question), `temperature`, `top_k`, `max_new_tokens`, `batch_size` (questions),
            `precision`.
        protocol: Whose accuracy rule decides what is correct: `upstream` or `paper`.
        answer: `option` or `reason`.
        out: Rollout records to write.

    Raises:
        MemoryError: A batch does not fit into memory.
    """
    rules = rules_for(protocol)  # type: ignore[arg-type]
    config = InferenceConfig(
        purpose="selection",
        answer=answer,
        training=True,
        view="ordered",
        decoding=Decoding(settings["max_new_tokens"], settings["temperature"], settings["top_k"]),
        group=settings["rollouts"],
        batch_size=settings["batch_size"],
        precision=settings["precision"],
        key="selection.generation.batch_size",
    )

    def record(question: Question, status: str, answers: Sequence[Spoken]) -> list[Rollout]:
        if not answers:
            return [
                Rollout(
                    question.id,
                    0,
                    Completion("", 0, False),
                    Grade(0.0, False, parts={"well_formed": 0.0}),
                    question.sha256,
                    status,
                )
            ]
        earned = [question_reward(spoken.text, question, rules) for spoken in answers]
        return [
            Rollout(
                question.id,
                g,
                Completion(spoken.text, spoken.tokens, spoken.finished),
                Grade(float(own.accuracy > 0), own.accuracy > 0, parts={"well_formed": float(own.format > 0)}),
                question.sha256,
                status,
            )
            for g, (spoken, own) in enumerate(zip(answers, earned, strict=True))
        ]

    entries = answer_shard(shard, config, record)
    write_jsonl(out, (row for entry in entries for row in entry["rows"]))
