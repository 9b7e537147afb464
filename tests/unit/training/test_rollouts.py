"""The rollouts of a step: shuffled ones, fresh questions, several updates, the limit, own rewards, and what is logged."""

import copy
import dataclasses
import os
import signal
import types

import numpy as np
import pytest
import torch

from tests.support import micro
from vidreason.artifacts.files import read_json_lines
from vidreason.engine.generation import generate, rollout_seed
from vidreason.media.frame_store import FrameStore
from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.records import IMAGE, OK, WELL_FORMED, ClipRef, Grade
from vidreason.rl.objectives import OBJECTIVES
from vidreason.rl.rewards import RewardFunction, RewardTable
from vidreason.training import rollouts
from vidreason.training.distributed import Ranks
from vidreason.training.grpo import GrpoTrainer, Policies
from vidreason.training.sampler import EpochSampler
from vidreason.training.stop import Stopped
from vidreason.training.trainer import Job

CLIPS = dict.fromkeys("abcdefgh", OK)
TEMPORAL = {
    "combine": "sum",
    "penalize_wrong": True,
    "terms": {"accuracy": {}, "format": {"weight": 0.25}, "temporal": {"weight": 0.3}},
}


class StoppedError(Exception):
    """Stands for a killed process."""


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    return micro.checkpoint(tmp_path_factory.mktemp("init") / "checkpoint")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FrameStore([micro.write_frames(tmp_path_factory.mktemp("frames") / "shard0.parquet", CLIPS)])


QUESTIONS = [micro.question(number, clip, "ABC"[number % 3]) for number, clip in enumerate(CLIPS)]


@pytest.fixture
def trainer(init, store):
    """Make a trainer of fresh weights with changed settings."""

    def make(**changes):
        policy = load_checkpoint(init)
        policy.freeze_vision()
        reference = load_checkpoint(init).requires_grad_(False)
        return GrpoTrainer(*micro.training("grpo", **changes), Policies(policy, reference), store)

    return make


@pytest.fixture
def graded(monkeypatch):
    """Grades that the answers of a random model differ in."""

    def grade(text, question, rule, style):
        right = sum(map(ord, text)) % 3 == 0
        return Grade(float(right), right, parts={WELL_FORMED: float(len(text) % 2)})

    monkeypatch.setattr(rollouts, "grade", grade)


@pytest.fixture
def letters(monkeypatch):
    monkeypatch.setattr(RewardFunction, "__call__", micro.even_letters)


@pytest.fixture
def uniform_where_even(monkeypatch):
    monkeypatch.setattr(RewardFunction, "__call__", micro.letters_of_odd_questions)


def run_step(trainer, questions, number=0, fresh=None):
    """Gradients by name, loss and row of a step with one update."""
    ((loss, row),) = trainer.step(
        number, questions, lambda part, last: part.backward(), *([] if fresh is None else [fresh])
    )
    return {name: p.grad for name, p in trainer.policy.named_parameters() if p.grad is not None}, loss, row


def sampled(trainer, questions, step=0, fresh=lambda _: ()):
    return trainer.sampler.sample(step, questions, fresh)


@pytest.mark.parametrize(("style", "right"), [("option", True), ("reason", False)])
def test_an_answer_alone_is_read_as_one_where_the_prompt_asks_for_it(trainer, monkeypatch, style, right):
    """Selection and evaluation read it so, too."""
    made = trainer().sampler
    monkeypatch.setattr(made, "spec", made.spec.model_copy(update={"style": style}))
    monkeypatch.setattr(made.reward, "rule", "tagged")
    question = dataclasses.replace(QUESTIONS[0], gold="A")
    completions = types.SimpleNamespace(
        texts=lambda tokenizer: ["A"], lengths=torch.tensor([1]), finished=torch.tensor([True])
    )
    assert [one.correct for one in made.graded(question, completions).grades] == [right]


