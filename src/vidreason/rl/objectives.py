"""GRPO's objective and its relatives: a table of what distinguishes them, and one loss.

All have the form

    loss = sum over tokens of w_t (-s_t A + beta k_t)  -  entropy weight * (mean entropy of the tokens)

where A is the completion's advantage, s_t the surrogate (the clipped probability ratio to the policy that sampled the
completion), k_t the estimate of the KL divergence from the reference policy, and w_t the token's weight. `OBJECTIVES` lists
what s_t and w_t are.

The weights come from a `Normalizer` that counts the completions and tokens of a whole optimizer step. Losses and metrics of
the parts of a step therefore add up to those of the step, however it is cut into parts.

Letters: N completions, T tokens of the longest.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch

from vidreason.config.settings import Objective
from vidreason.rl.losses import token_kl


@dataclasses.dataclass(frozen=True)
class ObjectiveRule:
    """What distinguishes an objective from the others.

    Attributes:
        ratio: `token`: each token has its own ratio of probabilities. `sequence`: all tokens of a completion share the
            geometric mean of their ratios.
        surrogate: `clipped`: the smaller of ratio * A and clipped ratio * A, so that a clipped token has no gradient.
            `weighted`: log-probability * A, weighted with the clipped ratio as a constant, so that every token keeps its
            gradient.
        mean: What a token's weight is the reciprocal of. `completions`: the completion's tokens times the number of
            completions. `tokens`: the number of tokens. `limit`: the number of completions times the maximum length.
        clip_low: The ratio is at least 1 - clip_low; None for no such bound. A configuration may set another value.
        clip_high: The ratio is at most 1 + clip_high. A configuration may set another value.
    """

    ratio: Literal["token", "sequence"]
    surrogate: Literal["clipped", "weighted"]
    mean: Literal["completions", "tokens", "limit"]
    clip_low: float | None
    clip_high: float


OBJECTIVES: Mapping[str, ObjectiveRule] = {
    # arXiv 2402.03300; both bounds as in TRL and arXiv 1707.06347
    "grpo": ObjectiveRule("token", "clipped", "completions", 0.2, 0.2),
    # arXiv 2503.20783: no division by a completion's length (nor by the std of its group: advantage.std none)
    "dr_grpo": ObjectiveRule("token", "clipped", "limit", 0.2, 0.2),
    # arXiv 2503.14476: mean over tokens, and a higher upper bound
    "dapo": ObjectiveRule("token", "clipped", "tokens", 0.2, 0.28),
    # arXiv 2507.18071: ratio of sequences; its bounds are 3e-4 and 4e-4
    "gspo": ObjectiveRule("sequence", "clipped", "completions", 3e-4, 4e-4),
    # arXiv 2506.13585: constant weight without lower bound; the upper bound of 5 is that of arXiv 2510.13786
    "cispo": ObjectiveRule("token", "weighted", "tokens", None, 4.0),
}
"""Name of an objective -> its rule."""


@dataclasses.dataclass(frozen=True)
class Normalizer:
    """Sizes of a whole optimizer step; with R processes, those of one R-th of it, because their gradients are averaged.

    Attributes:
        completions: Number of completions, those whose tokens are all masked included.
        tokens: Number of tokens that count.
        limit: Maximum number of tokens of a completion.
    """

    completions: float
    tokens: float
    limit: int

    @classmethod
    def of(cls, mask: torch.Tensor, limit: int) -> "Normalizer":
        """The sizes of a step that is not cut into parts."""
        return cls(len(mask), float(mask.sum()), limit)


@dataclasses.dataclass(frozen=True)
class TokenBatch:
    """Completions to learn from: all of a step or a part of it.

    Attributes:
        logp: [N, T] log-probabilities under the policy, with gradient.
        advantages: [N].
        mask: bool [N, T], true on the tokens that count (`learned_tokens`).
        old_logp: [N, T] under the policy that sampled the completions; None if that is the policy itself, so that all ratios
            are 1 and only their gradient matters.
        ref_logp: [N, T] under the reference policy; None only with `beta` 0.
        entropy: [N, T] entropy of the policy at each token, with gradient if its weight is not 0; None only with weight 0.
    """

    logp: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor
    old_logp: torch.Tensor | None = None
    ref_logp: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


class GrpoLoss(NamedTuple):
    """Loss of a batch, and its parts for logging. All but `token_loss` are sums that the parts of a step add up to.

    Attributes:
        loss: Scalar with gradient.
        kl: Scalar, mean over completions of the mean KL estimate over their tokens, without gradient.
        clip_fraction: Scalar, share of the tokens (of the completions, where the ratio is the sequence's) on which the clipped
            ratio replaces the ratio.
        entropy: Scalar, mean over tokens, without gradient; None if the batch has none.
        token_loss: [N, T], -s_t A + beta k_t, masked tokens included, without gradient.
    """

    loss: torch.Tensor
    kl: torch.Tensor
    clip_fraction: torch.Tensor
    entropy: torch.Tensor | None
    token_loss: torch.Tensor


def learned_tokens(mask: torch.Tensor, finished: torch.Tensor, objective: Objective) -> torch.Tensor:
    """The mask of a `TokenBatch`: the tokens of the completions, without those of unfinished ones under `mask_unfinished`.

    Args:
        mask: bool [N, T], true on the tokens of the completions.
        finished: bool [N], false for a completion that was cut at the maximum length.
        objective: Says whether unfinished completions count.

    Source: DAPO's overlong filtering, arXiv 2503.14476; `mask_truncated_completions` of TRL.
    """
    return mask & finished[:, None] if objective.mask_unfinished else mask


def grpo_loss(batch: TokenBatch, objective: Objective, normalizer: Normalizer) -> GrpoLoss:
    """Loss of the objective `objective.name`, for all completions of an optimizer step or for a part of them.

    Args:
        batch: The completions.
        objective: Name, bounds of the ratio, weights of KL and entropy.
        normalizer: Sizes of the whole step.

    Returns:
        Summands of the step's loss and metrics.

    Raises:
        ValueError: `beta` is not 0 and there is no reference, the weight of the entropy is not 0 and there is none, or the
            completions cannot be divided into parts of `token_mean_over`.

    Source: LLaVATrainer_Reason.compute_loss in tinyllava/train/tinyllava_trainer_reason.py of
        ZhangXJ199/TinyLLaVA-Video-R1@efe76a1 (grpo with ratio 1); the articles named at `OBJECTIVES`.
    Differs from the source: an empty completion counts as 0, not as not-a-number. Token means are taken over the whole step,
        not over what one process computes at a time.
    """
    if batch.ref_logp is None and objective.beta:
        raise ValueError(f"beta is {objective.beta}, but there is no reference policy")
    if batch.entropy is None and objective.entropy:
        raise ValueError(f"the weight of the entropy is {objective.entropy}, but there is no entropy")
    rule, mask = OBJECTIVES[objective.name], batch.mask
    lengths = mask.sum(dim=1)  # [N]
    surrogate, clipped = _surrogate(batch, objective, rule)
    kl = torch.zeros_like(batch.logp)
    if batch.ref_logp is not None:
        reference = torch.where(mask, batch.ref_logp, batch.logp.detach())
        clamps = objective.kl_clamp, objective.log_ratio_clamp
        kl = token_kl(batch.logp, reference, objective.kl_estimate, *clamps)
    token_loss = -surrogate * batch.advantages[:, None] + objective.beta * kl
    weights = mask / _divisors(lengths, rule, objective, normalizer)[:, None]
    loss = (token_loss * weights).sum()
    per_token = mask / max(normalizer.tokens, 1)
    if objective.entropy and batch.entropy is not None:
        loss = loss - objective.entropy * (batch.entropy * (weights if objective.token_mean_over else per_token)).sum()
    per_completion = mask / (lengths.clamp(min=1) * normalizer.completions)[:, None]
    return GrpoLoss(
        loss,
        (kl.detach() * per_completion).sum(),
        (clipped * (per_completion if rule.ratio == "sequence" else per_token)).sum(),
        None if batch.entropy is None else (batch.entropy.detach() * per_token).sum(),
        token_loss.detach(),
    )


def _surrogate(batch: TokenBatch, objective: Objective, rule: ObjectiveRule) -> tuple[torch.Tensor, torch.Tensor]:
    """s_t, [N, T] with gradient, and where the clipped ratio replaces the ratio, bool [N, T]."""
    logp, gains = batch.logp, batch.advantages[:, None] > 0
    old_logp = logp.detach() if batch.old_logp is None else batch.old_logp
    log_ratio = torch.where(batch.mask, logp - old_logp, 0.0)  # what is masked may be anything
    if rule.ratio == "sequence":
        log_ratio = (log_ratio.sum(dim=1) / batch.mask.sum(dim=1).clamp(min=1))[:, None].expand_as(logp)
    ratio = torch.exp(log_ratio)
    low = rule.clip_low if objective.clip_low is None else objective.clip_low
    high = rule.clip_high if objective.clip_high is None else objective.clip_high
    bounded = ratio.clamp(None if low is None else 1 - low, 1 + high)
    if rule.surrogate == "weighted":
        weight = bounded.detach()
        return weight * logp, weight != ratio.detach()
    # ratio * A is larger than bounded * A where the ratio has left the bounds in the direction that A rewards.
    leaves = torch.where(gains, ratio > bounded, ratio < bounded)
    return torch.where(leaves, bounded, ratio), leaves & (batch.advantages[:, None] != 0)


def _divisors(lengths: torch.Tensor, rule: ObjectiveRule, objective: Objective, normalizer: Normalizer) -> torch.Tensor:
    """1 / w_t of each completion's tokens, [N]."""
    if rule.mean == "completions":
        return lengths.clamp(min=1) * normalizer.completions
    if rule.mean == "limit":
        return torch.full_like(lengths, normalizer.limit) * normalizer.completions
    part = objective.token_mean_over
    if part is None:
        return torch.full_like(lengths, max(normalizer.tokens, 1), dtype=torch.float32)
    if len(lengths) % part:
        raise ValueError(f"{len(lengths)} completions cannot be divided into parts of {part} (token_mean_over)")
    tokens = lengths.view(-1, part).sum(dim=1).clamp(min=1)  # of each part
    return tokens.repeat_interleave(part) * (normalizer.completions / part)
