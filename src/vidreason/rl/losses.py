"""Losses of supervised fine-tuning and of GRPO.

Letters: B sequences, L positions, N completions, T completion tokens, V vocabulary.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from vidreason.config.settings import Objective

IGNORE_INDEX = -100
"""Label of a position that takes no part in the loss: transformers' own value, as in `vidreason.models.base`."""
KL_CLAMP = 100.0
LOGITS_AT_ONCE = 2**26
"""Maximum number of logits in memory at a time: 256 MB in float32, 441 tokens of Qwen2.5's vocabulary."""


class GrpoLoss(NamedTuple):
    """Loss of a batch, and its parts for logging.

    Attributes:
        loss: Scalar with gradient.
        kl: Scalar, mean over completions of the mean k3 over their tokens, without gradient.
        token_loss: [N, T], loss of every token before averaging, masked ones included, without gradient.
    """

    loss: torch.Tensor
    kl: torch.Tensor
    token_loss: torch.Tensor


def token_log_probs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability of each token under the logits at its position.

    Args:
        logits: [..., T, V]; the logits at position t predict token t.
        ids: [..., T] int64.

    Returns:
        [..., T] float32.

    Differs from the source: the softmax is in float32 for bf16 logits too; upstream computes it in bf16.

    Example:
        >>> token_log_probs(torch.zeros(1, 4), torch.tensor([2])).exp().tolist()
        [0.25]
    """
    flat = F.cross_entropy(logits.float().flatten(0, -2), ids.flatten(), reduction="none")
    return -flat.view(ids.shape)


def chunked_log_probs(
    head: torch.nn.Module, hidden: torch.Tensor, ids: torch.Tensor, limit: int = LOGITS_AT_ONCE
) -> torch.Tensor:
    """Log-probability of each token, without having all logits in memory at once.

    Tokens are processed in chunks of at most `limit` logits. With several chunks the logits are not kept for the backward
    pass but recomputed there. A head whose weights are sharded by ZeRO-3 is the exception: it always gets one chunk.

    Args:
        head: From hidden states to logits over V tokens.
        hidden: [M, D]; row m predicts token m.
        ids: [M] int64.
        limit: Maximum number of logits at a time.

    Returns:
        [M] float32.

    Example:
        >>> head = torch.nn.Linear(3, 5)
        >>> hidden, ids = torch.ones(4, 3), torch.tensor([0, 1, 2, 3])
        >>> torch.equal(chunked_log_probs(head, hidden, ids, limit=10), token_log_probs(head(hidden), ids))
        True
    """

    def chunk(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return token_log_probs(head(hidden), ids)

    vocabulary = int(head.out_features)  # type: ignore[arg-type]
    rows = max(1, limit // vocabulary)
    # Under ZeRO-3 every call gathers the head from all processes, so all must make equally many calls: one.
    if len(ids) <= rows or any(hasattr(weight, "ds_id") for weight in head.parameters()):
        return chunk(hidden, ids)
    parts = zip(hidden.split(rows), ids.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk(*part) for part in parts])
    return torch.cat([checkpoint(chunk, *part, use_reentrant=False) for part in parts])


def sft_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens of a batch.

    Args:
        logits: [B, L, V] at every position.
        labels: [B, L] int64, the token at each position; -100 is ignored.

    Returns:
        Scalar; 0, with a graph, if nothing is labelled.

    Source: the loss of transformers' causal models, which upstream trains with: one mean over all labelled tokens of the
        batch, not a mean of means.
    """
    wanted = labels[:, 1:].to(logits.device)  # position t predicts token t + 1
    total = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
    )
    return total / (wanted != IGNORE_INDEX).sum().clamp(min=1)


def k3_kl(logp: torch.Tensor, ref_logp: torch.Tensor, clamp: float = KL_CLAMP) -> torch.Tensor:
    """Unbiased, non-negative estimate of KL(policy || reference) per token.

    k3 = exp(ref - logp) - (ref - logp) - 1

    Args:
        logp: Log-probabilities under the policy.
        ref_logp: Under the reference policy, same shape.
        clamp: Values are clamped to +-clamp, beyond which the gradient is 0.

    Returns:
        Same shape.

    Source: tinyllava/train/tinyllava_trainer_reason.py@efe76a1; http://joschu.net/blog/kl-approx.html.

    Example:
        >>> k3_kl(torch.tensor([0.0, -1.0]), torch.tensor([0.0, -0.5])).tolist()
        [0.0, 0.14872121810913086]
    """
    difference = ref_logp - logp
    return torch.clamp(torch.exp(difference) - difference - 1, min=-clamp, max=clamp)


def completion_mask(ids: torch.Tensor, end: int) -> torch.Tensor:
    """Which tokens of completions count: up to and including the first end token, or all if there is none.

    Args:
        ids: [N, T] int64.
        end: Id of the end token.

    Returns:
        [N, T] bool.

    Example:
        >>> completion_mask(torch.tensor([[5, 9, 9], [5, 6, 7]]), end=9).tolist()
        [[True, True, False], [True, True, True]]
    """
    ends = (ids == end).int()
    return (ends.cumsum(dim=1) - ends) == 0


def grpo_loss(
    logp: torch.Tensor,
    ref_logp: torch.Tensor | None,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    objective: Objective,
    limit: int | None = None,
) -> GrpoLoss:
    """GRPO objective for one update per batch of rollouts.

    l_t = -(ratio_t A - beta k3_t), ratio_t = exp(logp_t - stop_gradient(logp_t));
    loss = mean over completions of (sum of l_t over their tokens / their number of tokens).

    The ratio to the sampling policy is 1, because that is the policy itself; only its gradient matters.

    Args:
        logp: [N, T] log-probabilities under the policy, with gradient.
        ref_logp: [N, T] under the reference policy; None only with `beta` 0.
        advantages: [N].
        mask: [N, T], true on the tokens that count.
        objective: `beta`, the weight of the KL term; `kl_clamp`, its limit per token; `length_norm`: `sequence` divides by
            each completion's length, `constant` by `limit` for all (Dr.GRPO).
        limit: Maximum number of tokens of a completion, the divisor of `constant`; None for T, which depends on the
            other completions of the batch.

    Returns:
        Loss, mean KL and per-token loss.

    Raises:
        ValueError: `beta` is not 0 and there is no reference.

    Source: LLaVATrainer_Reason.compute_loss in tinyllava/train/tinyllava_trainer_reason.py of
        ZhangXJ199/TinyLLaVA-Video-R1@efe76a1; `constant` from arXiv 2503.20783.
    Differs from the source: an empty completion counts as 0, not as not-a-number.
    """
    if ref_logp is None and objective.beta:
        raise ValueError(f"beta is {objective.beta}, but there is no reference policy")
    ratio = torch.exp(logp - logp.detach())
    kl = torch.zeros_like(logp) if ref_logp is None else k3_kl(logp, ref_logp, objective.kl_clamp)
    token_loss = -(ratio * advantages[:, None] - objective.beta * kl)
    weights = mask.to(token_loss.dtype)
    lengths = weights.sum(dim=1).clamp(min=1)
    divisor = lengths if objective.length_norm == "sequence" else torch.full_like(lengths, limit or mask.shape[1])
    loss = ((token_loss * weights).sum(dim=1) / divisor).mean()
    mean_kl = ((kl.detach() * weights).sum(dim=1) / lengths).mean()
    return GrpoLoss(loss, mean_kl, token_loss.detach())