class TestShuffled:
    def test_all_see_one_order_of_the_frames_that_seed_step_and_question_name(self, trainer, store):
        made = trainer(shuffled=2).sampler
        frames = store.pixels("a.mp4")
        orders = set()
        for step in range(20):
            pixels = made._shuffled(step, QUESTIONS[0])
            assert np.array_equal(pixels, made._shuffled(step, QUESTIONS[0]))
            order = tuple(int(np.argmax([np.array_equal(frame, one) for one in frames])) for frame in pixels)
            assert sorted(order) == list(range(len(frames)))
            orders.add(order)
        assert len(orders) > 5
        other = [made._shuffled(step, dataclasses.replace(QUESTIONS[0], id="q77")) for step in range(20)]
        assert any(not np.array_equal(one, made._shuffled(step, QUESTIONS[0])) for step, one in enumerate(other))
        other = [trainer(shuffled=2, seed=1).sampler._shuffled(step, QUESTIONS[0]) for step in range(20)]
        assert any(not np.array_equal(one, made._shuffled(step, QUESTIONS[0])) for step, one in enumerate(other))

    def test_its_rollouts_are_those_of_a_model_that_sees_the_frames_in_this_order(self, trainer):
        """Made again from the frames, prompt by prompt, without the trainer's batches."""
        made = trainer(shuffled=3)
        found = sampled(made, QUESTIONS[:2], step=5).groups
        for group, question in zip(found, QUESTIONS[:2], strict=True):
            pixels = torch.from_numpy(made.sampler._shuffled(5, question))[None]
            videos = made.policy.connect(made.policy.encode(pixels))
            seeds = [rollout_seed(0, "grpo shuffled", 5, question.id, number) for number in range(3)]
            (prompt,) = made.sampler.prompts([question])
            again = generate(made.policy, [prompt], videos, made.sampler.decoding, made.policy.end_id, 3, seeds)
            contrast = group.group.contrast
            assert [one.text for one in contrast.completions] == again.texts(made.policy.tokenizer)
            assert (contrast.view, len(contrast.grades)) == ("shuffled", 3)
            assert (group.group.view, len(group.group.completions), group.cost) == ("ordered", 4, 7)

    def test_each_question_is_encoded_once_more_and_its_prompt_prefilled_once(self, trainer, monkeypatch):
        sizes, groups = [], []
        encode, sample = TinyLlavaVideo.encode_frames, rollouts.generate
        monkeypatch.setattr(
            TinyLlavaVideo, "encode_frames", lambda model, pixels: sizes.append(len(pixels)) or encode(model, pixels)
        )
        monkeypatch.setattr(rollouts, "generate", lambda *args: groups.append((len(args[1]), args[5])) or sample(*args))
        sampled(trainer(shuffled=2), QUESTIONS[:3])
        assert sizes == [3, 3]
        assert groups == [(3, 4), (3, 2)]  # prompts, and rollouts of each prefill

    @pytest.mark.usefixtures("letters")
    def test_they_are_never_learned_from(self, trainer):
        """Where no term compares with them, the same gradient to the last bit."""
        without, loss, row = run_step(trainer(), QUESTIONS[:2])
        beside, other, other_row = run_step(trainer(shuffled=3), QUESTIONS[:2])
        assert other == loss
        assert all(torch.equal(gradient, beside[name]) for name, gradient in without.items())
        assert (row["rollouts"], other_row["rollouts"]) == (8, 14)

    @pytest.mark.usefixtures("graded")
    def test_the_bonus_changes_rewards_only_where_it_should(self, trainer):
        changes = {"shuffled": 2, "rollouts": 6, "rewards": TEMPORAL}
        groups = sampled(trainer(**changes), QUESTIONS).groups
        plain = copy.deepcopy(TEMPORAL)
        del plain["terms"]["temporal"]
        others = sampled(trainer(**changes | {"rewards": plain}), QUESTIONS).groups
        fired = 0
        for group, other in zip(groups, others, strict=True):
            right = np.array([grade.value for grade in group.group.grades])
            contrast = np.mean([grade.value for grade in group.group.contrast.grades])
            helped = right.mean() >= contrast
            bonus = 0.3 * (right > 0.1) * helped
            assert np.allclose(group.rewards.total - other.rewards.total, bonus, atol=1e-12)
            fired += bool(bonus.any())
        assert 0 < fired < len(groups)
        _, _, row = run_step(trainer(**changes), QUESTIONS)
        assert row["temporal_fired"] == fired / len(groups)
        assert row["rollouts"] == 8 * len(groups)
        uniform = [len({grade.value for grade in group.group.grades}) == 1 for group in groups]
        assert row["accuracy_zero_variance"] == sum(uniform) / len(groups)

    @pytest.mark.usefixtures("graded")
    def test_a_picture_has_none(self, trainer):
        picture = dataclasses.replace(QUESTIONS[1], clip=ClipRef("b.mp4", IMAGE))
        made = trainer(shuffled=2, rewards=TEMPORAL)
        groups = sampled(made, [QUESTIONS[0], picture, QUESTIONS[2]]).groups
        assert [group.group.contrast is None for group in groups] == [False, True, False]
        assert not groups[1].rewards.columns["temporal"].any()
        _, _, row = run_step(made, [QUESTIONS[0], picture])
        assert row["rollouts"] == 4 + 4 + 2
        _, _, row = run_step(trainer(shuffled=2, rewards=TEMPORAL), [picture])
        assert "temporal_fired" not in row

    @pytest.mark.usefixtures("graded")
    def test_questions_sampled_one_at_a_time_get_the_same(self, trainer):
        groups, single = (sampled(trainer(shuffled=2, rollout_batch=size), QUESTIONS[:3]).groups for size in (None, 1))
        assert [group.group for group in groups] == [group.group for group in single]


