"""Settings of a GRPO loss, and its gradients."""

import torch

from vidreason.config.settings import Objective

OBJECTIVE = {
    "name": "grpo", "beta": 0.01, "kl_estimate": "k3", "kl_clamp": 100.0, "log_ratio_clamp": None, "clip_low": None, "clip_high": None,
    "entropy": 0.0, "mask_unfinished": False, "token_mean_over": None,
}  # fmt: skip


def objective(**changes):
    """Settings of a GRPO loss: TinyLLaVA-Video-R1's but for the changes."""
    return Objective.model_validate({**OBJECTIVE, **changes})


def gradients(loss, batch):
    """Gradients with respect to log-probabilities and entropies; 0 where a loss does not depend on them."""
    found = torch.autograd.grad(loss, (batch.logp, batch.entropy), allow_unused=True)
    return [torch.zeros_like(batch.logp) if one is None else one for one in found]
