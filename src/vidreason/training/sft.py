"""Supervised fine-tuning: the cold start on annotated reasoning, and the answer-only baseline."""

from collections.abc import Iterator, Sequence

import torch

from vidreason.config.optimization import Runtime
from vidreason.config.settings import TrainingSpec
from vidreason.engine.features import clips_of, connect_clips
from vidreason.engine.log_probs import label_log_probs
from vidreason.engine.profiling import count, span
from vidreason.engine.prompts import Clock, fits, prompt_length, query_text
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import IGNORE_INDEX, LabelledIds, VideoLM, VideoTokens
from vidreason.models.families import save_checkpoint
from vidreason.records import Question
from vidreason.tasks.base import task_of
from vidreason.training.distributed import SINGLE_PROCESS, Ranks, start_ranks
from vidreason.training.files import TrainingFiles
from vidreason.training.flops import FlopCounter
from vidreason.training.optimizer import gathered_weights
from vidreason.training.sampler import EpochSampler
from vidreason.training.state import Origin
from vidreason.training.timing import TRAINED
from vidreason.training.trainer import Backward, Job, Metrics, Trainer, gathered_features, load_for_training

STEP_QUESTIONS = 0x5F7
"""Name of the order of the questions, next to the run's seed."""


def train_sft(spec: TrainingSpec, runtime: Runtime, files: TrainingFiles, origin: Origin) -> Ranks:
    """Train one SFT arm.

    Args:
        spec: With settings of SFT.
        runtime: How it runs on this machine.
        files: Questions whose clip has no frames, and those that are longer than the context, are skipped and counted in
            the metrics.
        origin: What defines the training.

    Returns:
        The processes that trained.

    Raises:
        ValueError: No question has frames, or the processes cannot share a step's questions evenly.

    Source: arXiv 2504.09641 section 3.2; TinyLLaVA-Video-R1@efe76a1:tinyllava/train/train_coldstart.py.
    """
    ranks = start_ranks(spec.settings.optimizer.deepspeed is not None)
    model = load_for_training(files.init, spec.settings.optimizer)
    SftTrainer(spec, runtime, model, FrameStore(files.frames), ranks).fit(files, origin)
    with gathered_weights(model):
        if ranks.is_main:
            save_checkpoint(model, files.checkpoint)
    return ranks


