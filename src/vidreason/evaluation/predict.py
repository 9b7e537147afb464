"""Answers of one arm to a benchmark: greedy, or sampled as upstream does."""

from pathlib import Path

from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import EvaluationGeneration
from vidreason.engine.batch_inference import Answers, InferenceConfig, Shard, answer_shard, write_timing
from vidreason.engine.generation import Decoding
from vidreason.records import Completion, Prediction
from vidreason.tasks.option_edits import UNCHANGED, OptionEdit

UPSTREAM_TEMPERATURE, UPSTREAM_TOP_K = 1.0, 50
"""How upstream's evaluation scripts sample, whatever their options say: they call `model.generate` with sampling and no seed."""


def predict(
    shard: Shard,
    generation: EvaluationGeneration,
    style: str,
    view: str,
    out: Path,
    timing: Path,
    options: OptionEdit = UNCHANGED,
) -> None:
    """Answer one shard of a benchmark.

    A question that is not answered has a row with the reason as its status and an empty completion: the status of its clip
    where there are no frames, `prompt_too_long` where the prompt exceeds the model's context.

    Args:
        shard: The questions and the checkpoint.
        generation: How answers are generated.
        style: `option` or `reason`.
        view: One of `vidreason.media.views.VIEWS`, or `NO_VIDEO`. A question whose clip cannot be read is answered in none, so
            that all views are compared on the same questions.
        out: Prediction records to write.
        timing: CSV to write: batch, questions, tokens, seconds. Times have a file of their own, so that predictions are
            reproducible.
        options: How the options of the questions are changed before they are asked.

    Raises:
        MemoryError: A batch does not fit into memory.
    """
    config = InferenceConfig(
        purpose="predict",
        style=style,
        training=False,
        view=view,
        decoding=evaluation_decoding(generation),
        group=1,
        batch_size=generation.batch_size,
        precision=generation.precision,
        key="evaluation.generation.batch_size",
        options=options,
    )
    batches = answer_shard(shard, config, _prediction)
    write_jsonl(out, (row for batch in batches for row in batch.rows))
    write_timing(timing, batches)


def _prediction(answers: Answers) -> list[Prediction]:
    """The record of one question."""
    return [
        Prediction(
            question_id=answers.question.id,
            status=answers.status,
            prompt_sha256=sha256_text(answers.prompt),
            completion=answers.completions[0] if answers.completions else Completion(),
            question_sha256=answers.question.sha256,
        )
    ]


def evaluation_decoding(generation: EvaluationGeneration) -> Decoding:
    """Greedy decoding, or upstream's sampling where `decoding` says so."""
    if generation.decoding == "greedy":
        return Decoding(generation.max_new_tokens, temperature=0.0)
    return Decoding(generation.max_new_tokens, UPSTREAM_TEMPERATURE, UPSTREAM_TOP_K)
