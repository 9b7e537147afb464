"""Answers of one checkpoint to one shard of questions: batches, prefetching, resume.

Batches are formed by clip and by length in one global order, and a shard takes whole batches. A batch does not depend on the
number of shards, so neither do the bytes of its answers. (The last bits of a question's logits may depend on the other
questions of its batch: the batch is the unit that is computed.)

Each finished batch is written to a journal at once, so a shard that is killed resumes after its last whole batch.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.files import read_jsonl
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.journal import Journal
from vidreason.artifacts.typed_records import row_of
from vidreason.engine.batches import evaluation_batches, limited
from vidreason.engine.features import clips_of, encode_clips, read_clips
from vidreason.engine.generation import Completions, Decoding, NotFiniteError, generate, rollout_seed
from vidreason.engine.oom import out_of_memory_advice
from vidreason.engine.prefetch import prefetch
from vidreason.engine.profiling import span
from vidreason.engine.prompts import Clock, Prompt, fits, max_prompt_length, prompt_of
from vidreason.media.frame_store import FrameStore, clips_path_of
from vidreason.media.views import NO_VIDEO
from vidreason.models.base import VideoLM
from vidreason.models.families import PRECISIONS, compute_device, load_checkpoint
from vidreason.records import OK, PROMPT_TOO_LONG, ClipStatus, Completion, Prediction, Question, Rollout, SampledAnswers
from vidreason.tasks.base import task_of
from vidreason.tasks.option_edits import UNCHANGED, OptionEdit

MOST_NAMED = 10
"""Questions that a message lists by name."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard of the questions, and the checkpoint that answers it.

    Attributes:
        weights: Checkpoint folder.
        questions: Question records of all shards.
        frames: Frame tables.
        seed: Seed of the arm.
        number: Number of this shard, from 0.
        count: Number of shards.
        state: Folder of the journal. It must survive a failure; the caller removes it once the results are written.
        identity: Digest of everything that decides the answers: settings, inputs and code.
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
    """How questions are prompted and answered.

    Attributes:
        purpose: `predict`, `selection` or `samples`; part of the seeds.
        style: `option` or `reason`.
        training: Whether prompts are written as in training.
        view: One of `vidreason.media.views.VIEWS`, or `NO_VIDEO`.
        decoding: How tokens are chosen.
        group: Answers to each question, G.
        batch_size: Questions at a time.
        precision: Type of the weights, a name of `PRECISIONS`.
        key: Configuration key of `batch_size`, for messages.
        limit: Questions that are answered, in whole videos (`vidreason.engine.batches.limited`); None for all.
        options: How the options of the questions are changed before they are asked.
    """

    purpose: str
    style: str
    training: bool
    view: str
    decoding: Decoding
    group: int
    batch_size: int
    precision: str
    key: str
    limit: int | None = None
    options: OptionEdit = UNCHANGED


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers to one question.

    Attributes:
        question: The question as it was asked.
        status: `ok`, or why it was not answered.
        prompt: Text of its whole prompt.
        completions: G answers; none where the status is not `ok`.
    """

    question: Question
    status: str
    prompt: str
    completions: Sequence[Completion]


Recorder = Callable[[Answers], Sequence[Prediction | Rollout | SampledAnswers]]
"""Makes the records of one question."""


@dataclasses.dataclass(frozen=True)
class AnsweredBatch:
    """One entry of the journal.

    Attributes:
        batch: Number of the batch in its shard.
        questions: Number of questions.
        tokens: Tokens of all answers.
        seconds: Time from the batch before to this one.
        rows: The records as JSON objects.
    """

    batch: int
    questions: int
    tokens: int
    seconds: float
    rows: Sequence[Mapping[str, object]]


@torch.no_grad()
def answer_shard(shard: Shard, config: InferenceConfig, record: Recorder) -> list[AnsweredBatch]:
    """Answer the batches that the journal does not hold yet.

    Args:
        shard: The questions and the checkpoint.
        config: How they are prompted and answered.
        record: Makes the records of one question.

    Returns:
        All batches of the shard, in order.

    Raises:
        ChangedError: Weights, questions or frame tables are not what their sidecars record.
        KeyError: A clip is in none of the frame tables.
        NotFiniteError: The logits are not finite.
        MemoryError: A batch does not fit into memory; the message names the key that makes it smaller.
        ValueError: The journal holds other questions than this shard.
    """
    for table in shard.frames:  # before weights are read and workers open the tables
        check_unchanged(table)
    model = load_checkpoint(shard.weights, PRECISIONS[config.precision])
    model.to(compute_device()).eval()
    plan = _plan(shard, config, model)
    batches = plan.batches
    began = time.monotonic()
    with Journal(shard.state, shard.identity) as journal:
        entries = [AnsweredBatch(**entry) for entry in journal.entries]
        done = len(entries)
        _check_resumed(journal.path, entries, batches)
        answerable = [[question for question in batch if plan.statuses[question.id] == OK] for batch in batches[done:]]
        reader = _Reader(shard.frames, config.view, shard.seed)
        with (
            _progress(config.purpose, batches, done) as bar,
            prefetch(answerable, reader.read, shard.workers) as loaded,
        ):
            start = time.monotonic()
            for number, (batch, (questions, frames)) in enumerate(zip(batches[done:], loaded, strict=True), start=done):
                title = f"batch {number} of {len(batches)}"
                with out_of_memory_advice(_memory_advice(title.capitalize(), questions, plan, config)):
                    try:
                        prompts = [plan.prompts[question.id].ids for question in questions]
                        answers = answer_batch(model, questions, prompts, frames, config, shard.seed)
                    except NotFiniteError as error:
                        raise NotFiniteError(f"{shard.weights}: {title}: {error}") from error
                rows = [
                    row
                    for question in batch
                    for row in record(
                        Answers(
                            question,
                            plan.statuses[question.id],
                            plan.prompts[question.id].text,
                            answers.get(question.id, ()),
                        )
                    )
                ]
                tokens = sum(one.tokens for group in answers.values() for one in group)
                seconds = round(time.monotonic() - start, 3)
                entry = AnsweredBatch(number, len(batch), tokens, seconds, [row_of(row) for row in rows])
                journal.append(dataclasses.asdict(entry))
                entries.append(entry)
                bar.update(len(batch))
                start = time.monotonic()
        _summarize(entries, done, time.monotonic() - began, config.purpose)
        return entries


def write_timing(path: Path, batches: Sequence[AnsweredBatch]) -> None:
    """Write what the batches took. Times have a file of their own, so that answers are reproducible."""
    write_csv(
        path,
        ("batch", "questions", "tokens", "seconds"),
        ((batch.batch, batch.questions, batch.tokens, f"{batch.seconds:.3f}") for batch in batches),
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The work of one shard.

    Attributes:
        batches: Its batches.
        prompts: Question id -> prompt.
        statuses: Question id -> `ok`, or why it is not answered.
    """

    batches: Sequence[Sequence[Question]]
    prompts: Mapping[str, Prompt]
    statuses: Mapping[str, str]


