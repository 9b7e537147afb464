"""The engine on a CUDA device: recorded steps, packed attention of flash-attn, half precision."""

import copy
import importlib.util

import pytest
import torch

from tests.unit import micro
from vidreason.decoder import GRAIN
from vidreason.generation import Completions, Decoding, generate, rollout_seed
from vidreason.log_probs import completion_log_probs
from vidreason.training.reference import halved_copy, refresh

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
NEVER = -1


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, 300, (length,), generator=generator) for length in (4, 9)]


def said(model, prompts, tokens, end):
    decoding = Decoding(tokens, 1.0, 6)
    seeds = [rollout_seed(5, "gpu", row) for row in range(3 * len(prompts))]
    return generate(model, prompts, None, decoding, end, 3, seeds)


@pytest.mark.parametrize("tokens", [12, GRAIN + 20])
def test_recorded_steps_say_what_plain_ones_say(prompts, tokens):
    """Twice, so that graphs recorded for the first prompts serve the second; rows end at different steps."""
    model = micro.model()
    there = copy.deepcopy(model).cuda()
    free = said(model, prompts, tokens, NEVER)
    end = int(free.ids[1, 5])
    for asked in (prompts, [prompts[1] + 1, prompts[0]]):
        plain, recorded = said(model, asked, tokens, end), said(there, asked, tokens, end)
        assert torch.equal(plain.lengths, recorded.lengths.cpu())
        assert torch.equal(plain.ids, recorded.ids.cpu())


def test_new_weights_are_heard(prompts):
    """A graph reads the weights where they stand, so a training step in place is seen by the next rollouts."""
    model = micro.model().cuda()
    before = said(model, prompts, 12, NEVER)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).cuda())
    after = said(model, prompts, 12, NEVER)
    fresh = said(copy.deepcopy(model), prompts, 12, NEVER)
    assert not torch.equal(before.ids, after.ids)
    assert torch.equal(after.ids, fresh.ids)


def test_half_precision_is_recorded_and_heard_again(prompts):
    """Under autocast from matrices in bf16, twice, with the weights moved in between."""
    model = micro.model().cuda()
    halved = halved_copy(model)
    for _ in range(2):
        with torch.autocast("cuda", torch.bfloat16):
            recorded = said(halved, prompts, 12, NEVER)
            plain = said(halved_copy(model), prompts, 12, NEVER)
        assert torch.equal(recorded.ids, plain.ids)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)
        refresh(halved, model)


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs flash-attn")
@pytest.mark.parametrize("longest", [6, 300])
def test_flash_attention_sees_the_same(prompts, longest):
    """Also where completions are longer than the longest prompt."""
    lengths = torch.tensor([3, 1, longest, 2, 5, 4], device="cuda")
    ids = torch.randint(5, 300, (6, longest), generator=torch.Generator().manual_seed(1)).cuda()
    completions = Completions(ids, lengths, torch.ones(6, dtype=torch.bool, device="cuda"))
    model = micro.model().cuda()
    exact = completion_log_probs(model, prompts, None, completions, 3)
    rounded = completion_log_probs(model.to(torch.bfloat16), prompts, None, completions, 3)
    # bf16 keeps 8 bits, over two layers; strangers in sight would be off by several units.
    assert torch.allclose(rounded, exact, atol=0.3)