class TestResampling:
    """Groups of questions with an even number have no variance."""

    @pytest.fixture(autouse=True)
    def rewards(self, uniform_where_even):
        pass

    def test_a_group_without_variance_is_replaced_by_its_own_fresh_question(self, trainer):
        made = trainer(resample=2)
        rounds = [[QUESTIONS[1], QUESTIONS[4], QUESTIONS[5]], [QUESTIONS[7], QUESTIONS[3], None]]
        found = sampled(made, [QUESTIONS[0], QUESTIONS[2], QUESTIONS[6]], fresh=lambda turn: rounds[turn])
        # Slot 0 takes 1; slot 1 tries 4 in vain and takes 3; slot 2 takes 5.
        assert [group.question.id for group in found.groups] == ["q1", "q3", "q5"]
        assert (found.replaced, found.sampled) == (3, 4 * (3 + 3 + 1))
        assert all(group.has_variance for group in found.groups)
        assert {group.question.clip.key for group in found.groups} <= set(found.features)

    def test_what_no_round_replaces_stays(self, trainer):
        made = trainer(resample=1)
        found = sampled(made, [QUESTIONS[0], QUESTIONS[1]], fresh=lambda _: [QUESTIONS[2], QUESTIONS[3]])
        assert [group.question.id for group in found.groups] == ["q0", "q1"]
        assert (found.replaced, found.sampled) == (0, 4 * 3)

    def test_nothing_is_sampled_again_where_all_groups_have_variance(self, trainer):
        found = sampled(trainer(resample=3), [QUESTIONS[1], QUESTIONS[3]], fresh=lambda _: [QUESTIONS[5]] * 2)
        assert found.sampled == 8

    def test_without_a_round_nothing_is_replaced(self, trainer):
        found = sampled(trainer(resample=0), [QUESTIONS[0]], fresh=lambda _: pytest.fail("asked for a fresh question"))
        assert [group.question.id for group in found.groups] == ["q0"]

    def test_a_fresh_group_is_the_one_that_its_question_gets_anyway(self, trainer):
        found = sampled(trainer(resample=1), [QUESTIONS[0]], fresh=lambda _: [QUESTIONS[3]])
        assert found.groups[0].group == sampled(trainer(), [QUESTIONS[3]]).groups[0].group

    def test_a_process_with_nothing_to_replace_takes_part(self, trainer, monkeypatch):
        """Under ZeRO-3 the others would wait for it forever."""
        entered = []
        monkeypatch.setattr(Ranks, "gather", lambda self, value: [value, True])
        gathered = rollouts.gathered_weights
        monkeypatch.setattr(rollouts, "gathered_weights", lambda model: entered.append(1) or gathered(model))
        found = sampled(trainer(resample=2), [QUESTIONS[1]], fresh=lambda _: [QUESTIONS[2]])
        assert (found.sampled, len(entered)) == (4, 3)

    def test_it_is_logged(self, trainer):
        _, _, row = run_step(
            trainer(resample=1), [QUESTIONS[0], QUESTIONS[2]], fresh=lambda _: [QUESTIONS[1], QUESTIONS[4]]
        )
        assert (row["resampled"], row["zero_variance"], row["rollouts"]) == (0.5, 0.5, 16)


