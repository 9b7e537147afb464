"""Objectives against TRL's: loss, gradients and metrics on the same tensors.

TRL's `GRPOTrainer.compute_loss` runs as published, on a stand-in object: log-probabilities and entropies are given, there is
one process, and nothing is generated. TRL is a dependency of the tests alone.
"""

import collections
import dataclasses
import functools
from types import SimpleNamespace

import pytest
import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer

from tests.support.objective import gradients, objective
from vidreason.rl.objectives import OBJECTIVES, Normalizer, TokenBatch, grpo_loss, learned_tokens

LIMIT = 9
LOSS_TYPES = {"grpo": "grpo", "dr_grpo": "dr_grpo", "dapo": "dapo", "gspo": "grpo", "cispo": "cispo"}
"""Our objective -> TRL's loss_type. GSPO is its "grpo" with ratios of sequences, as its documentation says."""
LOSS, GRADIENT = 1e-6, 1e-7


def batch_of(completions=8, tokens=7, spread=0.3, seed=0):
    """Completions of different lengths, scored by three policies."""
    generator = torch.Generator().manual_seed(seed)
    logp = -3 * torch.rand(completions, tokens, generator=generator)
    lengths = torch.randint(1, tokens + 1, (completions,), generator=generator)

    def other():
        return logp + spread * torch.randn(completions, tokens, generator=generator)

    return TokenBatch(
        logp.clone().requires_grad_(),
        torch.randn(completions, generator=generator),
        torch.arange(tokens)[None] < lengths[:, None],
        old_logp=other(),
        ref_logp=other(),
        entropy=torch.rand(completions, tokens, generator=generator).requires_grad_(),
    )


def bounds_of(settings):
    """Lowest and highest ratio below and above 1."""
    rule = OBJECTIVES[settings.name]
    low = rule.clip_low if settings.clip_low is None else settings.clip_low
    return low, rule.clip_high if settings.clip_high is None else settings.clip_high


def trl_loss(batch, settings, micro_batches=1, tokens=None):
    """TRL's loss of a batch, one of `micro_batches` with `tokens` in all -> loss, metrics."""
    low, high = bounds_of(settings)
    weighted = settings.name == "cispo"
    metrics = {"train": collections.defaultdict(list)}
    identity = SimpleNamespace(
        is_main_process=True,
        num_processes=1,
        gather=lambda value: value,
        reduce=lambda value, **_: value,
        sync_gradients=True,
    )
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (batch.logp, batch.entropy, None),
        _metrics=metrics,
        accelerator=identity,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=micro_batches),
        aux_loss_enabled=False,
        beta=settings.beta,
        current_gradient_accumulation_steps=micro_batches,
        entropy_coef=settings.entropy,
        _entropy_bonus_enabled=settings.entropy != 0,
        epsilon_low=low,
        # TRL's bound of CISPO is the largest ratio itself; ours is its distance from 1, as everywhere.
        epsilon_high=1 + high if weighted else high,
        importance_sampling_level="sequence" if settings.name == "gspo" else "token",
        loss_type=LOSS_TYPES[settings.name],
        max_completion_length=LIMIT,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_adaptive_entropy=False,
        use_vllm=False,
    )
    trainer._compute_loss = functools.partial(GRPOTrainer._compute_loss, trainer)
    mask = batch.mask.int()
    inputs = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.int64),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.int32),
        "completion_ids": torch.zeros_like(mask, dtype=torch.int64),
        "completion_mask": mask,
        "advantages": batch.advantages,
        "num_items_in_batch": mask.sum() if tokens is None else torch.tensor(tokens),
    }
    optional = {"old_per_token_logps": batch.old_logp, "ref_per_token_logps": batch.ref_logp}
    inputs |= {key: value for key, value in optional.items() if value is not None}
    loss = GRPOTrainer.compute_loss(trainer, None, inputs)
    return loss, {key: values[-1] for key, values in metrics["train"].items()}


def our_loss(batch, settings):
    """Our loss of a batch that is a whole step."""
    return grpo_loss(batch, settings, Normalizer.of(batch.mask, LIMIT))


