"""The floor's arithmetic against real models, its page against its tables, and the two schedules against each other."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from bench import floor, naive, run
from bench.costs import MEASURED_PHASES, step_costs
from bench.memory import learning_activations
from bench.sizes import SIZES
from bench.work import DifferentError, compare, judged, make_optimizer, step
from bench.workload import build, make_question, prompt_of
from vidreason.engine.generation import Completions
from vidreason.engine.log_probs import completion_log_probs
from vidreason.media.extract_frames import take_frames
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.costs import ModelCosts as Model
from vidreason.records import ClipRef, Question
from vidreason.world import encode
from vidreason.world.scenes import make_scene

FLOPS_APART = 0.01
"""Of a pass: the embedding of one position or the other is all that the formulas leave out."""
ACTIVATIONS_APART = 0.15


@pytest.fixture(scope="module", params=["demo", "medium"])
def size(request):
    return SIZES[request.param]()


@pytest.fixture(scope="module")
def model(size):
    built = initialize(size.model, 0).eval()
    built.freeze_vision()
    return built


def attention_flops(query, key, value, *_, **__):
    """Torch's own formula, which it has registered for the kernels of CUDA alone."""
    return sdpa_flop_count(query, key, value)


def counted(run):
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={kernel: attention_flops}) as counter:
        run()
    return counter.get_total_flops()


def told(size, groups=1):
    rows = groups * size.rollouts
    ids = torch.randint(0, 500, (rows, size.completion), generator=torch.Generator().manual_seed(0))
    return Completions(ids, torch.full((rows,), size.completion), torch.zeros(rows, dtype=torch.bool))


def test_weights_are_a_real_models(size, model):
    numbers = Model(size.model)
    parts = {
        "vision_tower": numbers.tower_weights(),
        "connector": numbers.connector_weights(),
        "language_model": numbers.language_weights(),
    }
    for name, expected in parts.items():
        assert sum(weight.numel() for weight in getattr(model, name).parameters()) == expected, name
    assert sum(weight.numel() for weight in model.parameters()) == numbers.weights()
    assert numbers.trained_weights() == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def test_flops_are_torchs_count(size, model):
    numbers = Model(size.model)
    side = size.model.image_size
    pixels = torch.zeros(1, size.frames, 3, side, side)
    features = torch.zeros(1, size.frames * numbers.video_patches, numbers.vision_width)
    embeds = torch.zeros(1, size.prompt, numbers.width)
    passes = {
        "tower": (numbers.tower(size.frames), lambda: model.encode_frames(pixels)),
        "connector": (numbers.connector(size.frames), lambda: model.connect(features)),
        "prompt": (
            numbers.language(size.prompt, size.prompt**2, 1),
            lambda: model(embeds, attention_mask=None, logits_to_keep=1),
        ),
    }
    for name, (cost, passed) in passes.items():
        assert cost.flops == pytest.approx(counted(passed), rel=FLOPS_APART), name


def test_flops_of_a_scored_group_are_torchs_count(size, model):
    one = dataclasses.replace(size, questions=1)
    prompt = prompt_of(make_question(size, 0))
    videos = torch.zeros(1, size.model.queries, size.model.hidden_size)
    seen = counted(lambda: completion_log_probs(model, [prompt], videos, told(size), size.rollouts))
    connected = Model(size.model).connector(size.frames).flops
    assert step_costs(one, "ours")["policy"].flops - connected == pytest.approx(seen, rel=FLOPS_APART)


