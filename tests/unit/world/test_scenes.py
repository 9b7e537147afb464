"""Scenes: drawn from a seed, told truly, drawn where the model can see them, shared by no two data sets."""

import collections
import itertools
import math

import numpy as np
import pytest

from tests.support.worlds import world_settings
from vidreason.evaluation.scored_answers import caption_is_true
from vidreason.world.scenes import ACT_ENDS, COLOURS, DIRECTIONS, GRID, STEPS, THINGS, make_scene, render, sprite
from vidreason.world.splits import DATASETS, LATER_SPLITS, RANGE, SPLITS, draw_items, scene_seed

SCENES = [make_scene(seed) for seed in range(400)]


def test_the_same_seed_gives_the_same_scene():
    assert [make_scene(seed) for seed in range(400)] == SCENES
    assert len({(scene.acts, scene.background) for scene in SCENES}) == len(SCENES)


def test_acts_fill_the_story_without_gaps():
    for scene in SCENES:
        assert [act.end for act in scene.acts] == list(ACT_ENDS)
        assert scene.acts[0].start == 0
        assert scene.acts[-1].end == STEPS
        assert all(before.end == after.start for before, after in itertools.pairwise(scene.acts))
        assert all(act.end - act.start >= GRID for act in scene.acts)  # a thing that goes is seen in every cell
        assert len({act.thing for act in scene.acts}) == len({act.colour for act in scene.acts}) == len(scene.acts)
        assert [scene.act_at(step) for step in range(STEPS)] == [
            act for act in scene.acts for _ in range(act.end - act.start)
        ]


def test_everything_that_can_happen_happens_about_as_often():
    scenes = [make_scene(seed) for seed in range(3000)]
    acts = [act for scene in scenes for act in scene.acts]
    for name, values, expected in (
        ("goers", [sum(act.verb == "goes" for act in scene.acts) for scene in scenes], range(len(ACT_ENDS) + 1)),
        ("thing", [act.thing for act in acts], THINGS),
        ("colour", [act.colour for act in acts], tuple(COLOURS)),
        ("direction", [act.argument for act in acts if act.verb == "goes"], tuple(DIRECTIONS)),
        ("new colour", [act.argument for act in acts if act.verb == "turns"], tuple(COLOURS)),
    ):
        counts = collections.Counter(values)
        share = 1 / len(expected)
        spread = math.sqrt(len(values) * share * (1 - share))
        # Four standard deviations: with some 25 counts, chance exceeds that in one of 600 runs.
        assert set(counts) == set(expected), name
        assert all(abs(counts[value] - len(values) * share) < 4 * spread for value in expected), (name, counts)


