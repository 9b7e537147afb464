"""What is measured of one size: a step, selection, evaluation, and whether both sides compute the same.

A measured step has learning rate 0: the optimizer does all of its work, and every repetition starts from the same weights.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bench import naive, ours
from bench.costs import measured
from bench.workload import Workload
from vidreason.engine.generation import Completions, Decoding
from vidreason.engine.profiling import profile, span
from vidreason.training.distributed import SINGLE_PROCESS
from vidreason.training.optimizer import PlainOptimizer

SIDES = ("ours", "naive")
NAIVE_ANSWERS = 3
"""Questions that the naive side answers a measurement: one takes as long as another."""
SHARED = 3
"""Questions about one clip in `evaluation_shared`, as Video-MME has them."""
EDGE = 0.05
"""Share of completions that may differ: a draw within rounding of the border between two tokens may go either way."""
TOLERANCE = 1e-4
"""Relative difference of losses and gradients, in float32."""


class DifferentError(RuntimeError):
    """The two schedules do not compute the same, so a ratio of their times means nothing."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One repeat of one side.

    Attributes:
        seconds: The whole of it.
        phases: Phase -> seconds.
        questions: Questions that were processed.
        tokens: Tokens that were generated.
        loss: Of a step.
        norm: Of a step's gradient.
    """

    seconds: float
    phases: dict[str, float]
    questions: int
    tokens: int
    loss: float | None = None
    norm: float | None = None


def step(work: Workload, side: str, optimizer: PlainOptimizer | None = None) -> Callable[[], Measurement]:
    """A whole GRPO step: encode, sample, reward, score, backward, update."""
    optimizer = optimizer or make_optimizer(work)

    def run() -> tuple[int, int, float, float]:
        loss = ours.grpo_step(work, optimizer) if side == "ours" else naive.grpo_step(work, optimizer)
        with span("update"):
            norm = optimizer.step(0.0)
        size = work.size
        return size.questions, size.questions * size.rollouts * size.completion, loss, norm

    return lambda: _timed(run)


def selection(work: Workload, side: str) -> Callable[[], Measurement]:
    """G sampled answers to a question: several questions together, or one answer at a time."""
    decoding = work.decoding
    questions = work.questions[: work.size.selection if side == "ours" else 1]

    def run() -> tuple[int, int]:
        if side == "ours":
            completions = [ours.rollouts(work, questions, decoding, "selection")]
        else:
            completions = [naive.rollouts(work, question, decoding, "selection") for question in questions]
        return len(questions), sum(int(part.lengths.sum()) for part in completions)

    return lambda: _timed(run)


def evaluation(work: Workload, side: str, shared: int = 1) -> Callable[[], Measurement]:
    """One greedy answer to a question: several questions together, or one at a time.

    Args:
        work: Model and questions.
        side: Of `SIDES`.
        shared: Questions about one clip.
    """
    decoding = Decoding(work.size.completion, temperature=0.0)
    questions = [
        dataclasses.replace(
            question, clip=dataclasses.replace(question.clip, path=work.questions[place // shared].clip.path)
        )
        for place, question in enumerate(work.questions[: work.size.evaluation if side == "ours" else NAIVE_ANSWERS])
    ]

    def run() -> tuple[int, int]:
        if side == "ours":
            return len(questions), int(ours.answers(work, questions, decoding).lengths.sum())
        return len(questions), sum(len(naive.answer(work, question, decoding)) for question in questions)

    return lambda: _timed(run)


PARTS: dict[str, Callable[[Workload, str], Callable[[], Measurement]]] = {
    "step": step,
    "selection": selection,
    "evaluation": evaluation,
    "evaluation_shared": functools.partial(evaluation, shared=SHARED),
}


def clips_needed(part: str, size: Any, side: str) -> int:
    """Number of clips that a part of the bench needs."""
    if part == "step":
        return int(size.questions)
    if part == "selection":
        return int(size.selection) if side == "ours" else 1
    return int(size.evaluation) if side == "ours" else NAIVE_ANSWERS


def make_optimizer(work: Workload) -> PlainOptimizer:
    """AdamW, as training has it without DeepSpeed."""
    return PlainOptimizer(work.policy, work.settings.optimizer, SINGLE_PROCESS)


def compare(work: Workload) -> dict[str, float | str]:
    """Whether both schedules sample the same completions and find the same loss and gradient.

    On a GPU both sides use other kernels for other shapes, a draw may go the other way more often, and a loss that is next to
    nothing is relatively further apart: there `refused` says what differs, and the measurement continues.

    Returns:
        Completions, how many of them differ, greedy answers that differ, relative differences of loss and gradient, and
        what is refused on the CPU.

    Raises:
        DifferentError: They do not, on the CPU.
    """
    faults: list[str] = []
    decoding, group = work.decoding, work.size.rollouts
    completions = ours.rollouts(work, work.batch, decoding, "grpo")
    others = [naive.rollouts(work, question, decoding, "grpo") for question in work.batch]
    other = Completions.concatenated(others, work.end)
    different = int((completions.ids != other.ids).any(dim=1).sum())
    greedy = Decoding(decoding.max_new_tokens, temperature=0.0)
    together = ours.answers(work, work.batch, greedy).ids.tolist()
    single = [naive.answer(work, question, greedy) for question in work.batch]
    answers = sum(one != other for one, other in zip(together, single, strict=True))
    if different > EDGE * len(completions.ids) or answers > EDGE * len(single):
        faults.append(
            f"{different} of {len(completions.ids)} completions differ, {answers} of {len(single)} greedy ones"
        )
    optimizer = make_optimizer(work)
    loss = ours.grpo_step(work, optimizer)
    gradient = _taken(optimizer)
    # Where a draw went the other way, both learn from the same completions all the same.
    naive_loss = naive.grpo_step(work, optimizer, list(completions.split(group)))
    loss_apart = abs(loss - naive_loss) / max(abs(naive_loss), 1e-8)
    gradient_apart = _apart(gradient, _taken(optimizer))
    if max(loss_apart, gradient_apart) > TOLERANCE:
        faults.append(
            f"losses {loss:.8g} and {naive_loss:.8g}, gradients {gradient_apart:.2e} apart; allowed {TOLERANCE:g}"
        )
    return {
        "completions": len(completions.ids),
        "different": different,
        "answers": answers,
        "loss": loss_apart,
        "gradient": gradient_apart,
        **judged(faults, work.policy.device, work.size.name),
    }


def judged(faults: Sequence[str], device: torch.device, size: str) -> dict[str, str]:
    """Refuse what differs on the CPU, tell it elsewhere (see `compare`).

    Raises:
        DifferentError: There are faults, on the CPU.
    """
    if faults and device.type == "cpu":
        raise DifferentError(f"{size}: {'; '.join(faults)}")
    return {"refused": "; ".join(faults)} if faults else {}


def _taken(optimizer: PlainOptimizer) -> dict[str, torch.Tensor]:
    """The gradient that was gathered, which then starts again from nothing."""
    gradients = {
        name: weight.grad.float().cpu() for name, weight in optimizer.weights.items() if weight.grad is not None
    }
    for weight in optimizer.weights.values():
        weight.grad = None
    return gradients


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two gradients, relative to the second's; infinite where they are of other weights."""
    if one.keys() != other.keys():
        return float("inf")
    difference = sum(float((one[name] - other[name]).double().square().sum()) for name in one)
    return float((difference / sum(float(part.double().square().sum()) for part in other.values())) ** 0.5)


def _timed(run: Callable[[], tuple[Any, ...]]) -> Measurement:
    """Time one repeat and its phases; on CUDA the device is waited for at the borders of phases, on both sides."""
    with profile() as phases:
        began = time.perf_counter()
        results = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return Measurement(seconds, measured(phases), *results)
