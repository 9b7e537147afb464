"""Compare the losses of SFT and GRPO, and their gradients through the whole model, with the golden data."""

import math
from collections.abc import Iterator

import torch
from torch.nn.utils.rnn import pad_sequence

from tests.golden.folder import EXACT, Folder, Item, close, number, relative, same
from tests.golden.text_items import combined_rewards
from tests.support.objective import objective
from vidreason.engine import generation, log_probs
from vidreason.models.base import IGNORE_INDEX
from vidreason.models.tinyllava import checkpoint
from vidreason.models.tinyllava import template as prompts
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.rl import advantages, losses, objectives

LOG_PROBS = 5e-5
LOSS = 2e-5
KL = 5e-5
NORMS = 1e-4
"""Relative to the norm, or to a ten-thousandth of the total norm where that is more."""
GRADIENTS = 5e-5
ADVANTAGES = 1e-5


def gradients(model: TinyLlavaVideo, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients by name of all parameters that have one."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def norms(name: str, found: dict[str, torch.Tensor], wanted: dict[str, float | None]) -> Iterator[Item]:
    """Compare which parameters have gradients, and their norms."""
    having = {key for key, value in wanted.items() if value is not None}
    keys = sorted(having | found.keys())
    yield same(f"{name}: which weights have gradients", [(key, key in found, key in having) for key in keys])
    total = math.sqrt(sum(value**2 for value in wanted.values() if value is not None))
    rows = []
    for key in sorted(having & found.keys()):
        norm = float(wanted[key] or 0.0)
        rows.append((abs(float(found[key].norm()) - norm) / max(norm, 1e-4 * total), key))
    deviation, key = max(rows, default=(math.inf, "no gradient"))
    yield Item(f"{name}: gradient norms (relative)", deviation, NORMS, f"{len(rows)} weights, largest at {key}")


def check_sft(folder: Folder) -> Iterator[Item]:
    """Supervised fine-tuning on the cold-start conversations."""
    given, wanted, published = folder.tensors("inputs"), folder.tensors("sft"), folder.json("sft")
    model, tokenizer = folder.new_model(), folder.tokenizer
    model.freeze_vision()
    examples = [prompts.labelled_ids(tokenizer, messages) for messages in published["messages"]]
    ids = pad_sequence([one.input_ids for one in examples], batch_first=True, padding_value=int(tokenizer.pad_token_id))
    labels = pad_sequence([one.labels for one in examples], batch_first=True, padding_value=IGNORE_INDEX)
    yield close("sft: ids of the batch", ids, wanted["input_ids"], EXACT)
    yield close("sft: labels of the batch", labels, wanted["labels"], EXACT)
    videos = model.encode_videos(given["pixel_values"][: len(examples)])
    inputs = model.build_inputs(
        [one.input_ids for one in examples], videos, padding_side="right", labels=[one.labels for one in examples]
    )
    embeds, mask, merged = inputs.embeds, inputs.mask, inputs.labels
    yield close("sft: merged mask", mask, wanted["merged_attention_mask"], EXACT)
    yield close("sft: merged labels", merged, wanted["merged_labels"], EXACT)
    logp = log_probs.label_log_probs(model, inputs)
    told = merged[:, 1:] != IGNORE_INDEX
    yield close("sft: log-probabilities of labels", logp, wanted["label_logps"][told], LOG_PROBS)
    loss = -logp.mean()
    yield number("sft: loss", float(loss.detach()), published["loss"], LOSS)
    logits = model(embeds, attention_mask=mask).logits
    yield number("sft: loss of all logits", float(losses.sft_loss(logits, merged).detach()), published["loss"], LOSS)
    yield from norms("sft", gradients(model, loss), published["grad_norms"])


def _loss(
    beta: float, logp: torch.Tensor, ref_logp: torch.Tensor, advantage: torch.Tensor, mask: torch.Tensor
) -> objectives.GrpoLoss:
    """Loss of upstream's objective, for a batch that is the whole step."""
    batch = objectives.TokenBatch(logp, advantage, mask, ref_logp=ref_logp)
    settings = objective(beta=beta, kl_clamp=losses.KL_CLAMP)
    return objectives.grpo_loss(batch, settings, objectives.Normalizer.of(mask, mask.shape[1]))


def check_kl_cases(folder: Folder) -> Iterator[Item]:
    """The KL estimate on single numbers, clamped ones among them."""
    cases = folder.json("grpo_loss")["k3_cases"]
    found = losses.k3_kl(torch.tensor(cases["logp"]), torch.tensor(cases["ref_logp"]))
    yield close("kl: single numbers", found, torch.tensor(cases["kl_clamped"]), LOSS)


def check_grpo(folder: Folder) -> Iterator[Item]:
    """One GRPO step with completions, rewards and noise given: values, loss and gradients."""
    wanted, published = folder.tensors("grpo_loss"), folder.json("grpo_loss")
    group, beta, ids = published["num_generations"], published["beta"], wanted["completion_ids"]
    mask = losses.completion_mask(ids, published["eos_token_id"])
    yield close("grpo: completion mask", mask, wanted["completion_mask"], EXACT)
    told = mask.to(torch.float32)
    accuracy, form = (wanted[name].double().numpy() for name in ("acc_rewards", "format_rewards"))
    totals = torch.from_numpy(combined_rewards(accuracy, form)).float()
    yield close("grpo: rewards", totals, wanted["rewards"], LOSS)
    advantage = advantages.group_advantages(wanted["rewards"], group)
    yield close("grpo: advantages", advantage, wanted["advantages"], ADVANTAGES)

    model, reference = folder.new_model(), folder.new_model()
    overrides = {key: tensor.clone() for key, tensor in folder.tensors("ref_overrides").items()}
    unknown = sorted(overrides.keys() - reference.state_dict().keys())
    yield same("grpo: names of the reference's weights", [("unknown", unknown, [])])
    if model.config.text().tie_word_embeddings and checkpoint.EMBEDDING in overrides:
        overrides[checkpoint.TIED] = overrides[checkpoint.EMBEDDING]
    reference.load_state_dict(overrides, strict=False)
    model.freeze_vision()

    with torch.no_grad():
        ref_logp = _whole_log_probs(folder, reference)
        yield close("grpo: reference's log-probabilities", ref_logp, wanted["ref_per_token_logps"], LOG_PROBS)
        logp = _whole_log_probs(folder, model)
        yield close("grpo: log-probabilities, whole sequences", logp, wanted["per_token_logps"], LOG_PROBS)
        yield relative("grpo: KL per token", losses.k3_kl(logp, ref_logp), wanted["per_token_kl"], KL)
        shared = _log_probs(folder, model)
        yield close(
            "grpo: log-probabilities, shared prompt", shared * told, wanted["per_token_logps"] * told, LOG_PROBS
        )
        result = _loss(beta, logp, ref_logp, wanted["advantages"], mask)
        yield relative("grpo: loss per token", result.token_loss * told, wanted["per_token_loss"] * told, LOSS)
        yield from _metrics(folder, result, totals, told)
        for key, weight in (("loss_beta0", 0.0), ("loss_beta1", 1.0)):
            other = _loss(weight, logp, ref_logp, wanted["advantages"], mask)
            yield number(f"grpo: {key}", float(other.loss), published[key], LOSS)
        noisy = advantages.group_advantages(wanted["rewards"], group, noise=wanted["noise_times_0.02"])
        other = _loss(beta, logp, ref_logp, noisy, mask)
        yield number("grpo: loss with the saved noise", float(other.loss), published["loss_with_saved_noise"], LOSS)

    for name, key, weight, frozen in (
        ("grpo, vision frozen", "grad_norms_recipe_vision_frozen", beta, True),
        ("grpo, all trainable", "grad_norms_everything_trainable", beta, False),
        ("grpo, beta 1", "grad_norms_recipe_beta1", 1.0, True),
    ):
        model.vision_tower.requires_grad_(not frozen)
        result = _loss(weight, _log_probs(folder, model), ref_logp, advantage, mask)
        found = gradients(model, result.loss)
        yield from norms(name, found, published[key])
        if key == "grad_norms_recipe_vision_frozen":
            total = math.sqrt(sum(float(gradient.norm()) ** 2 for gradient in found.values()))
            yield number(f"{name}: total gradient norm", total, published["total_grad_norm"], NORMS)
            for stored in sorted(one for one in wanted if one.startswith("grad.")):
                weights = stored.removeprefix("grad.")
                given = found.get(weights, torch.zeros(()))
                short = weights.replace("language_model.model.", "").replace("connector._connector.", "connector.")
                yield close(f"{name}: gradient of {short}", given, wanted[stored], GRADIENTS)


def _metrics(folder: Folder, result: objectives.GrpoLoss, totals: torch.Tensor, told: torch.Tensor) -> Iterator[Item]:
    """What upstream logs of a step."""
    published = folder.json("grpo_loss")
    metrics = published["metrics"]
    yield number("grpo: loss", float(result.loss), published["loss"], LOSS)
    yield number("grpo: mean KL", float(result.kl), metrics["kl"], LOSS)
    yield number("grpo: mean reward", float(totals.mean()), metrics["reward"], LOSS)
    spread = float(advantages.group_std(totals, published["num_generations"]).mean())
    yield number("grpo: spread of rewards", spread, metrics["reward_std"], LOSS)
    yield number("grpo: mean length", float(told.sum(dim=1).mean()), metrics["completion_length"], LOSS)


def _log_probs(folder: Folder, model: TinyLlavaVideo) -> torch.Tensor:
    """Log-probabilities the way training computes them: the prompt once, its cache shared by the group."""
    published, wanted = folder.json("grpo_loss"), folder.tensors("grpo_loss")
    ids = wanted["completion_ids"]
    mask = losses.completion_mask(ids, published["eos_token_id"])
    completions = generation.Completions(ids, mask.sum(dim=1), (ids == published["eos_token_id"]).any(dim=1))
    videos = model.encode_videos(folder.tensors("inputs")["pixel_values"][:1])
    return log_probs.completion_log_probs(model, [wanted["prompt_ids"][0]], videos, completions, len(ids))


def _whole_log_probs(folder: Folder, model: TinyLlavaVideo) -> torch.Tensor:
    """Log-probabilities the way upstream computes them: every sequence whole, padding included and not masked."""
    wanted = folder.tensors("grpo_loss")
    ids = wanted["completion_ids"]
    videos = model.encode_videos(folder.tensors("inputs")["pixel_values"][:1]).expand(len(ids), -1, -1)
    embeds = model.build_inputs([torch.cat((wanted["prompt_ids"][0], row)) for row in ids], videos).embeds
    return losses.token_log_probs(model(embeds).logits[:, -ids.shape[1] - 1 : -1], ids)


CHECKS = (check_sft, check_kl_cases, check_grpo)