def test_activations_are_about_what_autograd_keeps():
    size = SIZES["demo"]()
    model = initialize(size.model, 0).to(torch.bfloat16).eval()
    model.freeze_vision()
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    numbers = Model(size.model)
    tokens = 400
    embeds = torch.randn(1, tokens, numbers.width, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = model.hidden(embeds)
    for weight in model.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    assert alive.requires_grad
    expected = learning_activations(numbers, tokens, recompute=False)
    assert expected == pytest.approx(sum(kept.values()), rel=ACTIVATIONS_APART)


def test_the_page_holds_the_tables():
    page = floor.PAGE.read_text(encoding="utf-8")
    assert floor.filled(page, floor.tables(SIZES["paper"]())) == page, "run: python -m bench.floor --write"


def test_a_page_without_a_mark_is_refused():
    with pytest.raises(ValueError, match="costs"):
        floor.filled("no marks", {"costs": "| a |"})


def test_prompts_have_the_length_that_is_said(size):
    for number in range(3):
        assert len(prompt_of(make_question(size, number))) - 1 + size.model.queries == size.prompt


def test_both_schedules_compute_the_same(tmp_path):
    size = dataclasses.replace(SIZES["demo"](), questions=2, completion=8)
    work = build(size, tmp_path, 2, torch.device("cpu"))
    found = compare(work)
    assert (found["completions"], found["different"]) == (2 * size.rollouts, 0)
    for side in ("ours", "naive"):
        before = [weight.clone() for weight in work.policy.parameters()]
        measured = step(work, side, make_optimizer(work))()
        assert measured.tokens == 2 * size.rollouts * 8
        assert set(measured.phases) == {"encode", "sample", "score", "backward", "update"}
        assert sum(measured.phases.values()) <= measured.seconds
        assert all(map(torch.equal, before, work.policy.parameters()))


def test_what_differs_is_refused_on_the_cpu_and_told_on_a_gpu(tmp_path, monkeypatch):
    size = dataclasses.replace(SIZES["demo"](), questions=1, completion=4)
    work = build(size, tmp_path, 1, torch.device("cpu"))
    monkeypatch.setattr(naive, "answer", lambda *_: [1, 2, 3])
    with pytest.raises(DifferentError, match="1 of 1 greedy ones"):
        compare(work)
    told = judged(["3 of 8 completions differ"], torch.device("cuda"), "demo")
    row = {"completions": 8, "different": 3, "loss": 1e-3, "gradient": 1e-3, **told}
    assert "5 of 8 sampled" in run.same(row)
    assert "On the CPU that would be refused:** 3 of 8 completions differ" in run.same(row)
    assert judged([], torch.device("cpu"), "demo") == {}


def test_no_state_of_the_papers_size_is_written_on_a_gpu(monkeypatch):
    """Three of 38 GB would go into the temporary folder."""
    asked = []

    class Worker:
        def __init__(self, name, side, *_):
            self.said = (name, side)

        def ask(self, what):
            asked.append((*self.said, what))
            return {"flops": 1.0}

        def end(self):
            pass

    monkeypatch.setattr(run, "Side", Worker)
    for name in ("medium", "paper"):
        run.measure(SIZES[name](), ("checkpoint",), True, 1)
    assert [name for name, _, what in asked if what == "checkpoint"] == ["medium"]


def test_both_sides_see_the_same_frames(tmp_path):
    clip = encode.timing(12.0, "mp4")
    encode.encode(make_scene(0), tmp_path / "a.mp4", clip, "mp4")
    question = Question("q", "nextqa", "multiple_choice", "?", ClipRef("a.mp4"), ("a", "b"), "A")
    sought = take_frames(question, tmp_path, 16, 32).pixels
    assert np.array_equal(sought, naive.take_frames(question, tmp_path, 16, 32))


def test_a_section_shows_medians_and_ratios(size):
    def row(seconds, **more):
        phases = dict.fromkeys(MEASURED_PHASES, seconds / 10)
        return {"seconds": seconds, "phases": phases, "questions": 2, "tokens": 200, "memory": 2**30, **more}

    found = {
        "compare": {"completions": 16, "different": 0, "answers": 0, "loss": 1e-7, "gradient": 1e-6},
        "peak": {"flops": 1e11, "bandwidth": 1e10},
        "step": {
            side: [row(factor * seconds, loss=0.5, norm=2.0) for seconds in (1.0, 2.0, 9.0)]
            for side, factor in (("ours", 1), ("naive", 6))
        },
        "selection": {"ours": [row(4.0)], "naive": [row(32.0)]},
        "evaluation": {"ours": [row(4.0)], "naive": [row(26.0)]},
        "evaluation_shared": {"ours": [row(4.0)], "naive": [row(28.0)]},
        "checkpoint": {"copied": [0.1, 0.2, 0.3], "written": [0.6, 0.4, 0.9], "bytes": 2**20},
    }
    text = run.section(size, found)
    assert "| **step** | 2.000 | 12.000 | 6.0 |" in text
    assert "| 0.500 | 0.062 | 8.0 |" in text
    assert "of 1.0 MiB: the training waits 200 ms for a copy" in text
    assert "every 200 steps, 0.05% of the time of training, or 0.20% if it had to wait for both" in text
    assert [run.shown_ratio(found, part) for part in ("step", "selection", "evaluation")] == ["6.0", "8.0", "6.5"]
