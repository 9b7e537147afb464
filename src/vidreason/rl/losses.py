"""Log-probabilities, entropies and divergences of tokens, and the loss of supervised fine-tuning.

The losses of GRPO and its relatives are in `vidreason.rl.objectives`.

Letters: B sequences, L positions, N completions, T completion tokens, M tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

EntropyKind = Literal["none", "value", "gradient"]
KlEstimate = Literal["k3", "k1", "abs", "mse"]
KL_ESTIMATES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "k3": lambda difference: torch.exp(difference) - difference - 1,
    "k1": torch.neg,
    "abs": torch.abs,
    "mse": lambda difference: 0.5 * difference.square(),
}
"""Estimates of the KL divergence at a token, as functions of reference minus policy; see `token_kl`."""
IGNORE_INDEX = -100
"""Label of a position that takes no part in the loss: transformers' own value, as in `vidreason.models.base`."""
KL_CLAMP = 100.0
LOGITS_AT_ONCE = 2**26
"""Maximum number of logits in memory at a time: 256 MB in float32, 441 tokens of Qwen2.5's vocabulary."""


class TokenScores(NamedTuple):
    """What a policy says of given tokens.

    Attributes:
        log_probs: float32, log-probability of each token.
        entropy: float32 of the same shape, entropy of the distribution that the token was drawn from, in nats; None if it
            was not asked for.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor | None = None


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


def token_entropy(log_softmax: torch.Tensor) -> torch.Tensor:
    """Entropy of distributions over the last dimension, in nats, from their log-probabilities.

    Example:
        >>> round(float(token_entropy(torch.zeros(4).log_softmax(-1)).exp()), 5)
        4.0
    """
    return -(log_softmax.exp() * log_softmax).sum(dim=-1)


def chunked_log_probs(
    head: torch.nn.Module, hidden: torch.Tensor, ids: torch.Tensor, limit: int | None = None
) -> torch.Tensor:
    """Log-probability of each token, without having all logits in memory at once; see `chunked_scores`.

    Example:
        >>> head = torch.nn.Linear(3, 5)
        >>> hidden, ids = torch.ones(4, 3), torch.tensor([0, 1, 2, 3])
        >>> torch.equal(chunked_log_probs(head, hidden, ids, limit=10), token_log_probs(head(hidden), ids))
        True
    """
    return chunked_scores(head, hidden, ids, limit=limit).log_probs


def chunked_scores(
    head: torch.nn.Module,
    hidden: torch.Tensor,
    ids: torch.Tensor,
    entropy: EntropyKind = "none",
    limit: int | None = None,
) -> TokenScores:
    """Log-probability and entropy of each token, without having all logits in memory at once.

    Tokens are processed in chunks of at most `limit` logits. With several chunks the logits are not kept for the backward
    pass but recomputed there. A head whose weights are sharded by ZeRO-3 is the exception: it always gets one chunk.

    Args:
        head: From hidden states to logits over V tokens.
        hidden: [M, D]; row m predicts token m.
        ids: [M] int64.
        entropy: `none`; `value`, to be logged; `gradient`, to be part of the loss.
        limit: Maximum number of logits at a time; None for `LOGITS_AT_ONCE`.

    Returns:
        Both [M] float32.
    """

    def chunk(hidden: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = head(hidden)
        if entropy == "none":
            return (token_log_probs(logits, ids),)
        log_softmax = logits.float().log_softmax(dim=-1)
        log_probs = log_softmax.gather(-1, ids[:, None])[:, 0]
        return log_probs, token_entropy(log_softmax if entropy == "gradient" else log_softmax.detach())

    rows = max(1, (LOGITS_AT_ONCE if limit is None else limit) // int(head.out_features))  # type: ignore[arg-type]
    # Under ZeRO-3 every call gathers the head from all processes, so all must make equally many calls: one.
    if len(ids) <= rows or any(hasattr(weight, "ds_id") for weight in head.parameters()):
        return TokenScores(*chunk(hidden, ids))
    parts = zip(hidden.split(rows), ids.split(rows), strict=True)
    if torch.is_grad_enabled():
        columns = zip(*(checkpoint(chunk, *part, use_reentrant=False) for part in parts), strict=True)
    else:
        columns = zip(*(chunk(*part) for part in parts), strict=True)
    return TokenScores(*map(torch.cat, columns))


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


def k3_kl(logp: torch.Tensor, ref_logp: torch.Tensor, clamp: float | None = KL_CLAMP) -> torch.Tensor:
    """`token_kl` by the estimate k3: unbiased and never negative.

    Example:
        >>> k3_kl(torch.tensor([0.0, -1.0]), torch.tensor([0.0, -0.5])).tolist()
        [0.0, 0.14872121810913086]
    """
    return token_kl(logp, ref_logp, clamp=clamp)


def token_kl(
    logp: torch.Tensor,
    ref_logp: torch.Tensor,
    estimate: KlEstimate = "k3",
    clamp: float | None = None,
    log_ratio_clamp: float | None = None,
) -> torch.Tensor:
    """Estimate of KL(policy || reference) at each token, from the difference d = ref - logp.

    k3 = exp(d) - d - 1; k1 = -d; abs = |d|; mse = d^2 / 2

    Args:
        logp: Log-probabilities under the policy.
        ref_logp: Under the reference policy, same shape.
        estimate: Which of the four. The gradient of k1 has mean 0 over what the policy samples: k1 restrains nothing.
        clamp: Values are clamped to +-clamp, beyond which the gradient is 0; None for no limit.
        log_ratio_clamp: d is clamped to +-this first, beyond which the gradient is 0; None for no limit.

    Returns:
        Same shape.

    Source: tinyllava/train/tinyllava_trainer_reason.py@efe76a1 (k3, `clamp` 100); src/r1-v/src/open_r1/trainer/grpo_trainer.py
        of tulerfeng/Video-R1@59d65c3 (k3, `log_ratio_clamp` 10); verl/trainer/core_algos.py of
        appletea233/Temporal-R1@f364f6c (all four, `clamp` 10 for k3); http://joschu.net/blog/kl-approx.html.
    """
    difference = ref_logp - logp
    if log_ratio_clamp is not None:
        difference = difference.clamp(-log_ratio_clamp, log_ratio_clamp)
    kl = KL_ESTIMATES[estimate](difference)
    return kl if clamp is None else torch.clamp(kl, min=-clamp, max=clamp)


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
