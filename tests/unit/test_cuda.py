"""Training and answering on a pretended CUDA device: nothing on the wrong device, recorded steps, the CPU's numbers."""

import pytest
import torch

from tests.unit import micro
from tests.unit.answering import answers, rollouts, world_in
from tests.unit.ranked import even_tokens
from vidreason import decoder
from vidreason.files import read_json_lines
from vidreason.generation import Decoding, choose_tokens
from vidreason.records import OK
from vidreason.training import grpo, loop
from vidreason.training.grpo import train_grpo
from vidreason.training.sft import train_sft

CLIPS = dict.fromkeys("abcdv", OK)
CLOSE = {"rel": 1e-4, "abs": 1e-6}
"""Attention is computed by other kernels on the two devices, in float32; three steps of AdamW follow from it."""


@pytest.fixture
def data(tmp_path):
    asked = [micro.question(n, clip, "ABC"[n % 3]) for n, clip in enumerate("abcd")]
    micro.write_questions(tmp_path / "questions.jsonl", asked)
    micro.write_questions(tmp_path / "validation.jsonl", [micro.question(9, "v")])
    micro.write_frames(tmp_path / "shard0.parquet", CLIPS)
    micro.checkpoint(tmp_path / "init")
    return tmp_path


@pytest.fixture
def graphs(monkeypatch):
    """Shapes of the graphs that were recorded, in order."""
    played, shapes = decoder.Decoder._played, []

    def noted(self):
        shape = (self.cache.rows, self.cache.extent)
        if shape not in self._graphs:
            shapes.append(shape)
        return played(self)

    monkeypatch.setattr(decoder.Decoder, "_played", noted)
    return shapes


def on_both(device, monkeypatch, run):
    """What `run(name)` gives on the pretended device and on the CPU."""
    there = run("there")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "compute_device", lambda: torch.device("cpu"))
        return there, run("here")


def trained(train, data, spec, *inputs):
    def run(name):
        out = data / name
        train(spec, data / "init", *inputs, [data / "shard0.parquet"], out / "c", out / "m.jsonl", out / "s")
        return read_json_lines(out / "m.jsonl")

    return run


def same(rows, others):
    assert len(rows) == len(others) >= 2
    for row, other in zip(rows, others, strict=True):
        assert row.pop("kind") == other.pop("kind")
        assert row == pytest.approx(other, **CLOSE)


class TestTheDevice:
    """That the instrument itself refuses what a card refuses."""

    def test_tensors_of_two_devices_do_not_mix(self, cuda):
        there, other = torch.ones(2, device="gpu:0"), torch.ones(2, device="gpu:1")
        for stranger in (other, torch.ones(2)):
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                there + stranger
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2, 2]  # a number of the host may take part

    def test_waits_are_counted(self, cuda):
        there = torch.ones(2, device="gpu")
        (there + 1).sum()
        assert not cuda.waits
        assert float(there.sum()) == 2
        assert bool((there > 0).all())
        there.cpu()
        assert cuda.waits == {"aten::_local_scalar_dense": 2, "to the host": 1}

    def test_the_line_that_waits_is_named(self, cuda):
        logits = torch.zeros(1, 3, device="gpu")
        choose_tokens(logits, Decoding(1, temperature=0.0), None)
        assert all(place.startswith("generation.py:") for place in cuda.places)
        assert cuda.places

    def test_a_graph_is_computed_when_it_is_played(self, cuda):
        there, found, graph = torch.ones(2, device="gpu"), torch.zeros(2, device="gpu"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found.add_(2 * there)
        assert found.tolist() == [0, 0]
        for wanted in (2, 4):
            graph.replay()
            assert found.tolist() == [wanted] * 2
        there.fill_(10)
        graph.replay()
        assert found.tolist() == [24, 24]

    @pytest.mark.parametrize(
        "wait", [lambda x: x.sum().item(), lambda x: x + torch.ones(2).to("gpu"), lambda x: x[x > 0]]
    )
    def test_a_wait_while_recording_is_the_error_of_cuda(self, cuda, wait):
        there = torch.ones(2, device="gpu")
        with torch.cuda.graph(torch.cuda.CUDAGraph()), pytest.raises(RuntimeError, match="when stream is capturing"):
            wait(there)


@pytest.mark.parametrize("changes", [{"micro_batch": 1, "gradient_checkpointing": True, "save_every": 1}, {}])
def test_grpo(cuda, graphs, monkeypatch, data, changes):
    monkeypatch.setattr(grpo, "rewards_of", even_tokens)
    spec = micro.grpo_spec(epochs=2, validate_every=2, max_new_tokens=12, **changes)
    run = trained(train_grpo, data, spec, data / "questions.jsonl", data / "validation.jsonl")
    same(*on_both(cuda, monkeypatch, run))
    assert graphs


def test_sft(cuda, monkeypatch, data):
    run = trained(
        train_sft, data, micro.sft_spec(answer="option", gradient_checkpointing=True), data / "questions.jsonl"
    )
    same(*on_both(cuda, monkeypatch, run))


def test_answers_and_rollouts(cuda, graphs, monkeypatch, tmp_path):
    from vidreason.evaluation import predict

    def run(name):
        (tmp_path / name).mkdir()
        world = world_in(tmp_path / name)
        paths = [*answers(world, tmp_path / name), *rollouts(world, tmp_path / name / "rollouts")]
        return [path.read_bytes() for path in paths]

    there = run("there")
    monkeypatch.setattr(predict, "compute_device", lambda: torch.device("cpu"))
    assert there == run("here")
    assert graphs
