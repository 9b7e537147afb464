"""The training loop that all methods share: steps, schedule, metrics, saved states and resume.

Every random draw of a training is named by (seed, purpose, step). Weights, optimizer state and step number are therefore
all that must be saved for a resumed training to continue exactly.

With several processes (`vidreason.training.distributed`) each computes the loss of its share of a step's questions;
gradients, losses and metrics are averaged. Losses are means over questions, every process has equally many of them, and
draws are named by the question and not by its position. R processes therefore take the same steps as one.
"""

import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from vidreason.config.optimization import Optimizer as OptimizerSettings
from vidreason.config.optimization import Runtime
from vidreason.engine.features import clip_features
from vidreason.engine.generation import NotFiniteError
from vidreason.engine.oom import out_of_memory_advice
from vidreason.engine.profiling import span
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM
from vidreason.models.families import PRECISIONS, compute_device, load_checkpoint
from vidreason.models.packing import varlen_kernel
from vidreason.records import Question
from vidreason.training.distributed import SINGLE_PROCESS, Ranks
from vidreason.training.metrics import MetricsLog
from vidreason.training.optimizer import Optimizer, gathered_weights, learning_rate, make_optimizer
from vidreason.training.state import Origin, Saver, TrainingState, exclusive, load_latest
from vidreason.training.stop import Stopped, StopSignal, stop_signals
from vidreason.training.timing import TimingLog

Metrics = dict[str, float]
Backward = Callable[[torch.Tensor, bool], None]
"""Receives a part of the step's loss (scalar, with gradient) and whether it is the last part; see `Optimizer.backward`."""
StepFunction = Callable[[int, Backward], Iterator[tuple[float, Metrics]]]
"""(Step number, where to send the loss) -> for each optimizer update of the step (the loss, what to log), both for this
process's share of the step. The weights are updated between one pair and the next."""
Validate = Callable[[int], tuple[Metrics, int]]
"""Number of steps done -> (what to log, number of this process's questions that it is the mean of)."""
CPU_THREADS = 1
"""Threads of a training step on the CPU. A second thread makes a step of the demo at most 1.3 times as fast on idle cores, and
slower beside a busy process; running two trainings at the same time makes better use of two cores. Another number of threads
sums in another order and gives other last bits, so the number belongs to the result and is not the machine's choice."""
LESS_MEMORY = {
    "sft": "in methods.sft.runtime lower micro_batch (questions whose gradient is computed together) or set "
    "gradient_checkpointing: true; or let methods.sft.optimizer.deepspeed shard the optimizer's state over more GPUs or "
    "offload it (zero_stage, offload_optimizer)",
    "grpo": "in methods.grpo.runtime lower micro_batch (questions whose gradient is computed together) and rollout_batch "
    "(questions sampled together), or set gradient_checkpointing and offload_reference: true; or let "
    "methods.grpo.optimizer.deepspeed shard the optimizer's state over more GPUs or offload it (zero_stage, "
    "offload_optimizer)",
    "base": "lower batch_size of the stages of base",
}
"""Title of a training -> the settings that reduce its memory."""
ROLLOUTS = "rollouts"
"""Metric of a step: number of completions that all processes sampled."""
STOP, OVERDUE = "stop", "overdue"
"""Keys under which processes tell each other that one received a stop signal, and that a state is due."""


