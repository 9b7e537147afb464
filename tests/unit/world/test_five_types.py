"""Questions of five types about pictures and clips: right by the pixels of the files, and not to be answered without them."""

import collections
import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.support.world_oracle import read_picture, read_text, true_answer, true_options
from tests.support.worlds import world_settings
from tests.unit.world.test_questions import LIMIT, TextOnly, excess
from vidreason.artifacts.files import read_json
from vidreason.data.registry import read_questions
from vidreason.data.video_r1 import RL, TASKS
from vidreason.media.extract_frames import take_frames
from vidreason.media.probe import probe
from vidreason.records import IMAGE, OK, ClipRef, Question
from vidreason.tasks.base import task_of
from vidreason.tasks.markup import completion_of
from vidreason.world.encode import picture_at
from vidreason.world.five_types import PICTURE_CHOICES, TYPES, make_question_of_type, make_still, make_subject
from vidreason.world.mixed_layout import write_video_r1
from vidreason.world.scenes import STEPS, THINGS, make_scene
from vidreason.world.signs import ALPHABET, GRID, LONGEST, SHORTEST, glyph, make_sign, render_sign
from vidreason.world.splits import FIVE_TYPES, draw_items

SEED, COUNT, SIZE = 5, 80, 64
KINDS = [(kind, picture) for kind in TYPES for picture in (True, False)]


def drawn(count, seed=SEED):
    return draw_items(FIVE_TYPES, world_settings({"videos": {FIVE_TYPES: count}}), seed)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder, questions as read back, and the frames of each."""
    root = tmp_path_factory.mktemp("five_types")
    write_video_r1(root, drawn(COUNT))
    questions = read_questions("video_r1_260k", root)
    taken = {question.id: take_frames(question, root, STEPS, SIZE) for question in questions}
    return root, questions, taken


def answer_of(question, frames):
    """The answer that the pixels of a clip give, or its true options."""
    if question.task == "ocr":
        return read_text(frames)
    things = [read_picture(frame, THINGS) for frame in frames]
    assert {len(cells) for cells in things} == {1}, "every picture shows one thing"
    seen = [cells[0] for cells in things]
    return true_options(seen, question.text, question.options) if question.options else true_answer(seen, question.text)


def test_every_type_comes_with_pictures_and_videos(written):
    root, questions, _ = written
    counts = collections.Counter((question.task, question.clip.kind) for question in questions)
    assert counts == dict.fromkeys([(TASKS[kind], "image" if still else "video") for kind, still in KINDS], COUNT // 10)
    suffixes = collections.Counter(path.suffix for path in (root / "World").rglob("*.*"))
    assert suffixes == {".png": COUNT // 4, ".jpg": COUNT // 4, ".mp4": COUNT // 2}
    for question in questions:
        path = root / question.clip.path
        if question.clip.kind == "video":
            assert probe(path).codec == "h264"
        else:
            assert Image.open(path).format == {".png": "PNG", ".jpg": "JPEG"}[path.suffix]


def test_the_records_have_the_published_keys(written):
    records = read_json(written[0] / RL[0])
    keys = ["problem_id", "problem", "data_type", "problem_type", "options", "solution", "path", "data_source"]
    assert all(list(record) == keys for record in records)
    assert [record["problem_id"] for record in records] == list(range(1, COUNT + 1))
    assert all(record["path"].startswith("./World/") for record in records)
    first = next(record for record in records if record["problem_type"] == "multiple choice")
    assert first["options"][0].startswith("A. ")


def test_gold_is_what_the_pixels_of_the_files_say(written):
    _, questions, taken = written
    for question in questions:
        assert taken[question.id].clip.status == OK
        frames = taken[question.id].pixels
        wanted = [question.options["ABCDE".index(question.gold)]] if question.options else question.gold
        assert answer_of(question, frames[:1] if question.clip.kind == IMAGE else frames) == wanted, question


@pytest.mark.parametrize(("kind", "picture"), KINDS)
def test_gold_is_what_the_pixels_as_drawn_say(kind, picture):
    """More questions than there are files, in the size of the demo's model."""
    rng = np.random.default_rng(1)
    for seed in range(100, 140):
        shown = make_subject(kind, seed, picture)
        question = read_question(make_question_of_type(kind, shown, picture, rng), kind)
        frames = [picture_at(shown, step, 32) for step in ([0] if picture else range(STEPS))]
        wanted = [question.options["ABCDE".index(question.gold)]] if question.options else question.gold
        assert answer_of(question, frames) == wanted, question


def test_the_answers_follow_the_pixels(written):
    """With the frames in reverse the pixels give other answers to questions on order, and the same to the others."""
    _, questions, taken = written
    temporal = dict(zip((str(number + 1) for number in range(COUNT)), drawn(COUNT), strict=True))
    changed = collections.Counter()
    for question in questions:
        frames, (known,) = taken[question.id].pixels, temporal[question.id].questions
        if question.clip.kind == IMAGE or question.task == "free_form":  # a caption tells acts of fixed lengths
            assert known.temporal == (question.clip.kind != IMAGE)
            continue
        ahead, reverse = answer_of(question, frames), answer_of(question, frames[::-1])
        if known.temporal:
            changed[question.task] += ahead != reverse
        else:
            assert ahead == reverse, question
    assert set(changed) == {"multiple_choice", "ocr", "regression"}
    assert min(changed.values()) > 0


