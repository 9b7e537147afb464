"""The groups that GRPO learned from, step by step, for the gallery."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_jsonl
from vidreason.evaluation.score_record import rounded
from vidreason.records import KeptRollout, Question
from vidreason.results.gallery.texts import clip_entry, completion_entry, question_entry
from vidreason.results.gallery.thumbnails import Strips
from vidreason.results.scored_runs import Arm, arm_and_seed


@dataclass(frozen=True)
class Group:
    """The rollouts of one question in one step, and those that they were compared with.

    Attributes:
        step: Number of the step.
        question: The question.
        learned: Rollouts with a reward.
        compared: Rollouts of another view, without one.
    """

    step: int
    question: Question
    learned: list[KeptRollout] = field(default_factory=list)
    compared: list[KeptRollout] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether all rewards are the same, so that there is nothing to learn."""
        return len({rollout.reward for rollout in self.learned}) < 2


def read_groups(path: str | Path, questions: Mapping[str, Question]) -> list[Group]:
    """The groups of a `rollouts.jsonl`, in the order of the training.

    Args:
        path: The file.
        questions: The arm's questions by id.

    Raises:
        ValueError: A rollout is of a question that the arm was not trained on, or has no group.
    """
    groups: list[Group] = []
    for rollout in read_jsonl(path, KeptRollout):
        if rollout.question_id not in questions:
            raise ValueError(
                f"{path}: step {rollout.step} has a rollout of question {rollout.question_id[:200]!r}, which is none of the "
                f"{len(questions)} questions that the arm was trained on; train again, or remove the file"
            )
        last = groups[-1] if groups else None
        same = last is not None and (last.step, last.question.id) == (rollout.step, rollout.question_id)
        if rollout.reward is None:
            if last is None or not same:
                raise ValueError(
                    f"{path}: step {rollout.step} has a rollout of question {rollout.question_id[:200]!r} without a reward and "
                    f"before any with one; train again, or remove the file"
                )
            last.compared.append(rollout)
            continue
        if last is None or not same or rollout.index == 0:
            last = Group(rollout.step, questions[rollout.question_id])
            groups.append(last)
        last.learned.append(rollout)
    return groups


@dataclass(frozen=True)
class Training:
    """The kept groups of one training.

    Attributes:
        arm: Place of the arm among those of the gallery.
        seed: Its seed.
        groups: In the order of the training.
    """

    arm: int
    seed: int
    groups: Sequence[Group]


def read_trainings(
    rollouts: Sequence[str | Path], selected: Sequence[str | Path], arms: Sequence[Arm]
) -> list[Training]:
    """The kept groups of every training that has some.

    Args:
        rollouts: `rollouts.jsonl` of the GRPO arms as far as they are there, in folders `.../{arm}/seed{seed}/`.
        selected: `selected.jsonl` of the same arms.
        arms: The arms that the gallery knows; others are left out.

    Raises:
        ValueError: A training has rollouts but no list of questions.
    """
    trained = {arm_and_seed(path): path for path in selected}
    places = {arm.name: place for place, arm in enumerate(arms)}
    trainings = []
    for path in sorted(rollouts, key=arm_and_seed):
        arm, seed = arm_and_seed(path)
        if arm not in places:
            continue
        if (arm, seed) not in trained:
            raise ValueError(
                f"{path}: arm {arm}, seed {seed} has no selected.jsonl among {sorted(trained)}; needed is one, which says what was asked"
            )
        questions = {question.id: question for question in read_jsonl(trained[arm, seed], Question)}
        trainings.append(Training(places[arm], seed, read_groups(path, questions)))
    return trainings


def group_files(trainings: Sequence[Training], strips: Strips) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every file of groups, one a step: its name, its content, and what the index says of it."""
    for training in trainings:
        by_step: dict[int, list[Group]] = {}
        for group in training.groups:
            by_step.setdefault(group.step, []).append(group)
        for step, groups in by_step.items():
            about = {"arm": training.arm, "seed": training.seed, "step": step}
            name = f"groups_{training.arm}_{training.seed}_{step:08d}"
            equal = [int(group.equal) for group in groups]
            yield name, [_entry(group, strips) for group in groups], about | {"equal": equal}


def _entry(group: Group, strips: Strips) -> dict[str, Any]:
    """A group: the rollouts that were learned from by their advantage, the best first, then the others."""
    learned = sorted(group.learned, key=lambda one: (-(one.advantage or 0.0), one.index))
    question = group.question
    strip = strips.get((question.dataset, question.clip.key))
    return {
        "question": question_entry(question, strip),
        "dataset": question.dataset,
        "clip": clip_entry(question.clip.key, strip),
        "task": question.task,
        "equal": group.equal,
        "terms": list(dict.fromkeys(name for one in learned for name in one.terms)),
        "rollouts": [_rollout(one, question) for one in (*learned, *group.compared)],
    }


def _rollout(rollout: KeptRollout, question: Question) -> dict[str, Any]:
    return completion_entry(rollout.completion, rollout.grade, question) | {
        "index": rollout.index,
        "view": rollout.view,
        "right": rollout.grade.correct,
        "finished": rollout.completion.finished,
        "terms": {name: rounded(value) for name, value in rollout.terms.items()},
        "reward": None if rollout.reward is None else rounded(rollout.reward),
        "advantage": None if rollout.advantage is None else rounded(rollout.advantage),
    }