def _plan(shard: Shard, config: InferenceConfig, model: VideoLM) -> _Plan:
    """Form the batches, and report prompts that are too long."""
    published = limited(read_jsonl(shard.questions, Question), config.limit)
    questions = [config.options.of(question) for question in published]
    video = config.view != NO_VIDEO
    timed = any(task_of(name).timed for name in {question.task for question in questions})
    clock = Clock(FrameStore(shard.frames), config.view, shard.seed) if timed else None
    style, training = config.style, config.training
    prompts = {question.id: prompt_of(model, question, style, training, clock, video) for question in questions}
    limit = config.decoding.max_new_tokens
    statuses = _clip_statuses(questions, shard.frames)
    for name, prompt in prompts.items():
        if statuses[name] == OK and not fits(prompt.ids, model, limit):
            statuses[name] = PROMPT_TOO_LONG
    lengths = {name: prompt.length if statuses[name] == OK else 0 for name, prompt in prompts.items()}
    batches = evaluation_batches(questions, lengths, config.batch_size, shard.number, shard.count)
    names = [question.id for batch in batches for question in batch]
    too_long = [f"{name!r} ({prompts[name].length})" for name in names if statuses[name] == PROMPT_TOO_LONG]
    if too_long:
        others = f" and {len(too_long) - MOST_NAMED} others" if len(too_long) > MOST_NAMED else ""
        _report(
            f"{len(too_long)} of {len(names)} questions are not answered ({PROMPT_TOO_LONG}): the model has room for prompts "
            f"of {max_prompt_length(model, limit)} positions, video included, beside answers of {limit} tokens. These need "
            f"more: {', '.join(too_long[:MOST_NAMED])}{others}"
        )
    return _Plan(batches, prompts, statuses)


@torch.no_grad()
def complete(
    model: VideoLM,
    questions: Sequence[Question],
    prompts: Sequence[torch.Tensor],
    frames: torch.Tensor,
    decoding: Decoding,
    group: int = 1,
    seeds: Sequence[np.random.SeedSequence] | None = None,
) -> Completions:
    """Answer several questions together. A clip is encoded once, however many of the questions are about it.

    Args:
        model: The model.
        questions: At least one.
        prompts: Ids of their prompts.
        frames: Frames of their clips in the order of `clips_of`: uint8 [C, F, S, S, 3]; [0] where no video is shown.
        decoding: How tokens are chosen.
        group: Answers to each question, G.
        seeds: One an answer; may be None when decoding is greedy.
    """
    videos = None
    if len(frames):
        clips = dict(zip(clips_of(questions), model.connect(encode_clips(model, frames)), strict=True))
        videos = [clips[question.clip.key] for question in questions]
    with span("sample"):
        return generate(model, prompts, videos, decoding, model.end_id, group, seeds)