class TestFresh:
    @pytest.fixture
    def data(self, tmp_path, store):
        path = micro.write_questions(tmp_path / "questions.jsonl", QUESTIONS)
        return lambda size: EpochSampler(path, store, size, (0, 1), lambda question: question.id != "q7")

    def test_each_other_question_comes_once(self, data):
        made = data(2)
        own = {question.id for question in made.batch(3)}
        rounds = [made.fresh(3, number) for number in range(4)]
        names = [question.id for turn in rounds for question in turn if question is not None]
        assert sorted([*names, *own]) == [f"q{number}" for number in range(7)]
        assert [len(turn) for turn in rounds] == [2, 2, 2, 2]
        assert rounds[2][1] is None  # five others, two a round
        assert rounds[3] == [None, None]

    def test_another_step_has_another_order(self, data):
        made = data(1)
        orders = {tuple(made.fresh(step, number)[0].id for number in range(6)) for step in range(5)}
        assert len(orders) == 5
        assert made.fresh(2, 1) == data(1).fresh(2, 1)


@pytest.fixture
def files(tmp_path, init):
    """What a training reads and writes, by the name of its folder."""
    questions = micro.write_questions(tmp_path / "questions.jsonl", QUESTIONS)
    held_out = micro.write_questions(tmp_path / "validation.jsonl", [micro.question(9, "h")])
    frames = [micro.write_frames(tmp_path / "shard0.parquet", CLIPS)]
    return lambda name: micro.files(tmp_path / name, init, questions, frames, held_out)


def rows_of(made):
    return [row for row in read_json_lines(made.metrics) if row["kind"] == "train"]


class OneOfTwo(Ranks):
    """A process that is told the means over itself and another one."""

    def __init__(self, **means):
        super().__init__()
        object.__setattr__(self, "means", means)

    def mean(self, row, weight=1.0):
        return {key: self.means.get(key, value) for key, value in row.items()}