class SftTrainer:
    """Supervised fine-tuning of connector and language model; the vision tower stays frozen.

    A question with a demonstration (cold start) is trained on that text, any other on its gold answer alone. Of R processes each
    takes every R-th question of a step. A process's loss is weighted by its number of labelled tokens, so that the mean over
    processes is the mean over the tokens of the whole step.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        runtime: Runtime,
        model: VideoLM,
        store: FrameStore,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """Nothing is read yet.

        Args:
            spec: With settings of SFT.
            runtime: How it runs on this machine.
            model: Trained in place.
            store: Frames of all clips.
            ranks: The processes of the training.
        """
        self.spec, self.runtime, self.model, self.store, self.ranks = spec, runtime, model, store, ranks
        self.clock = Clock(store)
        self.flops = FlopCounter.of(model, store, spec.settings.optimizer.precision)

    def fit(self, files: TrainingFiles, origin: Origin) -> None:
        """Train on the questions of `files`; resumes from a saved state if there is one."""
        spec = self.spec
        sampler = EpochSampler(
            files.questions, self.store, spec.settings.batch_size, (spec.seed, STEP_QUESTIONS), self.fits
        )

        def step(number: int, backward: Backward) -> Iterator[tuple[float, Metrics]]:
            loss, row = self.step(number, self.ranks.shard(sampler.batch(number)), backward)
            yield loss, {**row, **sampler.skipped}

        steps = sampler.steps(spec.settings.epochs)
        job = Job(
            "sft", steps, spec.settings.optimizer, self.runtime, files.metrics, files.state, origin, timing=files.timing
        )
        Trainer(self.model, job, step, ranks=self.ranks).fit()

    def step(self, step: int, questions: Sequence[Question], backward: Backward) -> tuple[float, Metrics]:
        """Compute the gradient of one step, `micro_batch` questions at a time.

        Args:
            step: Step number; nothing here is random, so it changes nothing.
            questions: This process's share of the step.
            backward: Receives the loss in parts.

        Returns:
            The loss and what is logged.
        """
        counts = [labelled_tokens(self.model, question, self.spec.style, self.clock) for question in questions]
        total, scale = max(1, sum(counts)), self.ranks.loss_scale(sum(counts))
        count(TRAINED, sum(counts))
        size, step_loss, unmaskable = self.runtime.micro_batch or len(questions), 0.0, 0
        for start in range(0, len(questions), size):
            part = questions[start : start + size]
            features = gathered_features(self.model, self.store, part)
            self._count_passes(part)
            with span("score"), self.model.recomputed(self.runtime.gradient_checkpointing):
                videos = connect_clips(self.model, features, part)
                loss, tokens, ignored = batch_loss(self.model, part, videos, self.spec.style, self.clock)
            loss = loss * (scale * tokens / total)
            with span("backward"):
                backward(loss, start + size >= len(questions))
            step_loss, unmaskable = step_loss + float(loss.detach()), unmaskable + ignored
        return step_loss, {"tokens": sum(counts) / len(questions), "untaught": float(unmaskable)}

    def _count_passes(self, questions: Sequence[Question]) -> None:
        """Count the FLOPs that some questions need."""
        if self.flops.costs is not None:
            self.flops.encoded(len(clips_of(questions)))
            for question in questions:
                example = self.model.labelled_ids(conversation(question, self.spec.style, self.clock))
                length, labelled = prompt_length(example.input_ids, self.model), _labelled(example)
                self.flops.imitated(length, labelled, self.runtime.gradient_checkpointing)

    def fits(self, question: Question) -> bool:
        """Whether a question and its answer fit into the context."""
        example = self.model.labelled_ids(conversation(question, self.spec.style, self.clock))
        return fits(example.input_ids, self.model, max_new_tokens=0)


def batch_loss(
    model: VideoLM,
    batch: Sequence[Question],
    videos: VideoTokens,
    style: str,
    clock: Clock | None = None,
) -> tuple[torch.Tensor, int, int]:
    """Cross-entropy of the labelled tokens of a batch.

    Args:
        model: The model.
        batch: B questions.
        videos: Embeddings of their videos.
        style: `option` or `reason`.
        clock: Tells the times of frames; only timed tasks need it.

    Returns:
        Mean loss over the labelled tokens, their number, and the number of questions without labels because their text
        contains an end-of-turn mark, so that the answer cannot be masked.
    """
    examples = [model.labelled_ids(conversation(question, style, clock)) for question in batch]
    inputs = model.build_inputs(
        [example.input_ids for example in examples],
        videos,
        padding_side="right",
        labels=[example.labels for example in examples],
    )
    logp = label_log_probs(model, inputs)
    unmaskable = sum(example.unmaskable for example in examples)
    return -logp.sum() / max(1, len(logp)), len(logp), unmaskable


def labelled_tokens(model: VideoLM, question: Question, style: str, clock: Clock | None = None) -> int:
    """Number of tokens of a question that have a label."""
    return _labelled(model.labelled_ids(conversation(question, style, clock)))


def _labelled(example: LabelledIds) -> int:
    return int((example.labels[1:] != IGNORE_INDEX).sum())


def conversation(question: Question, style: str, clock: Clock | None = None) -> list[dict[str, str]]:
    """The training conversation of one question: its prompt, and its demonstration or gold answer (`Task.answer`)."""
    return [
        {"from": "human", "value": query_text(question, style, training=True, clock=clock)},
        {"from": "gpt", "value": question.demonstration or task_of(question.task).answer(question)},
    ]
