"""The training loop: exact resume, refusal of foreign states, early stop, schedules, curves."""

import json
import math
import os
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.support import micro
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import read_json, read_json_lines, write_json
from vidreason.engine.generation import NotFiniteError
from vidreason.training import state as checkpoint
from vidreason.training import stop
from vidreason.training.distributed import Ranks
from vidreason.training.metrics import BOARD, LIVE
from vidreason.training.optimizer import learning_rate
from vidreason.training.state import discard_states, exclusive, write_tensors
from vidreason.training.stop import Stopped
from vidreason.training.trainer import DivergedError, Job, Trainer

STEPS, SAVE = 11, 3
SETTINGS = micro.optimizer(learning_rate=0.05, schedule="cosine", warmup=0.2, weight_decay=0.1)
RUNTIME = micro.runtime(save_every=SAVE)


class StoppedError(Exception):
    """Stands for a killed process."""


class Run:
    """A small regression, whose draws depend on the step alone."""

    def __init__(self, folder, settings=SETTINGS, runtime=RUNTIME, origin="the run"):
        self.metrics, self.state = folder / "out" / "metrics.jsonl", folder / "state"
        self.settings, self.runtime = settings, runtime
        self.origin = {"spec": {"name": origin, "seed": 0}}
        self.title = "test"
        self.steps: list[int] = []
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def loss(self, step):
        self.steps.append(step)
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(1000 + step))
        loss = ((self.model(inputs) - inputs.prod(dim=1, keepdim=True)) ** 2).mean()
        return loss, {"double": 2 * float(loss.detach())}

    def go(self, stop_at=None, change=None, steps=STEPS, during_validation=None):
        def step_function(step, backward):
            if step == stop_at:
                raise StoppedError
            loss, row = self.loss(step)
            loss = change(step, loss) if change else loss
            backward(loss, True)
            yield float(loss.detach()), row

        def validate(done):
            if during_validation:
                during_validation()
            return {"weight": float(next(self.model.parameters()).detach().sum())}, 5

        job = Job(
            self.title, steps, self.settings, self.runtime, self.metrics, self.state, self.origin, validate_every=4
        )
        Trainer(self.model, job, step_function, validate).fit()
        return self

    @property
    def weights(self):
        return b"".join(parameter.detach().numpy().tobytes() for parameter in self.model.parameters())

    @property
    def states(self):
        return sorted(path.name for path in self.state.glob("step*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("undisturbed")).go()


class TestResume:
    @pytest.mark.parametrize("stop_at", range(STEPS))
    def test_a_stopped_run_ends_as_an_undisturbed_one(self, undisturbed, tmp_path, stop_at):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(stop_at)
        again = Run(tmp_path).go()
        assert again.steps == list(range(SAVE * (stop_at // SAVE), STEPS))
        assert again.weights == undisturbed.weights
        assert again.metrics.read_bytes() == undisturbed.metrics.read_bytes()

    def test_a_stopped_run_with_muon_ends_as_an_undisturbed_one(self, tmp_path):
        settings = SETTINGS.model_copy(update={"muon": 3.0, "beta2": 0.95})
        undisturbed = Run(tmp_path / "undisturbed", settings).go()
        with pytest.raises(StoppedError):
            Run(tmp_path, settings).go(7)
        again = Run(tmp_path, settings).go()
        assert again.steps[0] == 6
        assert again.weights == undisturbed.weights
        with pytest.raises(StoppedError):
            Run(tmp_path / "one moment lost", settings).go(7)
        lost = Run(tmp_path / "one moment lost", settings)
        optimizer = lost.state / "step00000006" / "optimizer.safetensors"
        saved = load_file(optimizer)
        write_tensors(
            {key: tensor for key, tensor in saved.items() if not key.endswith("momentum_buffer")}, optimizer, 6
        )
        assert lost.go().weights != undisturbed.weights

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
    def test_a_signal_saves_the_step_and_ends_with_a_status_of_its_own(self, undisturbed, tmp_path, capfd, number):
        def ask(step, loss):
            if step == 4:
                os.kill(os.getpid(), number)
            return loss

        handler = signal.getsignal(number)
        with pytest.raises(Stopped) as caught:
            Run(tmp_path).go(change=ask)
        assert caught.value.code == 75
        assert signal.getsignal(number) is handler
        assert f"asked to stop ({number.name}): 5 of 11 steps are saved in" in capfd.readouterr().err
        assert Run(tmp_path).states == ["step00000003", "step00000005"]
        again = Run(tmp_path).go()
        assert again.steps == list(range(5, STEPS))
        assert again.weights == undisturbed.weights
        assert again.metrics.read_bytes() == undisturbed.metrics.read_bytes()

    def test_before_the_time_of_its_job_is_over_it_stops_too(self, undisturbed, tmp_path, monkeypatch, capfd):
        monkeypatch.setattr(stop, "seconds_left", lambda: stop.SAFETY_MARGIN)
        with pytest.raises(Stopped):
            Run(tmp_path).go()
        assert "asked to stop (the time of its job is nearly over): 1 of 11 steps are saved" in capfd.readouterr().err
        monkeypatch.setattr(stop, "seconds_left", lambda: stop.SAFETY_MARGIN + 3600)
        again = Run(tmp_path).go()
        assert "test: resumes after step 1 of 11" in capfd.readouterr().err
        assert again.weights == undisturbed.weights

    @pytest.mark.parametrize(
        ("job", "squeue", "seconds"),
        [
            ("7", "echo 1:02:03", 3723),
            ("7", "echo UNLIMITED", math.inf),
            ("7", "echo no controller >&2; exit 1", math.inf),
            ("7", None, math.inf),
            (None, "echo 1:02:03", math.inf),
        ],
    )
    def test_the_time_of_a_job_is_what_squeue_says(self, tmp_path, monkeypatch, job, squeue, seconds):
        if squeue is not None:
            (tmp_path / "squeue").write_text(f"#!/bin/sh\n{squeue}\n")
            (tmp_path / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("SLURM_JOB_ID", job) if job else monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        assert stop.seconds_left() == seconds

    def test_time_is_left_for_a_state_that_takes_long_to_write(self):
        signals = stop.StopSignal(time.monotonic() + stop.SAFETY_MARGIN + 30)
        assert not signals.should_stop(step=5.0, writing=10.0)
        assert signals.should_stop(step=5.0, writing=25.0)

    def test_a_signal_during_the_validation_is_heeded_at_once(self, undisturbed, tmp_path):
        run = Run(tmp_path)
        with pytest.raises(Stopped):
            run.go(during_validation=lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert run.steps[-1] == 3
        assert Run(tmp_path).go().weights == undisturbed.weights

    def test_a_signal_in_the_last_step_changes_nothing(self, undisturbed, tmp_path):
        def ask(step, loss):
            if step == STEPS - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return loss

        assert Run(tmp_path).go(change=ask).weights == undisturbed.weights

    def test_stopped_twice(self, undisturbed, tmp_path):
        for stop_at in (4, 10):
            with pytest.raises(StoppedError):
                Run(tmp_path).go(stop_at)
        again = Run(tmp_path).go()
        assert again.steps == [9, 10]
        assert again.weights == undisturbed.weights
        assert again.metrics.read_bytes() == undisturbed.metrics.read_bytes()

    def test_the_outputs_of_a_failed_job_may_be_taken_away(self, undisturbed, tmp_path):
        """A workflow system removes them; the states are no outputs."""
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        assert not Run(tmp_path).metrics.exists()
        again = Run(tmp_path).go()
        assert again.metrics.read_bytes() == undisturbed.metrics.read_bytes()

    def test_without_momentum_it_would_not_be_equal(self, undisturbed, tmp_path):
        """The test above would notice: weights alone are not enough."""
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        run = Run(tmp_path)
        optimizer = run.state / "step00000006" / "optimizer.safetensors"
        write_tensors(
            {key: tensor * (0 if key.endswith("exp_avg") else 1) for key, tensor in load_file(optimizer).items()},
            optimizer,
            6,
        )
        assert run.go().weights != undisturbed.weights

    def test_only_the_last_states_are_kept(self, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(10)
        assert Run(tmp_path).states == ["step00000006", "step00000009"]
        state = read_json(tmp_path / "state" / "step00000009" / "state.json")["state"]
        assert state["step"] == 9
        assert state["origin"] == {"spec": {"name": "the run", "seed": 0}}

    def test_more_are_kept_where_it_is_asked_for(self, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path, runtime=micro.runtime(save_every=1, keep_states=4)).go(8)
        assert Run(tmp_path).states == [f"step{number:08d}" for number in (5, 6, 7, 8)]

    def test_the_clock_asks_for_a_state_too(self, undisturbed, tmp_path, monkeypatch):
        """A step takes a minute here, a state is due after two and a half, so after every third step from the last one."""
        run = Run(tmp_path, runtime=micro.runtime(save_every=4, save_minutes=2.5, keep_states=9))
        clock = SimpleNamespace(monotonic=lambda: 60.0 * len(run.steps))
        monkeypatch.setattr(checkpoint, "time", clock)
        run.go()
        assert run.states == [f"step{number:08d}" for number in (3, 4, 7, 8)]
        assert run.weights == undisturbed.weights

    def test_steps_go_on_while_a_state_is_written_and_are_not_in_it(self, undisturbed, tmp_path, monkeypatch):
        later, write = threading.Event(), checkpoint.save_file

        def slow(tensors, path, metadata):
            assert later.wait(timeout=60)
            write(tensors, path, metadata)

        def go_on(step, loss):
            if step == 5:
                assert Run(tmp_path).states == []
                later.set()
            return loss

        monkeypatch.setattr(checkpoint, "save_file", slow)
        with pytest.raises(StoppedError):
            Run(tmp_path).go(6, change=go_on)
        shutil.rmtree(tmp_path / "state" / "step00000006")
        again = Run(tmp_path).go()
        assert again.steps[0] == 3
        assert again.weights == undisturbed.weights

    def test_a_state_that_cannot_be_written_ends_the_run_at_the_next_one(self, tmp_path, monkeypatch):
        def full(tensors, path, metadata):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "save_file", full)
        run = Run(tmp_path)
        with pytest.raises(OSError, match="No space left"):
            run.go()
        assert run.steps[-1] == 2 * SAVE - 1
        assert run.states == []

    def test_a_failed_run_says_that_its_last_state_is_missing(self, tmp_path, monkeypatch, capfd):
        def full(tensors, path, metadata):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "save_file", full)
        with pytest.raises(StoppedError):
            Run(tmp_path).go(4)
        assert "the last state could not be written: [Errno 28] No space left" in capfd.readouterr().err

    def test_half_written_states_do_not_count(self, undisturbed, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        run = Run(tmp_path)
        whole = run.state / "step00000006"
        (run.state / ".step00000009.4711.tmp").mkdir()
        (run.state / ".step00000009.4711.tmp" / "weights.safetensors").write_bytes(
            (whole / "weights.safetensors").read_bytes()[:100]
        )
        run.go()
        assert run.steps[0] == 6
        assert run.weights == undisturbed.weights

    @pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
    def test_a_damaged_state_falls_back_to_the_one_before(self, undisturbed, tmp_path, capfd, file):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        run = Run(tmp_path)
        (run.state / "step00000006" / file).write_bytes(b"")
        run.go()
        assert run.steps[0] == 3
        assert run.weights == undisturbed.weights
        assert "step00000006 cannot be read and is passed over" in capfd.readouterr().err

    @pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
    def test_a_flipped_bit_counts_as_damage(self, undisturbed, tmp_path, capfd, file):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        run = Run(tmp_path)
        path = run.state / "step00000006" / file
        held = bytearray(path.read_bytes())
        place = held.index(b'"step": 6') + len('"step": ') if file == "state.json" else len(held) - 2
        held[place] ^= 1
        path.write_bytes(held)
        run.go()
        assert run.steps[0] == 3
        assert run.weights == undisturbed.weights
        assert "step00000006 cannot be read and is passed over" in capfd.readouterr().err

    def test_files_of_another_step_count_as_damage(self, undisturbed, tmp_path):
        """As after a backup that was put back in part."""
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        run = Run(tmp_path)
        shutil.copy2(run.state / "step00000003/weights.safetensors", run.state / "step00000006/weights.safetensors")
        run.go()
        assert run.steps[0] == 3
        assert run.weights == undisturbed.weights

    @pytest.mark.parametrize("damage", ["removed", "cut", "another digit"])
    def test_the_growing_metrics_need_not_survive(self, undisturbed, tmp_path, damage):
        """They may not have reached the disk when a node went down."""
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        run = Run(tmp_path)
        live = run.state / "metrics.jsonl"
        held = live.read_bytes()
        live.unlink() if damage == "removed" else live.write_bytes(
            held[:100] if damage == "cut" else held.replace(b"1", b"2")
        )
        run.go()
        assert run.steps[0] == 6
        assert run.metrics.read_bytes() == undisturbed.metrics.read_bytes()

    def test_two_trainings_do_not_share_a_folder_of_states(self, tmp_path):
        """Such as the orphan of a killed Snakemake, and the one that the next Snakemake starts."""
        run = Run(tmp_path)
        with (
            exclusive(run.state, Ranks()),
            pytest.raises(BlockingIOError, match=rf"process {os.getpid()} on .* writes there"),
        ):
            run.go()
        assert run.go().steps[0] == 0

    def test_what_is_saved_after_damaged_states_is_kept(self, undisturbed, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(10)
        run = Run(tmp_path)
        for name in run.states:
            (run.state / name / "state.json").write_bytes(b"")
        with pytest.raises(StoppedError):
            run.go(5)
        assert run.states == ["step00000003", "step00000006.damaged", "step00000009.damaged"]
        again = Run(tmp_path).go()
        assert again.steps[0] == 3
        assert again.weights == undisturbed.weights

    def test_what_is_unfinished_and_parts_of_later_states_are_removed(self, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(4)
        run = Run(tmp_path)
        (run.state / ".0123456789ab-01234567-0000004711.tmp").mkdir()
        for name in (".ba9876543210-01234567-0000004711.tmp", "step00000006.part1", "step00000003.part1"):
            (run.state / name).write_text("a part")
        with pytest.raises(StoppedError):
            run.go(4)
        assert sorted(path.name for path in run.state.glob("*step*")) == ["step00000003", "step00000003.part1"]
        assert not list(run.state.glob(".*.tmp"))

    def test_a_state_of_an_earlier_version_is_refused(self, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        position = tmp_path / "state" / "step00000006" / "state.json"
        position.write_text('{"step": 6, "metrics_bytes": 100, "identity": "0123", "parts": 1}')
        with pytest.raises(
            ValueError, match=r"saved by a run with other settings, inputs or code .*spec: nothing before"
        ):
            Run(tmp_path).go()

    def test_a_state_of_another_run_is_refused(self, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        with pytest.raises(
            ValueError, match=r"step00000006: saved by a run with other settings, inputs or code .*Remove .*state"
        ) as caught:
            Run(tmp_path, origin="another run").go()
        assert "(spec.name: the run before, another run now)" in str(caught.value)
        assert Run(tmp_path).states == ["step00000003", "step00000006"]

    def test_a_state_in_other_parts_is_refused(self, tmp_path):
        with pytest.raises(StoppedError):
            Run(tmp_path).go(7)
        position = tmp_path / "state" / "step00000006" / "state.json"
        changed = read_json(position)["state"] | {"parts": 4}
        write_json(position, {"state": changed, "sha256": sha256_text(json.dumps(changed))})
        with pytest.raises(ValueError, match="in 4 parts, this run needs 1; continue with 4 processes"):
            Run(tmp_path).go()

    def test_nothing_is_saved_unless_asked_for(self, tmp_path):
        run = Run(tmp_path, runtime=micro.runtime()).go()
        assert run.states == []
        assert Run(tmp_path, runtime=micro.runtime()).go().weights == run.weights

    def test_states_are_discarded(self, tmp_path):
        run = Run(tmp_path).go()
        discard_states(run.state)
        discard_states(run.state)
        assert not run.state.exists()


class TestMuon:
    def test_matrices_take_steps_of_its_rate_and_vectors_of_adamw(self, tmp_path):
        """A first step of AdamW is the learning rate; one of Muon, scaled to match, has 0.2 of it as its mean square."""
        rate = 0.01
        run = Run(tmp_path, micro.optimizer(learning_rate=rate, warmup=0.0, schedule="constant", muon=3.0))
        before = [parameter.detach().clone() for parameter in run.model.parameters()]
        run.go(steps=1)
        moved = [(new.detach() - old) for new, old in zip(run.model.parameters(), before, strict=True)]
        for change in moved:
            if change.ndim == 2:
                rank = min(change.shape)
                # orthogonalised: `rank` singular values near 1, times 0.2 sqrt(longer side) (torch.optim.Muon)
                assert torch.linalg.matrix_norm(change) == pytest.approx(
                    3.0 * rate * 0.2 * math.sqrt(max(change.shape) * rank), rel=0.35
                )
            else:
                assert change.abs().max() == pytest.approx(rate, rel=1e-3)


class TestDivergence:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_it_stops_and_keeps_the_last_state(self, tmp_path, bad):
        run = Run(tmp_path)
        with pytest.raises(
            DivergedError, match=r"test: step 7: loss (nan|inf), gradient norm .*lower learning_rate \(0.05\)"
        ):
            run.go(change=lambda step, loss: loss * bad if step == 7 else loss)
        assert run.states == ["step00000003", "step00000006"]
        assert not run.metrics.exists()
        rows = read_json_lines(run.state / LIVE)
        assert all(math.isfinite(value) for row in rows for value in row.values() if not isinstance(value, str))

    def test_so_it_does_where_nothing_can_be_sampled(self, tmp_path):
        def diverged(step, loss):
            if step == 7:
                raise NotFiniteError("logits are not finite: the weights have diverged")
            return loss

        with pytest.raises(DivergedError, match=r"test: step 7: logits are not finite.*learning_rate \(0.05\).*state"):
            Run(tmp_path).go(change=diverged)

    def test_the_weights_stay_finite(self, tmp_path):
        run = Run(tmp_path)
        with pytest.raises(DivergedError):
            run.go(change=lambda step, loss: loss * float("nan") if step == 2 else loss)
        assert all(bool(torch.isfinite(parameter).all()) for parameter in run.model.parameters())

    def test_a_repaired_run_goes_on(self, undisturbed, tmp_path):
        with pytest.raises(DivergedError):
            Run(tmp_path).go(change=lambda step, loss: loss * float("nan") if step == 7 else loss)
        assert Run(tmp_path).go().weights == undisturbed.weights


def test_too_little_memory_names_the_settings_that_need_less(tmp_path):
    """A real refusal of the allocator; the states of the steps before stay."""
    run = Run(tmp_path)
    run.title = "grpo"
    with pytest.raises(
        MemoryError, match=r"out of memory\. grpo: step 7: .*micro_batch.*rollout_batch.*gradient_checkpointing"
    ):
        run.go(change=lambda step, loss: torch.empty(2**46) if step == 7 else loss)
    assert run.states == ["step00000003", "step00000006"]


class TestCurves:
    def test_rows(self, undisturbed):
        rows = read_json_lines(undisturbed.metrics)
        train = [row for row in rows if row["kind"] == "train"]
        assert [row["step"] for row in train] == list(range(STEPS))
        assert all(set(row) == {"kind", "step", "loss", "double", "grad_norm", "lr"} for row in train)
        assert all(row["double"] == pytest.approx(2 * row["loss"]) for row in train)
        assert [row["lr"] for row in train] == [
            learning_rate(undisturbed.settings, step, STEPS) for step in range(STEPS)
        ]
        assert [row["step"] for row in rows if row["kind"] == "validation"] == [4, 8, STEPS]

    def test_the_loss_is_that_before_the_step(self, undisturbed, tmp_path):
        fresh = Run(tmp_path)
        assert read_json_lines(undisturbed.metrics)[0]["loss"] == float(fresh.loss(0)[0].detach())

    def test_gradients_are_scaled_down(self, tmp_path):
        small = Run(tmp_path, micro.optimizer(learning_rate=1.0, max_grad_norm=1e-12, schedule="constant", warmup=0.0))
        before = small.weights
        small.go(steps=1)
        moved = torch.frombuffer(bytearray(small.weights), dtype=torch.float32)
        began = torch.frombuffer(bytearray(before), dtype=torch.float32)
        # AdamW divides by the gradient's size plus 1e-8, so that a gradient of 1e-12 moves next to nothing.
        assert float((moved - began).abs().max()) < 1e-3
        assert read_json_lines(small.metrics)[0]["grad_norm"] > 0.1

    def test_tensorboard_shows_the_same_numbers(self, tmp_path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        with pytest.raises(StoppedError):
            Run(tmp_path).go(8)
        run = Run(tmp_path).go()
        events = EventAccumulator(str(run.metrics.parent / BOARD))
        events.Reload()
        rows = read_json_lines(run.metrics)
        for kind, name in (("train", "loss"), ("train", "lr"), ("validation", "weight")):
            shown = {event.step: event.value for event in events.Scalars(f"{kind}/{name}")}
            logged = {row["step"] + (kind == "train"): row[name] for row in rows if row["kind"] == kind}
            assert shown.keys() == logged.keys()
            assert all(shown[step] == pytest.approx(logged[step], rel=1e-6) for step in logged)  # float32 there

    def test_a_new_run_does_not_keep_the_old_curves(self, tmp_path):
        first = Run(tmp_path, runtime=micro.runtime()).go()
        files = set((first.metrics.parent / BOARD).iterdir())
        second = Run(tmp_path, micro.optimizer(learning_rate=0.01), micro.runtime()).go()
        assert not files & set((second.metrics.parent / BOARD).iterdir())
        assert len(read_json_lines(second.metrics)) == STEPS + 3


class TestSchedule:
    def test_warmup_then_constant(self):
        settings = micro.optimizer(learning_rate=2.0, schedule="constant", warmup=0.25)
        assert [learning_rate(settings, step, 8) for step in range(8)] == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]

    def test_warmup_then_cosine(self):
        settings = micro.optimizer(learning_rate=1.0, schedule="cosine", warmup=0.2)
        wanted = [0.5, 1.0, *((1 + math.cos(math.pi * place / 8)) / 2 for place in range(8))]
        assert [learning_rate(settings, step, 10) for step in range(10)] == pytest.approx(wanted)

    @pytest.mark.parametrize(("steps", "warm"), [(687, 21), (100, 3), (10, 1), (1, 1)])
    def test_warmup_is_rounded_up(self, steps, warm):
        """As transformers rounds it; 687 steps are the paper's run."""
        settings = micro.optimizer(learning_rate=1.0, schedule="cosine", warmup=0.03)
        assert learning_rate(settings, warm - 1, steps) == 1.0
        assert all(learning_rate(settings, step, steps) < 1.0 for step in range(warm - 1))

    def test_equals_transformers(self):
        from transformers import get_cosine_schedule_with_warmup

        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=10)
        theirs = []
        for _ in range(10):
            theirs.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        settings = micro.optimizer(learning_rate=1.0, schedule="cosine", warmup=0.2)
        ours = [learning_rate(settings, step, 10) for step in range(10)]
        # Theirs warms up from 0 and ours from the first step above it, so that no step is lost; then they agree.
        assert ours[:2] == [0.5, 1.0]
        assert theirs[:2] == [0.0, 0.5]
        assert ours[2:] == pytest.approx(theirs[2:])

    def test_an_unknown_schedule_is_refused(self):
        with pytest.raises(ValueError, match="'constant' or 'cosine'"):
            micro.optimizer(schedule="linear")