class TestUpdates:
    @pytest.mark.usefixtures("letters")
    def test_later_updates_compare_with_the_policy_that_sampled(self, trainer):
        """Their losses, computed here from the log-probabilities before and after the weights have moved."""
        made = trainer(updates=3, beta=0.0, advantage_noise=0.0, micro_batch=1)
        groups = made._groups(0, sampled(made, QUESTIONS[:2]).groups)
        scores, calls = [], made._scores
        made._scores = lambda *args: scores.append(calls(*args)) or scores[-1]
        steps = made.step(0, QUESTIONS[:2], lambda part, last: None)
        first, row = next(steps)
        assert (first, row["clip_fraction"]) == (pytest.approx(0.0, abs=1e-6), 0.0)
        for update in (1, 2):
            with torch.no_grad():
                for number, weight in enumerate(made.policy.language_model.parameters()):
                    draw = torch.Generator().manual_seed(100 * update + number)
                    weight.add_(0.03 * torch.randn(weight.shape, generator=draw))
            found, row = next(steps)
            wanted, clipped, tokens = 0.0, 0, 0
            for part, group in enumerate(groups):
                before, now = scores[part].log_probs.detach(), scores[2 * update + part].log_probs.detach()
                lengths = group.completions.lengths.tolist()
                for place, (length, advantage) in enumerate(zip(lengths, group.advantages, strict=True)):
                    ratio = (now[place, :length] - before[place, :length]).exp()
                    least = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
                    wanted -= float(least.mean()) / 8
                    clipped, tokens = clipped + int((least != ratio * advantage).sum()), tokens + length
            assert found == pytest.approx(wanted, rel=1e-4)
            assert row["clip_fraction"] == pytest.approx(clipped / tokens)
            assert clipped > 0
        assert next(steps, None) is None

    @pytest.mark.usefixtures("letters")
    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_parts_of_a_later_update_add_up_to_the_whole(self, trainer, name):
        """However few questions a gradient is computed for at a time, ratios that are clipped included."""
        made = []
        for size in (None, 1, 2):
            one = trainer(updates=2, objective=name, entropy=0.1, micro_batch=size)
            steps = one.step(0, QUESTIONS[:3], lambda part, last: part.backward())
            next(steps)
            one.policy.zero_grad()
            with torch.no_grad():
                for number, weight in enumerate(one.policy.language_model.parameters()):
                    weight.add_(0.03 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
            loss, row = next(steps)
            made.append((loss, row, {n: p.grad for n, p in one.policy.named_parameters() if p.grad is not None}))
        loss, row, whole = made[0]
        assert row["clip_fraction"] > 0 or name == "cispo"  # whose ratio may reach 5
        assert row["kl"] > 0
        for part_loss, part_row, gradients in made[1:]:
            assert part_loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
            for key in ("clip_fraction", "kl", "entropy"):
                assert part_row[key] == pytest.approx(row[key], rel=1e-5, abs=1e-6), key
            for key, gradient in whole.items():
                # Float32 in another order.
                assert float((gradient - gradients[key]).norm()) <= 1e-4 * float(gradient.norm()), key

    @pytest.mark.usefixtures("letters")
    def test_a_mean_over_tokens_is_over_those_of_all_processes(self, trainer, monkeypatch):
        """Two processes with a question each and answers of other lengths: their mean gradient is that of one process."""
        generate = rollouts.generate

        def cut(*args):
            made = generate(*args)
            return dataclasses.replace(made, lengths=1 + made.ids.sum(dim=1) % made.lengths)

        monkeypatch.setattr(rollouts, "generate", cut)
        found, tokens = [], []
        for questions in (QUESTIONS[:2], QUESTIONS[:1], QUESTIONS[1:2]):
            made = trainer(objective="dapo", entropy=0.1)
            if tokens:  # one of two processes
                made.ranks = OneOfTwo(tokens=tokens[0] / 2, completions=4.0)
            lengths = sampled(made, questions)
            tokens.append(sum(int(one.completions.lengths.sum()) for one in lengths.groups))
            for loss, _ in made.step(0, questions, lambda part, last: part.backward()):
                gradients = {n: p.grad for n, p in made.policy.named_parameters() if p.grad is not None}
                found.append((loss, gradients))
        assert tokens[1] != tokens[2]
        (loss, whole), *parts = found
        assert sum(one for one, _ in parts) / 2 == pytest.approx(loss, abs=1e-6)
        for name, gradient in whole.items():
            mean = sum(one[name] for _, one in parts) / 2
            assert float((gradient - mean).norm()) <= 1e-4 * float(gradient.norm()), name

    @pytest.mark.usefixtures("letters")
    def test_weights_that_have_not_moved_give_the_same_gradient_again(self, trainer):
        made, gradients = trainer(updates=2), []
        for _ in made.step(0, QUESTIONS[:2], lambda part, last: part.backward()):
            gradients.append({n: p.grad.clone() for n, p in made.policy.named_parameters() if p.grad is not None})
            made.policy.zero_grad()
        assert len(gradients) == 2
        assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())

    @pytest.mark.usefixtures("letters")
    def test_a_row_is_the_mean_of_its_updates(self, files):
        made = files("two")
        micro.train("grpo", made, updates=2, learning_rate=0.05, schedule="cosine")
        rows = rows_of(made)
        assert [row["step"] for row in rows] == [0, 1, 2, 3]
        assert all(row["rollouts"] == 8 for row in rows)
        assert rows[0]["clip_fraction"] > 0
        rates = [0.05 * 0.5 * (1 + np.cos(np.pi * update / 8)) for update in range(8)]
        assert [row["lr"] for row in rows] == pytest.approx(np.mean(np.reshape(rates, (4, 2)), axis=1))


