"""Numbers and texts as answers: the tables in docs/answers.md, what is never rewarded, and which questions are refused."""

import dataclasses
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidreason.data.fields import questions_of
from vidreason.records import WELL_FORMED, ClipRef, Question
from vidreason.tasks import base, similarity, video_r1
from vidreason.tasks.base import task_of
from vidreason.tasks.markup import as_answer, has_loose_form
from vidreason.tasks.numbers import read_number

PAGE = (Path(__file__).parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")
GOLDS = {"numerical": "48", "regression": "48", "ocr": "STOP AT THE RED LIGHT", "free_form": "the dog runs home"}
"""Answer type -> a gold answer."""
RULES = ("tagged", "video_r1", "video_r1_eval")


def question_of(task, gold):
    return Question("q", "street", task, "How many?", ClipRef("v.mp4"), (), gold)


def graded(task, answer, rule="tagged", gold=None):
    """The grade of the content of an answer block."""
    return base.grade(f"<think>x</think>\n<answer>{answer}</answer>", question_of(task, gold or GOLDS[task]), rule)


def rows_of(heading):
    """The rows of the table below a heading: content of the block, gold answer, and the further cells but the last."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip(" ") for cell in line.split("|")[1:-2]] for line in section.splitlines() if line[:3] == "| `"]
    assert len(rows) > 6
    return [
        (block[1:-1].replace("\\n", "\n").replace("\\u200b", "\u200b"), gold[1:-1], *cells)
        for block, gold, *cells in rows
    ]


def shown(value):
    return f"{value:.3f}".rstrip("0").rstrip(".")


@pytest.mark.parametrize(("block", "gold", "strict", "published"), rows_of("Numerical"))
def test_the_table_of_numbers(block, gold, strict, published):
    own, theirs = (graded("numerical", block, rule, gold) for rule in ("tagged", "video_r1"))
    assert ("right" if own.correct else "none" if own.parsed is None else "wrong") == strict
    assert ("right" if theirs.correct else "wrong") == published
    assert (own.value, theirs.value) == (own.correct, theirs.correct)
    assert graded("numerical", block, "video_r1_eval", gold).value == theirs.value


@pytest.mark.parametrize(("block", "gold", "strict", "published", "relative"), rows_of("Regression"))
def test_the_table_of_regression(block, gold, strict, published, relative):
    own = graded("regression", block, "tagged", gold)
    assert ("none" if own.parsed is None else shown(own.value)) == strict
    assert shown(graded("regression", block, "video_r1", gold).value) == published
    assert shown(own.parts["mra"]) == relative
    score = graded("regression", block, "video_r1_eval", gold)
    assert score.value == score.parts["mra"]


@pytest.mark.parametrize(
    ("task", "block", "gold", "strict", "published"),
    [(task, *row) for task, heading in (("ocr", "OCR"), ("free_form", "Free form")) for row in rows_of(heading)],
)
def test_the_tables_of_texts(task, block, gold, strict, published):
    own = graded(task, block, "tagged", gold)
    assert ("none" if own.parsed is None else shown(own.value)) == strict
    assert shown(graded(task, block, "video_r1", gold).value) == published
    assert graded(task, block, "video_r1_eval", gold).value == 0.0


def test_what_counts_as_right():
    assert [graded("regression", answer).correct for answer in ("48", "46", "45")] == [True, True, False]
    assert [graded("ocr", answer).correct for answer in (GOLDS["ocr"], "STOP AT THE RED")] == [True, False]
    assert [graded("free_form", answer).correct for answer in ("the dog runs", "home runs dog")] == [True, False]
    assert graded("regression", "48.5", "video_r1_eval").correct, "the published evaluation: all thresholds"
    assert not graded("regression", "45", "video_r1_eval").correct


@pytest.mark.parametrize("task", GOLDS)
class TestEveryType:
    def test_the_last_block_counts_strictly_and_the_first_as_published(self, task):
        text = f"<think>x</think><answer>{GOLDS[task]}</answer> no, <answer>7</answer>"
        values = [base.grade(text, question_of(task, GOLDS[task]), rule).value for rule in ("tagged", "video_r1")]
        assert values[0] < 0.2
        assert values[1] > 0.99

    def test_an_answer_without_tags_is_read_by_the_published_evaluation_alone(self, task):
        grades = {rule: base.grade(GOLDS[task], question_of(task, GOLDS[task]), rule) for rule in RULES}
        assert grades["tagged"].value == grades["video_r1"].value == 0
        assert grades["tagged"].parsed is None
        assert grades["video_r1_eval"].value == (1.0 if task in ("numerical", "regression") else 0.0)
        assert base.grade(as_answer(GOLDS[task]), question_of(task, GOLDS[task]), "tagged").value == 1.0

    def test_the_gold_answer_is_right_and_is_what_sft_learns(self, task):
        question = question_of(task, f" {GOLDS[task]}\n")
        task_of(task).check(question)
        assert task_of(task).answer(question) == GOLDS[task]
        grade = base.grade(as_answer(task_of(task).answer(question)), question, "tagged")
        assert (grade.value, grade.correct) == (1.0, True)
        assert all(0 <= metric.value(grade) <= 1 for metric in task_of(task).metrics)
        assert task_of(task).metrics[0].value(grade) == 1.0

    def test_the_form_is_that_of_the_rule(self, task):
        question, block = question_of(task, GOLDS[task]), f"<answer>{GOLDS[task]}</answer>"
        good = f"<think>x</think>{block}"
        for text, wanted in ((good, (1, 1, 1)), (f"{good}{block}", (0, 1, 1)), (f"{good}\n", (1, 0, 0))):
            assert tuple(base.grade(text, question, rule).parts[WELL_FORMED] for rule in RULES) == wanted, text

    def test_prompts_name_the_tags_only_where_a_thought_is_asked_for(self, task):
        assert "<answer>" in task_of(task).instruction("reason")
        assert "<" not in task_of(task).instruction("option")
        with pytest.raises(ValueError, match="answer style is 'chat'; allowed: reason, option"):
            task_of(task).instruction("chat")

    def test_a_written_answer_cannot_be_guessed_and_needs_no_times(self, task):
        assert task_of(task).chance(question_of(task, GOLDS[task])) is None
        assert task_of(task).timed is False

    def test_a_question_without_an_answer_is_refused_with_its_record(self, task):
        sound, lost = question_of(task, GOLDS[task]), question_of(task, " ")
        with pytest.raises(ValueError, match=r"q\.json: record 2: the answer is ' '; allowed: .*counted from 1"):
            questions_of("q.json", [sound, dataclasses.replace(lost, id="r")], lambda record, _: record)


@pytest.mark.parametrize(
    ("task", "gold"),
    [
        ("numerical", "48 cm"), ("numerical", "nan"), ("numerical", "inf"), ("numerical", "1e999"), ("numerical", "9" * 101),
        ("regression", "nan"), ("regression", "0"), ("regression", "-0.00"), ("regression", "0e5"), ("regression", "two"),
        ("ocr", "\n\t"), ("free_form", "?!"), ("free_form", "_"),
    ],
)  # fmt: skip
def test_what_cannot_be_graded_is_refused(task, gold):
    with pytest.raises(ValueError, match=r"the answer is .*; allowed: "):
        task_of(task).check(question_of(task, gold))


class TestHostile:
    """No text raises, takes long, or gets by the strict rule what it should not get."""

    @pytest.mark.parametrize("task", ["numerical", "regression"])
    @pytest.mark.parametrize(
        "answer",
        [
            "nan", "-nan", "inf", "-inf", "infinity", "1e400", "1e-400", "9" * 10_000, "0" * 10_000 + "48", "48" + "0" * 10_000,
            "[48]48", "[48, 48]", "48 48", "48,48", "{48: 48}", "48\n48", "0x30", "٤٨", "四八", "4²8", "48½", "XLVIII", "1/0",
            "48e", "e48", "--48", "+-48", "4 8", "48..", ".", ",", "-", "", "()", "**", '"', "$$", "48" * 5000, "(" * 10_000 + "48",
            "__import__('os')", "48 if True else 0", "48</answer><answer>",
        ],
        ids=lambda answer: ascii(answer)[:20],
    )  # fmt: skip
    def test_what_is_no_number(self, task, answer):
        grade = graded(task, answer)
        assert (grade.value, grade.correct) == (0.0, False)

    @pytest.mark.parametrize("task", GOLDS)
    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize(
        "text",
        [
            "9" * 100_000, "y" * 100_000, "a " * 50_000, "\u200b" * 100_000, "(" * 100_000, ",111" * 25_000, "*" * 100_000,
            "<answer>1</answer>" * 5_000, "<think>" + "</think> " * 20_000, "<answer>" * 20_000, "\x00\ud7ff\uffff",
            " ".join(f"w{number % 997}" for number in range(15_000)),
        ],
        ids=lambda text: ascii(text)[:20],
    )  # fmt: skip
    def test_long_texts_take_no_time(self, task, rule, text):
        gold = " ".join(f"w{number % 991}" for number in range(15_000)) if task in ("ocr", "free_form") else "48"
        graded(task, "1", gold=gold)  # imports the libraries
        began = time.perf_counter()
        for completion in (text, f"<think>x</think><answer>{text}</answer>"):
            grade = base.grade(completion, question_of(task, gold), rule)
            assert 0 <= grade.value <= 1
        assert time.perf_counter() - began < 4

    @settings(deadline=None, max_examples=60)
    @given(st.text(max_size=40), st.sampled_from(sorted(GOLDS)), st.sampled_from(RULES))
    def test_any_text_has_a_grade(self, text, task, rule):
        grade = base.grade(f"<answer>{text}</answer>", question_of(task, GOLDS[task]), rule)
        assert 0 <= grade.value <= 1
        assert all(math.isfinite(part) for part in grade.parts.values())

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet="0123456789.,eE+-−()[]$*\"' \n４_x%", max_size=12))
    def test_a_strict_number_is_what_python_reads_too(self, text):
        number = read_number(text)
        if number is not None:
            digits = re.sub(r"[^0-9.eE+-]", "", text.replace("４", "4").replace("−", "-"))
            assert float(digits) == float(number)


def test_rouge_is_the_librarys():
    """With a longest common subsequence that takes no time in the product of the lengths."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    texts = ["the dog runs to the gate", "dogs running the gates of a garden", "river", "", "café 42 and 42 more"]
    for gold in texts:
        for answer in texts:
            values = [score.fmeasure for score in scorer.score(gold, answer).values()]
            found = similarity.rouge(answer, gold, similarity.library_words, skip_absent=False)
            assert found == pytest.approx(sum(values) / 3, abs=1e-12)


def test_the_form_takes_time_in_proportion_to_the_text():
    began = time.perf_counter()
    assert not has_loose_form("<think>" + ("</think>" + " " * 50) * 20_000 + "</answer>")
    assert not has_loose_form("<think></answer>")
    assert not has_loose_form("<think></think><answer")
    assert time.perf_counter() - began < 2


def test_published_means_of_an_evaluation():
    means = video_r1.means_of([("ocr", 0.0), ("numerical", 1.0), ("regression", 0.5)])
    assert means == (0.5, 0.5)
    assert math.isnan(video_r1.means_of([("regression", 0.5)])[0])


def test_the_libraries_are_not_loaded_with_the_tasks():
    """The workflow imports all tasks whenever it starts."""
    code = "import sys; from vidreason.tasks import base; base.discover(); print({'jiwer', 'rouge_score', 'nltk', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
