"""From questions to prompts and encoded clips."""

from typing import get_args

import numpy as np
import pytest
import torch

from tests.support import micro
from vidreason.config.types import View
from vidreason.engine.prompts import prompts_of, query_text
from vidreason.media.frame_store import FrameStore
from vidreason.media.views import GRAY_LEVEL, NO_VIDEO, VIEWS, view_frames
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.records import OK
from vidreason.tasks.markup import INSTRUCTION
from vidreason.tasks.prompt_templates import OPTION_INSTRUCTION


@pytest.fixture(scope="module")
def model():
    return micro.model()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "shard0.parquet"
    return FrameStore([micro.write_frames(path, {"a": OK, "b": OK, "c": "missing"})])


class TestPrompts:
    def test_instruction_follows_a_space_in_training_and_a_line_in_evaluation(self):
        question = micro.question(1)
        block = "Which colour is the ball?\nOptions:\nA. red\nB. blue\nC. green"
        assert query_text(question, "reason", training=True) == f"<image>{block} {INSTRUCTION}"
        assert query_text(question, "option", training=False) == f"<image>\n{block}\n{OPTION_INSTRUCTION}"

    @pytest.mark.parametrize(
        ("dataset", "block"),
        [
            ("video_mme", "?\nOptions:\nA. red\nB. blue\nC. green\n"),
            ("mvbench", "?\nOptions:\nA. red\nB. blue\nC. green\n"),
            ("mlvu", "?\n(A) red\n(B) blue\n(C) green\n"),
            ("mmvu", "?\nA. red\nB. blue\nC. green\n"),
        ],
    )
    def test_every_data_set_writes_its_options_its_own_way(self, dataset, block):
        assert block in query_text(micro.question(1, dataset=dataset), "option", training=False)

    def test_the_answer_is_not_in_the_prompt(self):
        plain, other = (prompts_of(micro.model(), [micro.question(1, answer=gold)], "reason", True)[0] for gold in "AB")
        assert torch.equal(plain, other)
        assert plain.dtype == torch.int64
        assert int((plain == IMAGE_TOKEN_INDEX).sum()) == 1
        assert micro.tokenizer().decode(plain[plain >= 0]).endswith("ASSISTANT:")

    def test_an_unknown_style_is_refused(self):
        with pytest.raises(ValueError, match="allowed: reason, option"):
            query_text(micro.question(1), "letter", training=True)


class TestEncoding:
    def test_every_row_shows_its_own_clip(self, model, store):
        asked = [micro.question(n, clip) for n, clip in enumerate(("b", "a", "b"))]
        with torch.no_grad():
            videos = micro.shown(model, store, asked)
            wanted = [
                model.encode_videos(normalize_frames(torch.from_numpy(store.pixels(f"{clip}.mp4")[None].copy())))[0]
                for clip in ("b", "a", "b")
            ]
        assert videos.shape == (3, 6, 16)
        # One batch against clips one by one: float32 in another order.
        assert torch.allclose(videos, torch.stack(wanted), atol=1e-5)
        assert not torch.allclose(videos[0], videos[1], atol=1e-2)

    def test_a_clip_is_encoded_once(self, model, store, monkeypatch):
        seen = []
        encode = model.encode_frames
        monkeypatch.setattr(model, "encode_frames", lambda pixels: seen.append(len(pixels)) or encode(pixels))
        micro.shown(model, store, [micro.question(n, clip) for n, clip in enumerate("abbab")])
        assert seen == [2]

    def test_the_connector_has_a_gradient_and_the_tower_none(self, store):
        model = micro.model()
        micro.shown(model, store, [micro.question(1)]).sum().backward()
        gradients = {name.split(".")[0]: p.grad is not None for name, p in model.named_parameters()}
        assert gradients == {"language_model": False, "vision_tower": False, "connector": True}

    def test_a_clip_without_frames_is_an_error(self, model, store):
        with pytest.raises(KeyError, match="no frames: missing"):
            micro.shown(model, store, [micro.question(1, "c")])


class TestViews:
    frames = micro.picture(3)

    def test_ordered_is_untouched(self):
        assert np.array_equal(view_frames(self.frames, "ordered", 0, "a"), self.frames)

    def test_gray_shows_nothing(self):
        uniform = view_frames(self.frames, "gray", 0, "a")
        assert (uniform == GRAY_LEVEL).all()
        assert uniform.shape == self.frames.shape
        assert np.array_equal(uniform, view_frames(micro.picture(4), "gray", 1, "b"))

    def test_shuffled_shows_the_same_frames_in_an_order_of_the_seed_and_the_clip(self):
        frames = np.arange(16, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
        orders = {
            (seed, clip): tuple(view_frames(frames, "shuffled", seed, clip)[:, 0, 0, 0].tolist())
            for seed in (0, 1)
            for clip in "ab"
        }
        assert all(sorted(order) == list(range(16)) for order in orders.values())
        assert len(set(orders.values())) == 4
        assert tuple(range(16)) not in orders.values()
        assert tuple(view_frames(frames, "shuffled", 1, "b")[:, 0, 0, 0].tolist()) == orders[1, "b"]

    def test_views_change_what_the_model_gets(self, model, store):
        with torch.no_grad():
            shown = [micro.shown(model, store, [micro.question(1)], view, 3) for view in VIEWS]
        assert not torch.allclose(shown[0], shown[1], atol=1e-3)
        assert not torch.allclose(shown[0], shown[2], atol=1e-3)

    def test_every_view_has_a_name_in_the_configuration(self):
        assert (*VIEWS, NO_VIDEO) == get_args(View)

    def test_an_unknown_view_is_refused(self):
        with pytest.raises(ValueError, match="'blind'; allowed: ordered, shuffled, gray, times_shuffled"):
            view_frames(self.frames, "blind", 0, "a")