class TestResume:
    CHANGES = {  # noqa: RUF012
        "updates": 2, "resample": 2, "shuffled": 2, "epochs": 3, "save_every": 2, "rollout_limit": 170,
        "schedule": "cosine", "validate_every": 3,
    }  # fmt: skip

    @pytest.mark.usefixtures("uniform_where_even")
    @pytest.mark.parametrize("stop_at", [1, 3, 5])
    def test_a_stopped_run_ends_as_an_undisturbed_one(self, files, monkeypatch, stop_at):
        whole, cut = files("whole"), files("cut")
        micro.train("grpo", whole, **self.CHANGES)
        sample = rollouts.RolloutSampler.sample

        def stop(sampler, step, *others):
            if step == stop_at:
                raise StoppedError
            return sample(sampler, step, *others)

        with monkeypatch.context() as patch:
            patch.setattr(rollouts.RolloutSampler, "sample", stop)
            with pytest.raises(StoppedError):
                micro.train("grpo", cut, **self.CHANGES)
        assert not cut.checkpoint.exists()
        micro.train("grpo", cut, **self.CHANGES)
        assert micro.weights_of(cut.checkpoint) == micro.weights_of(whole.checkpoint)
        assert cut.metrics.read_bytes() == whole.metrics.read_bytes()
        rows = rows_of(whole)
        assert sum(row["resampled"] for row in rows) > 0
        total = sum(row["rollouts"] for row in rows)
        assert total - rows[-1]["rollouts"] < 170 <= total
        assert stop_at < len(rows) < 12

    @pytest.mark.usefixtures("uniform_where_even")
    @pytest.mark.parametrize("update", [0, 1])
    def test_between_updates_nothing_is_saved(self, files, monkeypatch, update):
        """Killed in an update of a step, a training resumes before the step."""
        changes = self.CHANGES | {"save_every": 1}
        whole, cut = files("whole"), files("cut")
        micro.train("grpo", whole, **changes)
        learn, calls = GrpoTrainer._learn, []

        def stop(trainer, *args):
            calls.append(1)
            if len(calls) == 2 * 2 + update + 1:
                raise StoppedError
            return learn(trainer, *args)

        with monkeypatch.context() as patch:
            patch.setattr(GrpoTrainer, "_learn", stop)
            with pytest.raises(StoppedError):
                micro.train("grpo", cut, **changes)
        assert max(path.name for path in cut.state.glob("step*")) == "step00000002"
        micro.train("grpo", cut, **changes)
        assert micro.weights_of(cut.checkpoint) == micro.weights_of(whole.checkpoint)
        assert cut.metrics.read_bytes() == whole.metrics.read_bytes()

    @pytest.mark.usefixtures("uniform_where_even")
    @pytest.mark.parametrize("moment", ["in a round", "in an update"])
    def test_a_signal_ends_the_step_first(self, files, monkeypatch, moment):
        """Sent while groups are replaced, or between the updates of a step: the state is that after the step."""
        whole, cut = files("whole"), files("cut")
        micro.train("grpo", whole, **self.CHANGES)
        holder, name = (rollouts.RolloutSampler, "_round") if moment == "in a round" else (GrpoTrainer, "_learn")
        step, calls = getattr(holder, name), []

        def signalled(*args):
            calls.append(1)
            if len(calls) == 4:  # a step samples once and in at least one round more, and learns twice
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*args)

        with monkeypatch.context() as patch:
            patch.setattr(holder, name, signalled)
            with pytest.raises(Stopped):
                micro.train("grpo", cut, **self.CHANGES)
        (state,) = cut.state.glob("step*")
        assert state.name in ("step00000001", "step00000002")
        micro.train("grpo", cut, **self.CHANGES)
        assert micro.weights_of(cut.checkpoint) == micro.weights_of(whole.checkpoint)
        assert cut.metrics.read_bytes() == whole.metrics.read_bytes()