def answer_batch(
    model: VideoLM,
    questions: Sequence[Question],
    prompts: Sequence[torch.Tensor],
    frames: torch.Tensor,
    config: InferenceConfig,
    seed: int,
) -> dict[str, list[Completion]]:
    """Answer one batch.

    Args:
        model: The model.
        questions: The batch; without any, nothing is computed.
        prompts: Ids of their prompts.
        frames: As in `complete`.
        config: How they are prompted and answered.
        seed: Seed of the arm.

    Returns:
        Question id -> its G answers.
    """
    if not questions:
        return {}
    group = config.group
    seeds = [rollout_seed(seed, config.purpose, question.id, g) for question in questions for g in range(group)]
    generated = complete(model, questions, prompts, frames, config.decoding, group, seeds)
    fields = (generated.texts(model.tokenizer), generated.lengths.tolist(), generated.finished.tolist())
    answers = [Completion(*values) for values in zip(*fields, strict=True)]
    return {question.id: answers[row * group : (row + 1) * group] for row, question in enumerate(questions)}


class _Reader:
    """Reads the frames of a batch. The tables are opened in the process that reads first (see `vidreason.engine.prefetch`)."""

    def __init__(self, frames: Sequence[Path], view: str, seed: int) -> None:
        self.frames, self.view, self.seed = frames, view, seed

    @functools.cached_property
    def store(self) -> FrameStore:
        return FrameStore(self.frames)

    def read(self, questions: Sequence[Question]) -> torch.Tensor:
        """Frames of the questions' clips: uint8 [C, F, S, S, 3]; empty without questions."""
        if not questions:
            return torch.empty(0, dtype=torch.uint8)
        return read_clips(self.store, clips_of(questions), self.view, self.seed)


def _clip_statuses(questions: Sequence[Question], frames: Sequence[Path]) -> dict[str, str]:
    """Question id -> status of its clip, from the lists beside the frame tables."""
    clips = {clip.key: clip.status for path in frames for clip in read_jsonl(clips_path_of(path), ClipStatus)}
    for question in questions:
        if question.clip.key not in clips:
            raise KeyError(
                f"clip {question.clip.key!r} of question {question.id!r} is in none of the {len(frames)} frame tables; "
                f"extract its frames first"
            )
    return {question.id: clips[question.clip.key] for question in questions}


def _check_resumed(path: Path, entries: Sequence[AnsweredBatch], batches: Sequence[Sequence[Question]]) -> None:
    """Refuse a journal whose entries are not the first batches of this shard."""
    for number, entry in enumerate(entries):
        answered = list(dict.fromkeys(row["question_id"] for row in entry.rows))
        if number >= len(batches) or answered != [question.id for question in batches[number]]:
            raise ValueError(
                f"{path}: batch {number} is not batch {number} of this shard. Was the file edited, or written by "
                f"two runs at once? Remove it to answer the shard again"
            )
    if entries:
        _report(f"{path}: {len(entries)} of {len(batches)} batches are answered already; resuming")


def _memory_advice(title: str, questions: Sequence[Question], plan: _Plan, config: InferenceConfig) -> str:
    """What a batch consists of, and the key that makes it smaller."""
    longest = max((plan.prompts[question.id].length for question in questions), default=0)
    return (
        f"{title} has {len(questions)} questions about {len(clips_of(questions))} clips with {config.group} answers each, "
        f"prompts of up to {longest} positions and answers of up to {config.decoding.max_new_tokens} tokens. Lower "
        f"{config.key}, now {config.batch_size} (it decides which questions are computed together, so all answers are "
        f"computed again)"
    )


def _progress(title: str, batches: Sequence[Sequence[Question]], done: int) -> "tqdm[None]":
    """A bar with questions per second and the time left, from the batches that are done already."""
    sizes = [len(batch) for batch in batches]
    return tqdm(total=sum(sizes), initial=sum(sizes[:done]), desc=title, unit="question", mininterval=5)


def _summarize(entries: Sequence[AnsweredBatch], done: int, seconds: float, title: str) -> None:
    """Report what was answered in this run, and how fast."""
    new = entries[done:]
    questions, tokens = sum(entry.questions for entry in new), sum(entry.tokens for entry in new)
    rate = (
        f"{questions / seconds:.1f} questions/s, {tokens / seconds:.0f} tokens/s"
        if seconds and new
        else "nothing to do"
    )
    before = sum(entry.questions for entry in entries[:done])
    _report(
        f"{title}: {questions} questions, {tokens} tokens in {seconds:.1f} s ({rate})"
        + (f"; {before} questions were answered before" if before else "")
    )


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
