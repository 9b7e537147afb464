"""Compare log-probabilities, advantages and losses of both methods with the golden data."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch

from tests.golden.folder import EXACT, Folder, Item, close, worst
from tests.golden.methods.base import MethodCheck, Methods, Mutation, Mutations
from tests.support.objective import objective
from vidreason.records import ClipRef, Completion, Grade, Question
from vidreason.rl import advantages, losses, objectives
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.rl.terms import video_r1

Tensors = Mapping[str, torch.Tensor]
Case = Mapping[str, Any]
LOG_PROBS, KL, REWARDS, ADVANTAGES = 1e-5, 5e-6, 1e-6, 1e-5
EQUAL_REWARDS = 2e-3
"""Advantages of a group whose rewards are all equal: its float32 mean may be off by one bit."""
NEAR_REWARDS = 0.1
"""Advantages of a group whose rewards differ by about 1e-7, with 1e-6 added to their standard deviation."""
LOSS, GRADIENTS = 2e-6, 1e-6
FAR_KL, FAR_LOSS, FAR_GRADIENTS = 5e-5, 1e-6, 1e-5
"""Relative to the largest, where the reference is far: the KL estimate reaches 2e4."""
TEMPORAL_LOSS, TEMPORAL_GRADIENTS = 5e-6, 5e-6
END = 2
"""Id of the end token in the cases of Video-R1."""
VIDEO_R1 = {"kl_clamp": None, "log_ratio_clamp": 10.0}
"""Settings of Video-R1's loss, besides beta."""
TEMPORAL_R1 = {"name": "dapo", "kl_clamp": 10.0}
"""Settings of Temporal-R1's loss, besides those of its script, which the cases name."""
KL_ESTIMATES = {"low_var_kl": "k3", "kl": "k1", "abs": "abs", "mse": "mse"}
"""Temporal-R1's names of the KL estimates -> ours."""


@dataclasses.dataclass(frozen=True)
class Deviations:
    """The deviation of one quantity in every case, made into one item for each tolerance."""

    name: str
    cases: list[tuple[str, float, float]] = dataclasses.field(default_factory=list)

    def add(self, label: str, found: torch.Tensor, wanted: torch.Tensor, tolerance: float, relative: bool = False):
        """Add the largest difference of two tensors; of the largest wanted value with `relative`."""
        scale = float(wanted.abs().max()) if relative else 1.0
        deviation = close(
            self.name, found.to(torch.float64) / scale, wanted.to(torch.float64) / scale, tolerance
        ).deviation
        self.cases.append((label, deviation, tolerance))

    def items(self) -> Iterator[Item]:
        """One item for each tolerance."""
        tolerances = sorted({tolerance for _, _, tolerance in self.cases})
        for tolerance in tolerances:
            own = [(label, deviation, 0.0) for label, deviation, other in self.cases if other == tolerance]
            name = self.name if tolerance == tolerances[0] else f"{self.name} (within {tolerance:g})"
            yield worst(name, own, tolerance)
        if not tolerances:
            yield worst(self.name, [], EXACT)


def tensors_of(folder: Folder, name: str, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of one case, without the case's prefix."""
    found = folder.tensors(name)
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}


def all_items(columns: Iterable[Deviations]) -> Iterator[Item]:
    """The items of several quantities."""
    for column in columns:
        yield from column.items()


def columns(method: str, names: Mapping[str, str]) -> dict[str, Deviations]:
    """Quantities by a short name."""
    return {key: Deviations(f"{method}: {name}") for key, name in names.items()}


