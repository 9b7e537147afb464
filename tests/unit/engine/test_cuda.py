"""Training and answering on a pretended CUDA device: nothing on the wrong device, recorded steps, the CPU's numbers."""

import copy
import dataclasses
import math

import pytest
import torch

from tests.support import micro
from tests.support.answering import answers, rollouts, world_in
from tests.support.cuda import Stream
from vidreason.artifacts.files import read_json_lines, read_jsonl
from vidreason.engine import decoder
from vidreason.engine.generation import Completions, Decoding, generate, rollout_seed
from vidreason.media.frame_store import FrameStore
from vidreason.models import packing
from vidreason.records import OK, Question
from vidreason.rl.rewards import RewardFunction
from vidreason.training import trainer as loop
from vidreason.training.distributed import Ranks
from vidreason.training.grpo import Group, GrpoTrainer, Policies

NEVER = -1
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
    played, shapes = decoder.Decoder._replay, []

    def noted(self):
        shape = (self.cache.rows, self.cache.kv_length)
        if shape not in self._graphs:
            shapes.append(shape)
        return played(self)

    monkeypatch.setattr(decoder.Decoder, "_replay", noted)
    return shapes


def on_both(device, monkeypatch, run):
    """What `run(name)` gives on the pretended device and on the CPU."""
    there = run("there")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "compute_device", lambda: torch.device("cpu"))
        return there, run("here")


def trained(method, data, **changes):
    def run(name):
        inputs = (data / "init", data / "questions.jsonl", [data / "shard0.parquet"], data / "validation.jsonl")
        files = micro.files(data / name, *inputs)
        micro.train(method, files, **changes)
        return read_json_lines(files.metrics)

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
        Completions(*(torch.ones(shape, dtype=torch.int64, device="gpu") for shape in ((1, 1), 1, 1))).texts(
            micro.tokenizer()
        )
        assert cuda.places.total() == 2  # ids and lengths
        assert all(place.startswith("generation.py:") and place.endswith(": tolist") for place in cuda.places)

    def test_a_graph_is_computed_when_it_is_replayed(self, cuda):
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
    monkeypatch.setattr(RewardFunction, "__call__", micro.even_letters)
    run = trained("grpo", data, epochs=2, validate_every=2, max_new_tokens=12, learning_rate=1e-3, **changes)
    same(*on_both(cuda, monkeypatch, run))
    assert graphs