class DivergedError(RuntimeError):
    """The loss or the gradient is not finite."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What the training loop needs to know besides the model and the method.

    Attributes:
        title: Shown by the progress bar and in messages.
        steps: Number of steps.
        optimizer: Schedule, optimizer and precision.
        runtime: When states are saved.
        metrics: JSON lines to write at the end, one row for each step (`kind: train`) and for each validation
            (`kind: validation`). TensorBoard's files are written beside it from the start.
        state: Folder of the saved states.
        origin: Everything that defines the training (`vidreason.artifacts.provenance.fingerprint`); a state with another
            origin is refused.
        validate_every: Steps between validations; 0 validates only after the last step.
        updates: Optimizer updates of each step.
        rollout_limit: The training ends after the step in which the sum of the metric `rollouts` reaches it; None for no limit.
        timing: What every step cost, as JSON lines (`StepTiming`) to write at the end; None measures nothing.
    """

    title: str
    steps: int
    optimizer: OptimizerSettings
    runtime: Runtime
    metrics: Path
    state: Path
    origin: Origin
    validate_every: int = 0
    updates: int = 1
    rollout_limit: int | None = None
    timing: Path | None = None

    def is_over(self, done: int, rollouts: int) -> bool:
        """Whether the training ends once `done` steps are taken and `rollouts` rollouts are sampled."""
        return done == self.steps or (self.rollout_limit is not None and rollouts >= self.rollout_limit)

    def rate(self, step: int, update: int, rollouts: int) -> float:
        """Learning rate of an update of a step, before which `rollouts` rollouts were sampled.

        The schedule counts updates. A limit of rollouts that is nearer than the last step moves it on, so that it ends where the
        training does.
        """
        if self.rollout_limit is not None:
            step = max(step, min(self.steps - 1, rollouts * self.steps // self.rollout_limit))
        return learning_rate(self.optimizer, step * self.updates + update, self.steps * self.updates)


class Logs(NamedTuple):
    """What a training writes at every step."""

    metrics: MetricsLog
    timing: TimingLog


class Trainer:
    """Trains a model in place; `fit` resumes from a saved state if there is one."""

    def __init__(
        self,
        model: torch.nn.Module,
        job: Job,
        step: StepFunction,
        validate: Validate | None = None,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """Nothing happens before `fit`.

        Args:
            model: Its parameters that require a gradient are trained.
            job: Steps, settings and files.
            step: Computes the loss of a step and sends it to `Backward`.
            validate: Called every `validate_every` steps and after the last one; None for no validation.
            ranks: The processes of the training.
        """
        self.model, self.job, self.ranks = model, job, ranks
        self._step, self._validate = step, validate

    def fit(self) -> None:
        """Take all steps that are not done yet.

        Raises:
            DivergedError: A logit, the loss or the gradient norm is not finite; the last good state is kept.
            MemoryError: Memory ran out; the message names the settings that need less.
            ValueError: The saved state belongs to another training.
            BlockingIOError: Another training uses the same folder of states.
            Stopped: A signal arrived, or the job's time is nearly over; the state of the last step is saved.
        """
        job, ranks, runtime = self.job, self.ranks, self.job.runtime
        torch.set_num_threads(CPU_THREADS)
        optimizer = make_optimizer(self.model, job.optimizer, ranks)
        with exclusive(job.state, ranks):
            saved = load_latest(job.state, job.origin, optimizer, ranks) or TrainingState(0, "", job.origin)
            if ranks.is_main and saved.step:
                message = f"{job.title}: resumes after step {saved.step} of {job.steps}, saved in {job.state}"
                print(message, file=sys.stderr, flush=True)
            with (
                stop_signals() as stop,
                MetricsLog(job.metrics, job.state, saved.step, saved.metrics, ranks.is_main) as log,
                Saver(job.state, self.model, optimizer, ranks, runtime.save_minutes, runtime.keep_states) as saver,
            ):
                logs = Logs(log, TimingLog(job.timing, job.state, saved.step, ranks))
                self._take_steps(saved, optimizer, stop, logs, saver)
                log.finish()
                logs.timing.finish()
            ranks.barrier()  # after it no process still writes a state, so that the caller may remove them

    def _take_steps(
        self, saved: TrainingState, optimizer: Optimizer, stop: StopSignal, logs: Logs, saver: Saver
    ) -> None:
        job, log = self.job, logs.metrics
        bar = tqdm(
            range(saved.step, job.steps),
            initial=saved.step,
            total=job.steps,
            desc=job.title,
            file=sys.stderr,
            mininterval=5,
            disable=not self.ranks.is_main,
        )
        longest, rollouts = 0.0, _rollouts_of(saved.metrics)
        for step in bar:
            began, done = time.monotonic(), step + 1
            with logs.timing.step(step):
                row = self._take_step(step, rollouts, optimizer)
            rollouts += round(row.get(ROLLOUTS, 0))
            is_last = job.is_over(done, rollouts)
            log.write("train", step, row)
            bar.set_postfix({key: f"{value:.3g}" for key, value in list(row.items())[:4]}, refresh=False)
            bar.set_postfix_str(f"{bar.postfix}, {time.monotonic() - began:.2f} s/step", refresh=False)
            if self._validate is not None and (is_last or _is_due(job.validate_every, done)):
                log.write("validation", done, self._validation(done))
            longest = max(longest, time.monotonic() - began)
            if is_last:
                break
            self._save_or_stop(done, longest, stop, log, saver)

    def _take_step(self, step: int, rollouts: int, optimizer: Optimizer) -> Metrics:
        """Take the updates of a step, and return what is logged: the mean over them."""
        job, rows = self.job, list[Metrics]()
        diverged = f"lower learning_rate ({job.optimizer.learning_rate}). The state of the last saved step is kept in {job.state}"
        losses = self._step(step, optimizer.backward)
        with out_of_memory_advice(f"{job.title}: step {step}: {self._less_memory}"):
            while (update := self._next_loss(step, losses, diverged)) is not None:
                loss, row = update
                rate = job.rate(step, len(rows), rollouts)
                with span("update"):
                    norm = optimizer.step(rate)
                row = {**self.ranks.mean({"loss": loss, **row}), "grad_norm": norm, "lr": rate}
                if not (math.isfinite(row["loss"]) and math.isfinite(norm)):
                    raise DivergedError(
                        f"{job.title}: step {step}: loss {row['loss']}, gradient norm {norm}; {diverged}"
                    )
                rows.append(row)
        return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}

    def _next_loss(
        self, step: int, losses: Iterator[tuple[float, Metrics]], diverged: str
    ) -> tuple[float, Metrics] | None:
        """Compute the next loss of a step; autocast must end before the weights that it has cast are updated."""
        try:
            with self._autocast():
                return next(losses, None)
        except NotFiniteError as error:
            raise DivergedError(f"{self.job.title}: step {step}: {error}; {diverged}") from error

    def _validation(self, done: int) -> Metrics:
        assert self._validate is not None
        advice = f"{self.job.title}: validation: {self._less_memory}"
        with out_of_memory_advice(advice), self._autocast(), gathered_weights(self.model):
            metrics, questions = self._validate(done)
        return self.ranks.mean(metrics, questions)

    def _save_or_stop(self, done: int, longest: float, stop: StopSignal, log: MetricsLog, saver: Saver) -> None:
        """Save the state if it is due, and end the training if one of its processes should stop."""
        job = self.job
        # A signal reaches processes at different moments: all stop after the same step, or none. The clock is treated alike.
        wishes = {STOP: float(stop.should_stop(longest, saver.longest)), OVERDUE: float(saver.overdue)}
        wishes = self.ranks.mean(wishes)
        should_stop, overdue = wishes[STOP] > 0, wishes[OVERDUE] > 0
        due = job.runtime.save_every and done % job.runtime.save_every == 0
        if due or overdue or should_stop:
            saver.save(TrainingState(done, log.rows(), job.origin))
        if should_stop:
            saver.finish()
            reason = f"asked to stop ({stop.reason})" if stop.reason else "another process was asked to stop"
            raise Stopped(
                f"{job.title}: {reason}: {done} of {job.steps} steps are saved in {job.state}; the same command resumes"
            )

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        """Compute in bf16 where the settings ask for it; DeepSpeed casts the weights itself."""
        optimizer = self.job.optimizer
        enabled = optimizer.precision == "bf16" and optimizer.deepspeed is None
        with torch.autocast(compute_device().type, torch.bfloat16, enabled=enabled):
            yield

    @property
    def _less_memory(self) -> str:
        return LESS_MEMORY.get(self.job.title, "process less at a time")


def load_for_training(init: Path, optimizer: OptimizerSettings) -> VideoLM:
    """Load a parent's checkpoint as the recipe trains it: vision tower frozen, connector and language model trained.

    Args:
        init: Checkpoint folder.
        optimizer: Decides the type: bf16 where DeepSpeed keeps its own float32 weights, else float32.

    Returns:
        The model, on the CUDA device if there is one. In evaluation mode: Qwen2 and the resampler have no dropout, and this
        keeps it so for any checkpoint.
    """
    if compute_device().type != "cpu":
        varlen_kernel()  # a kernel that cannot be imported ends the training here, and not at the first pass
    precision = optimizer.precision if optimizer.deepspeed is not None else "fp32"
    model = load_checkpoint(init, PRECISIONS[precision])
    model.freeze_vision()
    return model.to(compute_device()).eval()


def gathered_features(model: VideoLM, store: FrameStore, questions: Sequence[Question]) -> dict[str, torch.Tensor]:
    """`clip_features` of this process's questions."""
    with gathered_tower(model):
        return clip_features(model, store, questions)


@contextlib.contextmanager
def gathered_tower(model: VideoLM) -> Iterator[None]:
    """Have the frozen parts whole in every process while clips are encoded.

    Processes encode different numbers of clips, so under ZeRO-3 the tower is gathered once for all of them.
    """
    with contextlib.ExitStack() as stack:
        for part in model.frozen_parts():
            stack.enter_context(gathered_weights(part))
        yield


def _is_due(every: int, done: int) -> bool:
    return every > 0 and done % every == 0


def _rollouts_of(metrics: str) -> int:
    """Rollouts that were sampled in the steps of a saved state, from the rows of its metrics."""
    return sum(round(json.loads(line).get(ROLLOUTS, 0)) for line in metrics.splitlines())
