"""Packed rows: who sees whom, and the same values and gradients as one sequence after the other."""

import pytest
import torch

from tests.support import micro
from vidreason.engine.generation import Completions
from vidreason.engine.log_probs import completion_log_probs, label_log_probs
from vidreason.models.packing import Packing
from vidreason.rl.losses import chunked_log_probs, chunked_scores, sft_loss, token_log_probs

CPU = torch.device("cpu")
PACKING = Packing((3, 5), (2, 0, 1, 4), CPU)


def test_positions_continue_those_of_the_prompt():
    assert PACKING.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 3, 4, 5, 5, 6, 7, 8]]


def test_a_completion_attends_to_its_prompt_and_itself():
    assert PACKING.mask.shape == (4, 1, 4, 5 + 4)
    first, last = PACKING.mask[0, 0].int().tolist(), PACKING.mask[3, 0].int().tolist()
    assert first[1] == [1, 1, 1, 0, 0, 1, 1, 0, 0]
    assert last[3] == [1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_prompts_of_one_length_share_a_mask():
    assert Packing((3, 3), (2, 1, 1, 2), CPU).mask.shape == (1, 1, 2, 5)


def test_rows_and_slots_cover_every_token_once():
    tokens = torch.arange(15)
    assert tokens[PACKING.prompt_rows].flatten()[PACKING.real_prompt_slots].tolist() == list(range(8))
    assert tokens[PACKING.completion_rows].flatten()[PACKING.real_completion_slots].tolist() == list(range(8, 15))


def test_segments_are_the_same_sequences_concatenated():
    queries, keys, places = PACKING.segments
    assert queries.tolist() == [0, 3, 8, 10, 10, 11, 15]
    found = [part.tolist() for part in places.split(keys.diff().tolist())]
    first, second = [0, 1, 2], [3, 4, 5, 6, 7]
    assert found == [first, second, [*first, 8, 9], first, [*second, 10], [*second, 11, 12, 13, 14]]


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, 300, (length,), generator=generator) for length in (4, 9)]


@pytest.fixture(scope="module")
def completions():
    """Lengths 1 to 6 in no order, one of them the least there is."""
    lengths = torch.tensor([3, 1, 6, 2, 5, 4])
    ids = torch.randint(5, 300, (6, 6), generator=torch.Generator().manual_seed(1))
    return Completions(ids, lengths, torch.ones(6, dtype=torch.bool))


