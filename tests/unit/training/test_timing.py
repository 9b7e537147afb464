"""What a step costs: phases, tokens and memory in a file beside the metrics, also after a kill."""

import json

import pytest

from bench.costs import step_costs
from bench.sizes import SIZES
from tests.support import micro
from vidreason.artifacts.files import read_json_lines, read_jsonl
from vidreason.engine.profiling import profile
from vidreason.models.tinyllava.costs import ModelCosts
from vidreason.records import OK, KeptRollout, StepTiming
from vidreason.training import flops, timing
from vidreason.training.distributed import SINGLE_PROCESS, Ranks
from vidreason.training.flops import FLOPS, FlopCounter
from vidreason.training.grpo import GrpoTrainer
from vidreason.training.timing import GENERATED, LIVE, TRAINED, Devices, TimingLog, timing_of

CLIPS = dict.fromkeys("abcd", OK)


class StoppedError(Exception):
    """Stands for a killed process."""


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    return micro.checkpoint(tmp_path_factory.mktemp("init") / "checkpoint")


@pytest.fixture
def run(init, tmp_path):
    """Train in a folder of the given name, and read what its steps cost."""
    questions = [micro.question(n, clip, "ABC"[n % 3]) for n, clip in enumerate(CLIPS)]
    path = micro.write_questions(tmp_path / "questions.jsonl", questions)
    frames = [micro.write_frames(tmp_path / "shard0.parquet", CLIPS)]
    held_out = micro.write_questions(tmp_path / "validation.jsonl", [micro.question(9, "a")])

    def train(name, method="grpo", **changes):
        files = micro.files(tmp_path / name, init, path, frames, held_out if method == "grpo" else None)
        micro.train(method, files, epochs=2, **changes)
        return read_jsonl(files.timing, StepTiming)

    return train


def test_a_step_of_grpo(run, tmp_path):
    rows = run("grpo", views={"ordered": 4, "shuffled": 2})
    assert [row.step for row in rows] == [0, 1, 2, 3]
    kept = read_jsonl(tmp_path / "grpo/rollouts.jsonl", KeptRollout)
    for row in rows:
        own = [one for one in kept if one.step == row.step]
        assert row.generated_tokens == sum(one.completion.tokens for one in own)
        assert row.trained_tokens == sum(one.completion.tokens for one in own if one.view == "ordered")
        assert set(row.phases) == {"read", "encode", "sample", "reward", "reference", "score", "backward", "update"}
        assert all(seconds > 0 for seconds in row.phases.values())
        assert 0.5 * row.seconds < sum(row.phases.values()) <= row.seconds + 1e-4  # they are not nested
        assert row.generated_per_second == pytest.approx(row.generated_tokens / row.phases["sample"], rel=1e-2)
        assert row.trained_per_second == pytest.approx(row.trained_tokens / row.seconds, rel=1e-2)
        assert row.peak_memory is None  # a CPU
        assert row.peak_share is None


def test_every_update_counts_its_tokens(run):
    once, twice = run("once"), run("twice", updates=2)
    assert twice[0].trained_tokens == 2 * once[0].trained_tokens
    assert twice[0].generated_tokens == once[0].generated_tokens


def test_without_a_reference_there_is_no_such_phase(run):
    assert "reference" not in run("free", beta=0.0)[0].phases


def test_a_step_of_sft(run, tmp_path):
    rows = run("sft", "sft")
    metrics = [row for row in read_json_lines(tmp_path / "sft/metrics.jsonl") if row["kind"] == "train"]
    assert [row.trained_tokens for row in rows] == [2 * row["tokens"] for row in metrics]
    assert {(row.generated_tokens, row.generated_per_second) for row in rows} == {(0, None)}
    assert all(set(row.phases) == {"read", "encode", "score", "backward", "update"} for row in rows)


