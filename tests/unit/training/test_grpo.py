"""GRPO: repeats itself, treats groups rightly, resumes, and makes rewards grow."""

import numpy as np
import pytest
import torch

from tests.support import micro
from vidreason.artifacts.files import read_json_lines
from vidreason.config.settings import NO_VARIANCE
from vidreason.engine.generation import Decoding
from vidreason.media.frame_store import FrameStore
from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.records import OK
from vidreason.rl import terms
from vidreason.rl.objectives import OBJECTIVES
from vidreason.rl.rewards import RewardFunction, RewardTable
from vidreason.training import grpo
from vidreason.training.grpo import GrpoTrainer, Policies
from vidreason.training.reference import bf16_copy, reference_of, sync_from

CLIPS = {"a": OK, "b": OK, "c": OK, "d": OK, "broken": "truncated", "v": OK}


class StoppedError(Exception):
    """Stands for a killed process."""


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    return micro.checkpoint(tmp_path_factory.mktemp("init") / "checkpoint")


@pytest.fixture
def data(tmp_path):
    questions = [micro.question(n, clip, "ABC"[n % 3]) for n, clip in enumerate(("a", "b", "c", "d", "broken"))]
    return {
        "questions": micro.write_questions(tmp_path / "questions.jsonl", questions),
        "validation": micro.write_questions(tmp_path / "validation.jsonl", [micro.question(9, "v")]),
        "frames": [micro.write_frames(tmp_path / "shard0.parquet", CLIPS)],
    }


def train(init, data, folder, **changes):
    micro.train("grpo", micro.files(folder, init, **data), **changes)
    return read_json_lines(folder / "metrics.jsonl")


def bytes_of(folder):
    lines = [(folder / name).read_bytes() for name in ("metrics.jsonl", "rollouts.jsonl")]
    return micro.weights_of(folder / "checkpoint"), *lines


@pytest.fixture
def graded(monkeypatch):
    """Rewards that the answers of a random model differ in."""
    monkeypatch.setattr(RewardFunction, "__call__", micro.even_letters)


@pytest.mark.usefixtures("graded")
class TestReproducible:
    def test_the_same_seed_gives_the_same_bytes(self, init, data, tmp_path):
        for name in ("once", "again"):
            train(init, data, tmp_path / name, epochs=2)
        assert bytes_of(tmp_path / "once") == bytes_of(tmp_path / "again")

    @pytest.mark.parametrize("size", [1, 3])
    def test_any_number_of_questions_sampled_together_gives_the_same_bytes(self, init, data, tmp_path, size):
        for name, batch in (("all", None), ("some", size)):
            train(init, data, tmp_path / name, epochs=3, batch_size=4, rollout_batch=batch)
        assert bytes_of(tmp_path / "all") == bytes_of(tmp_path / "some")

    def test_another_seed_gives_others(self, init, data, tmp_path):
        for seed in (0, 1):
            train(init, data, tmp_path / str(seed), seed=seed)
        assert bytes_of(tmp_path / "0")[0] != bytes_of(tmp_path / "1")[0]

    def test_a_stopped_run_ends_as_an_undisturbed_one(self, init, data, tmp_path, monkeypatch):
        train(init, data, tmp_path / "whole", epochs=2, save_every=1, validate_every=2)

        take_step = GrpoTrainer.step

        def stop(trainer, step, *others):
            if step == 3:
                raise StoppedError
            return take_step(trainer, step, *others)

        monkeypatch.setattr(GrpoTrainer, "step", stop)
        with pytest.raises(StoppedError):
            train(init, data, tmp_path / "cut", epochs=2, save_every=1, validate_every=2)
        monkeypatch.setattr(GrpoTrainer, "step", take_step)
        assert not (tmp_path / "cut" / "checkpoint").exists()
        train(init, data, tmp_path / "cut", epochs=2, save_every=1, validate_every=2)
        assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


