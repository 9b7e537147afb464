"""The one training loop: steps, schedule, metrics, saved state and resume. What is learnt is the caller's function.

Every random draw of a run is named by (seed, purpose, step), so nothing but weights, optimiser and step number has to
be saved for a resumed run to continue exactly.

With several processes (`vidreason.training.distributed`) each computes the loss of its part of a step's questions; gradients,
losses and metrics are averaged. Losses are means over questions, every process has as many of them, and draws are named
by the question and not by its place: so R processes take the same steps as one.
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from vidreason.engine.features import clip_features
from vidreason.engine.generation import NotFiniteError
from vidreason.engine.oom import out_of_memory_advice
from vidreason.engine.profiling import span
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM
from vidreason.models.families import PRECISIONS, compute_device, load_checkpoint
from vidreason.models.packing import varlen_kernel
from vidreason.records import Question
from vidreason.training.distributed import Ranks
from vidreason.training.metrics import MetricsLog
from vidreason.training.optimizer import BETA2, DeepSpeedUpdater, PlainUpdater, Updater, whole_weights
from vidreason.training.state import Saver, TrainingState, exclusive, load_latest
from vidreason.training.stop import Stopped, listening

Metrics = dict[str, float]
Backward = Callable[[torch.Tensor, bool], None]
"""Takes a part of the step's loss (scalar, with gradient) and whether it is the last; see `Updater.backward`."""
StepFunction = Callable[[int, Backward], tuple[float, Metrics]]
"""Step number and what to hand the loss to, in one or several parts -> the loss and what to log, both of this process's
part."""
ALONE = Ranks()
STOP, OVERDUE = "stop", "overdue"
"""Keys under which processes tell each other that one was asked to stop, and that a state is overdue."""
CPU_THREADS = 1
"""Threads of a training step on the CPU. A second one makes a step of the demo at most 1.3 times as fast on quiet cores, and
slower than one thread beside a busy process; two trainings side by side, or a training and the answers of other arms, make
better use of two cores. Other numbers sum in another order and give other last bits, so the number is part of the result and
not the machine's to choose."""
LESS_MEMORY = {
    "sft": "in methods.sft lower micro_batch (questions whose gradient is computed together), set gradient_checkpointing: "
    "true, or let deepspeed share the optimiser's state over more GPUs or put it off (zero_stage, offload_optimizer)",
    "grpo": "in methods.grpo lower micro_batch (questions whose gradient is computed together) and rollout_batch (questions "
    "sampled together), set gradient_checkpointing and offload_reference: true, or let deepspeed share the optimiser's "
    "state over more GPUs or put it off (zero_stage, offload_optimizer)",
    "base": "lower batch_size of the stages of base",
}
"""Title of a training -> the settings that need less memory."""


