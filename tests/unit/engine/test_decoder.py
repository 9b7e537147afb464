"""The decoder's cache: written in place, its rows moved when one leaves."""

import pytest
import torch

from tests.support import micro
from vidreason.engine.decoder import decoder_for
from vidreason.engine.kv_cache import KVCache
from vidreason.models import chunks
from vidreason.models.base import Inputs


def test_positions_count_the_real_tokens():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    assert Inputs(torch.zeros(2, 4, 1), mask, mask.long()).positions.tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


@pytest.fixture(params=("together", "one after the other"))
def decoder(request, monkeypatch):
    """Two prompts of different lengths, three rollouts each."""
    if request.param != "together":
        monkeypatch.setattr(chunks, "CHUNK_NUMBERS", 1)
    model = micro.model()
    prompts = [torch.arange(5, 5 + length) for length in (4, 7)]
    with torch.no_grad():
        inputs = model.build_inputs(prompts, None)
        made = decoder_for(model, 6, 7 + 5)
        made.first = made.prefill(inputs, 3)
    made.prompts, made.kept = prompts, model  # which a decoder does not keep alive
    return made


def whole(model, prompt, tokens):
    """Logits after a prompt and some tokens, from a plain forward pass."""
    ids = torch.cat((prompt, torch.tensor(tokens, dtype=torch.long)))
    return model(model.build_inputs([ids], None).embeds).logits[0, -1]


@torch.no_grad()
def test_rows_that_leave_do_not_disturb_those_that_stay(decoder):
    """Whichever rows leave, first, last or in the middle, the others continue as if alone."""
    tokens_of = [[] for _ in range(6)]
    rows = list(range(6))
    logits = decoder.first
    for step, leaving in enumerate(([], [1], [0, 4], [], [5])):
        for row, number in enumerate(rows):
            wanted = whole(decoder.model, decoder.prompts[number // 3], tokens_of[number])
            # Float32 over two layers, cached against whole; logits here are of the order of 10.
            assert torch.allclose(logits[row], wanted, atol=1e-4), (step, number)
        kept = decoder.keep(torch.tensor([number not in leaving for number in rows]))
        rows = [rows[place] for place in kept.tolist()]
        assert sorted(rows) == sorted(number for number in range(6) if number not in leaving and number in rows)
        tokens = [10 + 7 * number + step for number in rows]
        for number, token in zip(rows, tokens, strict=True):
            tokens_of[number].append(token)
        logits = decoder.step(torch.tensor(tokens))
    assert rows != sorted(rows)  # some did take another's place


@torch.no_grad()
def test_only_new_keys_and_values_are_written(decoder):
    """Keys and values stay in the memory of the prefill."""
    memory = [part.data_ptr() for layer in decoder.cache._layers for part in layer]
    for _ in range(4):
        decoder.step(torch.full((6,), 9))
    assert [part.data_ptr() for layer in decoder.cache._layers for part in layer] == memory
    assert decoder.cache._layers[0][0].shape[2] == 7 + 5


@torch.no_grad()
def test_no_hook_of_a_trainer_runs_while_decoding(decoder):
    """DeepSpeed hangs a timer on the whole model that waits for the device: an error while a step is recorded."""
    decoder.kept.register_forward_pre_hook(lambda *_: pytest.fail("a hook of the whole model ran"))
    inputs = decoder.kept.build_inputs(decoder.prompts, None)
    decoder.prefill(inputs, 3)
    decoder.step(torch.full((6,), 9))


def test_a_prefill_is_copied_for_every_rollout():
    cache = KVCache(max_rows=4, capacity=4)
    cache.begin_prefill(group=2)
    key = torch.arange(12.0).view(2, 1, 3, 2)
    given = cache.update(key, -key, 0)
    assert given[0] is key
    cache.write_at.fill_(3)
    cache.rows, cache.kv_length = 3, 4
    keys, values = cache.update(torch.full((3, 1, 1, 2), 99.0), torch.full((3, 1, 1, 2), -99.0), 0)
    assert keys.shape == (3, 1, 4, 2)
    assert torch.equal(keys[:, :, :3], key[[0, 0, 1]])
    assert torch.equal(values, -keys)
    assert (keys[:, :, 3] == 99).all()
    cache.begin_prefill(group=1)
    cache.update(key[:1, :, :2] + 50, key[:1, :, :2], 0)
    cache.write_at.fill_(2)
    cache.rows, cache.kv_length = 1, 3
    keys, _ = cache.update(torch.full((1, 1, 1, 2), 7.0), torch.zeros(1, 1, 1, 2), 0)
    assert keys.flatten().tolist() == [50, 51, 52, 53, 7, 7]