def test_steps_taken_again_replace_those_of_the_killed_attempt(run, tmp_path, monkeypatch):
    take_step = GrpoTrainer.step

    def stop(trainer, step, *others):
        yield from take_step(trainer, step, *others)
        if step == 3:
            raise StoppedError

    monkeypatch.setattr(GrpoTrainer, "step", stop)
    with pytest.raises(StoppedError):
        run("cut", save_every=2)
    monkeypatch.setattr(GrpoTrainer, "step", take_step)
    live = tmp_path / "cut/state" / LIVE
    attempt = [json.loads(line) for line in live.read_text().splitlines()]
    assert [row["step"] for row in attempt] == [0, 1, 2]  # the step that failed has no row
    live.write_text(live.read_text() + '{"format": "step_timing/1", "step": 1, "secon')  # cut by the kill
    rows = run("cut", save_every=2)
    assert [row.step for row in rows] == [0, 1, 2, 3]
    assert [row.seconds for row in rows[:2]] == [row["seconds"] for row in attempt[:2]]
    assert rows[2].seconds != attempt[2]["seconds"]


def test_what_another_training_left_is_not_mixed_in(tmp_path):
    (tmp_path / LIVE).write_text('{"step": 0}\n')
    TimingLog(tmp_path / "timing.jsonl", tmp_path, 0, SINGLE_PROCESS).finish()
    assert (tmp_path / "timing.jsonl").read_text() == ""


def test_nothing_is_measured_without_a_target(tmp_path):
    log = TimingLog(None, tmp_path, 0, SINGLE_PROCESS)
    with log.step(0):
        pass
    log.finish()
    assert list(tmp_path.iterdir()) == []


def test_processes_add_their_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Ranks, "gather", lambda self, _: [({TRAINED: 5, GENERATED: 7}, 10), ({TRAINED: 2, GENERATED: 1}, 30)]
    )
    log = TimingLog(tmp_path / "timing.jsonl", tmp_path, 0, SINGLE_PROCESS)
    with log.step(0):
        pass
    log.finish()
    (row,) = read_jsonl(tmp_path / "timing.jsonl", StepTiming)
    assert (row.trained_tokens, row.generated_tokens, row.peak_memory) == (7, 8, 30)


def test_rates():
    counts = {GENERATED: 100, TRAINED: 60, FLOPS: 400}
    row = timing_of(4, 2.0, {"sample": 0.5, "score": 1.0}, counts, Devices(12, 1000.0))
    assert (row.generated_per_second, row.trained_per_second) == (200.0, 30.0)
    assert (row.peak_memory, row.peak_share) == (12, 0.2)


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_the_share_of_the_peak_is_known_where_the_peak_is(run, monkeypatch, method):
    for module in (flops, timing):
        monkeypatch.setattr(module, "device_peak", lambda: 1e9)
    rows = run("bf16", method, precision="bf16")
    assert all(row.peak_share > 0 for row in rows)
    assert run("fp32", method)[0].peak_share is None, "the peak is that of bf16"


def test_flops_are_those_of_the_floor():
    """All completions of one length, as the table of costs in bench/FLOOR.md has them."""
    size = SIZES["demo"]()
    costs = step_costs(size, "ours")
    counter = FlopCounter(ModelCosts(size.model), size.frames)
    lengths = [size.completion] * size.rollouts
    passes = {
        ("encode",): lambda: counter.encoded(1),
        ("prefill", "decode"): lambda: counter.sampled(size.prompt, lengths),
        ("reference",): lambda: counter.scored(size.prompt, lengths, learned=False),
        ("policy", "backward"): lambda: counter.scored(size.prompt, lengths, True, size.recompute),
    }
    for phases, take in passes.items():
        counts = {}
        with profile(counts):
            for _ in range(size.questions):
                take()
        assert counts[FLOPS] == pytest.approx(sum(costs[name].flops for name in phases), rel=1e-9), phases


def test_a_conversation_that_is_imitated_costs_three_passes():
    costs = ModelCosts(SIZES["demo"]().model)
    counts = {}
    with profile(counts):
        FlopCounter(costs, 16).imitated(40, 6, recomputed=True)
    assert counts[FLOPS] == 4 * costs.language(40, 1600, 6).flops + 3 * costs.connector(16).flops
