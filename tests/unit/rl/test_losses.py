"""Losses: values by hand, gradients, equal results however a batch is cut."""

import math

import pytest
import torch

from vidreason.config.settings import Objective
from vidreason.models import base
from vidreason.rl import losses
from vidreason.rl.losses import completion_mask, grpo_loss, k3_kl, sft_loss, token_log_probs


def objective(beta, length_norm="sequence"):
    return Objective(beta=beta, kl_clamp=100.0, length_norm=length_norm)


@pytest.fixture
def batch():
    """Log-probabilities of 4 completions of up to 5 tokens."""
    generator = torch.Generator().manual_seed(0)
    logp = -torch.rand(4, 5, generator=generator) * 3
    ref = logp + 0.3 * torch.randn(4, 5, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]]).bool()
    return logp, ref, torch.tensor([1.0, -0.5, 0.25, -0.75]), mask


def test_log_probs_are_those_of_a_softmax():
    logits = torch.randn(2, 3, 7)
    ids = torch.randint(0, 7, (2, 3))
    wanted = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    assert torch.allclose(token_log_probs(logits, ids), wanted, atol=1e-6)
    assert token_log_probs(logits.bfloat16(), ids).dtype == torch.float32


def test_sft_loss_is_the_mean_over_labelled_tokens():
    logits, labels = torch.randn(2, 4, 7), torch.tensor([[-100, 3, 2, -100], [-100, -100, -100, 5]])
    logp = logits.log_softmax(-1)
    by_hand = -(logp[0, 0, 3] + logp[0, 1, 2] + logp[1, 2, 5]) / 3
    assert float(sft_loss(logits, labels)) == pytest.approx(float(by_hand), abs=1e-6)


def test_sft_loss_without_labels_is_zero_with_a_graph():
    logits = torch.randn(1, 3, 5, requires_grad=True)
    loss = sft_loss(logits, torch.full((1, 3), -100))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_k3_is_positive_zero_at_equality_and_clamped():
    logp = torch.tensor([-1.0, -1.0, -1.0, -20.0])
    ref = torch.tensor([-1.0, -0.5, -3.0, -1.0])
    kl = k3_kl(logp, ref)
    assert kl[0] == 0
    assert (kl[1:] > 0).all()
    assert kl[1] == pytest.approx(math.exp(0.5) - 0.5 - 1)
    assert kl[3] == 100


def test_mask_ends_with_the_first_end():
    ids = torch.tensor([[1, 2, 9, 4, 9], [9, 1, 1, 1, 1], [1, 1, 1, 1, 9], [1, 1, 1, 1, 1]])
    assert completion_mask(ids, 9).sum(dim=1).tolist() == [3, 1, 5, 5]


def test_grpo_by_hand(batch):
    logp, ref, advantages, mask = batch
    per_sequence = []
    for row in range(4):
        tokens = []
        for place in range(5):
            if mask[row, place]:
                difference = float(ref[row, place] - logp[row, place])
                kl = math.exp(difference) - difference - 1
                tokens.append(-(float(advantages[row]) - 0.04 * kl))
        per_sequence.append(sum(tokens) / len(tokens))
    result = grpo_loss(logp, ref, advantages, mask, objective(0.04))
    assert float(result.loss) == pytest.approx(sum(per_sequence) / 4, abs=1e-6)


def test_gradient_raises_good_completions_and_ignores_padding(batch):
    logp, ref, advantages, mask = batch
    logp = logp.clone().requires_grad_()
    grpo_loss(logp, None, advantages, mask, objective(0.0)).loss.backward()
    assert logp.grad is not None
    assert torch.equal(logp.grad != 0, mask)
    # -A / (number of completions * length of this one)
    assert torch.allclose(logp.grad[1][mask[1]], torch.full((2,), 0.5 / (4 * 2)))
    logp.grad = None
    grpo_loss(logp, ref, torch.zeros(4), mask, objective(1.0)).loss.backward()
    # the KL term pulls towards the reference: a descent step moves logp the way of ref - logp
    assert torch.equal((-logp.grad).sign()[mask], (ref - logp.detach()).sign()[mask])


def test_what_is_masked_does_not_matter(batch):
    logp, ref, advantages, mask = batch
    other = torch.where(mask, logp, -7.0)
    assert torch.equal(
        grpo_loss(logp, ref, advantages, mask, objective(0.1)).loss,
        grpo_loss(other, ref, advantages, mask, objective(0.1)).loss,
    )


def test_parts_of_a_batch_average_to_the_whole(batch):
    logp, ref, advantages, mask = batch
    whole = grpo_loss(logp, ref, advantages, mask, objective(0.1))
    parts = [
        grpo_loss(logp[i : i + 2], ref[i : i + 2], advantages[i : i + 2], mask[i : i + 2], objective(0.1))
        for i in (0, 2)
    ]
    assert float(whole.loss) == pytest.approx(sum(float(part.loss) for part in parts) / 2, abs=1e-6)
    assert float(whole.kl) == pytest.approx(sum(float(part.kl) for part in parts) / 2, abs=1e-6)


def test_constant_length_norm_divides_all_by_the_same(batch):
    logp, _, advantages, mask = batch
    loss = grpo_loss(logp, None, advantages, mask, objective(0.0, length_norm="constant")).loss
    assert float(loss) == pytest.approx(float(-(advantages[:, None] * mask).sum() / 20), abs=1e-6)


def test_empty_completion_counts_as_zero(batch):
    logp, ref, advantages, mask = batch
    result = grpo_loss(logp, ref, advantages, torch.zeros_like(mask), objective(0.1))
    assert float(result.loss) == 0
    assert float(result.kl) == 0


def test_bad_arguments_are_refused(batch):
    logp, _, advantages, mask = batch
    with pytest.raises(ValueError, match="no reference"):
        grpo_loss(logp, None, advantages, mask, objective(0.1))


def test_models_and_losses_ignore_the_same_label():
    assert losses.IGNORE_INDEX == base.IGNORE_INDEX
