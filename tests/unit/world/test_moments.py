"""Moments: right by what is drawn, and nothing of the time to be read from the query."""

import collections

import numpy as np
import pytest

from tests.support.worlds import world_settings
from vidreason.data.moments import CLIPPED
from vidreason.data.registry import Source, dataset_of
from vidreason.records import LETTERS
from vidreason.world.moment_layouts import segment_of, write_charades_sta, write_nextgqa
from vidreason.world.moments import DURATIONS, EVIDENCE, LENGTHS, OPTIONS, make_grounded_questions, make_moment, when
from vidreason.world.questions import WorldQuestion
from vidreason.world.scenes import COLOURS, STEPS, THINGS, make_scene, render
from vidreason.world.splits import MOMENTS, draw_items

SCENES = [make_moment(seed) for seed in range(2000)]


def drawn(split, videos, seed=0):
    return draw_items(split, world_settings({"videos": {split: videos}}), seed)


def test_a_moment_is_drawn_where_the_picture_is_not_empty():
    for scene in SCENES[:300]:
        (act,) = scene.acts
        shown = [bool((render(scene, step, 16) != scene.background).any()) for step in range(STEPS)]
        assert [step for step, there in enumerate(shown) if there] == list(range(act.start, act.end))


GOLDS = {
    (start, start + length): 1 / len(LENGTHS) / (STEPS - length + 1)
    for length in LENGTHS
    for start in range(STEPS - length + 1)
}
"""Start and end of a moment in steps -> its probability."""


def test_lengths_and_starts_are_equally_likely():
    """The counts of 2,000 draws spread as chi square with one degree of freedom less than there are intervals."""
    counts = collections.Counter((scene.acts[0].start, scene.acts[0].end) for scene in SCENES)
    assert set(counts) == set(GOLDS)
    chi_square = sum((counts[gold] - len(SCENES) * p) ** 2 / (len(SCENES) * p) for gold, p in GOLDS.items())
    freedom = len(GOLDS) - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)  # mean and four standard deviations


@pytest.mark.parametrize("part", ["thing", "colour", "verb", "argument"])
def test_the_query_tells_nothing_about_time(part):
    """Mean start and end of the moments that share a word of the query differ from all others' by chance alone."""
    by_word = collections.defaultdict(list)
    for scene in SCENES:
        by_word[getattr(scene.acts[0], part)].append((scene.acts[0].start, scene.acts[0].end))
    times = np.array([pair for pairs in by_word.values() for pair in pairs], float)
    for pairs in by_word.values():
        error = times.std(0) / np.sqrt(len(pairs))
        assert (np.abs(np.mean(pairs, 0) - times.mean(0)) < 3.9 * error).all()  # about 30 looks at two times each


def overlap(one, other):
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)


def test_the_best_answer_without_looking_is_known():
    """Of all answers that are the same share of every clip the middle is best, with an mIoU of 0.335: docs/demo.md says so."""
    worth = {
        (start, end): sum(p * overlap((start, end), gold) for gold, p in GOLDS.items())
        for start in range(STEPS)
        for end in range(start + 1, STEPS + 1)
    }
    best = max(worth, key=worth.__getitem__)
    assert worth[best] == pytest.approx(0.335, abs=5e-4)
    assert sum(best) == STEPS


def test_what_is_asked_is_true_of_what_is_drawn():
    rng, kinds = np.random.default_rng(0), collections.Counter()
    for scene in SCENES[:600]:
        (act,) = scene.acts
        for question in make_grounded_questions(scene, len(EVIDENCE), rng):
            kinds[question.category] += 1
            assert len(set(question.options)) == OPTIONS
            assert question.steps == (act.start, act.end)
            colours = [act.at(step)[2] for step in range(act.start, act.end)]
            true = {"existence": [act.thing], "colour": [colours[0]], "change": [colours[-1]]}[question.category]
            assert [option for option in question.options if option in true] == [question.gold_text]
            if question.category == "colour":
                assert len(set(colours)) == 1
            else:
                assert question.category == "existence" or len(set(colours)) == 2
    assert min(kinds[category] for category in EVIDENCE) > 50


def test_every_letter_is_gold_as_often_as_the_others():
    rng = np.random.default_rng(1)
    golds = collections.Counter(q.gold for scene in SCENES for q in make_grounded_questions(scene, 1, rng))
    share = len(SCENES) / OPTIONS
    assert set(golds) == set(LETTERS[:OPTIONS])
    assert all(abs(count - share) < 4 * np.sqrt(share * (1 - 1 / OPTIONS)) for count in golds.values())


def test_words_of_the_options_are_right_as_often_as_they_are_offered():
    """Otherwise a reader without the clip could prefer a word."""
    rng = np.random.default_rng(2)
    offered, right = collections.Counter(), collections.Counter()
    for scene in SCENES:
        for question in make_grounded_questions(scene, 2, rng):
            offered.update((question.category, option) for option in question.options)
            right[question.category, question.gold_text] += 1
    assert {word for _, word in offered} == {*THINGS, *COLOURS}
    for key, count in offered.items():
        assert abs(right[key] / count - 1 / OPTIONS) < 4 * np.sqrt(0.16 / count), key


@pytest.mark.parametrize("split", MOMENTS)
def test_seconds_are_multiples_of_half_a_second_within_the_clip(split):
    items = drawn(split, 60)
    assert {item.duration for item in items} == set(DURATIONS)
    for item in items:
        for question in item.questions:
            start, end = segment_of(item, question)
            assert 0 <= start < end <= item.duration
            assert (2 * start).is_integer()
            assert (2 * end).is_integer()


def test_charades_sta_has_the_real_files_late_ends_and_is_read_without_them(tmp_path):
    items = drawn("charades_sta", 40)
    write_charades_sta(tmp_path, items, "charades_sta_test.txt", size=16)
    source = Source(tmp_path)
    questions = dataset_of("charades_sta").read(source)
    assert source.repairs[CLIPPED] > 0
    assert [question.segments for question in questions] == [(segment_of(item, item.questions[0]),) for item in items]
    assert [question.duration for question in questions] == [item.duration for item in items]
    assert questions[0].text == f"a {items[0].scene.acts[0].caption}."


def test_nextgqa_is_read_with_options_and_segments(tmp_path):
    settings = world_settings({"videos": {"nextgqa": 20}, "questions_per_video": {"nextgqa": 2}})
    items = draw_items("nextgqa", settings, 0)
    write_nextgqa(tmp_path, items, "test.csv", size=16)
    written = [(item, question) for item in items for question in item.questions]
    questions = dataset_of("nextgqa").read(Source(tmp_path))
    assert len(questions) == len(written) == 40
    for question, (item, known) in zip(questions, written, strict=True):
        assert (question.text, question.options, question.gold) == (known.text, known.options, known.gold)
        assert question.segments == (segment_of(item, known),)
        assert (tmp_path / question.clip.path).is_file()


def test_a_question_without_steps_has_no_segment():
    item = drawn("charades_sta", 1)[0]
    with pytest.raises(ValueError, match="question 'Why' has no steps"):
        segment_of(item, WorldQuestion("Why", (), "", "when", True))


def test_a_moment_keeps_what_the_scene_of_its_seed_shows():
    assert make_moment(5) == make_moment(5)
    assert {act.caption for act in make_scene(5).acts} >= {make_moment(5).acts[0].caption}
    assert when(make_moment(5)).steps == (make_moment(5).acts[0].start, make_moment(5).acts[0].end)
