"""Answers of one arm to a benchmark: greedy, or sampled as upstream does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import write_jsonl
from vidreason.engine.batch_inference import InferenceConfig, Shard, Spoken, answer_shard
from vidreason.engine.generation import Decoding
from vidreason.engine.prompts import query_text
from vidreason.models.tinyllava.template import prompt_text
from vidreason.records import Completion, Prediction, Question

UPSTREAM_TEMPERATURE, UPSTREAM_TOP_K = 1.0, 50
"""What upstream's evaluation scripts do whatever their options say: `model.generate` is called with sampling on, and no seed."""


def predict(shard: Shard, settings: Mapping[str, Any], answer: str, view: str, out: Path, timing: Path) -> None:
    """Answer one shard of a benchmark.

    A question whose clip has no frames gets a row with the clip's status and an empty completion; so does one whose
    prompt is too long for the model, with the status `prompt_too_long`.

    Args:
        shard: The questions and who answers them.
        settings: `decoding` (`greedy`, or `upstream` for its sampling), `max_new_tokens`, `batch_size`, `precision`.
        answer: `option` or `reason`.
        view: one of `vidreason.media.views.VIEWS`.
        out: Prediction records to write.
        timing: CSV to write: batch, questions, tokens, seconds. Times live apart so that predictions are reproducible.

    Raises:
        MemoryError: A batch does not fit into memory.
    """
    config = InferenceConfig(
        purpose="predict",
        answer=answer,
        training=False,
        view=view,
        decoding=evaluation_decoding(settings),
        group=1,
        batch_size=settings["batch_size"],
        precision=settings["precision"],
        key="evaluation.generation.batch_size",
    )

    def record(question: Question, status: str, answers: Sequence[Spoken]) -> list[Prediction]:
        spoken = answers[0] if answers else Spoken("", 0, False)
        return [
            Prediction(
                question_id=question.id,
                status=status,
                prompt_sha256=sha256_text(prompt_text(query_text(question, answer, training=False))),
                completion=Completion(spoken.text, spoken.tokens, spoken.finished),
                question_sha256=question.sha256,
            )
        ]

    entries = answer_shard(shard, config, record)
    write_jsonl(out, (row for entry in entries for row in entry["rows"]))
    write_csv(
        timing,
        ("batch", "questions", "tokens", "seconds"),
        ((entry["batch"], entry["questions"], entry["tokens"], f"{entry['seconds']:.3f}") for entry in entries),
    )


def evaluation_decoding(settings: Mapping[str, Any]) -> Decoding:
    """Greedy decoding, or upstream's sampling under the switch.

    Raises:
        ValueError: An unknown `decoding`.
    """
    if settings["decoding"] == "greedy":
        return Decoding(settings["max_new_tokens"], temperature=0.0)
    if settings["decoding"] == "upstream":
        return Decoding(settings["max_new_tokens"], UPSTREAM_TEMPERATURE, UPSTREAM_TOP_K)
    raise ValueError(f"evaluation.decoding: {settings['decoding']!r}; allowed: 'greedy', 'upstream'")
