"""When frames were taken, as the prompts of timed tasks state it."""

import dataclasses

import numpy as np
import pytest

from vidreason.engine.prompts import Clock, query_text
from vidreason.records import OK, ClipRef, Question

GROUNDING = Question(
    "q", "charades_sta", "grounding", "a ball rolls", ClipRef("v.mp4"), segments=((1.0, 2.0),), duration=8.0
)


@dataclasses.dataclass
class Store:
    """Times of one clip's frames, in place of a frame table."""

    seconds: tuple[float, ...] = (0.0, 1.533, 3.0666, 7.25)
    state: str = OK

    def status(self, key):
        return self.state

    def times(self, key):
        return np.array(self.seconds)


def line_of(text):
    (line,) = [line for line in text.splitlines() if line.startswith("Frames at")]
    return line.split(" s.")[0]


def test_a_timed_prompt_states_them_between_question_and_instruction():
    text = query_text(GROUNDING, "option", training=False, clock=Clock(Store()))
    assert line_of(text) == "Frames at 0.0 1.5 3.1 7.2"  # rounded half to even, as Python writes 7.25
    assert text.index("a ball rolls") < text.index("Frames at") < text.index("Answer with start and end")


def test_they_count_from_the_beginning_of_the_clips_part():
    part = dataclasses.replace(GROUNDING, clip=ClipRef("v.mp4", start=1.5, end=7.5))
    text = query_text(part, "option", training=False, clock=Clock(Store((1.48, 3.5, 5.5, 7.4))))
    assert line_of(text) == "Frames at 0.0 2.0 4.0 5.9"


def test_the_control_states_the_same_times_in_another_order_that_its_seed_names():
    stated = [
        line_of(query_text(GROUNDING, "option", False, Clock(Store(), "times_shuffled", seed))).split()[2:]
        for seed in range(6)
    ]
    again = line_of(query_text(GROUNDING, "option", False, Clock(Store(), "times_shuffled", 0))).split()[2:]
    assert stated[0] == again
    assert all(sorted(times) == ["0.0", "1.5", "3.1", "7.2"] for times in stated)
    assert len({tuple(times) for times in stated}) > 1


def test_other_tasks_state_no_times():
    choice = dataclasses.replace(GROUNDING, task="multiple_choice", options=("yes", "no"), gold="A", segments=())
    assert "Frames at" not in query_text(choice, "option", training=False, clock=Clock(Store()))


def test_a_timed_task_without_times_is_refused_and_a_clip_without_frames_has_none():
    with pytest.raises(ValueError, match="q"):
        query_text(GROUNDING, "option", training=False)
    text = query_text(GROUNDING, "option", training=False, clock=Clock(Store(state="missing")))
    assert "Frames at" not in text


def test_without_a_video_neither_its_mark_nor_its_times_are_written():
    text = query_text(GROUNDING, "option", training=False, clock=Clock(Store(), "none"), video=False)
    assert text.startswith("a ball rolls") or "\na ball rolls" in text or "a ball rolls" in text.splitlines()[0]
    assert "Frames at" not in text
    assert "<image>" not in text
    assert Clock(Store(), "none").line(GROUNDING) == ""
    assert query_text(GROUNDING, "option", training=False, video=False) == text, "no clock is needed"