class TestWhereThingsAre:
    def test_never_in_the_upper_left_cell(self):
        """The vision tower drops that patch."""
        size = 32
        for scene in SCENES:
            for step in range(STEPS):
                assert scene.act_at(step).at(step)[:2] != (0, 0)
                corner = render(scene, step, size)[: size // GRID, : size // GRID]
                assert (corner == scene.background).all()

    def test_always_on_the_stage_in_one_cell(self):
        for scene in SCENES[:100]:
            for step in range(STEPS):
                row, column, colour = scene.act_at(step).at(step)
                picture = render(scene, step, 32)
                lit = (picture != scene.background).any(axis=-1)
                cells = lit.reshape(GRID, 8, GRID, 8).any(axis=(1, 3))
                assert np.argwhere(cells).tolist() == [[row, column]]
                assert (picture[lit] == COLOURS[colour]).all()

    def test_movers_cross_the_stage_and_others_stay(self):
        for act in (act for scene in SCENES for act in scene.acts):
            places = [act.at(step)[:2] for step in range(act.start, act.end)]
            if act.verb == "goes":
                down, right = DIRECTIONS[act.argument]
                assert np.subtract(places[-1], places[0]).tolist() == [down * (GRID - 1), right * (GRID - 1)]
                steps = [tuple(np.subtract(b, a)) for a, b in itertools.pairwise(places)]
                assert set(steps) <= {(0, 0), (down, right)}
            else:
                assert set(places) == {(act.row, act.column)}

    def test_only_turners_change_colour_once(self):
        for act in (act for scene in SCENES for act in scene.acts):
            colours = [act.at(step)[2] for step in range(act.start, act.end)]
            seen = list(dict.fromkeys(colours))
            if act.verb == "turns":
                assert seen == [act.colour, act.argument]
                assert abs(colours.count(act.colour) - colours.count(act.argument)) <= 1
            else:
                assert seen == [act.colour]


@pytest.mark.parametrize("cell", [8, 16])
def test_things_look_different(cell):
    masks = {thing: sprite(thing, cell) for thing in THINGS}
    for one, other in itertools.combinations(THINGS, 2):
        # Four pixels of 64 at least: the closest pair are the ball and the kite, which lacks the ball's shoulders.
        assert (masks[one] != masks[other]).mean() > 0.06, (one, other)
    assert all(mask.mean() > 0.2 for mask in masks.values())


def test_pictures_have_the_size_asked_for():
    assert render(SCENES[0], 0, 64).shape == (64, 64, 3)
    assert render(SCENES[0], 0, 64).dtype == np.uint8


class TestCaption:
    scene = SCENES[0]

    def test_says_every_act_in_order(self):
        parts = self.scene.caption.split(", ")
        assert parts == [f"{act.colour} {act.thing} {act.verb} {act.argument}" for act in self.scene.acts]

    def test_the_truth_is_true(self):
        caption = self.scene.caption
        for told in (
            caption,
            f"{caption}. so the answer is red A",
            f"I see {caption.upper()}.",
            caption.replace(", ", ",\n "),
        ):
            assert caption_is_true(told, caption)

    def test_one_wrong_word_or_order_is_false(self):
        caption = self.scene.caption
        words = caption.split()
        for place, word in enumerate(words):
            wrong = " ".join([*words[:place], "gray" + "," * word.endswith(","), *words[place + 1 :]])
            assert not caption_is_true(wrong, caption)
        assert not caption_is_true(", ".join(reversed(caption.split(", "))), caption)
        assert not caption_is_true(caption.rsplit(",", 1)[0], caption)
        assert not caption_is_true("", caption)
        assert not caption_is_true(f"x{caption}", caption)


class TestSplits:
    def test_no_two_data_sets_share_a_scene(self):
        """Neither within a run nor between the runs of different seeds."""
        owner: dict[int, tuple[int, str]] = {}
        settings = world_settings({"videos": dict.fromkeys(DATASETS, 40)})
        for seed in (0, 1, 7):
            drawn = {split: [item.scene.seed for item in draw_items(split, settings, seed)] for split in DATASETS}
            drawn["base"] = [scene_seed(seed, "base", number) for number in (0, 1, 3999, RANGE - 1)]
            drawn["surroundings"] = [scene_seed(seed, "surroundings", number) for number in (0, 1, RANGE - 1)]
            assert set(drawn) == {*SPLITS, *LATER_SPLITS}
            for split, seeds in drawn.items():
                assert len(set(seeds)) == len(seeds)
                for number in seeds:
                    assert owner.setdefault(number, (seed, split)) == (seed, split)

    def test_ranges_are_apart(self):
        ends = sorted(
            (scene_seed(seed, split, 0), scene_seed(seed, split, RANGE - 1))
            for seed in (0, 1, 2, 10**18 - 1)
            for split in (*SPLITS, *LATER_SPLITS)
        )
        assert all(low <= high for low, high in ends)
        assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))

    @pytest.mark.parametrize("number", [-1, RANGE])
    def test_a_range_is_not_left(self, number):
        with pytest.raises(ValueError, match="0 <= number < 1000000"):
            scene_seed(0, "nextqa", number)

    def test_drawing_is_reproducible(self):
        settings = world_settings({"videos": {"mlvu": 12}})
        assert draw_items("mlvu", settings, 3) == draw_items("mlvu", settings, 3)
        assert draw_items("mlvu", settings, 3) != draw_items("mlvu", settings, 4)
