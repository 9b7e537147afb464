"""Configuration, resampler, merging, freezing, checkpoints, processing."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.checkpoint import initialize, save_checkpoint
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.models.tinyllava.preprocessing import normalize_frames, resize_frames
from vidreason.models.tinyllava.resampler import GroupResampler, group_layout, group_sizes, position_encoding
from vidreason.models.tinyllava.weights import CheckpointError

CHECKPOINT = Path(__file__).parents[2] / "golden" / "checkpoint"


@pytest.fixture(scope="module")
def values():
    """A configuration smaller than the golden one, with uneven groups and untied embeddings."""
    return {
        "connector_type": "groupresampler",
        "group": 6,
        "num_queries": 13,
        "num_resampler_layers": 1,
        "colour": "kept",
        "text_config": {
            "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1,
        },
        "vision_config": {
            "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 12, "patch_size": 4,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def model(values):
    return initialize(TinyLlavaConfig.from_dict(values), seed=0).eval()


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))


def pixels(clips=2, frames=5, seed=0):
    return torch.randn(clips, frames, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


class TestConfiguration:
    def test_unknown_keys_are_kept_and_defaults_filled_in(self, values):
        config = TinyLlavaConfig.from_dict(values)
        assert config.to_dict()["colour"] == "kept"
        assert config.to_dict()["hidden_size"] == 16
        assert config.text().rms_norm_eps == 1e-6
        assert config.vision_feature_layer == -2
        assert config.queries == 12
        assert TinyLlavaConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("group", None, "group is missing"),
            ("group", 14, "every group needs one query"),
            ("num_queries", 0, "whole number"),
            ("connector_type", "mlp", "groupresampler"),
            ("vision_feature_select_strategy", "cls", "patch, cls_patch"),
            ("vision_feature_layer", -4, "-3 to 2"),
            ("tokenizer_padding_side", "both", "left, right"),
            ("text_config", None, "nested"),
            ("hidden_size", 17, "nested configuration says 16"),
        ],
    )
    def test_bad_values_are_refused_by_name(self, values, key, value, message):
        changed = {
            name: one for name, one in (values | {key: value}).items() if one is not None or name == "text_config"
        }
        with pytest.raises(ValueError, match=message) as caught:
            TinyLlavaConfig.from_dict(changed, "a/config.json")
        assert "a/config.json" in str(caught.value)


class TestResampler:
    @pytest.mark.parametrize(("tokens", "groups"), [(40, 6), (120, 7), (5, 5), (9, 4)])
    def test_layout_covers_every_token_once(self, tokens, groups):
        index, mask = group_layout(tokens, groups, 2, torch.device("cpu"))
        real = mask[:, :-2]
        assert index[real].tolist() == list(range(tokens))
        assert real.sum(dim=1).tolist() == group_sizes(tokens, groups)
        assert mask[:, -2:].all()

    @pytest.mark.parametrize("tokens", [40, 41, 42])
    def test_groups_read_their_own_tokens_only(self, tokens):
        torch.manual_seed(0)
        resampler = GroupResampler(8, 16, queries=12, groups=6, depth=2)
        given = torch.randn(2, tokens, 8)
        changed = given.clone()
        first = group_sizes(tokens, 6)[0]
        changed[:, :first] += 1
        moved = (resampler(given) - resampler(changed)).abs().amax(dim=(0, 2)) > 1e-6
        assert moved.tolist() == [True, True] + [False] * 10

    def test_clips_do_not_mix_and_positions_are_kept(self):
        resampler = GroupResampler(8, 16, queries=12, groups=6, depth=1)
        given = torch.randn(3, 40, 8)
        together = resampler(given)
        kept = next(iter(resampler._positions.values()))
        alone = torch.cat([resampler(given[clip : clip + 1]) for clip in range(3)])
        assert torch.allclose(together, alone, atol=1e-6)
        assert next(iter(resampler._positions.values())) is kept
        assert not any("position" in name for name in resampler.state_dict())

    def test_gradients_reach_tokens_of_uneven_groups(self):
        given = torch.randn(1, 40, 8, requires_grad=True)
        GroupResampler(8, 16, queries=6, groups=6, depth=1)(given).square().sum().backward()
        assert given.grad is not None
        assert (given.grad.abs().sum(dim=-1) > 0).all()

    def test_heads_are_those_asked_for(self, values):
        asked = TinyLlavaConfig.from_dict({**values, "resampler_heads": 3, "resampler_head_width": 4})
        weights = initialize(asked, seed=0).connector.state_dict()
        assert weights["_connector.layers.0.0.to_kv.weight"].shape == (2 * 3 * 4, 16)
        assert asked.to_dict()["resampler_heads"] == 3
        assert "resampler_heads" not in TinyLlavaConfig.from_dict(values).to_dict()

    def test_encoding_is_rounded_to_half_precision(self):
        encoding = position_encoding(12, 16)
        assert encoding.dtype == torch.float16
        assert torch.equal(encoding[0, 0::2], torch.zeros(8).half())
        assert torch.equal(encoding[0, 1::2], torch.ones(8).half())

    def test_fewer_tokens_than_groups_are_refused(self):
        with pytest.raises(ValueError, match="3 visual tokens for 6 groups"):
            GroupResampler(8, 16, queries=6, groups=6, depth=1)(torch.zeros(1, 3, 8))


class TestModel:
    def test_shapes(self, model):
        assert model.encode_frames(pixels()).shape == (2, 5 * 8, 8)
        assert model.encode_videos(pixels()).shape == (2, 12, 16)

    def test_frozen_tower_has_no_graph_and_the_connector_learns(self, values):
        model = initialize(TinyLlavaConfig.from_dict(values), seed=0)
        model.encode_videos(pixels()).sum().backward()
        assert model.vision_tower._vision_tower.vision_model.embeddings.patch_embedding.weight.grad is not None
        model.zero_grad(set_to_none=True)
        model.freeze_vision()
        assert model.vision_frozen()
        assert not model.encode_frames(pixels()).requires_grad
        model.encode_videos(pixels()).sum().backward()
        assert all(parameter.grad is None for parameter in model.vision_tower.parameters())
        assert model.connector._connector.latents.grad is not None

    def test_unused_vision_layers_are_not_run(self, model, monkeypatch):
        def refuse(*_):
            raise AssertionError("the last layer was run")

        last = model.vision_tower._vision_tower.vision_model.encoder.layers[-1]
        monkeypatch.setattr(last, "forward", refuse)
        model.encode_frames(pixels())

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_merging(self, model, side):
        videos = model.encode_videos(pixels())
        rows = [torch.tensor([5, IMAGE_TOKEN_INDEX, 6, 7]), torch.tensor([8, 9])]
        inputs = model.build_inputs(rows, videos, padding_side=side, labels=rows)
        embeds, mask, labels = inputs.embeds, inputs.mask, inputs.labels
        assert mask.sum(dim=1).tolist() == [15, 2]
        table = model.language_model.get_input_embeddings().weight
        assert torch.equal(embeds[0, 0], table[5])
        assert torch.equal(embeds[0, 1:13], videos[0])
        assert torch.equal(embeds[0, 13:], table[6:8])
        assert labels[0].tolist() == [5] + [-100] * 12 + [6, 7]
        text = slice(13, 15) if side == "left" else slice(0, 2)
        assert mask[1, text].all()
        assert torch.equal(embeds[1, text], table[8:10])
        assert labels[1, text].tolist() == [8, 9]
        assert not embeds[1][~mask[1]].any()
        assert (labels[1][~mask[1]] == -100).all()

    def test_padding_does_not_change_logits(self, model):
        videos = model.encode_videos(pixels())
        rows = [torch.tensor([5, IMAGE_TOKEN_INDEX, 6, 7, 8, 9]), torch.tensor([IMAGE_TOKEN_INDEX, 4])]
        alone = model(model.build_inputs(rows[1:], videos[1:]).embeds).logits[0, -1]
        for side in ("left", "right"):
            inputs = model.build_inputs(rows, videos, padding_side=side)
            embeds, mask = inputs.embeds, inputs.mask
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            logits = model(embeds, attention_mask=mask, position_ids=positions).logits
            assert torch.allclose(logits[1, mask[1]][-1], alone, atol=1e-5)

    def test_marks_without_a_video_are_refused(self, model):
        with pytest.raises(ValueError, match="no video"):
            model.build_inputs([torch.tensor([IMAGE_TOKEN_INDEX])], None)
        with pytest.raises(ValueError, match="2 video marks"):
            model.build_inputs([torch.tensor([IMAGE_TOKEN_INDEX] * 2)], torch.zeros(1, 12, 16))

    def test_long_sequences_are_cut(self, values):
        config = TinyLlavaConfig.from_dict(values | {"tokenizer_model_max_length": 7})
        inputs = initialize(config, seed=0).build_inputs([torch.arange(20)], None)
        embeds, mask = inputs.embeds, inputs.mask
        assert embeds.shape == (1, 7, 16)
        assert mask.all()

    def test_seed_decides_the_weights_and_nothing_else_moves(self, values):
        config = TinyLlavaConfig.from_dict(values)
        before = torch.get_rng_state()
        one, same, other = initialize(config, 1), initialize(config, 1), initialize(config, 2)
        assert torch.equal(torch.get_rng_state(), before)
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True)
        )
        assert not torch.equal(one.connector._connector.latents, other.connector._connector.latents)


class TestCheckpoint:
    @pytest.mark.parametrize("shard_bytes", [10**9, 3000])
    def test_round_trip_untied(self, model, tmp_path, shard_bytes):
        model.tokenizer = load_checkpoint(CHECKPOINT).tokenizer
        save_checkpoint(model, tmp_path / "out", shard_bytes)
        again = load_checkpoint(tmp_path / "out")
        for (name, ours), theirs in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs), name
        assert (tmp_path / "out" / "model.safetensors").exists() == (shard_bytes == 10**9)
        assert torch.equal(model.encode_videos(pixels()), again.encode_videos(pixels()))
        assert not list(tmp_path.glob(".*"))

    def test_tied_embeddings_stay_tied_through_training(self, folder):
        model = load_checkpoint(folder)
        assert model.language_model.lm_head.weight is model.language_model.model.embed_tokens.weight
        assert all(parameter.requires_grad for parameter in model.parameters())
        before = (folder / "model.safetensors").read_bytes()
        with torch.no_grad():
            model.language_model.model.embed_tokens.weight += 1
        assert (folder / "model.safetensors").read_bytes() == before

    def test_fast_tokenizer_round_trip(self, model, tmp_path):
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        words = Tokenizer(models.WordLevel({"<unk>": 0, "<|endoftext|>": 1, "red": 2, "ball": 3}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        model.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="<unk>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
        )
        save_checkpoint(model, tmp_path / "out")
        again = load_checkpoint(tmp_path / "out").tokenizer
        assert again("red ball<|endoftext|>").input_ids == [2, 3, 1]
        assert again.eos_token_id == again.pad_token_id == 1

    def test_saved_tokenizer_is_what_older_loaders_read(self, folder, tmp_path):
        save_checkpoint(load_checkpoint(folder), tmp_path / "out")
        for name in ("vocab.json", "added_tokens.json", "special_tokens_map.json"):
            theirs, ours = (json.loads((place / name).read_text()) for place in (folder, tmp_path / "out"))
            for key, value in theirs.items():
                assert (value["content"] if isinstance(value, dict) else value) == ours[key], (name, key)
        merges = [(place / "merges.txt").read_text().splitlines()[1:] for place in (folder, tmp_path / "out")]
        assert merges[0] == merges[1]
        settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
        assert (
            settings["added_tokens_decoder"]
            == json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
        )

    def test_type_is_the_one_asked_for(self, folder):
        model = load_checkpoint(folder, torch.bfloat16)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32

    def test_missing_and_unexpected_weights_are_listed(self, folder):
        weights = load_file(folder / "model.safetensors")
        weights["connector._connector.extra"] = weights.pop("connector._connector.norm.bias")
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(folder)
        assert "missing: connector._connector.norm.bias (64,)" in str(caught.value)
        assert "unexpected: connector._connector.extra (64,)" in str(caught.value)

    def test_wrong_shape_is_named(self, folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_queries": 16}))
        with pytest.raises(CheckpointError, match=r"latents: stored \(4, 64\), config.json asks for \(2, 64\)"):
            load_checkpoint(folder)

    def test_two_different_tied_embeddings_are_refused(self, folder):
        weights = load_file(folder / "model.safetensors")
        weights["language_model.lm_head.weight"] = weights["language_model.model.embed_tokens.weight"] + 1
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match="tie_word_embeddings"):
            load_checkpoint(folder)

    def test_broken_and_missing_files_are_named(self, folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match="cut short"):
            load_checkpoint(folder)
        path.unlink()
        with pytest.raises(CheckpointError, match=r"model\.safetensors: no such file"):
            load_checkpoint(folder)
        (folder / "config.json").unlink()
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load_checkpoint(folder)

    def test_missing_tokenizer_is_named(self, folder):
        (folder / "merges.txt").unlink()
        with pytest.raises(CheckpointError, match=r"vocab\.json and merges\.txt"):
            load_checkpoint(folder)


class TestProcessing:
    def test_resizing_is_the_processors(self):
        frames = np.random.default_rng(0).integers(0, 256, (2, 20, 31, 3), dtype=np.uint8)
        wanted = Image.fromarray(frames[1]).resize((12, 12), Image.Resampling.BICUBIC)
        assert np.array_equal(resize_frames(frames, 12)[1], np.asarray(wanted))
        assert np.array_equal(resize_frames(frames[:, :20, :20], 20), frames[:, :20, :20])

    def test_levels_map_to_minus_one_to_one(self):
        frames = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
        found = normalize_frames(frames)
        assert found.shape == (1, 3, 16, 16)
        assert found.min() == -1
        assert found.max() == 1
        assert torch.allclose(found[0, 0].flatten(), torch.arange(256) / 127.5 - 1, atol=1e-6)

    def test_dark_frames_differ_only_under_upstreams_switch(self):
        frames = torch.tensor([0, 1, 200], dtype=torch.uint8).view(1, 3, 1, 1, 1).expand(2, -1, 2, 2, 3)
        plain, upstream = normalize_frames(frames), normalize_frames(frames, dark_frames="upstream")
        assert plain[0, :, 0, 0, 0].tolist() == pytest.approx([-1, 2 / 255 - 1, 400 / 255 - 1], abs=1e-6)
        assert upstream[0, :, 0, 0, 0].tolist() == pytest.approx([-1, 1, 400 / 255 - 1], abs=1e-6)

    @pytest.mark.parametrize("frames", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)])
    def test_other_arrays_are_refused(self, frames):
        with pytest.raises(ValueError, match="uint8"):
            resize_frames(frames, 4)


def test_config_is_frozen(values):
    config = TinyLlavaConfig.from_dict(values)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.group = 3  # type: ignore[misc]
