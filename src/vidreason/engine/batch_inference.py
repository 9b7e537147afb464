"""Answers of one set of weights to one shard of questions: batches, prefetching, resume.

Questions are formed into batches by video and by length, in one global order, and a shard takes whole batches. What a
batch computes does not depend on the number of shards, so the bytes do not either. (What a question's own numbers are may
depend, in their last bits, on who is in its batch: the batch is the unit that is computed.)

A finished batch is written to a journal at once, so a shard that is killed goes on after its last whole batch.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from vidreason.artifacts.files import read_jsonl
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.journal import Journal
from vidreason.artifacts.typed import row_of
from vidreason.engine.batches import evaluation_batches
from vidreason.engine.features import clips_of, encode_clips, read_clips
from vidreason.engine.generation import Completions, Decoding, NotFiniteError, generate, rollout_seed
from vidreason.engine.oom import out_of_memory_advice
from vidreason.engine.prefetch import prefetch
from vidreason.engine.profiling import span
from vidreason.engine.prompts import fits, max_prompt_length, prompt_length, prompts_of
from vidreason.media.frame_store import FrameStore, clips_path_of
from vidreason.models.base import VideoLM
from vidreason.models.families import PRECISIONS, compute_device, load_checkpoint
from vidreason.records import OK, PROMPT_TOO_LONG, ClipStatus, Prediction, Question, Rollout


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard of the questions, and who answers them.

    Attributes:
        weights: Checkpoint folder.
        questions: Question records, those of all shards.
        frames: Frame tables.
        seed: Seed of the arm.
        number: Number of this shard, from 0.
        count: Number of shards.
        state: Folder of the journal; it must survive a failure. Whoever calls removes it once the results stand.
        identity: Digest of all that decides the answers: settings, inputs and code.
        workers: Processes that read frames ahead; 0 for none. Changes no result.
    """

    weights: Path
    questions: Path
    frames: Sequence[Path]
    seed: int
    number: int
    count: int
    state: Path
    identity: str
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """How questions are put.

    Attributes:
        purpose: `predict` or `selection`; names the seeds.
        answer: `option` or `reason`.
        training: Whether prompts are written as in training.
        view: one of `vidreason.media.views.VIEWS`.
        decoding: How tokens are chosen.
        group: Answers to each question, G.
        batch_size: Questions at a time.
        precision: Type of the weights, `fp32` or `bf16`.
        key: Key of the configuration that `batch_size` came from, for messages.
    """

    purpose: str
    answer: str
    training: bool
    view: str
    decoding: Decoding
    group: int
    batch_size: int
    precision: str
    key: str


@dataclasses.dataclass(frozen=True)
class Spoken:
    """One answer: its text, its length in tokens, and whether it came to its end."""

    text: str
    tokens: int
    finished: bool


Recorder = Callable[[Question, str, Sequence[Spoken]], Sequence[Prediction | Rollout]]
"""Makes the records of one question from it, its status and its G answers (none where the status is not `ok`)."""