def test_a_flash_attn_that_cannot_be_imported_ends_a_training_at_its_start(cuda, monkeypatch, tmp_path):
    """As one does that was built for another PyTorch."""
    (tmp_path / "flash_attn.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(tmp_path)
    packing.varlen_kernel.cache_clear()
    with pytest.raises(ImportError, match=r"flash-attn .* \(undefined symbol: _ZN3c10\).* another version of PyTorch"):
        loop.load_for_training(tmp_path / "no weights are looked for", micro.optimizer())
    packing.varlen_kernel.cache_clear()


class Two(Ranks):
    """The first of two processes: of the groups it sends it gets the first back, and the second as another process would."""

    def gather(self, value):
        if not isinstance(value, list):  # numbers of the step
            return [value, value]
        (cost, own), (other_cost, other) = value
        return [[(cost, own), (other_cost, from_the_second_card(other))]] * 2


def from_the_second_card(group):
    """`all_gather_object` gives tensors back on the card that they were on in the process that sent them."""
    completions = group.completions
    if completions.ids.device.type == "cpu":
        return group
    return dataclasses.replace(group, completions=completions.to(torch.device("cpu")).to(torch.device("gpu:1")))


@pytest.mark.parametrize("size", [None, 1])
def test_completions_travel_in_the_hosts_memory(cuda, monkeypatch, data, size):
    """They come back from another process on the sender's card; one of this process alone may be used here."""
    policy = micro.model().to("gpu")
    batch = read_jsonl(data / "questions.jsonl", Question)[:2]
    store = FrameStore([data / "shard0.parquet"])
    training = micro.training("grpo", beta=0.0, micro_batch=size)
    trainer = GrpoTrainer(*training, Policies(policy), store, Two(0, 2))

    def backward(loss, last):
        loss.backward()

    sent, gather = [], Two.gather

    def recorded(self, value):
        sent.extend(value if isinstance(value, list) else ())
        return gather(self, value)

    monkeypatch.setattr(Two, "gather", recorded)
    ((loss, _),) = trainer.step(0, batch, backward)
    assert math.isfinite(loss)
    assert {str(group.completions.ids.device) for _, group in sent} == {"cpu"}


def test_a_group_on_a_card_is_refused(cuda):
    there = Completions(*(torch.ones(shape, dtype=torch.int64, device="gpu") for shape in ((1, 1), 1, 1)))
    with pytest.raises(ValueError, match=r"q0.*gpu:0.*host's memory"):
        Group(micro.question(0), torch.ones(1), there, torch.ones(1))


@pytest.fixture
def prompts():
    return [torch.arange(5, 5 + length) for length in (4, 7)]


def generated(model, prompts, tokens=8, group=3, end=NEVER):
    seeds = [rollout_seed(5, "cuda", row) for row in range(group * len(prompts))]
    return generate(model, prompts, None, Decoding(tokens, 1.0, 6), end, group, seeds)


def test_recorded_steps_give_the_tokens_of_plain_ones(cuda, graphs, prompts):
    """Over two prompts, rows that leave, and two lengths of the cache; graphs of the first prompts are reused for the second."""
    model = micro.model()
    there, tokens = copy.deepcopy(model).to("gpu"), decoder.GRAIN + 10
    end = int(generated(model, prompts, tokens).ids[1, 5])
    for asked in (prompts, [prompts[1] + 1, prompts[0]]):
        plain, recorded = generated(model, asked, tokens, end=end), generated(there, asked, tokens, end=end)
        assert plain.lengths.tolist() == recorded.lengths.tolist()
        assert plain.ids.tolist() == recorded.ids.tolist()
    assert {rows for rows, _ in graphs} > {8, 4}
    assert {length for _, length in graphs} == {decoder.GRAIN, 2 * decoder.GRAIN}


def test_the_host_waits_once_a_token(cuda, prompts):
    model = micro.model().to("gpu")
    waits = []
    for tokens in (10, 30):
        cuda.reset()
        generated(model, prompts, tokens)
        waits.append(cuda.waits.total())
    assert waits[1] - waits[0] == 20, cuda.places


def test_all_graphs_are_recorded_from_one_side_stream(cuda, graphs, prompts):
    """cuBLAS keeps 32 MiB for each stream."""
    made = Stream.made
    for positions in (8, decoder.GRAIN + 10):
        generated(micro.model().to("gpu"), prompts, positions)
    assert len(graphs) > 2
    assert Stream.made <= made + 1


def test_what_a_batch_computes_does_not_depend_on_those_before_it(cuda, monkeypatch):
    """Eleven questions are padded to sixteen rows, whether the decoder was made for them or for more."""
    shapes, passed = [], decoder.Decoder._forward

    def noted(self):
        shapes.append((self.cache.rows, self.cache.kv_length))
        return passed(self)

    monkeypatch.setattr(decoder.Decoder, "_forward", noted)
    eleven, sixteen = ([torch.arange(5, 9)] * count for count in (11, 16))
    model = micro.model().to("gpu")
    alone = generated(model, eleven, group=1)
    first = set(shapes)
    shapes.clear()
    other = micro.model().to("gpu")
    generated(other, sixteen, group=1)
    later = generated(other, eleven, group=1)
    assert first == set(shapes) == {(16, decoder.GRAIN)}
    assert alone.ids.tolist() == later.ids.tolist()


def test_sft(cuda, monkeypatch, data):
    run = trained("sft", data, style="option", gradient_checkpointing=True)
    same(*on_both(cuda, monkeypatch, run))


def test_answers_and_rollouts(cuda, graphs, monkeypatch, tmp_path):
    from vidreason.engine import batch_inference

    def run(name):
        (tmp_path / name).mkdir()
        world = world_in(tmp_path / name)
        paths = [*answers(world, tmp_path / name), *rollouts(world, tmp_path / name / "rollouts")]
        return [path.read_bytes() for path in paths]

    there = run("there")
    monkeypatch.setattr(batch_inference, "compute_device", lambda: torch.device("cpu"))
    assert there == run("here")
    assert graphs
