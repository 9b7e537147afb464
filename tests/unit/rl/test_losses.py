"""Log-probabilities, divergences and masks: values by hand."""

import math

import pytest
import torch

from vidreason.models import base
from vidreason.rl import losses
from vidreason.rl.losses import completion_mask, k3_kl, sft_loss, token_log_probs


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


def test_models_and_losses_ignore_the_same_label():
    assert losses.IGNORE_INDEX == base.IGNORE_INDEX