def assert_equal(ours, theirs, batch):
    """Loss and gradients of both."""
    assert ours.item() == pytest.approx(theirs.item(), abs=LOSS)
    for found, wanted in zip(gradients(ours, batch), gradients(theirs, batch), strict=True):
        assert float((found - wanted).abs().max()) <= GRADIENT


@pytest.mark.parametrize("bounds", [{}, {"clip_low": 0.1, "clip_high": 0.15}], ids=["own bounds", "other bounds"])
@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.04, 0.0), (0.04, 0.1)], ids=["plain", "KL", "KL and entropy"])
@pytest.mark.parametrize("updates", ["first update", "later update"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_equal(name, updates, weights, bounds):
    if name == "cispo":
        bounds = {key: value for key, value in bounds.items() if key == "clip_high"}  # TRL has no lower bound there
    settings = objective(name=name, beta=weights[0], entropy=weights[1], kl_clamp=None, **bounds)
    batch = batch_of(spread=1.0 if name == "cispo" else 0.3)
    if updates == "first update":
        batch = dataclasses.replace(batch, old_logp=None)
    assert_equal(our_loss(batch, settings).loss, trl_loss(batch, settings)[0], batch)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_cases_are_clipped_and_not_clipped(name):
    """Otherwise the test above would not see the bounds."""
    settings = objective(name=name, beta=0.0, clip_high=0.15, **({} if name == "cispo" else {"clip_low": 0.1}))
    fraction = float(our_loss(batch_of(spread=1.0 if name == "cispo" else 0.3), settings).clip_fraction)
    assert 0.05 < fraction < 0.95


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_of_a_step_equal(name):
    """Four micro-batches of TRL add up to our whole step.

    The entropy's weight is 0: TRL takes the mean entropy over the tokens of each micro-batch, we take it over those of the
    step, so that the result does not depend on what a device computes at a time.
    """
    settings, batch = objective(name=name, beta=0.04, kl_clamp=None), batch_of()
    fields = [field.name for field in dataclasses.fields(batch)]
    parts = [
        TokenBatch(**{name: getattr(batch, name)[start : start + 2] for name in fields}) for start in range(0, 8, 2)
    ]
    theirs = sum(trl_loss(part, settings, 4, int(batch.mask.sum()))[0] for part in parts)
    assert_equal(our_loss(batch, settings).loss, theirs, batch)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_unfinished_answers_left_out_equal(name):
    """TRL too keeps a masked completion in the number of completions, and takes its tokens out of their number."""
    settings = objective(name=name, beta=0.04, entropy=0.1, kl_clamp=None, mask_unfinished=True)
    whole, finished = batch_of(), torch.arange(8) % 3 != 0
    batch = dataclasses.replace(whole, mask=learned_tokens(whole.mask, finished, settings))
    assert (batch.mask.sum(dim=1) == 0).tolist() == (~finished).tolist()
    assert_equal(our_loss(batch, settings).loss, trl_loss(batch, settings)[0], batch)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_metrics_equal(name):
    """But for the mean KL: TRL's is a mean over tokens, ours over completions, as TinyLLaVA-Video-R1 and Video-R1 log it."""
    settings, batch = objective(name=name, beta=0.04, kl_clamp=None, clip_high=0.15), batch_of(spread=1.0)
    ours, (_, theirs) = our_loss(batch, settings), trl_loss(batch, settings)
    assert float(ours.entropy) == pytest.approx(theirs["entropy"], abs=1e-6)
    if name == "cispo":  # TRL counts the cut weights of good completions alone, we count all
        good = dataclasses.replace(batch, mask=batch.mask & (batch.advantages[:, None] > 0))
        counted = grpo_loss(good, settings, Normalizer.of(batch.mask, LIMIT)).clip_fraction
        assert float(counted) == pytest.approx(theirs["cispo_clip_ratio"], abs=1e-6)
        assert ours.clip_fraction > counted
    else:
        assert float(ours.clip_fraction) == pytest.approx(theirs["clip_ratio/region_mean"], abs=1e-6)


def test_the_bounds_of_grpo_are_trls():
    defaults = {field.name: field.default for field in dataclasses.fields(trl.GRPOConfig)}
    assert bounds_of(objective(name="grpo")) == (defaults["epsilon"], defaults["epsilon"])
