"""Answer types: a task says how a question is asked, how an answer is graded, and what is measured.

Every module of this folder is imported before a task is looked up, and a task registers itself when its module is imported:
a new task is one new file.

Example of such a file:

    class Count:
        name, metrics, rules = "count", (ACCURACY,), ("tagged",)

        def instruction(self, style: str) -> str:
            return "Answer with a number."

        def grade(self, completion: str, question: Question, rule: str) -> Grade:
            read = last_block(completion)
            return Grade(float(read == question.gold), read == question.gold, read)

        def chance(self, question: Question) -> float | None:
            return None

    register(Count())
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol

import vidreason.tasks
from vidreason.records import Grade, Question
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
        """Rules by which answers can be read: `tagged`, `first_block` or `anywhere` (see docs/answers.md)."""

    def instruction(self, style: str) -> str:
        """What a prompt ends with.

        Args:
            style: `reason` or `option`.
        """

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """How good a completion is as an answer: the one grader of reward, selection, validation and score.

        Args:
            completion: Text of the model, special tokens removed.
            question: Its question.
            rule: One of `rules`.

        Returns:
            The grade; its `parts` hold `well_formed`, whether the completion is one think block and one answer block.
        """

    def chance(self, question: Question) -> float | None:
        """Expected value of a blind guess; None where there is no sensible guess."""


_tasks: dict[str, Task] = {}


def register(task: Task) -> None:
    """Make a task known by its name.

    Raises:
        ValueError: Another class has this name.
    """
    known = _tasks.get(task.name)
    if known is not None and type(known).__qualname__ != type(task).__qualname__:
        raise ValueError(f"task {task.name!r} is defined by {type(known).__module__} and by {type(task).__module__}")
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


def grade(completion: str, question: Question, rule: str) -> Grade:
    """The grade of a completion by the question's own task; see `Task.grade`.

    A task that does not distinguish the rule reads by its first one.
    """
    task = task_of(question.task)
    return task.grade(completion, question, rule if rule in task.rules else task.rules[0])


def check_rule(task: Task, rule: str) -> None:
    """Refuse a rule of reading that a task does not know.

    Raises:
        ValueError: It does not; the message lists the allowed ones.
    """
    if rule not in task.rules:
        raise ValueError(f"task {task.name}: rule of reading {rule!r}; allowed: {', '.join(task.rules)}")
