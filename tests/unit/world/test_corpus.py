"""Pre-training exercises: true, in words of the vocabulary, and without what only the cold start may show."""

import dataclasses
import re

import numpy as np
import pytest

from tests.unit.world.test_questions import oracle
from tests.unit.world.test_tokenizer import tokenizer
from vidreason.media.resize import resize_frames
from vidreason.models.tinyllava.template import IMAGE
from vidreason.records import LETTERS
from vidreason.tasks.markup import INSTRUCTION
from vidreason.tasks.prompt_templates import OPTION_INSTRUCTION
from vidreason.world.corpus import EXPLAIN_REQUEST, KINDS, Exercise, clip_pool, draw_exercise
from vidreason.world.questions import NUMBERS, WorldQuestion
from vidreason.world.scenes import COLOURS, DIRECTIONS, PLACES, STEPS, THINGS, make_scene, render

SCENES = [make_scene(seed) for seed in range(60)]
POSSIBLE = {"thing": THINGS, "colour": tuple(COLOURS), "way": tuple(DIRECTIONS), "many": NUMBERS}
"""Second word of a question -> the words that can answer it."""
PLACED = ("first", "last", "after")
OPTION = re.compile(r"^(?:\(([A-E])\)|([A-E])\.) (\w+)", re.MULTILINE)


def exercises(kind, count=40, seed=0, questions=3) -> list[Exercise]:
    rng = np.random.default_rng(seed)
    return [draw_exercise(kind, SCENES, questions, rng) for _ in range(count)]


def texts(exercise):
    return [text for turn in exercise.turns for text in turn]


def asked_in(request) -> WorldQuestion | None:
    """The question of a request, read back from its text; None where it is none. Without options: any word may be right."""
    found = OPTION.findall(request)
    lines = [line for line in re.split(r"\n|(?<=\.) ", request) if line.endswith("?")]
    if not lines:
        return None
    letters = [one or other for one, other, _ in found]
    assert letters == list(LETTERS[: len(letters)])
    words = tuple(word for *_, word in found)
    words = words or POSSIBLE.get(lines[-1].split()[1], ())
    return WorldQuestion(lines[-1].removeprefix(IMAGE), words, "A", "", False) if words else None


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_the_seed_decides(self, kind):
        once, again, other = exercises(kind), exercises(kind), exercises(kind, seed=1)
        assert [exercise.turns for exercise in once] == [exercise.turns for exercise in again]
        assert [exercise.turns for exercise in once] != [exercise.turns for exercise in other]

    def test_a_word_is_a_token(self, kind):
        for text in (text for exercise in exercises(kind) for text in texts(exercise)):
            bare = text.replace(OPTION_INSTRUCTION, "").replace(IMAGE, "")
            for word in re.findall(r"[A-Za-z]+", bare):
                assert len(tokenizer()(f" {word}").input_ids) == 1, (word, text)

    def test_nothing_of_the_cold_start_is_shown(self, kind):
        for text in (text for exercise in exercises(kind) for text in texts(exercise)):
            assert not re.search(r"</?\s*(think|answer)\s*>", text)
            assert INSTRUCTION not in text

    def test_pictures_and_mark_go_together(self, kind):
        for exercise in exercises(kind):
            marks = [text.count(IMAGE) for text in texts(exercise)]
            assert sum(marks) == (exercise.pictures is not None)
            if exercise.pictures is not None:
                assert marks[0] == 1
                assert exercise.pictures.shape == (STEPS, 2)
                assert (exercise.pictures >= 0).all()
                assert (exercise.pictures < (len(SCENES), STEPS)).all()

    def test_answers_are_right(self, kind):
        """Whatever is asked about a scene is answered as the scene has it."""
        checked = 0
        for exercise in exercises(kind):
            captions = {scene.caption: scene for scene in SCENES}
            scene = None
            if exercise.pictures is not None and len(set(exercise.pictures[:, 0])) == 1:
                scene = SCENES[int(exercise.pictures[0, 0])]
            if kind == "montage":
                shown = dict.fromkeys(scene.act_at(int(step)) for step in exercise.pictures[:, 1])
                scene = dataclasses.replace(scene, acts=tuple(shown))
            told = (
                None
                if kind == "montage"
                else next((caption for caption in captions if any(caption in text for text in texts(exercise))), None)
            )
            scene = captions[told] if told else scene
            question, options = None, False
            for request, reply in exercise.turns:
                new = asked_in(request)
                question, options = (new, bool(OPTION.search(request))) if new else (question, options)
                if kind in ("markup", "letter"):
                    reply = re.search(r"> (?:[^<]*\. )?(so [\w ]+ [A-E])? ?<|$", reply)[1] or scene.caption
                if question is None or scene is None or kind == "colours" or reply == scene.caption:
                    continue
                (gold,) = oracle(scene, question)
                letter = LETTERS[question.options.index(gold) % len(LETTERS)]
                about = [word for word in re.findall(r"\w+", question.text) if word in (*THINGS, *PLACED)]
                concluded = " ".join((*about, gold))
                short = (letter, f"so {concluded} {letter}") if options else (concluded,)
                assert reply.removeprefix(f"{scene.caption}. ") in short
                checked += 1
        assert checked >= 40 or kind in ("picture", "act", "caption", "colours", "lookup", "markup")

    def test_a_question_is_not_answered_by_a_description_of_its_own_accord(self, kind):
        """Only the cold start shows that; here a description or an explanation is always asked for."""
        captions = [scene.caption for scene in SCENES]
        for exercise in exercises(kind):
            for request, reply in exercise.turns:
                last = request.split("\n")[-1]
                if last.endswith(EXPLAIN_REQUEST) or re.search(r"Output .*(description|explanation) in <", last):
                    continue
                if asked_in(request) is not None and (OPTION.match(last) or last.endswith((OPTION_INSTRUCTION, "?"))):
                    assert not any(caption in reply for caption in captions)