def _rewards(case: Case, wanted: Tensors, lengths: Sequence[int]) -> torch.Tensor:
    """Rewards of a group whose accuracy and format are given: their sum, T-GRPO's bonus and the length reward."""
    question = Question("case", "golden", "multiple_choice", "", ClipRef("clip.mp4"))

    def group(values: Iterable[float], sizes: Iterable[int], contrast: RolloutGroup | None = None) -> RolloutGroup:
        grades = tuple(Grade(float(value), value > 0, "A", {}) for value in values)
        return RolloutGroup(question, tuple(Completion("", size, True) for size in sizes), grades, "ordered", contrast)

    accuracy, form = wanted["rewards_per_func"].T
    shuffled = case["shuffled_accuracy"]
    contrast = None if shuffled is None else group(shuffled, [1] * len(shuffled))
    ordered = group(accuracy.tolist(), lengths, contrast)
    total = accuracy + form
    if contrast is not None:
        total = total + 0.3 * torch.from_numpy(video_r1.temporal(threshold=0.8)(ordered)).float()
    if case["len_control"]:
        total = total + 0.2 * torch.from_numpy(video_r1.length_band(min_right=2)(ordered)).float()
    return total


def check_video_r1_losses(methods: Methods) -> Iterator[Item]:
    """From logits, completions and grades to the loss and its gradients."""
    found = columns(
        "loss of Video-R1",
        {
            "mask": "masks",
            "logp": "log-probabilities",
            "ref": "reference's log-probabilities",
            "rewards": "rewards",
            "advantages": "advantages",
            "kl": "KL per token",
            "mean_kl": "mean KL",
            "loss": "loss",
            "grad": "gradients of log-probabilities",
            "grad_logits": "gradients of logits",
            "length": "mean length",
        },
    )
    folder = methods.video_r1
    for case in folder.json("loss")["cases"]:
        prefix = f"{case['case']:02d}."
        wanted, label = tensors_of(folder, "loss", prefix), f"case {case['case']}"
        logits = wanted["logits"].clone().requires_grad_()
        ids, prompt = wanted["completion_ids"], wanted["prompt_ids"].shape[1]
        mask = losses.completion_mask(ids, END)
        logp, ref_logp = (
            losses.token_log_probs(one[:, prompt - 1 : -1], ids) for one in (logits, wanted["ref_logits"])
        )
        lengths = mask.sum(dim=1)
        is_equal = bool((wanted["rewards"] == wanted["rewards"][0]).all())
        advantage = advantages.group_advantages(wanted["rewards"], case["G"])
        batch = objectives.TokenBatch(logp, advantage, mask, ref_logp=ref_logp)
        settings = objective(beta=case["beta"], **VIDEO_R1)
        result = objectives.grpo_loss(batch, settings, objectives.Normalizer.of(mask, ids.shape[1]))
        gradients = torch.autograd.grad(result.loss, (logp, logits))
        kl = losses.token_kl(logp.detach(), ref_logp, "k3", settings.kl_clamp, settings.log_ratio_clamp)
        is_far = float(wanted["per_token_kl"].max()) > 1e3
        found["mask"].add(label, mask, wanted["completion_mask"], EXACT)
        found["length"].add(label, lengths.float().mean(), torch.tensor(case["metrics"]["completion_length"]), REWARDS)
        found["logp"].add(label, logp.detach(), wanted["per_token_logps"], LOG_PROBS)
        found["ref"].add(label, ref_logp, wanted["ref_per_token_logps"], LOG_PROBS)
        found["rewards"].add(label, _rewards(case, wanted, lengths.tolist()), wanted["rewards"], REWARDS)
        found["advantages"].add(label, advantage, wanted["advantages"], EQUAL_REWARDS if is_equal else ADVANTAGES)
        found["kl"].add(label, kl, wanted["per_token_kl"], FAR_KL if is_far else KL, is_far)
        for key, value, published in (("mean_kl", result.kl, "mean_kl"), ("loss", result.loss.detach(), "loss")):
            tolerance = FAR_LOSS if is_far else LOSS
            found[key].add(label, value, torch.tensor(case[published], dtype=torch.float64), tolerance, is_far)
        for key, value in zip(("grad", "grad_logits"), gradients, strict=True):
            published = "grad_per_token_logps" if key == "grad" else "grad_logits"
            found[key].add(label, value, wanted[published], FAR_GRADIENTS if is_far else GRADIENTS, is_far)
    yield from all_items(found.values())