@torch.no_grad()
def answer_shard(shard: Shard, config: InferenceConfig, record: Recorder) -> list[dict[str, Any]]:
    """Ask what the journal does not hold yet.

    Args:
        shard: The questions and who answers them.
        config: How they are put.
        record: Makes the records of one question.

    Returns:
        One entry a batch, as in the journal: `batch` (its number in the shard), `questions`, `tokens`, `seconds`, and
        `rows`, the records as plain objects.

    Raises:
        ChangedError: Weights, questions or frame tables are not what their sidecars tell of.
        KeyError: A clip is in none of the frame tables.
        NotFiniteError: The weights give no numbers.
        MemoryError: A batch does not fit into memory; the message names it and what makes it smaller.
        ValueError: The journal holds other questions than this shard.
    """
    for table in shard.frames:  # before the weights are read, and before processes that load ahead open the tables
        check_unchanged(table)
    model = load_checkpoint(shard.weights, PRECISIONS[config.precision])
    tokenizer = model.tokenizer
    model.to(compute_device()).eval()
    plan = _plan(shard, config, model, tokenizer)
    batches = plan.batches
    began = time.monotonic()
    with Journal(shard.state, shard.identity) as journal:
        done = len(journal.entries)
        _check_resumed(journal, batches)
        asked = [[question for question in batch if plan.statuses[question.id] == OK] for batch in batches[done:]]
        reader = _Reader(shard.frames, config.view, shard.seed)
        with (
            _progress(config.purpose, batches, done) as bar,
            prefetch(asked, reader.read, shard.workers) as loaded,
        ):
            start = time.monotonic()
            for number, (batch, (usable, pixels)) in enumerate(zip(batches[done:], loaded, strict=True), start=done):
                longest = max((plan.lengths[question.id] for question in usable), default=0)
                with out_of_memory_advice(
                    f"Batch {number} of {len(batches)} has {len(usable)} questions about {len(clips_of(usable))} clips with "
                    f"{config.group} answers each, prompts of up to {longest} positions and answers of up to "
                    f"{config.decoding.max_new_tokens} tokens. Lower {config.key}, now {config.batch_size} (it decides which "
                    f"questions are computed together, so the answers are begun afresh)"
                ):
                    try:
                        spoken = (
                            answer_batch(model, tokenizer, usable, plan.prompts, pixels, config, shard.seed)
                            if usable
                            else {}
                        )
                    except NotFiniteError as error:
                        raise NotFiniteError(f"{shard.weights}: batch {number} of {len(batches)}: {error}") from error
                rows = [
                    row
                    for question in batch
                    for row in record(question, plan.statuses[question.id], spoken.get(question.id, ()))
                ]
                journal.append(
                    {
                        "batch": number,
                        "questions": len(batch),
                        "tokens": sum(row.completion.tokens for row in rows),
                        "seconds": round(time.monotonic() - start, 3),
                        "rows": [row_of(row) for row in rows],
                    }
                )
                bar.update(len(batch))
                start = time.monotonic()
        _summarise(journal.entries, done, time.monotonic() - began, config.purpose)
        return journal.entries


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What one shard asks.

    Attributes:
        batches: Its batches.
        prompts: Question id -> ids.
        lengths: Question id -> positions that its prompt takes up, video included.
        statuses: Question id -> `ok`, or why it is not asked.
    """

    batches: Sequence[Sequence[Question]]
    prompts: Mapping[str, torch.Tensor]
    lengths: Mapping[str, int]
    statuses: Mapping[str, str]


def _plan(shard: Shard, config: InferenceConfig, model: VideoLM, tokenizer: PreTrainedTokenizerBase) -> _Plan:
    """Form the batches, and tell which prompts are too long."""
    questions = read_jsonl(shard.questions, Question)
    ids = prompts_of(model, questions, config.answer, config.training)
    prompts = {question.id: own for question, own in zip(questions, ids, strict=True)}
    lengths = {name: prompt_length(own, model) for name, own in prompts.items()}
    answer = config.decoding.max_new_tokens
    statuses = _statuses(questions, shard.frames)
    for name, own in prompts.items():
        if statuses[name] == OK and not fits(own, model, answer):
            statuses[name] = PROMPT_TOO_LONG
    costs = {name: length if statuses[name] == OK else 0 for name, length in lengths.items()}
    batches = evaluation_batches(questions, costs, config.batch_size, shard.number, shard.count)
    names = [question.id for batch in batches for question in batch]
    too_long = [f"{name!r} ({lengths[name]})" for name in names if statuses[name] == PROMPT_TOO_LONG]
    if too_long:
        _tell(
            f"{len(too_long)} of {len(names)} questions are not asked ({PROMPT_TOO_LONG}): the model has room for prompts of "
            f"{max_prompt_length(model, answer)} positions, video included, beside answers of {answer} tokens. These need "
            f"more: {', '.join(too_long[:10])}" + (f" and {len(too_long) - 10} others" if len(too_long) > 10 else "")
        )
    return _Plan(batches, prompts, lengths, statuses)


@torch.no_grad()
def complete(
    model: VideoLM,
    questions: Sequence[Question],
    prompts: Sequence[torch.Tensor],
    pixels: torch.Tensor,
    decoding: Decoding,
    end: int,
    group: int = 1,
    seeds: Sequence[np.random.SeedSequence] | None = None,
) -> Completions:
    """Answer several questions together; a clip is encoded once, however many of them are about it.

    Args:
        model: The model.
        questions: At least one.
        prompts: Their ids.
        pixels: Frames of their clips in the order of `clips_of`: uint8 [C, F, S, S, 3].
        decoding: How tokens are chosen.
        end: Id of the end of sequence.
        group: Answers to each, G.
        seeds: One an answer; may be None when decoding is greedy.
    """
    clips = dict(zip(clips_of(questions), model.connect(encode_clips(model, pixels)), strict=True))
    videos = [clips[question.clip.key] for question in questions]
    with span("sample"):
        return generate(model, prompts, videos, decoding, end, group, seeds)


def answer_batch(
    model: VideoLM,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    prompts: Mapping[str, torch.Tensor],
    pixels: torch.Tensor,
    config: InferenceConfig,
    seed: int,
) -> dict[str, list[Spoken]]:
    """Answer one batch: question id -> its G answers.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        questions: The batch, at least one question.
        prompts: Question id -> ids.
        pixels: Frames of the batch's clips in the order of `clips_of`: uint8 [C, F, S, S, 3].
        config: How the questions are put.
        seed: Seed of the arm.
    """
    group = config.group
    seeds = [rollout_seed(seed, config.purpose, question.id, g) for question in questions for g in range(group)]
    completions = complete(
        model,
        questions,
        [prompts[question.id] for question in questions],
        pixels,
        config.decoding,
        tokenizer.eos_token_id,
        group,
        seeds,
    )
    spoken = [
        Spoken(*parts)
        for parts in zip(
            completions.texts(tokenizer), completions.lengths.tolist(), completions.finished.tolist(), strict=True
        )
    ]
    return {question.id: spoken[row * group : (row + 1) * group] for row, question in enumerate(questions)}


class _Reader:
    """Reads the frames of a batch; opens the tables in the process that first reads (see `vidreason.engine.prefetch`)."""

    def __init__(self, frames: Sequence[Path], view: str, seed: int) -> None:
        self.frames, self.view, self.seed = frames, view, seed

    @functools.cached_property
    def store(self) -> FrameStore:
        return FrameStore(self.frames)

    def read(self, questions: Sequence[Question]) -> torch.Tensor:
        """Frames of the clips asked about: uint8 [C, F, S, S, 3]; empty where nothing is asked."""
        if not questions:
            return torch.empty(0, dtype=torch.uint8)
        return read_clips(self.store, clips_of(questions), self.view, self.seed)


def _statuses(questions: Sequence[Question], frames: Sequence[Path]) -> dict[str, str]:
    """Question id -> status of its clip, from the lists beside the frame tables."""
    clips = {clip.key: clip.status for path in frames for clip in read_jsonl(clips_path_of(path), ClipStatus)}
    for question in questions:
        if question.clip.key not in clips:
            raise KeyError(
                f"clip {question.clip.key!r} of question {question.id!r} is in none of the {len(frames)} frame tables; "
                f"extract its frames first"
            )
    return {question.id: clips[question.clip.key] for question in questions}


def _check_resumed(journal: Journal, batches: Sequence[Sequence[Question]]) -> None:
    """Whether the journal's entries are the first batches of this shard."""
    for number, entry in enumerate(journal.entries):
        held = list(dict.fromkeys(row["question_id"] for row in entry["rows"]))
        if number >= len(batches) or held != [question.id for question in batches[number]]:
            raise ValueError(
                f"{journal.path}: batch {number} is not batch {number} of this shard. Was the file edited, or written by "
                f"two runs at once? Remove it to answer the shard afresh"
            )
    if journal.entries:
        _tell(f"{journal.path}: {len(journal.entries)} of {len(batches)} batches are answered already; going on")


def _progress(title: str, batches: Sequence[Sequence[Question]], done: int) -> Any:
    """A bar with questions per second and the time left; it begins at what is done already."""
    sizes = [len(batch) for batch in batches]
    return tqdm(total=sum(sizes), initial=sum(sizes[:done]), desc=title, unit="question", mininterval=5)


def _summarise(entries: Sequence[Mapping[str, Any]], done: int, seconds: float, title: str) -> None:
    """One line on what was done, and how fast this time."""
    now = entries[done:]
    questions, tokens = (sum(entry[key] for entry in now) for key in ("questions", "tokens"))
    rate = (
        f"{questions / seconds:.1f} questions/s, {tokens / seconds:.0f} tokens/s"
        if seconds and now
        else "nothing to do"
    )
    before = sum(entry["questions"] for entry in entries[:done])
    _tell(
        f"{title}: {questions} questions, {tokens} tokens in {seconds:.1f} s ({rate})"
        + (f"; {before} questions were answered before" if before else "")
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
