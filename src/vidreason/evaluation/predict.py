"""Answers of one arm: greedy or sampled predictions on a benchmark, and repeated rollouts for selection.

Questions are put in one global order and cut into fixed batches; a shard takes whole batches. What a batch computes does
not depend on the number of shards, so the bytes do not either.
"""

import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vidreason.files import read_jsonl, sha256_text, write_aside, write_jsonl
from vidreason.frames import FrameStore
from vidreason.generation import Decoding, generate, rollout_seed
from vidreason.inputs import encode_questions, prompts_of, query_text
from vidreason.model import compute_device, load_checkpoint
from vidreason.model.prompts import prompt_text
from vidreason.records import OK, Prediction, Question, Rollout
from vidreason.rewards import reward, rules_for

UPSTREAM_TEMPERATURE, UPSTREAM_TOP_K = 1.0, 50
"""What upstream's evaluation scripts do whatever their options say: `model.generate` is called with sampling on, and no seed."""


def evaluation_batches(questions: Sequence[Question], batch_size: int, shard: int, shards: int) -> list[list[Question]]:
    """The batches of one shard.

    Args:
        questions: All questions of the data set.
        batch_size: Questions a batch.
        shard: Number of this shard, from 0.
        shards: Number of shards.

    Returns:
        Batches number shard, shard + shards, ... of the questions sorted by clip and id, so that questions about one clip
        share its encoding.

    Raises:
        ValueError: `shard` is not one of `shards`.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards}: shards are numbered 0 to {shards - 1}")
    ordered = sorted(questions, key=lambda question: (question.clip, question.id))
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return batches[shard::shards]


@torch.no_grad()
def predict(
    weights: Path,
    questions: Path,
    frames: Sequence[Path],
    settings: dict[str, Any],
    answer: str,
    view: str,
    seed: int,
    shard: int,
    shards: int,
    out: Path,
    timing: Path,
) -> None:
    """Answer one shard of a benchmark.

    A question whose clip has no frames gets a row with the clip's status and an empty completion.

    Args:
        weights: Checkpoint folder.
        questions: Question records of the benchmark.
        frames: Frame tables.
        settings: `decoding` (`greedy`, or `upstream` for its sampling), `max_new_tokens`, `batch_size`.
        answer: `option` or `reason`.
        view: `ordered`, `shuffled` or `blind`.
        seed: Seed of the arm.
        shard: Number of this shard.
        shards: Number of shards.
        out: Prediction records to write.
        timing: CSV to write: batch, questions, tokens, seconds. Times live apart so that predictions are reproducible.
    """
    decoding = evaluation_decoding(settings)
    model, tokenizer = load_checkpoint(weights)
    model.to(compute_device()).eval()
    store = FrameStore(frames)
    batches = evaluation_batches(read_jsonl(questions, Question), settings["batch_size"], shard, shards)
    rows: list[Prediction] = []
    times: list[tuple[int, int, int, float]] = []
    for number, batch in enumerate(_progress(batches, "predict")):
        began = time.monotonic()
        usable = [question for question in batch if store.status(question.clip) == OK]
        completed = {}
        if usable:
            videos = encode_questions(model, store, usable, view, seed)
            prompts = prompts_of(tokenizer, usable, answer, training=False)
            seeds = [rollout_seed(seed, "predict", question.id) for question in usable]
            completions = generate(model, prompts, videos, decoding, tokenizer.eos_token_id, 1, seeds)
            texts = completions.texts(tokenizer)
            lengths, ended = completions.lengths.tolist(), completions.finished.tolist()
            completed = {
                question.id: (text, length, "stop" if finished else "length")
                for question, text, length, finished in zip(usable, texts, lengths, ended, strict=True)
            }
        for question in batch:
            text, tokens, finish = completed.get(question.id, ("", 0, ""))
            rows.append(
                Prediction(
                    question=question.id,
                    video=question.video,
                    task=question.task,
                    group=question.group,
                    answer=question.answer,
                    options=len(question.options),
                    status=store.status(question.clip),
                    prompt_sha256=sha256_text(prompt_text(query_text(question, answer, training=False))),
                    completion=text,
                    tokens=tokens,
                    finish=finish,
                )
            )
        times.append((number, len(batch), sum(row.tokens for row in rows[-len(batch) :]), time.monotonic() - began))
    write_jsonl(out, rows)
    with write_aside(timing) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("batch", "questions", "tokens", "seconds"))
        writer.writerows((number, count, tokens, f"{seconds:.3f}") for number, count, tokens, seconds in times)


@torch.no_grad()
def sample_rollouts(
    weights: Path,
    questions: Path,
    frames: Sequence[Path],
    settings: dict[str, Any],
    protocol: str,
    answer: str,
    seed: int,
    shard: int,
    shards: int,
    out: Path,
) -> None:
    """Sample repeated answers of one arm to one shard of the training questions.

    Questions whose clip has no frames have no rollouts; selection counts them.

    Args:
        weights: Checkpoint folder.
        questions: Question records.
        frames: Frame tables.
        settings: `rollouts` (answers a question), `temperature`, `top_k`, `max_new_tokens`, `batch_size` (questions).
        protocol: Whose accuracy rule decides what is correct: `upstream` or `paper`.
        answer: `option` or `reason`.
        seed: Seed of the arm.
        shard: Number of this shard.
        shards: Number of shards.
        out: Rollout records to write.
    """
    decoding = Decoding(settings["max_new_tokens"], settings["temperature"], settings["top_k"])
    group, rules = settings["rollouts"], rules_for(protocol)  # type: ignore[arg-type]
    model, tokenizer = load_checkpoint(weights)
    model.to(compute_device()).eval()
    store = FrameStore(frames)
    rows: list[Rollout] = []
    batches = evaluation_batches(read_jsonl(questions, Question), settings["batch_size"], shard, shards)
    for batch in _progress(batches, "rollouts"):
        usable = [question for question in batch if store.status(question.clip) == OK]
        if not usable:
            continue
        prompts = prompts_of(tokenizer, usable, answer, training=True)
        videos = encode_questions(model, store, usable)
        seeds = [rollout_seed(seed, "selection", question.id, g) for question in usable for g in range(group)]
        completions = generate(model, prompts, videos, decoding, tokenizer.eos_token_id, group, seeds)
        texts = completions.texts(tokenizer)
        lengths, ended = completions.lengths.tolist(), completions.finished.tolist()
        for row, (text, length, finished) in enumerate(zip(texts, lengths, ended, strict=True)):
            question = usable[row // group]
            earned = reward(text, f"<answer>{question.answer}</answer>", rules)
            rows.append(
                Rollout(question.id, row % group, text, length, finished, earned.accuracy > 0, earned.format > 0)
            )
    write_jsonl(out, rows)


def evaluation_decoding(settings: dict[str, Any]) -> Decoding:
    """Greedy decoding, or upstream's sampling under the switch.

    Raises:
        ValueError: An unknown `decoding`.
    """
    if settings["decoding"] == "greedy":
        return Decoding(settings["max_new_tokens"], temperature=0.0)
    if settings["decoding"] == "upstream":
        return Decoding(settings["max_new_tokens"], UPSTREAM_TEMPERATURE, UPSTREAM_TOP_K)
    raise ValueError(f"evaluation.decoding: {settings['decoding']!r}; allowed: 'greedy', 'upstream'")


def _progress(batches: Sequence[list[Question]], title: str) -> Iterator[list[Question]]:
    """Show questions per second and the time left."""
    with tqdm(total=sum(map(len, batches)), desc=title, unit="question", mininterval=5) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