class TestRows:
    def test_a_question_without_frames_is_left_out_and_counted(self, init, data, tmp_path):
        rows = train(init, data, tmp_path)
        train_rows = [row for row in rows if row["kind"] == "train"]
        assert len(train_rows) == 2  # four usable questions, two a step
        assert all(row["without_frames"] == 1 for row in train_rows)

    def test_a_question_longer_than_the_context_is_left_out_and_counted(self, init, data, tmp_path):
        long = micro.question(7, "a", text="Which colour is the ball? " * 100)
        questions = [micro.question(0, "a"), long, micro.question(1, "b")]
        data["questions"] = micro.write_questions(tmp_path / "questions.jsonl", questions)
        data["validation"] = micro.write_questions(tmp_path / "validation.jsonl", [long])
        rows = train(init, data, tmp_path)
        assert [(row["kind"], row["too_long"], row["without_frames"]) for row in rows] == [("train", 1, 0)]

    @pytest.mark.usefixtures("graded")
    def test_half_precision_computes_both_policies_alike(self, init, data, tmp_path):
        rows = [row for row in train(init, data, tmp_path, precision="bf16") if row["kind"] == "train"]
        assert rows[0]["kl"] == 0.0
        assert all(np.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
        assert {p.dtype for p in load_checkpoint(tmp_path / "checkpoint").parameters()} == {torch.float32}

    def test_held_out_questions_are_answered_greedily(self, init, data, tmp_path):
        rows = train(init, data, tmp_path, epochs=2, validate_every=2)
        validations = [row for row in rows if row["kind"] == "validation"]
        assert [row["step"] for row in validations] == [2, 4]
        assert {"accuracy", "format", "reward", "think_characters", "tokens", "finished"} <= set(validations[0])

    def test_the_columns_of_the_metrics(self, init, data, tmp_path):
        rows = train(init, data, tmp_path)
        named = {name for row in rows for name in row if not name.endswith(NO_VARIANCE)}
        assert named <= {*terms.RESERVED, "accuracy", "format", "think_length"}
        own = ["reward", "accuracy", "format", "think_characters", "tokens", "finished", "think_length"]
        uniform = ["accuracy_zero_variance", "format_zero_variance", "think_length_zero_variance"]
        losses = ["kl", "clip_fraction", "entropy", "zero_variance", "rollouts"]
        further = [*uniform, *losses, "without_frames", "too_long", "grad_norm", "lr"]
        assert list(rows[0]) == ["kind", "step", "loss", *own, *further]
        assert list(rows[-1]) == ["kind", "step", *own, "left_out"]

    def test_another_term_has_a_column_of_its_own(self, init, data, tmp_path, monkeypatch):
        lengths = {"brief": lambda tokens: lambda group: [float(one.tokens < tokens) for one in group.completions]}
        monkeypatch.setattr(terms, "_factories", {**terms.factories(), **lengths})
        settings = {"combine": "sum", "penalize_wrong": True, "terms": {"brief": {"tokens": 6}}}
        rows = train(init, data, tmp_path, rewards=settings)
        assert list(rows[0])[3:10] == [*list(rows[-1])[2:8], "brief"]
        assert all(row["brief"] == row["reward"] for row in rows)

    def test_no_validation_when_none_is_asked_for(self, init, data, tmp_path):
        rows = train(init, data, tmp_path, validation_limit=0)
        assert {row["kind"] for row in rows} == {"train"}

    def test_without_any_frames_it_is_an_error(self, init, data, tmp_path):
        data["questions"] = micro.write_questions(tmp_path / "broken.jsonl", [micro.question(1, "broken")])
        with pytest.raises(ValueError, match="none of 1 questions has frames"):
            train(init, data, tmp_path)


class TestStep:
    """One step, looked at from inside."""

    @pytest.fixture
    def step(self, init, data):
        """Run one step with given rewards -> gradients by name, and what was logged."""
        store = FrameStore(data["frames"])
        questions = [micro.question(n, clip, "ABC"[n % 3]) for n, clip in enumerate("abcd")]

        def run(rewards, batch=(0, 1), number=0, **changes):
            policy = load_checkpoint(init)
            policy.freeze_vision()
            reference = load_checkpoint(init).requires_grad_(False)
            trainer = GrpoTrainer(*micro.training("grpo", **changes), Policies(policy, reference), store)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(RewardFunction, "__call__", lambda self, groups: RewardTable({}, np.array(rewards)))
                ((loss, row),) = trainer.step(number, [questions[n] for n in batch], lambda part, last: part.backward())
            return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}, row, loss

        return run

    mixed = (1.0, 0.0, 0.5, 0.0, -1.0, 2.0, 0.0, 0.0)

    def test_a_group_without_variance_pushes_nowhere(self, step):
        """Neither as not-a-number nor as rounding error divided by 1e-4; without noise nothing is left."""
        gradients, row, loss = step([0.7] * 8, advantage_noise=0.0)
        assert row["zero_variance"] == 1.0
        assert loss == pytest.approx(0.0, abs=1e-5)  # float32: the mean of 0.7s is not quite 0.7
        strong, strong_row, _ = step(self.mixed, advantage_noise=0.0)
        assert strong_row["zero_variance"] == 0.0
        size = {name: float(g.norm()) for name, g in gradients.items()}
        # The rounding of the mean, 1e-8, over eps, 1e-4, leaves up to about 1e-3.
        assert all(np.isfinite(list(size.values())))
        assert all(size[name] < 5e-3 * float(strong[name].norm()) for name in strong)

    def test_with_noise_it_still_pushes(self, step):
        """As upstream's code does."""
        gradients, _, _ = step([0.7] * 8, advantage_noise=0.02)
        assert max(float(gradient.norm()) for gradient in gradients.values()) > 1e-3

    def test_half_the_groups(self, step):
        _, row, _ = step([0.7] * 4 + [0.0, 1.0, 0.0, 1.0])
        assert row["zero_variance"] == 0.5

    def test_the_policy_starts_as_the_reference(self, step):
        assert step(self.mixed)[1]["kl"] == pytest.approx(0.0, abs=1e-9)

    def test_only_connector_and_language_model_are_pushed(self, step):
        assert {name.split(".")[0] for name in step(self.mixed)[0]} == {"connector", "language_model"}

    def test_better_answers_become_more_likely(self, step):
        """The gradient of a reversed reward is the reversed gradient."""
        forward, _, _ = step(self.mixed, advantage_noise=0.0, beta=0.0)
        backward, _, _ = step([-value for value in self.mixed], advantage_noise=0.0, beta=0.0)
        for name, gradient in forward.items():
            # Float32 sums of terms of both signs: equal but for their rounding.
            assert float((gradient + backward[name]).norm()) <= 1e-4 * float(gradient.norm()), name

    def test_a_batch_is_the_mean_of_its_questions(self, step):
        """Noise included: draws are named by question, so processes can share a batch."""
        both, _, loss = step(self.mixed)
        first, _, first_loss = step(self.mixed[:4], (0,))
        second, _, second_loss = step(self.mixed[4:], (1,))
        assert loss == pytest.approx((first_loss + second_loss) / 2, abs=1e-6)
        for name, gradient in both.items():
            # Batches of two and of one add up in another order.
            mean = (first[name] + second[name]) / 2
            assert float((gradient - mean).norm()) <= 1e-4 * float(gradient.norm()), name

    def test_the_same_holds_for_a_constant_divisor(self, step):
        """Dr.GRPO's divisor must not depend on how long the other answers of the batch are."""
        both, _, _ = step(self.mixed, objective="dr_grpo", advantage_std="none")
        parts = [
            step(self.mixed[4 * n : 4 * n + 4], (n,), objective="dr_grpo", advantage_std="none")[0] for n in (0, 1)
        ]
        for name, gradient in both.items():
            mean = (parts[0][name] + parts[1][name]) / 2
            assert float((gradient - mean).norm()) <= 1e-4 * float(gradient.norm()), name

    @pytest.mark.parametrize("changes", [{}, *({"objective": name, "entropy": 0.1} for name in OBJECTIVES)])
    def test_parts_of_a_step_add_up_to_the_whole(self, step, changes):
        """However few questions a gradient is computed for at a time; three do not split evenly into twos."""
        rewards = (*self.mixed, 3.0, -1.0, 0.0, 0.5)
        whole, row, loss = step(rewards, (0, 1, 2), **{**changes, "micro_batch": None})
        for size in (1, 2):
            parts, theirs, part_loss = step(rewards, (0, 1, 2), **{**changes, "micro_batch": size})
            assert part_loss == pytest.approx(loss, abs=1e-6)
            assert theirs["kl"] == pytest.approx(row["kl"], abs=1e-9)
            for name, gradient in whole.items():
                # Float32 in another order.
                assert float((gradient - parts[name]).norm()) <= 1e-4 * float(gradient.norm()), name

    def test_a_clip_goes_through_the_tower_once(self, step, monkeypatch):
        """Two questions about one clip, four rollouts each, policy and reference: one clip in the tower."""
        sizes = []
        encode = TinyLlavaVideo.encode_frames
        monkeypatch.setattr(
            TinyLlavaVideo, "encode_frames", lambda model, pixels: sizes.append(len(pixels)) or encode(model, pixels)
        )
        step(self.mixed, (0, 0), micro_batch=1, rollout_batch=1)
        assert sizes == [1]

    def test_a_reference_in_the_hosts_memory_says_the_same(self, step):
        here, away = (step(self.mixed, offload_reference=wanted) for wanted in (False, True))
        assert here[2] == away[2]
        assert all(torch.equal(here[0][name], away[0][name]) for name in here[0])

    def test_recomputing_changes_nothing_but_memory(self, step):
        kept, again = (step(self.mixed, gradient_checkpointing=wanted)[0] for wanted in (False, True))
        for name, gradient in kept.items():
            assert torch.equal(gradient, again[name]), name

    def test_a_step_of_another_number_samples_anew(self, step):
        one, other = step(self.mixed)[0], step(self.mixed, number=1)[0]
        assert all(not torch.equal(one[name], other[name]) for name in one)


