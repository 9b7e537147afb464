"""Words of reflection and option switches, on thoughts written by hand."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.gallery_run import rollout
from tests.support.scored_run import ARMS, BENCHMARKS, predictions_of, score_one, write_run
from tests.unit.results.test_figures import labels
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.records import Completion, Grade
from vidreason.results.counts.markers import ANY, MARKERS, SWITCH
from vidreason.results.counts.reflection import counted, marks, reflection_steps_table, switches
from vidreason.results.gallery.answers import BITS, collect, outcome
from vidreason.results.gallery.links import reflection_links
from vidreason.results.plots.reflection import draw_reflection
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

EMPTY = ResultInputs(read_arms(ARMS), BENCHMARKS)


@pytest.mark.parametrize(
    ("thought", "found"),
    [
        ("Wait, the ball is red.", {"wait": 1}),
        ("It falls. Wait. It rises.", {"wait": 1}),
        ("Hmm... but wait.", {"wait": 2}),
        ("They wait, and the bus comes.", {}),
        ("Wait for the bus.", {}),
        ("The waiter rechecks nothing.", {}),
        ("I re-examine it and\n  check   again.", {"recheck": 2}),
        ("Let me double-check the options.", {"recheck": 1}),
        ("Let\u2019s verify. LET ME CHECK it.", {"let_me_check": 2}),
        ("However, the video shows a dog. On second thought, a cat.", {"against_the_video": 2}),
        ("A red ball goes left.", {}),
        ("", {}),
    ],
)
def test_markers(thought: str, found: dict[str, int]) -> None:
    assert {name: count for name, count in marks(thought).items() if count} == found


def test_every_phrase_is_found_once_where_it_stands() -> None:
    for marker in MARKERS:
        for phrase in marker.phrases:
            assert phrase == " ".join(phrase.lower().split())
            assert {name: count for name, count in marks(f"It falls. {phrase}, it is.").items() if count} == {
                marker.name: 1
            }, phrase


@pytest.mark.parametrize(
    ("thought", "final", "count"),
    [
        ("The answer is B.", "B", 0),
        ("The answer is B.", "C", 1),
        ("The answer is B. Wait, the answer should be (C).", "C", 1),
        ("Option A is correct. I choose B. So the answer is A.", "A", 2),
        ("option (B) seems the most likely right", "D", 1),
        ("The answer is option 'B'", None, 0),
        ("The answer is B", "a dog", 0),
        ("The answer is a dog.", "B", 0),
        ("The answer is Ball.", "B", 0),
        ("The answer is A man who runs.", "B", 0),
        ("The answer is A because a man runs.", "B", 1),
        ('The answer is "A", I think.', "B", 1),
        ("The answer is not B.", "C", 0),
        ("Option B shows a dog, option C a cat.", "A", 0),
        ("So it is the red one.", "A", 0),
    ],
)
def test_option_switches(thought: str, final: str | None, count: int) -> None:
    assert switches(thought, final) == count


def test_an_answer_without_a_thought_is_not_counted() -> None:
    grade = Grade(1.0, True, "B")
    assert counted(Completion("B", 1, True), grade) is None
    assert counted(Completion("<think> </think> <answer>B</answer>", 9, True), grade) is None
    cut = counted(Completion("<think>Wait, the answer is A", 9, False), Grade(0.0, False, None))
    assert cut is not None
    assert (cut.total, cut.count(SWITCH), cut.right) == (1, 0, False)


@pytest.mark.parametrize("text", [" ", "the answer is ", "wait, ", "option (", "re-", "\u202e", "<b>"])
def test_long_texts_take_little_time(text: str) -> None:
    began = time.process_time()
    long = text * (300_000 // len(text))
    marks(long)
    switches(f"answer is{long}", "A")
    assert time.process_time() - began < 3


THOUGHTS = {
    0: ("Wait, wait. Wait. The answer is B. Let me check. The answer is A", "A"),  # right
    1: ("recheck the ball", "B"),  # right
    2: ("A ball.", "C"),  # right
    3: ("A ball.", "A"),  # wrong
    4: ("Hold on, a ring. The answer is C", "B"),  # wrong
}


@pytest.fixture
def run(tmp_path: Path) -> ResultInputs:
    """The run, with thoughts of R1 about MLVU by hand; its other thoughts have no marker and name no option."""
    inputs = write_run(tmp_path)
    answers = predictions_of("r1", "mlvu")
    for number, (thought, letter) in THOUGHTS.items():
        text = f"<think>{thought}</think> <answer>{letter}</answer>"
        answers[number] = replace(answers[number], completion=Completion(text, 25, True))
    score_one(tmp_path, "r1", "mlvu", answers)
    return inputs


def test_the_table_by_arm(run: ResultInputs, tmp_path: Path) -> None:
    make_tables(run, {"reflection": tmp_path / "reflection.csv"})
    rows = read_csv(tmp_path / "reflection.csv")
    assert {row["arm"] for row in rows} == {"coldstart", "r1", "r1_shuffled"}, "those that reason, with controls"
    own = {row["marker"]: row for row in rows if row["arm"] == "r1"}
    assert list(own) == [ANY, *(marker.name for marker in MARKERS), SWITCH]
    assert {row["answers"] for row in own.values()} == {"16"}
    assert [own[name]["with_marker"] for name in own] == ["3", "2", "1", "1", "0", "2"]
    # "Wait, wait. Wait." counts at the beginning of its two sentences. 11 answers of 20 tokens and 5 of 25.
    occurrences = {"any": 5, "wait": 3, "recheck": 1, "let_me_check": 1, "against_the_video": 0, "option_switch": 2}
    assert {name: row["per_1k_tokens"] for name, row in own.items()} == {
        name: f"{1000 * count / 345:.3f}" for name, count in occurrences.items()
    }
    assert own[ANY]["share"] == f"{3 / 16:.4f}"
    # Right of MLVU: 0, 1, 2 of those by hand, 5 and 7 of the others; of Video-MME 6 of 8.
    assert (own[ANY]["right_with"], own[ANY]["right_without"]) == (f"{200 / 3:.2f}", f"{100 * 9 / 13:.2f}")
    assert own["against_the_video"]["right_with"] == ""


def test_the_gallery_filters_what_the_table_counts(run: ResultInputs, tmp_path: Path) -> None:
    make_tables(run, {"reflection": tmp_path / "reflection.csv"})
    rows = read_csv(tmp_path / "reflection.csv")
    answers = collect(run.runs)
    for row in rows:
        if row["marker"] in (ANY, SWITCH):
            bit = BITS[{ANY: "reflects", SWITCH: "switches"}[row["marker"]]]
            bytes_ = [outcome(answer) for answer in answers.rows[row["arm"], 0]]
            assert sum(bool(byte & bit) for byte in bytes_) == int(row["with_marker"])
    links = reflection_links([list(row.values()) for row in rows], list(rows[0]), "gallery/index.html")
    assert links[0, 4] == "gallery/index.html#arm=coldstart&seed=0&outcome=reflects"
    assert links[5, 4] == "gallery/index.html#arm=coldstart&seed=0&outcome=switches"
    assert len(links) == 6


def write_rollouts(root: Path, arm: str, texts: dict[int, list[str]]) -> Path:
    """Rollouts of some steps with these thoughts, and a shuffled one of each step, which is not counted."""
    path = root / "train_grpo" / arm / "seed0" / "rollouts.jsonl"
    rows = []
    for step, thoughts in texts.items():
        for index, thought in enumerate([*thoughts, "Wait, this is compared with."]):
            reward = 1.0 if index < len(thoughts) else None
            text = f"<think>{thought}</think> <answer>B</answer>" if thought else "B"
            grade = Grade(1.0, True, "B")
            rows.append(rollout(step, "t0", index, reward, completion=Completion(text, 50, True), grade=grade))
    write_jsonl(path, rows)
    return path


def test_the_table_by_step(tmp_path: Path) -> None:
    texts = {0: ["A ball.", "", "Wait, a box."], 10: ["I recheck it. Let me check. The answer is A", "The answer is B"]}
    rows = reflection_steps_table(replace(EMPTY, rollouts=[write_rollouts(tmp_path, "r1", texts)]))
    keys = ("arm", "seed", "step", "answers", "with_marker", "per_1k_tokens", "option_switches")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("r1", 0, 0, 2, 1, "10.000", 0),
        ("r1", 0, 10, 2, 1, "20.000", 1),
    ]


def test_the_figure_by_step(tmp_path: Path) -> None:
    texts = {0: ["A ball.", "Wait, a box."], 10: ["A ball.", "A box."], 20: ["", ""]}
    inputs = replace(EMPTY, rollouts=[write_rollouts(tmp_path, "r1", texts)])
    table = tmp_path / "reflection_steps.csv"
    make_tables(inputs, {"reflection_steps": table})
    figure = draw_reflection(replace(inputs, tables=[table]))
    assert {"thoughts with a marker (%)", "markers in 1,000 tokens", "step", "R1 <ours> & co, seed 0"} <= labels(figure)
    line = figure.axes[0].get_lines()[-1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 10], [50.0, 0.0])


def test_without_rollouts_the_figure_says_so() -> None:
    assert "no rollouts" in draw_reflection(EMPTY).texts[0].get_text()
