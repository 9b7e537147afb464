"""Supervised fine-tuning: what is taught, who is left out, that it learns, and that it repeats itself."""

import pytest
import torch

from tests.support import micro
from vidreason.artifacts.files import read_json_lines
from vidreason.engine.generation import Decoding, generate
from vidreason.engine.prompts import prompts_of
from vidreason.media.frame_store import FrameStore
from vidreason.models.families import load_checkpoint
from vidreason.records import OK
from vidreason.training.sft import batch_loss, conversation

TARGETS = ("<think> red ball goes left </think> <answer> B </answer>", "<think> two </think> <answer> A </answer>")


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    return micro.checkpoint(tmp_path_factory.mktemp("init") / "checkpoint", spread=0.1, width=32)


@pytest.fixture
def data(tmp_path):
    questions = [
        micro.question(0, "a", "B", "coldstart", target=TARGETS[0]),
        micro.question(1, "b", "A", "coldstart", target=TARGETS[1], text="How many things go somewhere?"),
        micro.question(2, "c", "A", "coldstart", target=TARGETS[1]),
    ]
    return {
        "questions": micro.write_questions(tmp_path / "questions.jsonl", questions),
        "frames": [micro.write_frames(tmp_path / "shard0.parquet", {"a": OK, "b": OK, "c": "truncated"})],
    }


def train(init, data, folder, **changes):
    micro.train("sft", micro.files(folder, init, **data), **changes)
    return read_json_lines(folder / "metrics.jsonl")


class TestWhatIsTaught:
    def test_the_annotation_or_the_letter(self):
        taught = conversation(micro.question(0, target="<think> x </think> <answer> B </answer>"), "reason")
        assert taught[1]["value"] == "<think> x </think> <answer> B </answer>"
        taught = conversation(micro.question(0, answer="C"), "option")
        assert taught[1]["value"] == "C"
        assert taught[0]["value"].startswith("<image>Which colour is the ball?\nOptions:\nA. red")

    def test_the_loss_is_that_of_the_answer_alone(self, init):
        """By hand: no padding, one question after the other, only what follows `ASSISTANT:`."""
        model = load_checkpoint(init)
        tokenizer = model.tokenizer
        batch = [
            micro.question(0, answer="B"),
            micro.question(1, answer="A", options=("red", "blue", "green", "white")),
        ]
        videos = micro.videos(2, width=32)
        with torch.no_grad():
            loss, tokens, _ = batch_loss(model, batch, videos, "option")
            by_hand = []
            for question, video in zip(batch, videos, strict=True):
                (prompt,) = prompts_of(model, [question], "option", training=True)
                reply = tokenizer(f" {question.gold}<|endoftext|>").input_ids
                embeds = model.build_inputs([torch.cat([prompt, torch.tensor(reply)])], video[None]).embeds
                logp = model(embeds).logits[0].log_softmax(-1)
                by_hand += [
                    -float(logp[len(logp) - len(reply) - 1 + place, token]) for place, token in enumerate(reply)
                ]
        assert tokens == len(by_hand) == 4
        assert float(loss) == pytest.approx(sum(by_hand) / 4, abs=1e-5)  # float32, padded against unpadded

    def test_the_vision_tower_stays_as_it_was(self, init, data, tmp_path):
        train(init, data, tmp_path)
        before, after = load_checkpoint(init), load_checkpoint(tmp_path / "checkpoint")
        moved = {}
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
            part = name.split(".")[0]
            moved[part] = moved.get(part, False) or not torch.equal(old, new)
        assert moved == {"language_model": True, "vision_tower": False, "connector": True}


def test_a_question_without_frames_is_left_out_and_counted(init, data, tmp_path):
    rows = train(init, data, tmp_path, epochs=3, batch_size=8)
    assert len(rows) == 3  # the batch shrinks to the two usable questions
    assert all(row["without_frames"] == 1 for row in rows)


def test_without_any_frames_it_is_an_error(init, data, tmp_path):
    data["frames"] = [micro.write_frames(tmp_path / "none.parquet", {"a": "missing", "b": "missing", "c": "missing"})]
    with pytest.raises(ValueError, match=r"questions\.jsonl: none of 3 questions has frames"):
        train(init, data, tmp_path)


def test_the_seed_decides_every_byte(init, data, tmp_path):
    made = {}
    for name, seed in (("once", 0), ("again", 0), ("other", 1)):
        # One question a step: a seed decides their order, which a batch of all of them would not show.
        train(init, data, tmp_path / name, seed=seed, batch_size=1, epochs=4)
        made[name] = (
            micro.weights_of(tmp_path / name / "checkpoint"),
            (tmp_path / name / "metrics.jsonl").read_bytes(),
        )
    assert made["once"] == made["again"]
    assert made["once"][0] != made["other"][0]


def test_every_question_is_seen_once_an_epoch(init, data, tmp_path, monkeypatch):
    seen = []

    def spy(model, batch, videos, answer, clock):
        seen.extend(question.id for question in batch)
        return batch_loss(model, batch, videos, answer, clock)

    monkeypatch.setattr("vidreason.training.sft.batch_loss", spy)
    train(init, data, tmp_path, batch_size=1, epochs=3)
    assert [sorted(seen[place : place + 2]) for place in (0, 2, 4)] == [["q0", "q1"]] * 3


def test_it_learns_two_examples_by_heart(init, data, tmp_path):
    rows = train(init, data, tmp_path, epochs=60, learning_rate=1e-2)
    assert rows[-1]["loss"] < 0.02 < 1 < rows[0]["loss"]
    model = load_checkpoint(tmp_path / "checkpoint")
    tokenizer = model.tokenizer
    store = FrameStore(data["frames"])
    questions = [micro.question(0, "a"), micro.question(1, "b", text="How many things go somewhere?")]
    with torch.no_grad():
        videos = micro.shown(model, store, questions)
    prompts = prompts_of(model, questions, "reason", training=True)
    answers = generate(model, prompts, videos, Decoding(20, 0.0), tokenizer.eos_token_id)
    assert answers.texts(tokenizer) == list(TARGETS)
    assert answers.finished.all()


def test_recomputing_changes_nothing_but_memory(init, data, tmp_path):
    rows = [train(init, data, tmp_path / str(wanted), gradient_checkpointing=wanted) for wanted in (False, True)]
    assert rows[0] == rows[1]
    assert micro.weights_of(tmp_path / "False" / "checkpoint") == micro.weights_of(tmp_path / "True" / "checkpoint")


def test_bf16_computes_in_bf16_and_keeps_float32_weights(init, data, tmp_path):
    """A step of 1e-6 would be lost on weights in bf16."""
    train(init, data, tmp_path, precision="bf16", learning_rate=1e-6, epochs=1)
    before, after = load_checkpoint(init), load_checkpoint(tmp_path / "checkpoint")
    steps = [
        float((new - old).detach().abs().median())
        for old, new in zip(before.connector.parameters(), after.connector.parameters(), strict=True)
    ]
    assert all(step < 1.1e-6 for step in steps)
    assert sum(step > 0 for step in steps) > len(steps) / 2


def test_parts_of_a_step_add_up_to_the_whole(init, data, tmp_path):
    """Answers of different lengths, so that a mean of the parts' means would be another loss."""
    first = [train(init, data, tmp_path / str(size), micro_batch=size)[0] for size in (None, 1)]
    assert first[1]["tokens"] == first[0]["tokens"]
    for key in ("loss", "grad_norm"):
        assert first[1][key] == pytest.approx(first[0][key], rel=1e-5)
