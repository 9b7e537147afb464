"""transformers' Auto classes load a checkpoint, and what they generate is what the engine generates."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import vidreason
from tests.support import micro
from vidreason.engine.generation import Decoding, rollout_seed, uniforms
from vidreason.models import auto
from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.auto import AutoTinyLlavaProcessor, AutoTinyLlavaVideo
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX
from vidreason.models.tinyllava.weights import CheckpointError
from vidreason.world.encode import encode, timing
from vidreason.world.scenes import make_scene

BASE = Path(__file__).parents[3] / "config/demo_base/checkpoint"
ASKED = {"Which colour is the box?": ["red", "blue", "white", "pink"], "Which thing comes first?": ["kite", "box"]}
LIMIT = 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        encode(make_scene(number), folder / f"{number}.mp4", timing(4.0, "mp4"), "mp4")
    return [folder / f"{number}.mp4" for number in range(2)]


@pytest.fixture(scope="module")
def loaded():
    vidreason.register()
    vidreason.register()
    return transformers.AutoModel.from_pretrained(BASE), transformers.AutoProcessor.from_pretrained(BASE)


def generated(loaded, prompts, videos, **options):
    """Texts after the prompts, by transformers."""
    model, processor = loaded
    inputs = processor(prompts, videos=videos)
    out = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False, **options)
    return processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_weights_and_buffers_are_ours(loaded):
    model, processor = loaded
    ours = load_checkpoint(BASE)
    assert (type(model), type(processor)) == (AutoTinyLlavaVideo, AutoTinyLlavaProcessor)
    assert not model.training
    for mine, theirs in (
        (ours.state_dict(), model.state_dict()),
        (dict(ours.named_buffers()), dict(model.named_buffers())),
    ):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert model.language_model.lm_head.weight is model.language_model.model.embed_tokens.weight


def test_greedy_generation_is_ours_token_for_token(loaded, clips):
    reasoner = vidreason.load(BASE)
    model, processor = loaded
    for path in clips:
        for text, options in ASKED.items():
            for style in ("reason", "option"):
                reply = reasoner.ask(path, text, options, style, Decoding(LIMIT, 0.0))
                inputs = processor(reply.prompt, videos=path)
                out = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False)[0, inputs["input_ids"].shape[1] :]
                assert processor.decode(out, skip_special_tokens=True).strip() == reply.text
                assert len(out) == reply.completion.tokens


def test_sampled_generation_is_ours_token_for_token(loaded, clips, monkeypatch):
    """With the same random numbers: transformers' processors leave the probabilities that the engine samples from."""
    reasoner = vidreason.load(BASE)
    model, processor = loaded
    drawn = []

    def invert(probabilities, num_samples):
        """The engine's numbers, where transformers draws its own: the first token at which the cumulative distribution is above."""
        assert num_samples == 1
        order = probabilities.sort(dim=-1, descending=True, stable=True)
        above = order.values.double().cumsum(-1) > numbers[0, len(drawn)]
        drawn.append(order.indices.gather(-1, above.int().argmax(-1, keepdim=True)))
        return drawn[-1]

    texts = set()
    for seed in range(4):
        for path, (text, options) in zip(clips, ASKED.items(), strict=True):
            reply = reasoner.ask(path, text, options, "reason", Decoding(LIMIT, 3.0, 5), seed)
            numbers = uniforms([rollout_seed(seed, "ask", text, 0)], LIMIT)
            drawn.clear()
            with monkeypatch.context() as patch:
                patch.setattr(torch, "multinomial", invert)
                inputs = processor(reply.prompt, videos=path)
                sampled = {"do_sample": True, "temperature": 3.0, "top_k": 5}
                out = model.generate(**inputs, max_new_tokens=LIMIT, **sampled)[0, inputs["input_ids"].shape[1] :]
            assert len(drawn) == len(out) == reply.completion.tokens
            assert processor.decode(out, skip_special_tokens=True).strip() == reply.text
            texts.add(reply.text)
    assert len(texts) == 8, "every seed gives another answer"


