"""Answer types: a task says how a question is asked, how an answer is graded, and what is measured.

Every module of this folder is imported before a task is looked up, and a task registers itself when its module is imported:
a new task is one new file.

docs/extending.md has an example of such a file.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol

import vidreason.tasks
from vidreason.records import WELL_FORMED, Grade, Question, check_name
from vidreason.tasks.markup import as_answer, think_text
from vidreason.tasks.metrics import Metric


class Task(Protocol):
    """An answer type."""

    @property
    def name(self) -> str:
        """Value of `Question.task`."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a score measures; the first is the headline."""

    @property
    def rules(self) -> tuple[str, ...]:
        """Rules by which answers can be read, for instance `tagged` (see docs/answers.md); the first is the default, see `rule_for`."""

    @property
    def timed(self) -> bool:
        """Whether the prompt states when the frames were taken."""

    def instruction(self, style: str) -> str:
        """What a prompt ends with.

        Args:
            style: `reason` (the instruction names the tags, see `vidreason.tasks.markup.reasoned_instruction`) or `option`.
        """

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """Grade one completion. Callers use the function `grade` of this module, which chooses the rule.

        Args:
            completion: Text of the model, special tokens removed.
            question: Its question.
            rule: One of `rules`.

        Returns:
            The grade; with `WELL_FORMED` among its `parts` where that means something else than in `grade`.
        """

    def check(self, question: Question) -> None:
        """Refuse a question that cannot be asked or graded, for instance one without options or with an empty gold answer.

        Raises:
            ValueError: Says what is wrong and what is allowed; the caller adds the file and the record.
        """

    def answer(self, question: Question) -> str:
        """The gold answer as a model should write it, for instance `B` or `3.5`: what SFT without demonstrations learns."""

    def chance(self, question: Question) -> float | None:
        """Expected value of a blind guess; None where there is no sensible guess."""


AS_WRITTEN = ("video_r1", "video_r1_eval", "temporal_r1", "temporal_r1_eval")
"""Rules of published code, in which white space at the ends of a completion counts."""

_tasks: dict[str, Task] = {}


def register(task: Task) -> None:
    """Make a task known by its name.

    Raises:
        ValueError: The name is not allowed (`check_name`) or another task has it, or the task has no rule or no metric.
    """
    check_name("task", task.name)
    known = _tasks.get(task.name, task)
    if known is not task:
        raise ValueError(
            f"task {task.name!r} is defined by {type(known).__module__} and by {type(task).__module__}; allowed: once"
        )
    if not task.rules or not task.metrics:
        raise ValueError(
            f"task {task.name!r}: rules are {task.rules}, metrics {task.metrics}; at least one each is needed"
        )
    _tasks[task.name] = task


def discover() -> Mapping[str, Task]:
    """Import every module of the folder; all tasks by name."""
    for module in pkgutil.iter_modules(vidreason.tasks.__path__):
        importlib.import_module(f"vidreason.tasks.{module.name}")
    return _tasks


def task_of(name: str) -> Task:
    """The task of a name, as `Question.task` has it.

    Raises:
        ValueError: There is none.
    """
    task = _tasks.get(name) or discover().get(name)
    if task is None:
        raise ValueError(f"unknown task {name!r}; allowed: {', '.join(sorted(_tasks))}")
    return task


def module_of(name: str) -> str:
    """Dotted name of the module that defines a task, for digests of the code that a result depends on."""
    return type(task_of(name)).__module__


def rule_for(task: Task, rule: str) -> str:
    """The rule by which a task reads answers where a run asks for `rule`: that rule, or the task's first if it has none such.

    One run can so grade multiple choice by a rule of the published code and other answer types by their own.
    """
    return rule if rule in task.rules else task.rules[0]


def grade(completion: str, question: Question, rule: str, style: str = "reason") -> Grade:
    """How good a completion is as an answer to a question: the one grader of reward, selection, validation and score.

    Args:
        completion: Text of the model, special tokens removed.
        question: Its question, whose task grades.
        rule: How the run reads answers; see `rule_for`.
        style: How the prompt asked: in style `option` the completion is the answer alone and is read as an answer block.

    Returns:
        The grade. Its part `WELL_FORMED` says whether the completion is one think block and one answer block
        (`vidreason.tasks.markup.think_text`), unless the task says otherwise.
    """
    task = task_of(question.task)
    chosen = rule_for(task, rule)
    text = as_answer(completion) if style == "option" else completion
    text = text if chosen in AS_WRITTEN else text.strip()
    given = task.grade(text, question, chosen)
    if WELL_FORMED in given.parts:
        return given
    return dataclasses.replace(given, parts={**given.parts, WELL_FORMED: float(think_text(text) is not None)})


def check_rule(task: Task, rule: str) -> None:
    """Refuse a rule of reading that a task does not know.

    Raises:
        ValueError: It does not; the message lists the allowed ones.
    """
    if rule not in task.rules:
        raise ValueError(f"task {task.name}: rule of reading {rule!r}; allowed: {', '.join(task.rules)}")