def check_temporal_r1_advantages(methods: Methods) -> Iterator[Item]:
    """Advantages of groups of any size, by the names of their questions."""
    folder, found = methods.temporal_r1, Deviations("advantages of Temporal-R1")
    tolerances = {"near": NEAR_REWARDS, "equal": EXACT, "zero": EXACT}
    for case in folder.json("algos")["advantages"]:
        wanted = tensors_of(folder, "algos", f"adv{case['case']:02d}.")
        rewards = wanted["token_level_rewards"].sum(dim=1)  # upstream gives the reward to the last token
        advantage = advantages.named_group_advantages(rewards, case["uid"])
        per_token = advantage[:, None] * wanted["mask"]
        tolerance = tolerances.get(case["kind"], ADVANTAGES)
        found.add(f"case {case['case']}", per_token, wanted["advantages"], tolerance)
    yield from found.items()


def check_temporal_r1_losses(methods: Methods) -> Iterator[Item]:
    """The loss of an update in micro-batches with its gradients, and the values of each micro-batch."""
    found = columns(
        "loss of Temporal-R1",
        {
            "kl": "KL per token",
            "loss": "loss of the update",
            "parts": "loss of micro-batches",
            "policy": "loss of micro-batches without entropy and KL",
            "clipped": "clipped share of tokens",
            "entropy": "entropy",
            "kl_loss": "mean KL over tokens",
            "grad": "gradients of log-probabilities",
            "grad_entropy": "gradients of entropies",
        },
    )
    folder = methods.temporal_r1
    for case in folder.json("algos")["losses"]:
        wanted, label = tensors_of(folder, "algos", f"loss{case['case']:02d}."), f"case {case['case']}"
        logp, entropy = (wanted[key].clone().requires_grad_() for key in ("log_prob", "entropy"))
        mask, size = wanted["mask"].bool(), case["micro_batch"]
        advantage = (wanted["advantages"] * mask).sum(dim=1) / mask.sum(dim=1)  # the same at each token
        batch = objectives.TokenBatch(logp, advantage, mask, wanted["old_log_prob"], wanted["ref_log_prob"], entropy)
        estimate = KL_ESTIMATES[case["kl_loss_type"]]
        settings = {
            **TEMPORAL_R1,
            "kl_estimate": estimate,
            "kl_clamp": TEMPORAL_R1["kl_clamp"] if estimate == "k3" else None,
            "beta": case["kl_loss_coef"] if case["use_kl_loss"] else 0.0,
            "entropy": case["entropy_coeff"],
            "clip_low": case["clip_ratio"],
            "clip_high": case["clip_ratio"],
        }
        whole = objective(**settings, token_mean_over=size)
        result = objectives.grpo_loss(batch, whole, objectives.Normalizer.of(mask, mask.shape[1]))
        gradients = torch.autograd.grad(result.loss, (logp, entropy), allow_unused=True)
        kl = losses.token_kl(logp.detach(), wanted["ref_log_prob"], estimate, whole.kl_clamp)
        found["kl"].add(label, kl, wanted["kl"], KL)
        for key, value, published in zip(
            ("grad", "grad_entropy"), gradients, ("grad_log_prob", "grad_entropy"), strict=True
        ):
            value = torch.zeros_like(logp) if value is None else value
            found[key].add(label, value, wanted[published], TEMPORAL_GRADIENTS)
        total = sum(part["policy_loss_not_divided"] for part in case["micro_batches"]) / case["gradient_accumulation"]
        found["loss"].add(label, result.loss.detach(), torch.tensor(total), TEMPORAL_LOSS)
        for number, part in enumerate(case["micro_batches"]):
            rows = slice(number * size, (number + 1) * size)
            own = objectives.TokenBatch(
                logp[rows], advantage[rows], mask[rows], batch.old_logp[rows], batch.ref_logp[rows], entropy[rows]
            )
            normalizer = objectives.Normalizer.of(own.mask, mask.shape[1])
            with torch.no_grad():
                loss = objectives.grpo_loss(own, objective(**settings), normalizer)
                plain = objectives.grpo_loss(own, objective(**settings | {"beta": 0.0, "entropy": 0.0}), normalizer)
            values = {
                "parts": (loss.loss, part["policy_loss_not_divided"]),
                "policy": (plain.loss, part["pg_loss"]),
                "clipped": (loss.clip_fraction, part["clip_fraction"]),
                "entropy": (loss.entropy, part["entropy"]),
            }
            if case["use_kl_loss"]:
                values["kl_loss"] = ((kl[rows] * own.mask).sum() / own.mask.sum(), part["kl_loss"])
            for key, (value, published) in values.items():
                found[key].add(f"{label}, micro-batch {number}", value, torch.tensor(published), TEMPORAL_LOSS)
    yield from all_items(found.values())