def test_prompts_of_different_lengths_are_padded_on_the_left(loaded, clips):
    reasoner = vidreason.load(BASE)
    replies = [
        reasoner.ask(path, text, options, "option", Decoding(LIMIT, 0.0))
        for path, (text, options) in zip(clips, ASKED.items(), strict=True)
    ]
    texts = generated(loaded, [reply.prompt for reply in replies], clips)
    assert [text.strip() for text in texts] == [reply.text for reply in replies]


def test_every_auto_class_for_generation_knows_the_model(loaded):
    assert len(auto.MODELS) == 4
    for kind in auto.MODELS:
        assert type(kind.from_pretrained(BASE, dtype=torch.bfloat16)) is AutoTinyLlavaVideo
    assert kind.from_pretrained(BASE, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_gradient_reaches_connector_and_language_model(loaded, clips):
    model, processor = loaded
    inputs = processor("USER: <image>\nwhich? ASSISTANT: A", videos=clips[0])
    model.zero_grad()
    model(
        **inputs, labels=inputs["input_ids"].clamp(min=-100).masked_fill(inputs["input_ids"] < 0, -100)
    ).loss.backward()
    parts = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert {"connector", "language_model"} <= parts
    model.zero_grad()


def test_the_conversation_becomes_the_prompt_of_the_evaluation(loaded):
    _, processor = loaded
    parts = [{"type": "video"}, {"type": "text", "text": "Who?\nA. he"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    assert prompt == micro.model().prompt_text("<image>\nWho?\nA. he")
    plain = processor.apply_chat_template([{"role": "system", "content": "x"}, {"role": "user", "content": "Who?"}])
    assert plain == micro.model().prompt_text("Who?")
    with pytest.raises(ValueError, match=r"2 turns of .*; allowed: one turn of the user"):
        processor.apply_chat_template([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])


def test_the_video_takes_its_positions_and_pixels_are_the_same_from_a_file_and_from_frames(loaded, clips):
    model, processor = loaded
    whole = processor("a <image> b", videos=clips[0])
    assert int((whole["input_ids"] == IMAGE_TOKEN_INDEX).sum()) == model.config.num_queries
    assert whole["pixel_values_videos"].shape == (1, 16, 3, 32, 32)
    frames = vidreason.load(BASE).encode(clips[0]).frames.pixels
    assert torch.equal(processor("<image>", videos=[frames])["pixel_values_videos"], whole["pixel_values_videos"])
    assert "pixel_values_videos" not in processor("no video")
    few = transformers.AutoProcessor.from_pretrained(BASE, frames=4)
    assert few("<image>", videos=str(clips[0]))["pixel_values_videos"].shape[1] == 4


def test_marks_and_videos_that_do_not_fit_are_refused(loaded, clips, tmp_path):
    model, processor = loaded
    with pytest.raises(
        ValueError, match="the texts have 1 marks <image> and there are 0 videos; allowed: one for each"
    ):
        processor("<image> a")
    with pytest.raises(ValueError, match=r"gone.mp4: cannot be used \(missing\): no such file"):
        processor("<image> a", videos=tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match="expected uint8"):
        processor("<image> a", videos=np.zeros((4, 8, 8, 3), np.float32))
    inputs = processor("<image> a", videos=clips[0])
    with pytest.raises(ValueError, match="the ids hold 32 marks of a video and there are 0 videos of 32 positions"):
        model(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="neither input_ids nor inputs_embeds"):
        model()


def test_a_folder_of_another_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(CheckpointError, match="model_type is 'llava'; expected 'tinyllava'"):
        AutoTinyLlavaProcessor.from_pretrained(tmp_path)


def test_what_transformers_saves_is_a_checkpoint_of_ours(loaded, tmp_path):
    """Both ways: someone who tunes the model with other tools can evaluate it here."""
    model, processor = loaded
    model.save_pretrained(tmp_path / "saved")
    processor.tokenizer.save_pretrained(tmp_path / "saved")
    again, ours = load_checkpoint(tmp_path / "saved").state_dict(), load_checkpoint(BASE).state_dict()
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)