class DivergedError(RuntimeError):
    """Loss or gradient is not a finite number."""


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """How weights are updated.

    Attributes:
        learning_rate: Peak learning rate.
        schedule: `constant` or `cosine` (to zero at the last step).
        warmup: Share of the steps over which the learning rate rises linearly.
        weight_decay: Decoupled weight decay.
        beta2: AdamW's decay rate of the second moment.
        muon: Learning rate of the matrices under Muon, as a multiple of `learning_rate`; None for AdamW alone.
        max_grad_norm: Gradients are scaled down to this norm.
        save_every: Save the state every so many steps; 0 never.
        save_minutes: Save the state, too, when the last one is so many minutes old; 0 never.
        keep_states: Number of states kept.
        validate_every: Call the validation every so many steps and at the end; 0 only at the end.
        precision: `fp32`, or `bf16` for activations in bf16 over weights that are updated in float32.
        deepspeed: None, or `zero_stage` (1, 2, 3) and `offload_optimizer`.
    """

    learning_rate: float
    schedule: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    beta2: float = BETA2
    muon: float | None = None
    max_grad_norm: float = 1.0
    save_every: int = 0
    save_minutes: float = 0
    keep_states: int = 2
    validate_every: int = 0
    precision: str = "fp32"
    deepspeed: Mapping[str, Any] | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Optimisation":
        """Take the keys of this class out of a method's settings."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in settings.items() if key in names})

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step.

        Args:
            step: Step number, from 0.
            steps: Number of steps of the run.
        """
        warm = math.ceil(self.warmup * steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        raise ValueError(f"schedule: {self.schedule!r}; allowed: 'constant', 'cosine'")


def run_steps(
    model: torch.nn.Module,
    optimisation: Optimisation,
    steps: int,
    step_function: StepFunction,
    metrics: Path,
    state: Path,
    origin: Mapping[str, Any],
    title: str,
    validate: Callable[[int], tuple[Metrics, int]] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train `model` in place for `steps` steps, continuing from the saved state if there is one.

    Args:
        model: Its parameters that require a gradient are trained.
        optimisation: Schedule and limits.
        steps: Number of optimiser steps.
        step_function: Gives the loss of a step and has its gradient computed.
        metrics: JSON lines, one row a step (`kind: train`) and one a validation (`kind: validation`); written at the
            end, TensorBoard's files beside it all along.
        state: Folder of the saved states.
        origin: Everything that defines the run (`vidreason.artifacts.provenance.fingerprint`); a state of another run is refused.
        title: Shown by the progress bar.
        validate: Step number -> what to log, and the number of questions that it is the mean over (0 where this
            process has none); called by `validate_every` and after the last step.
        ranks: The processes of the run.

    Raises:
        DivergedError: A logit, the loss or the gradient norm is not finite; the last good state is kept.
        MemoryError: Memory ran out; the message names the settings that need less.
        ValueError: The saved state belongs to another run.
        BlockingIOError: Another training writes into the same folder of states.
        Stopped: A signal asked for it, or the job's time is nearly over; the state of the last step is saved.
    """
    torch.set_num_threads(CPU_THREADS)
    updater = make_updater(model, optimisation, ranks)
    with exclusive(state, ranks):
        saved = load_latest(state, origin, updater, ranks) or TrainingState(0, "", origin)
        if ranks.first and saved.step:
            print(f"{title}: goes on after step {saved.step} of {steps}, saved in {state}", file=sys.stderr, flush=True)
        half = torch.autocast(
            compute_device().type,
            torch.bfloat16,
            enabled=optimisation.precision == "bf16" and optimisation.deepspeed is None,
        )
        with (
            listening() as request,
            MetricsLog(metrics, state, saved.step, saved.metrics, ranks.first) as log,
            Saver(state, model, updater, ranks, optimisation.save_minutes, optimisation.keep_states) as saver,
        ):
            bar = tqdm(
                range(saved.step, steps),
                initial=saved.step,
                total=steps,
                desc=title,
                file=sys.stderr,
                mininterval=5,
                disable=not ranks.first,
            )
            longest = 0.0
            for step in bar:
                began = time.monotonic()
                rate = optimisation.rate(step, steps)
                with out_of_memory_advice(f"{title}: step {step}: {LESS_MEMORY.get(title, 'take less at a time')}"):
                    try:
                        with half:
                            loss, row = step_function(step, updater.backward)
                    except NotFiniteError as error:
                        raise DivergedError(
                            f"{title}: step {step}: {error}; lower learning_rate ({optimisation.learning_rate}). The state of "
                            f"the last saved step is kept in {state}"
                        ) from error
                    with span("update"):
                        norm = updater.step(rate)
                row = {**ranks.mean({"loss": loss, **row}), "grad_norm": norm, "lr": rate}
                if not (math.isfinite(row["loss"]) and math.isfinite(norm)):
                    raise DivergedError(
                        f"{title}: step {step}: loss {row['loss']}, gradient norm {norm}; lower learning_rate "
                        f"({optimisation.learning_rate}). The state of the last saved step is kept in {state}"
                    )
                log.write("train", step, row)
                bar.set_postfix({key: f"{value:.3g}" for key, value in list(row.items())[:4]}, refresh=False)
                bar.set_postfix_str(f"{bar.postfix}, {time.monotonic() - began:.2f} s/step", refresh=False)
                done = step + 1
                if validate is not None and _due(optimisation.validate_every, done, steps):
                    advice = LESS_MEMORY.get(title, "take less at a time")
                    with out_of_memory_advice(f"{title}: validation: {advice}"), half, whole_weights(model):
                        found, questions = validate(done)
                    log.write("validation", done, ranks.mean(found, questions))
                # A signal reaches processes at different moments: all stop after the same step, or none. So with the clock.
                longest = max(longest, time.monotonic() - began)
                signals = ranks.mean({STOP: float(request.look(longest, saver.longest)), OVERDUE: float(saver.overdue)})
                stop, overdue = signals[STOP] > 0, signals[OVERDUE] > 0
                last = done == steps
                due = optimisation.save_every and done % optimisation.save_every == 0
                if not last and (due or overdue or stop):
                    saver.save(TrainingState(done, log.rows(), origin))
                if not last and stop:
                    saver.finish()
                    asked = (
                        f"asked to stop ({request.reason})" if request.reason else "another process was asked to stop"
                    )
                    raise Stopped(
                        f"{title}: {asked}: {done} of {steps} steps are saved in {state}; the same command goes on"
                    )
            log.finish()
        ranks.wait()  # no process is still writing a state, so that all of them may be removed


def make_updater(model: torch.nn.Module, optimisation: Optimisation, ranks: Ranks) -> Updater:
    """The optimiser that the settings ask for."""
    if optimisation.deepspeed is None:
        return PlainUpdater(
            model,
            optimisation.weight_decay,
            optimisation.max_grad_norm,
            ranks,
            optimisation.beta2,
            optimisation.muon,
        )
    return DeepSpeedUpdater(
        model,
        optimisation.weight_decay,
        optimisation.max_grad_norm,
        ranks,
        optimisation.deepspeed,
        optimisation.precision,
    )


def load_for_training(init: Path, optimisation: Optimisation) -> tuple[VideoLM, PreTrainedTokenizerBase]:
    """Load a parent's checkpoint as the recipe trains it: vision tower frozen, connector and language model trained.

    Args:
        init: Checkpoint folder.
        optimisation: Decides the type: bf16 where DeepSpeed keeps float32 weights of its own, else float32.

    Returns:
        The model on the CUDA device if there is one, and its tokenizer. In evaluation mode: Qwen2 and the
        resampler have no dropout, and this keeps it so for any checkpoint.
    """
    if compute_device().type != "cpu":
        varlen_kernel()  # one that cannot be imported ends the training here, and not at its first pass
    dealt_out = optimisation.deepspeed is not None
    model = load_checkpoint(init, PRECISIONS[optimisation.precision if dealt_out else "fp32"])
    model.freeze_vision()
    return model.to(compute_device()).eval(), model.tokenizer


def gathered_features(model: VideoLM, store: FrameStore, questions: Sequence[Question]) -> dict[str, torch.Tensor]:
    """`clip_features` of this process's questions.

    Processes have different numbers of clips, so under ZeRO-3 the vision tower is gathered once for all of them.
    """
    with contextlib.ExitStack() as stack:
        for part in model.frozen_parts():
            stack.enter_context(whole_weights(part))
        return clip_features(model, store, questions)


def _due(every: int, done: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)