def plainly(model, prompts, completions, group):
    """One sequence after the other, unpadded."""
    rows = []
    for number, (row, length) in enumerate(zip(completions.ids, completions.lengths.tolist(), strict=True)):
        ids = torch.cat((prompts[number // group], row[:length]))
        logits = model(model.build_inputs([ids], None).embeds).logits[0]
        logp = token_log_probs(logits[-length - 1 : -1], row[:length])
        rows.append(torch.cat((logp, logp.new_zeros(completions.ids.shape[1] - length))))
    return torch.stack(rows)


@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_every_gradient_equal_those_of_separate_sequences(prompts, completions, recompute):
    weights = torch.randn(completions.ids.shape, generator=torch.Generator().manual_seed(2))
    found = []
    for packed in (True, False):
        model = micro.model()
        if packed:
            logp = completion_log_probs(model, prompts, None, completions, 3, recompute)
        else:
            logp = plainly(model, prompts, completions, 3)
        (logp * weights).sum().backward()
        named = {name: p.grad for name, p in model.language_model.named_parameters()}
        found.append((logp.detach(), named))
    (ours, gradients), (plain, theirs) = found
    # Float32 sums in another order; measured 4e-7 relative on values, 2e-6 of a gradient's norm.
    assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-6)
    for name, gradient in theirs.items():
        assert float((gradients[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name


def test_unrelated_sequences_in_the_row_change_nothing(prompts, completions):
    """Another completion of the same prompt, or another prompt, is not seen."""
    model = micro.model()
    with torch.no_grad():
        before = completion_log_probs(model, prompts, None, completions, 3)
        other = Completions(completions.ids.clone(), completions.lengths, completions.finished)
        other.ids[2:] = 7
        after = completion_log_probs(model, [prompts[0], prompts[1] + 1], None, other, 3)
    assert torch.allclose(before[:2], after[:2], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(before[2:], after[2:], atol=1e-2)


def test_completions_must_belong_to_prompts(prompts, completions):
    with pytest.raises(ValueError, match="6 completions for 2 prompts; expected 4 each"):
        completion_log_probs(micro.model(), prompts, None, completions, 4)


class TestChunks:
    @pytest.mark.parametrize("limit", [1, 12, 25, 10**6])
    def test_any_size_gives_the_same_values_and_gradients(self, limit):
        generator = torch.Generator().manual_seed(3)
        head = torch.nn.Linear(4, 12, bias=False)
        hidden = torch.randn(7, 4, generator=generator, requires_grad=True)
        ids = torch.randint(0, 12, (7,), generator=generator)
        weights = torch.randn(7, generator=generator)
        grads = []
        for logp in (chunked_log_probs(head, hidden, ids, limit), token_log_probs(head(hidden), ids)):
            grads.append((logp.detach(), *torch.autograd.grad((logp * weights).sum(), (hidden, head.weight))))
        for ours, whole in zip(*grads, strict=True):
            assert torch.allclose(ours, whole, atol=1e-6)

    @pytest.mark.parametrize("limit", [12, 24, 10**6])
    def test_entropies_are_those_of_the_whole(self, limit):
        generator = torch.Generator().manual_seed(3)
        head = torch.nn.Linear(4, 12, bias=False)
        hidden = torch.randn(7, 4, generator=generator, requires_grad=True)
        ids, weights = torch.arange(7), torch.randn(2, 7, generator=generator)
        wanted = torch.distributions.Categorical(logits=head(hidden)).entropy()
        logp = token_log_probs(head(hidden), ids)
        for kind in ("value", "gradient"):
            scores = chunked_scores(head, hidden, ids, kind, limit)
            assert torch.allclose(scores.entropy, wanted, atol=1e-6)
            assert scores.entropy.requires_grad == (kind == "gradient")
            sums = [
                (weights[0] * one).sum() + (weights[1] * other).sum() * (kind == "gradient")
                for one, other in ((scores.log_probs, scores.entropy), (logp, wanted))
            ]
            grads = [torch.autograd.grad(one, (hidden, head.weight), retain_graph=True) for one in sums]
            for ours, whole in zip(*grads, strict=True):
                assert torch.allclose(ours, whole, atol=1e-6)

    @pytest.mark.parametrize("gradient", [False, True])
    def test_the_logits_never_stand_whole(self, gradient):
        sizes = []
        head = torch.nn.Linear(4, 12, bias=False)
        head.register_forward_hook(lambda _module, _args, output: sizes.append(output.numel()))
        hidden = torch.randn(7, 4, generator=torch.Generator().manual_seed(3), requires_grad=gradient)
        logp = chunked_log_probs(head, hidden, torch.arange(7), limit=24)
        kept = [*sizes]
        assert kept == [24, 24, 24, 12]
        if gradient:
            logp.sum().backward()
            assert sorted(sizes[4:]) == sorted(kept)  # each once more


@torch.no_grad()
def test_logits_of_labels_alone_give_the_loss_of_all():
    """Padding, an ignored stretch, and a row that teaches nothing."""
    model = micro.model()
    ids = [torch.arange(5, 5 + length) for length in (6, 3, 4)]
    labels = [row.clone() for row in ids]
    labels[0][:3] = -100
    labels[2][:] = -100
    inputs = model.build_inputs(ids, None, padding_side="right", labels=labels)
    embeds, mask, merged = inputs.embeds, inputs.mask, inputs.labels
    logp = label_log_probs(model, inputs)
    assert len(logp) == 3 + 2  # a sequence's first token is never predicted
    whole = sft_loss(model(embeds, attention_mask=mask).logits, merged)
    assert float(-logp.mean()) == pytest.approx(float(whole), rel=1e-6)