class TestLimit:
    @pytest.mark.usefixtures("letters")
    @pytest.mark.parametrize(("limit", "steps"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3), (1000, 4)])
    def test_a_training_ends_after_the_step_that_reaches_it(self, files, limit, steps):
        made = files("limited")
        micro.train("grpo", made, rollout_limit=limit)
        rows = read_json_lines(made.metrics)
        assert [row["kind"] for row in rows] == ["train"] * steps + ["validation"]
        assert rows[-1]["step"] == steps
        assert made.checkpoint.is_dir()

    def test_the_schedule_ends_where_the_training_does(self, tmp_path):
        settings = micro.optimizer(schedule="cosine", learning_rate=1.0)
        job = Job("grpo", 10, settings, micro.runtime(), tmp_path, tmp_path, {}, rollout_limit=80)
        free = dataclasses.replace(job, rollout_limit=None)
        # Eight rollouts a step are what the number of steps was planned with.
        assert [job.rate(step, 0, 8 * step) for step in range(10)] == [free.rate(step, 0, 0) for step in range(10)]
        # Sixteen a step, half of them for replaced groups: five steps.
        assert [job.rate(step, 0, 16 * step) for step in range(5)] == [free.rate(2 * step, 0, 0) for step in range(5)]
        assert [job.is_over(5, count) for count in (79, 80, 95)] == [False, True, True]
        assert (job.is_over(10, 0), free.is_over(9, 10**6)) == (True, False)


@pytest.mark.parametrize("limit", [0, 2])
def test_a_function_that_validation_cannot_use_fails_in_the_first_step(trainer, tmp_path, limit):
    """The example divides by the number of other answers, of which a group of validation has none."""
    file = tmp_path / "spread.py"
    file.write_text("def spread(group):\n    return [1 / (len(group.completions) - 1) for _ in group.completions]\n")
    functions = {"spread": {"file": str(file), "function": "spread"}}
    made = trainer(rewards={**micro.GRPO["rewards"], "functions": functions}, validation_limit=limit)
    if not limit:
        assert run_step(made, QUESTIONS[:2])[2]["spread"] == pytest.approx(1 / 3)
        return
    with pytest.raises(
        ValueError, match=r"'spread' .*: ZeroDivisionError: .*\. Validation rewards groups of one answer"
    ):
        run_step(made, QUESTIONS[:2])


def test_the_reading_is_the_protocols_or_the_configured_one(trainer):
    assert trainer(protocol="paper").sampler.reward.rule == "tagged"
    assert trainer(protocol="upstream").sampler.reward.rule == "anywhere"
    rewards = {**micro.GRPO["rewards"], "reading": "video_r1"}
    assert trainer(protocol="paper", rewards=rewards).sampler.reward.rule == "video_r1"


def test_parts_of_a_table_of_rewards_join_to_it():
    table = RewardTable({"one": np.arange(6.0)}, 2 * np.arange(6.0))
    parts = table.split(2)
    assert [part.total.tolist() for part in parts] == [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]]
    joined = RewardTable.joined(parts)
    assert (joined.total.tolist(), joined.columns["one"].tolist()) == (table.total.tolist(), list(range(6)))
