"""Objectives: values by hand, gradients, equal results however a step is cut."""

import dataclasses
import math

import pytest
import torch

from tests.support.objective import gradients, objective
from vidreason.rl.objectives import OBJECTIVES, Normalizer, TokenBatch, grpo_loss, learned_tokens

LIMIT = 6


@pytest.fixture
def batch():
    """4 completions of up to 5 tokens, scored by three policies."""
    generator = torch.Generator().manual_seed(0)
    logp = -torch.rand(4, 5, generator=generator) * 3
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]]).bool()
    return TokenBatch(
        logp.requires_grad_(),
        torch.tensor([1.0, -0.5, 0.25, -0.75]),
        mask,
        old_logp=logp.detach() + 0.3 * torch.randn(4, 5, generator=generator),
        ref_logp=logp.detach() + 0.3 * torch.randn(4, 5, generator=generator),
        entropy=torch.rand(4, 5, generator=generator, requires_grad=True),
    )


def on_policy(batch):
    """The batch, sampled from the policy that is trained."""
    return dataclasses.replace(batch, old_logp=None)


def loss_of(batch, normalizer=None, **changes):
    """The loss of a batch, by default of one that is a whole step."""
    return grpo_loss(batch, objective(**changes), normalizer or Normalizer.of(batch.mask, LIMIT))


def part_of(batch, rows):
    """Some completions of a batch; gradients still reach the batch's tensors."""
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return TokenBatch(**{name: None if value is None else value[rows] for name, value in fields.items()})


def test_grpo_by_hand(batch):
    per_sequence = []
    for row in range(4):
        tokens = []
        for place in range(5):
            if batch.mask[row, place]:
                difference = float((batch.ref_logp - batch.logp)[row, place].detach())
                kl = math.exp(difference) - difference - 1
                tokens.append(-(float(batch.advantages[row]) - 0.04 * kl))
        per_sequence.append(sum(tokens) / len(tokens))
    assert loss_of(on_policy(batch), beta=0.04).loss.item() == pytest.approx(sum(per_sequence) / 4, abs=1e-6)


def test_gradient_raises_good_completions_and_ignores_padding(batch):
    batch = on_policy(batch)
    gradient, _ = gradients(loss_of(batch, beta=0.0).loss, batch)
    assert torch.equal(gradient != 0, batch.mask)
    # -A / (number of completions * length of this one)
    assert torch.allclose(gradient[1][batch.mask[1]], torch.full((2,), 0.5 / (4 * 2)))
    unrewarded = dataclasses.replace(batch, advantages=torch.zeros(4))
    gradient, _ = gradients(loss_of(unrewarded, beta=1.0).loss, batch)
    # the KL term pulls towards the reference: a descent step moves logp the way of ref - logp
    away = batch.ref_logp - batch.logp.detach()
    assert torch.equal((-gradient).sign()[batch.mask], away.sign()[batch.mask])


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("masked", [-7.0, 0.0, float("inf"), float("nan")])
def test_what_is_masked_does_not_matter(batch, name, masked):
    changes = {"name": name, "beta": 0.1, "entropy": 0.1}
    values = {
        key: torch.where(batch.mask, getattr(batch, key), masked) for key in ("old_logp", "ref_logp")
    }  # the policy's own are finite
    other = dataclasses.replace(batch, **values)
    results = [loss_of(one, **changes) for one in (batch, other)]
    assert torch.equal(results[0].loss, results[1].loss)
    assert torch.equal(gradients(results[0].loss, batch)[0], gradients(results[1].loss, batch)[0])


@pytest.mark.parametrize(("name", "part"), [*((name, None) for name in OBJECTIVES), ("dapo", 2), ("cispo", 2)])
def test_parts_of_a_step_add_up_to_the_whole(batch, name, part):
    changes = {"name": name, "beta": 0.1, "entropy": 0.1, "token_mean_over": part}
    whole, normalizer = loss_of(batch, **changes), Normalizer.of(batch.mask, LIMIT)
    cut = [slice(0, 2), slice(2, 4)] if part else [slice(0, 1), slice(1, 4)]
    parts = [loss_of(part_of(batch, rows), normalizer, **changes) for rows in cut]
    for key in ("loss", "kl", "clip_fraction", "entropy"):
        total = sum(getattr(one, key).item() for one in parts)
        assert total == pytest.approx(getattr(whole, key).item(), abs=1e-6), key
    for found, wanted in zip(
        gradients(sum(one.loss for one in parts), batch), gradients(whole.loss, batch), strict=True
    ):
        assert torch.allclose(found, wanted, atol=1e-7)


def test_dr_grpo_divides_all_by_the_same(batch):
    loss = loss_of(on_policy(batch), beta=0.0, name="dr_grpo").loss
    wanted = -(batch.advantages[:, None] * batch.mask).sum() / (4 * LIMIT)
    assert loss.item() == pytest.approx(float(wanted), abs=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_empty_completion_counts_as_zero(batch, name):
    empty = dataclasses.replace(batch, mask=torch.zeros_like(batch.mask))
    result = loss_of(empty, name=name, beta=0.1, entropy=0.1)
    assert [value.item() for value in result[:4]] == [0.0] * 4
    assert not gradients(result.loss, batch)[0].any()


def test_unfinished_answers_are_left_out_under_the_switch_alone(batch):
    finished = torch.tensor([True, True, True, False])
    assert torch.equal(learned_tokens(batch.mask, finished, objective()), batch.mask)
    mask = learned_tokens(batch.mask, finished, objective(mask_unfinished=True))
    assert mask.sum(dim=1).tolist() == [5, 2, 1, 0]
    # It is still one of the four completions of the mean.
    assert loss_of(dataclasses.replace(on_policy(batch), mask=mask), beta=0.0).loss.item() == pytest.approx(-0.75 / 4)


def test_bounds_are_those_of_the_articles():
    """arXiv 2402.03300, 2503.20783, 2503.14476, 2507.18071 and, for cispo, which has no lower one, 2510.13786."""
    bounds = {name: (rule.clip_low, rule.clip_high) for name, rule in OBJECTIVES.items()}
    assert bounds == {
        "grpo": (0.2, 0.2), "dr_grpo": (0.2, 0.2), "dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4), "cispo": (None, 4.0)
    }  # fmt: skip


def test_bad_arguments_are_refused(batch):
    with pytest.raises(ValueError, match=r"beta is 0\.1, but there is no reference"):
        loss_of(dataclasses.replace(batch, ref_logp=None), beta=0.1)
    with pytest.raises(ValueError, match=r"weight of the entropy is 0\.1, but there is no entropy"):
        loss_of(dataclasses.replace(batch, entropy=None), entropy=0.1)
    with pytest.raises(ValueError, match=r"4 completions cannot be divided into parts of 3"):
        loss_of(batch, name="dapo", token_mean_over=3)