def check_temporal_r1_functions(methods: Methods) -> Iterator[Item]:
    """Log-probabilities, entropies and masks from logits and ids."""
    wanted = tensors_of(methods.temporal_r1, "algos", "fn.")
    logits, labels = wanted["logits"], wanted["labels"]
    name = "functions of Temporal-R1"
    logp = losses.token_log_probs(logits, labels)
    yield close(f"{name}: log-probabilities", logp, wanted["logprobs"], LOG_PROBS)
    rounded = losses.token_log_probs(logits.bfloat16(), labels)
    yield close(f"{name}: log-probabilities of bf16 logits", rounded, wanted["logprobs_bf16_logits"], LOG_PROBS)
    head = torch.nn.Identity()
    head.out_features = logits.shape[-1]  # type: ignore[assignment]
    scores = losses.chunked_scores(head, logits.flatten(0, 1), labels.flatten(), "value", limit=4 * logits.shape[-1])
    yield close(f"{name}: log-probabilities in chunks", scores.log_probs, wanted["logprobs"].flatten(), LOG_PROBS)
    yield close(f"{name}: entropies in chunks", scores.entropy, wanted["entropy"].flatten(), LOG_PROBS)
    ids = wanted["response_ids"]
    yield close(f"{name}: masks", losses.completion_mask(ids, 1), wanted["eos_mask_eos1"], EXACT)
    either = torch.where(ids == 2, 1, ids)  # a model here has one end token
    mask = losses.completion_mask(either, 1)
    yield close(f"{name}: masks with two end tokens", mask, wanted["eos_mask_eos1_or_2"], EXACT)


def _biased(rewards: torch.Tensor, group: int, std: str = "unbiased", eps: float = 1e-4) -> torch.Tensor:
    grouped = rewards.reshape(-1, group)
    centered = grouped - grouped.mean(dim=1, keepdim=True)
    return (centered / (grouped.std(dim=1, correction=0, keepdim=True) + eps)).reshape(rewards.shape)


def _one_token_more(ids: torch.Tensor, end: int) -> torch.Tensor:
    ends = (ids == end).int()
    before = ends.cumsum(dim=1) - ends
    return torch.nn.functional.pad(before, (1, 0))[:, :-1] == 0


def _patched(target: object, name: str, value: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: mock.patch.object(target, name, value)


CHECKS: tuple[MethodCheck, ...] = (
    check_video_r1_losses,
    check_temporal_r1_advantages,
    check_temporal_r1_losses,
    check_temporal_r1_functions,
)
MUTATIONS: Mutations = {
    "biased std in Video-R1": Mutation(
        _patched(advantages, "group_advantages", _biased),
        ("loss of Video-R1: advantages", "loss of Video-R1: gradients of log-probabilities"),
        check_video_r1_losses,
    ),
    "biased std in Temporal-R1": Mutation(
        _patched(advantages, "group_advantages", _biased),
        (f"advantages of Temporal-R1 (within {ADVANTAGES:g})",),
        check_temporal_r1_advantages,
    ),
    "mask with one token more": Mutation(
        _patched(losses, "completion_mask", _one_token_more),
        ("loss of Video-R1: masks", "loss of Video-R1: loss", "loss of Video-R1: gradients of log-probabilities"),
        check_video_r1_losses,
    ),
    "mask with one token more in Temporal-R1": Mutation(
        _patched(losses, "completion_mask", _one_token_more),
        ("functions of Temporal-R1: masks", "functions of Temporal-R1: masks with two end tokens"),
        check_temporal_r1_functions,
    ),
}