@pytest.mark.parametrize(("kind", "picture"), KINDS)
def test_the_gold_answer_gets_full_marks_and_passes_the_checks(kind, picture):
    rng, golds = np.random.default_rng(0), set()
    for seed in range(60):
        shown = make_subject(kind, seed, picture)
        question = make_question_of_type(kind, shown, picture, rng)
        task = task_of(TASKS[kind])
        record = read_question(question, kind)
        task.check(record)
        for rule in ("tagged", "video_r1"):
            assert task.grade(completion_of("so", question.gold), record, rule).value == pytest.approx(1), record
        golds.add(question.gold)
        assert kind != "regression" or 0 < float(question.gold) <= 100
    assert len(golds) > 3


def read_question(question, kind):
    return Question("1", "", TASKS[kind], question.text, ClipRef("v.mp4"), question.options, question.gold)


@pytest.fixture(scope="module")
def many():
    return drawn(20_000)


def test_the_text_alone_does_not_tell_the_option(many):
    items = [item for item in many if item.category == "multiple choice"]
    for picture in (True, False):
        questions = [item.questions[0] for item in items if item.picture == picture]
        assert len(questions) == 2000
        assert excess(TextOnly().fit(questions[:1000]), questions[1000:]) < LIMIT
        assert not picture or {question.category for question in questions} == set(PICTURE_CHOICES)


def test_the_text_alone_does_not_tell_the_number(many):
    """The most frequent answer to each wording is far from certain."""
    by_text = collections.defaultdict(collections.Counter)
    for item in many:
        if item.category in ("numerical", "regression"):
            by_text[item.category, item.questions[0].category][item.questions[0].gold] += 1
    assert set(by_text) == {("numerical", name) for name in ("count", "row", "column")} | {
        ("regression", name) for name in ("across", "down", "until")
    }
    for counts in by_text.values():
        assert max(counts.values()) / sum(counts.values()) < 0.4
    count = by_text["numerical", "count"]
    assert max(count.values()) / sum(count.values()) < 0.28


def test_the_same_seed_gives_the_same_and_a_larger_set_begins_alike():
    assert drawn(40)[:20] == drawn(20)
    assert drawn(20) != drawn(20, seed=6)
    assert make_still(3) == make_still(3)
    assert dataclasses.replace(make_sign(3, moving=True), seed=4) != make_sign(4, moving=True)


def test_a_still_is_a_picture_of_its_scene():
    for seed in range(50):
        still, scene = make_still(seed), make_scene(seed)
        pictures = [picture_at(scene, step, 32).tobytes() for step in range(STEPS)]
        shown = {picture_at(still, step, 32).tobytes() for step in range(STEPS)}
        assert len(shown) == 1
        assert shown <= set(pictures)


class TestSigns:
    def test_words_are_different_inside_the_picture_and_not_in_its_first_cell(self):
        counts = collections.Counter()
        for seed in range(300):
            for moving in (False, True):
                sign = make_sign(seed, moving)
                texts = [word.text for word in sign.acts]
                counts[moving, len(texts)] += 1
                assert len(set(texts)) == len(texts)
                for word in sign.acts:
                    assert SHORTEST <= len(word.text) <= LONGEST
                    assert set(word.text) <= set(ALPHABET)
                    assert word.row > 0
                    assert 0 <= word.column <= GRID - len(word.text)
                rows = [word.row for word in sign.acts]
                assert moving or rows == sorted(set(rows)), "read from the top, a word a line"
        assert set(counts) == {(False, 1), (False, 2), (False, 3), (True, 3)}

    def test_no_two_letters_are_alike_in_the_size_of_the_model(self):
        """At 8 pixels a cell, as the demo's model sees them, letters differ in three pixels at least."""
        masks = [glyph(letter, 8) for letter in ALPHABET]
        apart = [(one != other).sum() for place, one in enumerate(masks) for other in masks[:place]]
        assert min(apart) >= 3

    def test_every_letter_is_drawn_by_squares_and_fits_its_cell(self):
        for letter in ALPHABET:
            small = glyph(letter, 8)
            assert small.shape == (8, 8)
            assert (np.kron(small, np.ones((2, 2), bool)) == glyph(letter, 16)).all()
            assert glyph(letter, 12).sum() == small.sum(), "squares of one pixel in the middle of a cell of 12"

    def test_what_cannot_be_drawn_is_refused(self):
        with pytest.raises(ValueError, match=r"world.size is 16; pictures with letters need at least 32 pixels a side"):
            render_sign(make_sign(0, moving=False), 0, 16)
        with pytest.raises(ValueError, match="'Q' is not drawn; allowed: the letters ACEFHIJKLMNOPTUVXYZ"):
            glyph("Q", 16)
        with pytest.raises(ValueError, match="unknown type of question 'essay'; allowed: multiple choice, numerical"):
            make_question_of_type("essay", make_scene(0), False, np.random.default_rng(0))