def test_the_reference_shares_the_tower_and_nothing_else():
    policy = micro.model()
    made = reference_of(policy)
    assert made.vision_tower is policy.vision_tower
    own = {id(parameter) for part in (policy.language_model, policy.connector) for parameter in part.parameters()}
    assert not own & {id(parameter) for parameter in made.parameters()}
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert any(parameter.requires_grad for parameter in policy.parameters())


def test_matrices_in_half_precision_compute_what_autocast_computes():
    """To the last bit, after the policy has moved, and without touching it."""
    policy = micro.model(seed=3)
    copied = bf16_copy(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    sync_from(copied, policy)
    matrices = {name for name, parameter in copied.named_parameters() if parameter.dtype == torch.bfloat16}
    assert "language_model.model.layers.0.mlp.up_proj.weight" in matrices
    assert "language_model.model.embed_tokens.weight" not in matrices
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    prompts, videos = [torch.tensor([5, -200, 9, 12])], micro.videos(1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (model(model.build_inputs(prompts, videos).embeds).logits for model in (copied, policy))
    assert torch.equal(ours, theirs)
    with torch.no_grad():
        exact = policy(policy.build_inputs(prompts, videos).embeds).logits
    assert not torch.equal(ours.float(), exact)


@pytest.mark.usefixtures("graded")
def test_without_a_kl_term_there_is_no_reference(init, data, tmp_path, monkeypatch):
    monkeypatch.setattr(grpo, "reference_of", lambda policy: pytest.fail("made a reference"))
    rows = train(init, data, tmp_path, beta=0.0)
    assert rows[0]["kl"] == 0.0


def test_settings_come_from_the_spec(init, data):
    sampling = {"temperature": 0.7, "top_k": 7, "top_p": 0.6, "max_new_tokens": 5}
    spec, runtime = micro.training("grpo", rollouts=6, sampling=sampling, protocol="paper")
    policy = load_checkpoint(init)
    trainer = GrpoTrainer(spec, runtime, Policies(policy), FrameStore(data["frames"]))
    assert trainer.rollouts == 6
    assert trainer.sampler.decoding == Decoding(5, 0.7, 7, 0.6)
    assert trainer.sampler.reward.rule == "tagged"
    with pytest.raises(ValueError, match="arm 'micro': method is 'sft'; expected grpo"):
        GrpoTrainer(micro.training("sft")[0], runtime, Policies(policy), FrameStore(data["frames"]))


class TestLearning:
    """The recipe on a task that a micro model can do: to think in the right form, and longer."""

    TARGETS = ("<think> red </think> <answer> A </answer>", "<think> red ball", "red ball goes left </think>")

    def test_rewards_grow(self, tmp_path):
        """A cold start that follows the form in one answer of three; then only rewards tell that it should."""
        init = micro.checkpoint(tmp_path / "init", spread=0.1, width=32)
        frames = [micro.write_frames(tmp_path / "shard0.parquet", CLIPS)]
        taught = [
            micro.question(number, clip, "A", target=target)
            for number, (clip, target) in enumerate((clip, target) for clip in "abcd" for target in self.TARGETS)
        ]
        cold = micro.files(tmp_path / "cold", init, micro.write_questions(tmp_path / "cold.jsonl", taught), frames)
        micro.train("sft", cold, epochs=60, batch_size=12, learning_rate=1e-2, schedule="cosine")
        questions = [micro.question(number, clip, "A") for number, clip in enumerate("abcd")]
        data = {
            "questions": micro.write_questions(tmp_path / "questions.jsonl", questions),
            "validation": micro.write_questions(tmp_path / "validation.jsonl", [micro.question(9, "v", "A")]),
            "frames": frames,
        }
        rows = train(
            cold.checkpoint,
            data,
            tmp_path,
            epochs=60,
            batch_size=4,
            rollouts=8,
            learning_rate=3e-3,
            max_new_tokens=24,
        )
        train_rows = [row for row in rows if row["kind"] == "train"]
        early = {key: np.mean([row[key] for row in train_rows[:4]]) for key in ("reward", "format")}
        # Half of the steps: a few dozen answers wander by a tenth, and other threads or processors take another path.
        late = {key: np.mean([row[key] for row in train_rows[30:]]) for key in ("reward", "format")}
        assert 0.02 < early["format"] < 0.7
        assert late["format"] > 0.8
        assert late["reward"] > early["reward"] + 1.0  # from mostly -2 or +1 towards the 2 of the full form
        assert all(row["kl"] >= 0 for row in train_rows)