def test_clips_are_described_truly():
    for exercise in exercises("caption"):
        assert exercise.turns[0][1] == SCENES[int(exercise.pictures[0, 0])].caption
        assert exercise.pictures[:, 1].tolist() == list(range(STEPS))


def test_acts_are_described_truly():
    for exercise in exercises("act"):
        ((_, caption),) = exercise.turns
        (clip,) = set(exercise.pictures[:, 0].tolist())
        (act,) = {SCENES[clip].act_at(step) for step in exercise.pictures[:, 1].tolist()}
        assert caption == act.caption
        assert set(exercise.pictures[:, 1].tolist()) == set(range(act.start, act.end))
        assert (np.diff(exercise.pictures[:, 1]) >= 0).all()


def test_pictures_are_described_truly():
    for exercise in exercises("picture"):
        ((clip, step),) = {tuple(place) for place in exercise.pictures.tolist()}
        act = SCENES[clip].act_at(step)
        row, column, colour = act.at(step)
        assert exercise.turns[0][1].split() == [colour, act.thing, PLACES[row], PLACES[column]]


def test_words_are_found_among_lettered_options():
    for exercise in exercises("lookup"):
        (request, reply), *_ = exercise.turns
        options = {word: one or other for one, other, word in OPTION.findall(request)}
        pairs = [pair.split() for pair in reply.split(", ")]
        assert sorted(word for word, _ in pairs) == sorted(options)
        assert all(options[word] == letter for word, letter in pairs)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"mix names 'captoin'; allowed: .*caption"):
        draw_exercise("captoin", SCENES, 1, np.random.default_rng(0))


def test_colours_of_a_caption_are_listed():
    for exercise in exercises("colours"):
        ((request, reply),) = exercise.turns
        told = re.match(r"Notes: (.*)\. List the colours\.$", request)[1]
        assert sorted(reply.split(", ")) == sorted(" ".join(reversed(act.split()[:2])) for act in told.split(", "))


def test_a_montage_is_told_in_order_of_appearance_and_asked_nothing_about_time():
    turned = 0
    for exercise in exercises("montage"):
        clip = SCENES[int(exercise.pictures[0, 0])]
        assert sorted(exercise.pictures[:, 1].tolist()) == list(range(STEPS))
        shown = dict.fromkeys(clip.act_at(int(step)).caption for step in exercise.pictures[:, 1])
        ((request, reply),) = exercise.turns
        assert reply.startswith(", ".join(shown) + ". so ")
        assert re.search(r"Which colour is|Which thing appears|How many", request)
        turned += list(shown) != [act.caption for act in clip.acts]
    assert turned > 20


@pytest.mark.parametrize(
    ("kind", "named"), [("markup", {"description", "explanation", "words"}), ("letter", {"explanation", "letter"})]
)
def test_texts_are_marked_up_as_asked(kind, named):
    kinds = set()
    for exercise in exercises(kind):
        scene = SCENES[exercise.pictures[0, 0]]
        (request, reply), *_ = exercise.turns
        asked = re.search(r"Output (?:the )?(.+) tags\.$", request)
        assert asked is not None
        pairs = re.findall(r"(?:^| and )(\w+(?: \w+)?) in <(\w+)> </\2>", asked.group(1))
        assert 1 <= len(pairs) <= 2
        found = re.findall(r"<(\w+)> (.*?) </\1>", reply)
        assert [name for name, _ in found] == [name for _, name in pairs]
        assert not {name for name, _ in found} & {"think", "answer"}
        for (what, _), (_, text) in zip(pairs, found, strict=True):
            kinds.add(what if what in ("description", "explanation", "letter") else "words")
            if what == "letter":
                assert found[0][1].endswith(f" {text}")
            else:
                assert text.startswith(scene.caption) if what in ("description", "explanation") else text == what
    assert kinds == named


def test_the_pool_is_the_scenes_drawn_and_resized():
    scenes, frames = clip_pool([5, 9], 32, 16)
    assert scenes == [make_scene(5), make_scene(9)]
    assert frames.shape == (2, STEPS, 16, 16, 3)
    assert np.array_equal(frames[1, 7], resize_frames(render(make_scene(9), 7, 32)[None], 16)[0])
