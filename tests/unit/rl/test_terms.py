"""Terms of the reward: the paper's three, and that a new one is one new file."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.unit.project.test_packaging import ROOT
from vidreason.config.settings import Rewards
from vidreason.records import WELL_FORMED, ClipRef, Completion, Grade, Question
from vidreason.rl import terms
from vidreason.rl.rewards import RewardFunction
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks.markup import think_text

QUESTION = Question("q", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), ("a", "b"), "A")
REASONED = "<think> it falls </think> <answer> A </answer>"
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
*_, NEW_FILE, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def group_of(*texts, values=None, question=QUESTION, **options):
    completions = tuple(Completion(text, len(text.split()), True) for text in texts)
    values = values or [0.0] * len(texts)
    formed = [{WELL_FORMED: float(think_text(text) is not None)} for text in texts]
    grades = tuple(Grade(value, value > 0, parts=parts) for value, parts in zip(values, formed, strict=True))
    return RolloutGroup(question, completions, grades, **options)


def test_the_papers_three():
    group = group_of(REASONED, "A", "<think></think><answer>A</answer>", values=[1.0, 0.5, 0.0])
    assert terms.make("accuracy", {})(group).tolist() == [1.0, 0.5, 0.0]
    assert terms.make("format", {"weight": 0.5})(group).tolist() == [1.0, 0.0, 1.0]
    assert terms.make("think_length", {"full_at": 16})(group).tolist() == [0.5, 0.0, 0.0]
    assert terms.make("think_length", {"full_at": 5})(group).tolist() == [1.0, 0.0, 0.0]


def test_values_are_float64():
    for name in terms.factories():
        assert terms.make(name, {})(group_of(REASONED)).dtype == np.float64


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        (
            "acuracy",
            {},
            "unknown reward term 'acuracy'; allowed: accuracy, format, ",
        ),
        ("acuracy", {}, "; did you mean 'accuracy'?"),
        ("format", {"full_at": 3}, "reward term 'format': unknown parameter 'full_at'; allowed: weight"),
        ("think_length", {"full": 3}, "unknown parameter 'full'; allowed: weight, full_at"),
        ("think_length", {"full_at": 0}, "full_at is 0; it must be at least 1 character"),
    ],
)
def test_mistakes_are_named(name, parameters, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words follow)
        terms.make(name, parameters)
    assert words in str(caught.value)


def test_a_weight_is_a_number():
    assert terms.weight_of("format", {}) == 1.0
    with pytest.raises(ValueError, match="weight is True; allowed: a number"):
        terms.weight_of("format", {"weight": True})


@pytest.fixture
def new_term(tmp_path, monkeypatch):
    """A file of a new term in the folder of terms."""
    (tmp_path / "brief.py").write_text(NEW_FILE)
    monkeypatch.setattr(terms, "_factories", dict(terms.factories()))
    monkeypatch.setattr(terms, "__path__", [*terms.__path__, str(tmp_path)])
    yield "brief"
    sys.modules.pop("vidreason.rl.terms.brief", None)


def test_a_new_term_is_one_new_file(new_term):
    assert new_term in terms.factories()
    assert terms.modules_of(["brief", "accuracy", "format"]) == ["vidreason.rl.terms.brief", "vidreason.rl.terms.paper"]
    settings = {"accuracy": {}, "brief": {"weight": 0.25, "tokens": 3}}
    reward = RewardFunction(Rewards(combine="sum", penalize_wrong=True, terms=settings), "paper")
    table = reward([group_of("one two", "one two three four", values=[1.0, 1.0])])
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "accuracy": [1.0, 1.0], "brief": [1.0, 0.0]
    }  # fmt: skip
    assert table.total.tolist() == [1.25, 1.0]


def test_a_new_term_beside_the_papers(new_term):
    """It is added to the paper's reward with its weight."""
    settings = {"accuracy": {}, "format": {"weight": 0.5}, "brief": {"weight": 0.25, "tokens": 3}}
    reward = RewardFunction(Rewards(combine="tinyllava_r1", penalize_wrong=True, terms=settings), "paper")
    assert reward([group_of(REASONED, "A", values=[1.0, 1.0])]).total.tolist() == [1.5, -1.75]


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"'accuracy' is defined by vidreason.rl.terms.paper and by"):
        terms.register("accuracy")(lambda: None)


def test_a_term_is_not_named_like_a_column_of_the_metrics():
    with pytest.raises(ValueError, match="'tokens': the metrics have a column of this name"):
        terms.register("tokens")(lambda: None)


def test_a_parameter_is_not_called_weight():
    with pytest.raises(ValueError, match="'heavy': every term has a weight"):
        terms.register("heavy")(lambda weight=1: None)


@pytest.mark.parametrize("name", ["", "a b", "Brief", "1st", "all", "mean", "validation", None])
def test_a_term_has_a_name_that_the_configuration_can_use(name):
    with pytest.raises(ValueError, match=re.escape(f"reward term {name!r}: the name is ")):
        terms.register(name)(lambda: None)


def test_two_terms_of_one_module_need_two_names(monkeypatch):
    monkeypatch.setattr(terms, "_factories", dict(terms.factories()))

    def factories():
        def brief() -> None: ...

        return brief

    first = terms.register("brief")(factories())
    assert terms.register("brief")(first) is first
    with pytest.raises(ValueError, match=r"reward term 'brief' is defined by .*; allowed: once"):
        terms.register("brief")(factories())


def _untyped(tokens): ...


def _many(*tokens: int): ...


def _any(**tokens: int): ...


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (_untyped, "the parameter 'tokens' has no annotation"),
        (_many, "the parameter '*tokens: int' is variadic positional"),
        (_any, "the parameter '**tokens: int' is variadic keyword"),
    ],
)
def test_a_parameter_of_a_term_has_a_name_and_an_annotation(factory, words):
    with pytest.raises(ValueError, match=re.escape(f"reward term 'new' of {__name__}: {words}; allowed: parameters")):
        terms.register("new")(factory)
    assert "new" not in terms.factories()


def test_a_term_of_a_wrong_shape_is_refused(monkeypatch):
    monkeypatch.setattr(terms, "_factories", {**terms.factories(), "one": lambda: lambda group: np.array([1.0])})
    reward = RewardFunction(Rewards(combine="sum", penalize_wrong=True, terms={"one": {}}), "paper")
    with pytest.raises(ValueError, match=r"'one': values of shape \(1,\) for 2 completions of question 'q'"):
        reward([group_of("a", "b")])


def test_a_contrast_group_is_of_the_same_question():
    contrast = group_of("b", view="shuffled")
    assert group_of("a", contrast=contrast).contrast is contrast
    other = Question("other", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), ("a", "b"), "A")
    with pytest.raises(ValueError, match="'q': its contrast group belongs to question 'other'"):
        group_of("a", contrast=group_of("b", question=other))
    with pytest.raises(ValueError, match="1 completions, 0 grades"):
        RolloutGroup(QUESTION, (Completion("a", 1, True),), ())


def test_names_are_known_without_torch():
    """The workflow checks the configuration with them whenever it starts."""
    code = "import sys, vidreason.rl.rewards, vidreason.rl.terms as terms; terms.discover(); print({'torch', 'transformers', 'sympy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
