"""The engine on a CUDA device: recorded steps, packed attention of flash-attn, half precision, DeepSpeed, memory."""

import copy
import gc
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support import micro
from vidreason.engine import generation
from vidreason.engine.decoder import GRAIN, Decoder
from vidreason.engine.generation import Completions, Decoding, generate, rollout_seed
from vidreason.engine.log_probs import completion_log_probs
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX
from vidreason.training.reference import bf16_copy, sync_from

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
NEVER = -1
ROOT = Path(__file__).parents[2]


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, 300, (length,), generator=generator) for length in (4, 9)]


def generated(model, prompts, tokens, end):
    decoding = Decoding(tokens, 1.0, 6)
    seeds = [rollout_seed(5, "gpu", row) for row in range(3 * len(prompts))]
    return generate(model, prompts, None, decoding, end, 3, seeds)


@pytest.mark.parametrize("tokens", [12, GRAIN + 20])
def test_recorded_steps_give_the_tokens_of_plain_ones(prompts, tokens):
    """Twice, so that graphs of the first prompts are reused for the second; rows end at different steps."""
    model = micro.model()
    there = copy.deepcopy(model).cuda()
    free = generated(model, prompts, tokens, NEVER)
    end = int(free.ids[1, 5])
    for asked in (prompts, [prompts[1] + 1, prompts[0]]):
        plain, recorded = generated(model, asked, tokens, end), generated(there, asked, tokens, end)
        assert torch.equal(plain.lengths, recorded.lengths.cpu())
        assert torch.equal(plain.ids, recorded.ids.cpu())


def test_new_weights_change_the_tokens(prompts):
    """A graph reads the weights at their addresses, so an update in place changes the next rollouts."""
    model = micro.model().cuda()
    before = generated(model, prompts, 12, NEVER)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).cuda())
    after = generated(model, prompts, 12, NEVER)
    fresh = generated(copy.deepcopy(model), prompts, 12, NEVER)
    assert not torch.equal(before.ids, after.ids)
    assert torch.equal(after.ids, fresh.ids)


def test_bf16_copies_are_recorded_and_follow_their_model(prompts):
    """Under autocast from matrices in bf16, twice, with the weights moved in between; graphs of a fresh copy give the same tokens."""
    model = micro.model().cuda()
    copied = bf16_copy(model)
    for _ in range(2):
        with torch.autocast("cuda", torch.bfloat16):
            kept = generated(copied, prompts, 12, NEVER)
            fresh = generated(bf16_copy(model), prompts, 12, NEVER)
        assert torch.equal(kept.ids, fresh.ids)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)
        sync_from(copied, model)


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs flash-attn")
@pytest.mark.parametrize("longest", [6, 300])
def test_flash_attention_gives_the_same_log_probabilities(prompts, longest):
    """Also where completions are longer than the longest prompt."""
    lengths = torch.tensor([3, 1, longest, 2, 5, 4], device="cuda")
    ids = torch.randint(5, 300, (6, longest), generator=torch.Generator().manual_seed(1)).cuda()
    completions = Completions(ids, lengths, torch.ones(6, dtype=torch.bool, device="cuda"))
    model = micro.model().cuda()
    exact = completion_log_probs(model, prompts, None, completions, 3)
    rounded = completion_log_probs(model.to(torch.bfloat16), prompts, None, completions, 3)
    # bf16 keeps 8 bits, over two layers; attention to unrelated sequences would be off by several units.
    assert torch.allclose(rounded, exact, atol=0.3)


@pytest.fixture
def plain_decoding(monkeypatch):
    """From now on decode without CUDA graphs."""

    def use():
        monkeypatch.setattr(
            generation, "decoder_for", lambda model, rows, positions: Decoder(model, rows, positions, cuda_graph=False)
        )

    return use


def forced(model, prompts, recorded):
    """Logits of every step with the same tokens and the same rows leaving: [steps, row, vocabulary], by step."""
    generator = torch.Generator().manual_seed(2)
    inputs = model.build_inputs([prompt.cuda() for prompt in prompts], None, padding_side="left")
    with torch.no_grad():
        decoder = Decoder(model, 8, 2 * GRAIN, recorded)
        found = [decoder.prefill(inputs, 4).float()]
        for step in range(GRAIN + 10):
            if step in (3, 200):
                decoder.keep(torch.arange(decoder.rows, device=inputs.mask.device) % 2 == 0)
            token = torch.randint(5, 300, (decoder.rows,), generator=generator).cuda()
            found.append(decoder.step(token).float().clone())
    return found


@pytest.mark.parametrize(("half", "apart"), [(False, 1e-3), (True, 0.3)])
def test_recorded_and_plain_decoders_give_the_same_logits(prompts, half, apart):
    """bf16 keeps 8 bits, over two layers; a position or a row mistaken for another would be off by several units."""
    model = micro.model().cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=half):
        there = bf16_copy(model) if half else model
        both = [forced(there, prompts, recorded) for recorded in (True, False)]
    for recorded, plain in zip(*both, strict=True):
        assert recorded.shape == plain.shape
        assert torch.allclose(recorded, plain, atol=apart)


def test_clips_in_prompts_give_the_same_tokens(plain_decoding):
    """The connector's output takes the image token's place, on the card as on the CPU, recorded and plain."""
    model = micro.model()
    asked = [torch.tensor([5, IMAGE_TOKEN_INDEX, 9, 11]), torch.tensor([IMAGE_TOKEN_INDEX, 7])]
    videos = micro.videos(2)
    seeds = [rollout_seed(5, "gpu", row) for row in range(6)]
    here = generate(model, asked, videos, Decoding(12, 1.0, 6), NEVER, 3, seeds)
    there = copy.deepcopy(model).cuda()
    recorded = generate(there, asked, videos.cuda(), Decoding(12, 1.0, 6), NEVER, 3, seeds)
    plain_decoding()
    plain = generate(there, asked, videos.cuda(), Decoding(12, 1.0, 6), NEVER, 3, seeds)
    assert torch.equal(recorded.ids.cpu(), here.ids)
    assert torch.equal(plain.ids.cpu(), here.ids)


def test_a_decoder_that_grows_gives_the_same_tokens_and_frees_its_memory(prompts):
    """First few rows and positions, then more of both, then few again: bits do not depend on the batches before."""
    model = micro.model().cuda()
    first = generated(model, prompts[:1], 12, NEVER)
    small = torch.cuda.memory_allocated()
    grown = generated(model, [*prompts, *prompts], GRAIN + 20, NEVER)
    held = torch.cuda.memory_allocated()
    again = generated(model, prompts[:1], 12, NEVER)
    fresh = generated(copy.deepcopy(model), [*prompts, *prompts], GRAIN + 20, NEVER)
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(grown.ids, fresh.ids)
    del fresh, grown, again
    gc.collect()
    assert torch.cuda.memory_allocated() <= max(held, small) + 2**20


def test_repeated_rollouts_take_no_more_memory(prompts):
    model = micro.model().cuda()
    held = []
    for _ in range(4):
        generated(model, prompts, GRAIN + 20, NEVER)
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    assert held[1:] == [held[1]] * 3


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed")
def test_deepspeed_steps_beside_recorded_decoding(prompts):
    """In a process of its own, as DeepSpeed keeps state in it: each of five steps is preceded by a shape not yet recorded."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("deepspeed_beside_graphs.py"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src")))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["graphs"] == [1, 2, 3, 4, 5]
    assert len(set(found["recorded"])) > 1  # weights have moved, and graphs read them at their addresses
    assert found["plain"] == found["recorded"]
