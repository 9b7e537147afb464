"""Supervised fine-tuning: the cold start on annotated reasoning, and the answer-only baseline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from vidreason.engine.features import connect_clips
from vidreason.engine.log_probs import label_log_probs
from vidreason.engine.prompts import fits, query_text
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM, VideoTokens
from vidreason.models.families import save_checkpoint
from vidreason.models.tinyllava.template import sft_example
from vidreason.records import Question
from vidreason.rl.losses import IGNORE_INDEX
from vidreason.training.distributed import start_ranks
from vidreason.training.optimizer import whole_weights
from vidreason.training.sampler import EpochBatches
from vidreason.training.trainer import Backward, Metrics, Optimisation, gathered_features, load_for_training, run_steps

STEP_QUESTIONS = 0x5F7
"""Name of the order of the questions, next to the run's seed."""


def train_sft(
    spec: dict[str, Any], init: Path, questions: Path, frames: Sequence[Path], out: Path, metrics: Path, state: Path
) -> None:
    """Train one SFT arm.

    The vision tower stays frozen, connector and language model are trained. A question with a `target` (cold start) is
    taught that text, any other its option letter. Of R processes each takes every R-th question of a step; its loss is
    weighted by its taught tokens, so that the mean over processes is the mean over the tokens of the whole step.

    Args:
        spec: The resolved spec: `answer`, `seed`, `origin`, `epochs`, `batch_size`, `micro_batch`, `gradient_checkpointing`
            and the keys of `Optimisation`.
        init: Checkpoint folder to start from.
        questions: Question records; those whose clip has no frames, and those that are longer than the
            context, are left out and counted in the metrics.
        frames: Frame tables.
        out: Checkpoint folder to write.
        metrics: JSON lines to write.
        state: Folder of the saved training states.

    Raises:
        ValueError: No question has frames, or the processes cannot share a step's questions evenly.

    Source: arXiv 2504.09641 section 3.2; TinyLLaVA-Video-R1@efe76a1:tinyllava/train/train_coldstart.py.
    """
    optimisation = Optimisation.from_settings(spec)
    ranks = start_ranks(optimisation.deepspeed is not None)
    model, tokenizer = load_for_training(init, optimisation)
    store = FrameStore(frames)

    def teachable(question: Question) -> bool:
        example = sft_example(tokenizer, conversation(question, spec["answer"]))
        return fits(example.input_ids, model, max_new_tokens=0)

    batches = EpochBatches(questions, store, spec["batch_size"], (spec["seed"], STEP_QUESTIONS), teachable)

    def step_function(step: int, backward: Backward) -> tuple[float, Metrics]:
        batch = ranks.part(batches.batch(step))
        taught = [taught_tokens(tokenizer, question, spec["answer"]) for question in batch]
        total, share = max(1, sum(taught)), ranks.share(sum(taught))
        size, found, untaught = spec["micro_batch"] or len(batch), 0.0, 0
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            clips = gathered_features(model, store, part)
            videos = connect_clips(model, clips, part)
            with model.recomputed(spec["gradient_checkpointing"]):
                loss, tokens, without = batch_loss(model, tokenizer, part, videos, spec["answer"])
            loss = loss * (share * tokens / total)
            backward(loss, start + size >= len(batch))
            found, untaught = found + float(loss.detach()), untaught + without
        row = {"tokens": sum(taught) / len(batch), "untaught": float(untaught)}
        return found, {**row, **batches.left_out}

    run_steps(
        model,
        optimisation,
        batches.steps(spec["epochs"]),
        step_function,
        metrics,
        state,
        spec["origin"],
        "sft",
        ranks=ranks,
    )
    with whole_weights(model):
        if ranks.first:
            save_checkpoint(model, out)


def batch_loss(
    model: VideoLM,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Question],
    videos: VideoTokens,
    answer: str,
) -> tuple[torch.Tensor, int, int]:
    """Cross-entropy of the taught texts of a batch.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        batch: B questions.
        videos: Embeddings of their videos.
        answer: `option` or `reason`.

    Returns:
        Mean loss over the taught tokens, their number, and the number of questions that teach nothing because their text
        holds what marks the end of a turn.
    """
    examples = [sft_example(tokenizer, conversation(question, answer)) for question in batch]
    inputs = model.build_inputs(
        [example.input_ids for example in examples],
        videos,
        padding_side="right",
        labels=[example.labels for example in examples],
    )
    logp = label_log_probs(model, inputs)
    untaught = sum(example.unmaskable for example in examples)
    return -logp.sum() / max(1, len(logp)), len(logp), untaught


def taught_tokens(tokenizer: PreTrainedTokenizerBase, question: Question, answer: str) -> int:
    """Number of tokens that a question teaches."""
    labels = sft_example(tokenizer, conversation(question, answer)).labels
    return int((labels[1:] != IGNORE_INDEX).sum())


def conversation(question: Question, answer: str) -> list[dict[str, str]]:
    """The conversation that teaches one question."""
    return [
        {"from": "human", "value": query_text(question, answer, training=True)},
        {"from": "gpt", "value": question.demonstration or question.gold},
    ]
